// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_TASK_GROUP_CORE_HPP
#define PROCYARD_RUNTIME_SRC_TASK_GROUP_CORE_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/runtime/cancellation.hpp>
#include <procyard/runtime/task_group.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What a group is: the tasks that run, the spawns that wait for a place, the joins.
//
//   open --cancelled, a task failed, context destroyed--> closed
//
//   open:   a task begins if there is a place.
//   closed: none begins any more; those that wait for a place have been sent away.
//
// Joins complete whenever the last task goes. The mutex guards everything; it is never held while
// a handler is called, posted or destroyed, nor while a task begins or is cancelled.
class task_group_core : public std::enable_shared_from_this<task_group_core> {
public:
    task_group_core(asio::any_io_executor ex, task_group_options options);
    task_group_core(const task_group_core&) = delete;
    task_group_core& operator=(const task_group_core&) = delete;

    // Once, before anything else.
    void heed_cancellation();

    void spawn(task_name name, asio::awaitable<void> body, error_code& ec);
    void start_spawn(task_name name, asio::awaitable<void> body,
                     asio::any_completion_handler<void(error_code)> handler);
    void start_join(asio::any_completion_handler<void(std::exception_ptr)> handler);
    void cancel(const cancellation_reason& reason) noexcept { source_.request_cancel(reason); }
    // The group object has gone.
    void drop() noexcept;

    [[nodiscard]] cancellation_token token() const noexcept { return source_.token(); }
    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] std::vector<task_info> running() const;

private:
    class on_cancel;
    struct on_end;
    using tasks = std::list<task_info>;
    struct waiter {
        std::uint64_t id;
        task_name name;
        asio::awaitable<void> body;
        pending<void(error_code)> handler;
    };
    struct joiner {
        std::uint64_t id;
        bool aborted;
        std::exception_ptr failure;  // as of when the last task went
        pending<void(std::exception_ptr)> handler;
    };

    // With the mutex held.
    [[nodiscard]] bool has_place() const noexcept;
    [[nodiscard]] tasks::iterator add(task_name name);
    [[nodiscard]] std::list<joiner> take_joiners_if_done();

    void begin(tasks::iterator place, asio::awaitable<void> body);
    void ended(tasks::iterator place, const std::exception_ptr& exception);
    void abandoned(tasks::iterator place) noexcept;
    void fill_places();
    void complete(std::list<joiner> done);
    void close() noexcept;
    void cancel_spawn(std::uint64_t id);
    void cancel_join(std::uint64_t id);

    asio::any_io_executor executor_;
    task_group_options options_;
    cancellation_source source_;

    mutable std::mutex mutex_;
    bool closed_ = false;
    std::exception_ptr failure_;
    tasks running_;
    std::list<waiter> waiters_;
    std::list<joiner> joiners_;
    std::uint64_t next_id_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
