// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_WIRE_HPP
#define PROCYARD_RUNTIME_SRC_POOL_WIRE_HPP

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/runtime/pool_options.hpp>

// What a pool and its worker say to each other, over two channels of bytes:
//
//     pool      setup | setup_message                 the first one, once
//               task  | trace | request …             flag stream: credits says how many items
//               cancel                                nobody wants the task's result any more, or
//                                                     (flag unbegun) no more if it has not begun
//               credit                                so many more items of a stream may come
//               stop                                  no more tasks come: end when all are done
//     worker    hello | hello_message                 once, after the warm-up, good or bad
//               item  | response …                    one of a stream
//               result | response …                   \.
//               failed | text                          > one of these for each task, but for one
//               cancelled                             /  that dies with its worker
//
// Each is a header of 32 bytes, explicit and in the order of this machine (the channels compare
// that before the first record), and then the bytes that it says. Tasks are answered in any order.
//
// An ABI, for workers that are other programs: docs/pool.md describes it, and pool_version goes up
// with every change that an older peer would misunderstand.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

inline constexpr std::uint32_t pool_version = 1;

// Of what a worker says in words.
inline constexpr std::size_t longest_text = 2000;

// The names by which a worker finds its ends: a duplex, and a socket on which its record goes.
inline constexpr std::string_view pool_channel_name = "procyard-pool";
inline constexpr std::string_view pool_control_name = "procyard-pool.control";
// Names the entry. Only there in a process that a pool has started.
inline constexpr std::string_view pool_entry_variable = "PROCYARD_POOL_ENTRY";
/// How long an end of the worker's looks again before it sleeps, nanoseconds. Not in the setup: the
/// ends are open before they get that.
inline constexpr std::string_view pool_spin_variable = "PROCYARD_POOL_SPIN_NS";

enum class pool_record : std::uint8_t {
    setup = 1,
    task = 2,
    cancel = 3,
    credit = 4,
    stop = 5,
    hello = 16,
    result = 17,
    item = 18,
    failed = 19,
    cancelled = 20,
};

// Of a task: its answers may be many. Of a result: it has no response, and ends the items.
inline constexpr std::uint8_t pool_flag_stream = 1;
// Of a task: while it runs, the worker's loop shows that it turns (worker_record::beats).
inline constexpr std::uint8_t pool_flag_beats = 2;
// Of a cancel: does not concern a task that has begun.
inline constexpr std::uint8_t pool_flag_unbegun = 4;

struct pool_header {
    std::uint8_t kind;  // pool_record
    std::uint8_t flags;
    std::uint16_t trace_bytes;  // between the header and the request; only of a task
    std::uint32_t attempt;      // 1, 2, …; an answer has that of its task
    std::uint64_t task;         // 1, 2, …; 0 where no task is meant
    std::uint64_t run_ns;       // of a task: how long it may run; 0: as long as it likes
    std::uint32_t credits;      // of a stream's task, and of credit: how many items may come
    std::uint32_t zero;
};
inline constexpr std::size_t pool_header_bytes = 32;
static_assert(sizeof(pool_header) == pool_header_bytes && offsetof(pool_header, attempt) == 4
              && offsetof(pool_header, task) == 8 && offsetof(pool_header, run_ns) == 16
              && offsetof(pool_header, credits) == 24);

// How a worker is to work.
struct setup_message {
    std::uint32_t version = pool_version;
    std::uint32_t tasks_at_once = 1;
    std::uint32_t counters = 0;
    std::uint32_t slot = 0;
    std::uint64_t beat_ns = 0;         // how often its loop shows that it turns, if asked to
    std::uint64_t longest_record = 0;  // the pool takes none that is longer
};

// What a worker is.
struct hello_message {
    std::uint32_t version = pool_version;
    std::uint32_t ready = 0;  // 0: it is not, for the reason in `text`
    std::string entry{};
    std::string request{};  // type_description::to_bytes
    std::string response{};
    std::string text{};
};

enum class pool_side : std::uint8_t { pool, worker };

// A record that has been looked at. The spans refer to the bytes that were parsed.
struct parsed_record {
    pool_header header{};
    std::span<const std::byte> trace{};
    std::span<const std::byte> payload{};

    [[nodiscard]] pool_record kind() const noexcept { return pool_record{header.kind}; }
    [[nodiscard]] bool is_stream() const noexcept { return (header.flags & pool_flag_stream) != 0; }
};

// Takes a record apart that `from` has sent, and which may be hostile and change meanwhile: the
// header is copied once, and what is checked is the copy. False: no honest peer sends that.
[[nodiscard]] bool parse_record(std::span<const std::byte> bytes, pool_side from,
                                parsed_record& result) noexcept;

void write_header(const pool_header& header, std::span<std::byte> to) noexcept;

// A record without a payload.
[[nodiscard]] std::vector<std::byte> make_record(const pool_header& header);

// A record with a message, which can always be encoded.
template <encodable_message T>
[[nodiscard]] std::vector<std::byte> make_record(const pool_header& header, const T& payload)
{
    std::vector<std::byte> bytes(pool_header_bytes + encoded_size(payload));
    write_header(header, bytes);
    const std::span rest = std::span(bytes).subspan(pool_header_bytes);
    [[maybe_unused]] const bool done = encode_message(payload, rest);
    PROCYARD_ASSERT(done && "what the library itself says can be encoded");
    return bytes;
}

// Where the trace context goes in a task; no bytes when there is none.
[[nodiscard]] std::size_t trace_size(const trace_context& trace) noexcept;
void write_trace(const trace_context& trace, std::span<std::byte> to);
[[nodiscard]] bool parse_trace(std::span<const std::byte> bytes, trace_context& result);

// What a peer says of itself goes to people: as much of it as is sensible, in one line.
[[nodiscard]] std::string to_printable(std::string_view text, std::size_t most = longest_text);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
