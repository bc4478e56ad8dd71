// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_STAGE_TASK_HPP
#define PROCYARD_RUNTIME_SRC_STAGE_TASK_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <optional>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/pipeline.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// A coroutine stage that runs: what child_core is for a process.
//
//   running --returned, threw--> ended
//      \-----context destroyed--> abandoned
//
//   running:   the coroutine may be cancelled; its end is not known.
//   ended:     its frame and both its pipe ends are gone.
//   abandoned: the same, and nobody will ever say how; waits have been dropped without a call, as
//              the context demands.
//
// The mutex guards state and waiters; it is never held while a handler is called or destroyed.
class stage_task : public std::enable_shared_from_this<stage_task> {
public:
    using clock = std::chrono::steady_clock;

    // What a coroutine is connected to on one side.
    struct connection {
        unique_fd fd;
        bool borrowed = false;  // a duplicate, of a descriptor that stays somebody else's
    };
    struct outcome {
        std::exception_ptr exception{};
        error_code error{};
        clock::time_point at{};
    };

    explicit stage_task(const asio::any_io_executor& ex);
    stage_task(const stage_task&) = delete;
    stage_task& operator=(const stage_task&) = delete;

    // Once. The coroutine begins in a turn of its strand. Takes the descriptors even if it fails.
    void start(stage::function body, connection in, connection out, error_code& ec);

    // Terminal. Takes effect in a turn of the strand; from any thread.
    void cancel();

    [[nodiscard]] std::optional<outcome> end() const;
    [[nodiscard]] clock::time_point started() const noexcept { return started_; }
    // What has gone through its ends until now.
    [[nodiscard]] std::uint64_t bytes_in() const noexcept { return *bytes_in_; }
    [[nodiscard]] std::uint64_t bytes_out() const noexcept { return *bytes_out_; }

    // Waits for the end. Any number of waits, from any thread.
    void start_wait(asio::any_completion_handler<void(error_code)> handler);

private:
    struct on_end;
    struct waiter {
        std::uint64_t id;
        pending<void(error_code)> handler;
    };

    void ended(std::exception_ptr exception);
    void abandoned() noexcept;
    void cancel_wait(std::uint64_t id);

    asio::any_io_executor executor_;
    asio::any_io_executor strand_;
    clock::time_point started_{};
    // Shared with the ends, which are the coroutine's.
    std::shared_ptr<std::atomic<std::uint64_t>> bytes_in_;
    std::shared_ptr<std::atomic<std::uint64_t>> bytes_out_;
    asio::cancellation_signal cancellation_;  // in the strand

    mutable std::mutex mutex_;
    bool gone_ = false;
    std::optional<outcome> outcome_;
    std::list<waiter> waiters_;
    std::uint64_t next_waiter_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
