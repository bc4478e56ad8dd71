// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_LOG_FEED_HPP
#define PROCYARD_RUNTIME_SRC_LOG_FEED_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include <procyard/ipc/config.hpp>

#include "log_queue.hpp"
#include "service_access.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Brings the lines of one service to its sink: of all its incarnations, so that the sink is never
// called twice at a time and has the lines in their order.
//
// The coroutine that feeds a task ends when nothing waits: a log in which nothing happens has no
// operation pending, and none that would keep the context running.
class log_feed : public std::enable_shared_from_this<log_feed> {
public:
    // `on_idle` is called when the task has got all that waited.
    log_feed(asio::any_io_executor ex, std::shared_ptr<const log_sink> sink,
             std::function<void()> on_idle);

    // Never fails: what cannot be kept is counted.
    void take(service_output from, std::string_view line) noexcept;
    // Lines that could not be brought here.
    void lose(std::uint64_t lines) noexcept { queue_.lose_before_next(lines); }
    // Whoever reads should read no more before room() has completed. Never when nobody feeds the
    // task, for want of memory: the next line begins that anew.
    [[nodiscard]] bool full() const noexcept
    {
        return !ended_ && runs_ && queue_.blocks() && queue_.full();
    }
    // Completes when it may not be full any more, or at wake().
    [[nodiscard]] asio::awaitable<void> room();
    void wake();

    // The service has gone for good: so does its sink, when what waits has come to it.
    void release() noexcept;
    [[nodiscard]] bool idle() const noexcept { return !runs_; }
    // Cancels the task, and takes nothing any more.
    void end() noexcept;
    // Of those that ever came.
    [[nodiscard]] std::uint64_t lost() const noexcept { return queue_.lost(); }

private:
    struct run_mark;

    void start();
    void over() noexcept;
    static asio::awaitable<void> feed(std::shared_ptr<log_feed> self);
    [[nodiscard]] asio::awaitable<void> hand_out();

    asio::any_io_executor executor_;
    std::shared_ptr<const log_sink> sink_;  // null: it was released
    std::function<void()> on_idle_;
    log_queue queue_;
    asio::steady_timer room_;  // never expires: waited for until it is cancelled
    std::shared_ptr<asio::cancellation_signal> cancel_{};
    bool runs_ = false;
    bool ended_ = false;
    bool releasing_ = false;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
