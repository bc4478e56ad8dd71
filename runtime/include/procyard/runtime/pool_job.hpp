// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_POOL_JOB_HPP
#define PROCYARD_RUNTIME_POOL_JOB_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/type_description.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/pool_options.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class worker_core;
struct worker_task;

// A value that is to be encoded, without its type.
struct answer_writer {
    std::size_t size_bytes;
    const void* value;
    bool (*write)(const void* value, std::span<std::byte> to);
};

template <encodable_message T>
[[nodiscard]] answer_writer writer_of(const T& value)
{
    return {encoded_size(value), &value, [](const void* erased, std::span<std::byte> to) {
                return encode_message(*static_cast<const T*>(erased), to);
            }};
}

PROCYARD_RUNTIME_EXPORT void start_yield(const std::shared_ptr<worker_task>& task,
                                         const type_description& type, const answer_writer& item,
                                         asio::any_completion_handler<void(error_code)> handler);

}  // namespace detail

/// The task that a worker's handler is called for.
/// @par Thread safety   Distinct objects: safe. Shared objects, and copies: unsafe; all of it
///                      belongs to the worker's loop, where handlers are called.
/// @par Lifetime        May be copied and kept; when its task is done it does nothing any more.
class PROCYARD_RUNTIME_EXPORT pool_job {
public:
    using executor_type = asio::any_io_executor;

    /// The pool's number of the task.
    [[nodiscard]] std::uint64_t number() const noexcept;
    /// 1, and one more each time that a worker has died of it.
    [[nodiscard]] unsigned attempt() const noexcept;
    /// The slot of the pool that this worker fills: 0, 1, 2, …
    [[nodiscard]] std::size_t slot() const noexcept;
    /// When the pool will have it killed; empty without a run deadline.
    [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept;
    /// What the submission has brought along.
    [[nodiscard]] const trace_context& trace() const noexcept;
    /// Whether items are wanted: it was submitted as a stream.
    [[nodiscard]] bool is_stream() const noexcept;
    /// The worker's loop.
    [[nodiscard]] executor_type get_executor() const;

    /// Whether nobody wants the result any more. A handler that is a coroutine is cancelled
    /// (terminal) as well; any other has to ask now and then, or the worker is killed.
    /// @par Cost   A look at the channel.
    [[nodiscard]] bool cancelled() const;
    /// Shows that it makes progress. A handler that is a coroutine need not, as long as it does
    /// not hold the loop.
    void heartbeat() const noexcept;
    /// Adds to one of the pool's counters, by its place in pool_options::counters. What is counted
    /// survives the worker.
    void count(std::size_t counter, std::uint64_t n = 1) const noexcept;

    /// Gives an item to a task that was submitted as a stream, and waits while its consumer has
    /// enough of them.
    /// @par Completion    void(error_code)
    /// @par Errors        `operation_not_supported`: no items are wanted; `pool_errc::bad_message`:
    ///                    the item is no response of this entry, or cannot be encoded, or is too
    ///                    long, or its codec has thrown; ENOMEM: that had no memory;
    ///                    `already_started`: another one waits.
    /// @par Cancellation  terminal, partial and total: the item was not given.
    /// @par Cost          Without a wait a copy into the channel, and a turn of the loop.
    template <encodable_message Item,
              asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_yield(Item item, Token&& token = {}) const
    {
        return asio::async_initiate<Token, void(error_code)>(
            [](auto handler, const std::shared_ptr<detail::worker_task>& task, const Item& value) {
                detail::start_yield(task, describe<Item>(), detail::writer_of(value),
                                    std::move(handler));
            },
            token, task_, std::move(item));
    }

    /// @private
    explicit pool_job(std::shared_ptr<detail::worker_task> task) noexcept : task_(std::move(task))
    {
    }
    /// @private
    [[nodiscard]] const std::shared_ptr<detail::worker_task>& task() const noexcept
    {
        return task_;
    }

private:
    std::shared_ptr<detail::worker_task> task_;
};

PROCYARD_NAMESPACE_END

#endif
