// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_DETAIL_POOL_TASK_STATE_HPP
#define PROCYARD_RUNTIME_DETAIL_POOL_TASK_STATE_HPP

#include <sys/types.h>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/type_description.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/pool_error.hpp>
#include <procyard/runtime/pool_metrics.hpp>
#include <procyard/runtime/pool_options.hpp>
#include <procyard/runtime/pool_report.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class pool_core;

// A task: what the pool knows of it without its types, and, in what is derived, those who wait for
// it. Held by the pool until it is over, and by the user's handle.
class PROCYARD_RUNTIME_EXPORT pool_task_state
    : public std::enable_shared_from_this<pool_task_state> {
public:
    pool_task_state() = default;
    pool_task_state(const pool_task_state&) = delete;
    pool_task_state& operator=(const pool_task_state&) = delete;
    virtual ~pool_task_state();

    // A response that may be hostile, and change while it is read. False: it is none.
    [[nodiscard]] virtual bool take(std::span<const std::byte> response) = 0;
    [[nodiscard]] virtual bool waits_for_admission() const noexcept = 0;
    // It is in the pool's queue. `now`: in a turn of the pool's executor in which handlers may run.
    virtual void on_admitted(bool now) = 0;
    // It is over: `error` and `report` say how.
    virtual void on_over(bool now) = 0;
    // The context has gone: no handler may be called, but all have to go.
    virtual void drop() noexcept = 0;

    // Nobody wants it any more.
    void cancel();
    // The consumer of a stream has taken so many items.
    void give_credits(std::uint32_t items);
    // What its worker has answered is none of the pool's types.
    void spoil(const char* why);

    [[nodiscard]] bool is_over() const noexcept { return over; }

    // Of the pool; null when it is over.
    pool_core* core = nullptr;
    asio::any_io_executor executor{};
    std::uint64_t number = 0;
    std::uint64_t worker = 0;  // that has it now, or 0
    std::uint32_t attempt = 0;
    std::uint32_t credits = 0;  // items that may still come
    std::chrono::nanoseconds heartbeat = std::chrono::nanoseconds::max();
    std::chrono::nanoseconds run_limit = std::chrono::nanoseconds::max();
    bool is_stream = false;
    bool unsent = false;  // its record is not in the channel yet, or not all of it
    bool asked = false;   // its worker was told that it is cancelled
    bool over = false;
    std::vector<std::byte> record{};  // header, trace context, request
    error_code fault{};               // whatever its worker says it was
    error_code error{};
    pool_task_report report{};
    trace_context trace{};
};

// What a request is encoded by, without its type.
struct request_writer {
    std::size_t size_bytes;
    const void* value;
    bool (*write)(const void* value, std::span<std::byte> to);
};

template <encodable_message T>
[[nodiscard]] request_writer request_writer_of(const T& value)
{
    return {encoded_size(value), &value, [](const void* erased, std::span<std::byte> to) {
                return encode_message(*static_cast<const T*>(erased), to);
            }};
}

// How many items of a stream are under way at most.
inline constexpr std::uint32_t stream_window = 16;

// The pool's core, for the templates. A task that is refused is over, and says why.

using pool_handler_erased = asio::any_completion_handler<void(error_code)>;

[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::shared_ptr<pool_core>
make_pool_core(asio::any_io_executor ex, command program, std::string entry, pool_options options,
               const type_description& request, const type_description& response);
// This program, again.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT command this_program(const std::string& entry);
PROCYARD_RUNTIME_EXPORT void start_pool(pool_core& core, pool_handler_erased handler);
PROCYARD_RUNTIME_EXPORT void stop_pool(pool_core& core, std::chrono::nanoseconds budget,
                                       pool_handler_erased handler);
PROCYARD_RUNTIME_EXPORT void abandon_pool(pool_core& core) noexcept;
PROCYARD_RUNTIME_EXPORT void resize_pool(pool_core& core, unsigned min_workers,
                                         unsigned max_workers);
PROCYARD_RUNTIME_EXPORT void recycle_pool(pool_core& core);
[[nodiscard]] PROCYARD_RUNTIME_EXPORT const std::string&
explanation_of(const pool_core& core) noexcept;
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::vector<pid_t> workers_of(const pool_core& core);
[[nodiscard]] PROCYARD_RUNTIME_EXPORT pool_metrics metrics_of(pool_core& core);
// Throws std::invalid_argument. Not when the operation begins: what is thrown there destroys a
// coroutine that waits for it, and cannot be caught in it.
PROCYARD_RUNTIME_EXPORT void check_terms(const submit_options& options);
// `may_wait`: at the high-water mark it waits; else it is not submitted, and the answer is false.
PROCYARD_RUNTIME_EXPORT bool submit_to(pool_core& core, std::shared_ptr<pool_task_state> task,
                                       const request_writer& request, const submit_options& options,
                                       bool may_wait);
[[nodiscard]] PROCYARD_RUNTIME_EXPORT const asio::any_io_executor&
executor_of(const pool_core& core) noexcept;

// Completes in this turn, or in a later one.
template <class... Args, class... Values>
void complete_when(bool now, pending<void(Args...)>& who, Values&&... values)
{
    if (now)
        who.call_now(std::forward<Values>(values)...);
    else
        who.complete(std::forward<Values>(values)...);
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
