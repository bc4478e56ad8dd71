// SPDX-License-Identifier: BSL-1.0
#include "pool_wire.hpp"

#include <algorithm>
#include <cstring>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// What a kind of record may have.
struct shape {
    bool known = false;
    pool_side from = pool_side::pool;
    bool of_task = false;     // names a task
    bool of_attempt = false;  // and one of its attempts
    bool has_payload = false;
};

shape shape_of(std::uint8_t kind) noexcept
{
    using enum pool_record;
    constexpr auto pool = pool_side::pool;
    constexpr auto worker = pool_side::worker;
    switch (pool_record{kind}) {
    case setup: return {true, pool, false, false, true};
    case task: return {true, pool, true, true, true};
    case cancel:
    case credit: return {true, pool, true, true, false};
    case stop: return {true, pool, false, false, false};
    case hello: return {true, worker, false, false, true};
    case result:
    case item:
    case failed: return {true, worker, true, true, true};
    case cancelled: return {true, worker, true, true, false};
    }
    return {};
}

bool are_flags_good(const pool_header& header) noexcept
{
    const auto kind = pool_record{header.kind};
    const unsigned may = kind == pool_record::task ? pool_flag_stream | pool_flag_beats
        : kind == pool_record::result              ? pool_flag_stream
        : kind == pool_record::cancel              ? pool_flag_unbegun
                                                   : 0U;
    return (header.flags & ~may) == 0;
}

bool are_credits_good(const pool_header& header) noexcept
{
    const auto kind = pool_record{header.kind};
    const bool needed = kind == pool_record::credit
        || (kind == pool_record::task && (header.flags & pool_flag_stream) != 0);
    return needed == (header.credits != 0);
}

}  // namespace

bool parse_record(std::span<const std::byte> bytes, pool_side from, parsed_record& result) noexcept
{
    if (bytes.size() < pool_header_bytes)
        return false;
    pool_header header;
    std::memcpy(&header, bytes.data(), sizeof header);
    // What is checked must be what is used: the compiler may not read it again.
    asm volatile("" : "+m"(header));
    const auto what = shape_of(header.kind);
    const auto rest = bytes.subspan(pool_header_bytes);
    const bool is_task = header.kind == static_cast<std::uint8_t>(pool_record::task);
    if (!what.known || what.from != from || what.of_task != (header.task != 0)
        || what.of_attempt != (header.attempt != 0) || header.zero != 0
        || (header.run_ns != 0 && !is_task) || !are_flags_good(header) || !are_credits_good(header)
        || header.trace_bytes > rest.size() || (header.trace_bytes != 0 && !is_task))
        return false;
    const auto payload = rest.subspan(header.trace_bytes);
    const bool ends_stream = !is_task && header.flags == pool_flag_stream;
    if ((!what.has_payload || ends_stream) && !payload.empty())
        return false;
    result = {header, rest.first(header.trace_bytes), payload};
    return true;
}

void write_header(const pool_header& header, std::span<std::byte> to) noexcept
{
    PROCYARD_ASSERT(to.size() >= pool_header_bytes && "a record has room for its header");
    std::memcpy(to.data(), &header, sizeof header);
}

std::vector<std::byte> make_record(const pool_header& header)
{
    std::vector<std::byte> bytes(pool_header_bytes);
    write_header(header, bytes);
    return bytes;
}

std::size_t trace_size(const trace_context& trace) noexcept
{
    return trace.empty() ? 0 : encoded_size(trace);
}

void write_trace(const trace_context& trace, std::span<std::byte> to)
{
    [[maybe_unused]] const bool done = to.empty() || encode_message(trace, to);
    PROCYARD_ASSERT(done && "a trace context can be encoded");
}

bool parse_trace(std::span<const std::byte> bytes, trace_context& result)
{
    return bytes.empty() || decode_message(bytes, result);
}

std::string to_printable(std::string_view text, std::size_t most)
{
    std::string printable(text.substr(0, most));
    std::replace_if(
        printable.begin(), printable.end(),
        [](char c) {
            const auto byte = static_cast<unsigned char>(c);
            return byte < 0x20 || byte == 0x7f;
        },
        ' ');
    return printable;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
