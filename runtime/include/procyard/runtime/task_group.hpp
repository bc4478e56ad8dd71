// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_TASK_GROUP_HPP
#define PROCYARD_RUNTIME_TASK_GROUP_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iosfwd>
#include <memory>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/cancellation.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What something is called in reports, and where in the source it was begun. Made of a string:
/// `group.spawn("reader", read())` says both.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT task_name {
    task_name(std::string called, std::source_location begun = std::source_location::current())
        : text(std::move(called)),
          where(begun)
    {
    }
    task_name(const char* called, std::source_location begun = std::source_location::current())
        : text(called),
          where(begun)
    {
    }

    std::string text;
    std::source_location where;
};
/// `reader (server.cpp:42)`
PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const task_name& name);

/// A task that runs.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct task_info {
    task_name name;
    timer_clock::time_point since{};
};

/// What a group does when one of its tasks fails.
enum class task_failure : std::uint8_t {
    /// Cancels the others, and begins no more.
    cancels_the_rest,
    /// The others go on. The join hands out the first failure none the less.
    concerns_nobody,
};

/// How a group runs its tasks.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct task_group_options {
    // Not an aggregate: GCC 12 destroys one that is made inside a co_await expression twice.
    task_group_options() = default;

    /// How many may run at a time; 0: any number.
    std::size_t limit = 0;
    task_failure on_failure = task_failure::cancels_the_rest;
    /// Hears of each task that fails, and not only of the first, in the strand of that task and
    /// before a join does. One that ends with `operation_aborted` after the group was cancelled has
    /// not failed. Must not throw.
    std::function<void(const task_name& name, const std::exception_ptr& failure)> on_task_failed{};
    /// The group is cancelled with it.
    cancellation_token parent{};
    /// Says since when a task runs; null: the machine's steady clock.
    std::shared_ptr<timer_clock> clock{};
};

namespace detail {

class task_group_core;

using task_body = asio::awaitable<void>;

// What keeps a coroutine's function object as long as the coroutine: a lambda's captures are in it.
template <class F>
asio::awaitable<void> run_task(F body, cancellation_token token)
{
    if constexpr (std::is_invocable_v<F&, cancellation_token>)
        co_await body(std::move(token));
    else
        co_await body();
}

template <class F>
concept task_function = std::is_invocable_r_v<asio::awaitable<void>, F&, cancellation_token>
    || std::is_invocable_r_v<asio::awaitable<void>, F&>;

PROCYARD_RUNTIME_EXPORT void start_task(const std::shared_ptr<task_group_core>& core,
                                        task_name name, asio::awaitable<void> body,
                                        asio::any_completion_handler<void(error_code)> handler);
PROCYARD_RUNTIME_EXPORT void
start_join(const std::shared_ptr<task_group_core>& core,
           asio::any_completion_handler<void(std::exception_ptr)> handler);

}  // namespace detail

/// A scope that owns coroutines: it begins them, waits for all of them, and ends them together.
///
/// Nothing that was begun in a group runs on when `async_join` has completed. The first task that
/// fails (lets an exception escape) cancels the others; the join waits for them and hands out that
/// failure. Cancelled tasks are waited for, so one that refuses its cancellation holds the join up:
/// `running()` says which. Tasks may begin others in their group.
///
/// Each task runs in a strand of its own on the group's executor, and is cancelled there, with the
/// type of the reason: a coroutine heeds terminal alone unless it asks for more. An executor that
/// is a strand serialises them all.
///
/// Dropping a group cancels its tasks and leaves them to the event loop: the destructor waits for
/// nobody, and what they throw afterwards is thrown away. What they refer to has to live until
/// then. Join first: then there is nothing left to be dropped.
///
/// After a move the source is empty: every call but assignment and destruction is a contract
/// violation.
/// @par Thread safety   Distinct objects: safe. Shared objects: safe, but for move and destruction.
/// @par Cost            A coroutine frame and some five allocations per task.
/// @par Example         @snippet examples/guide/shutting_down.cpp group
class PROCYARD_RUNTIME_EXPORT task_group {
public:
    using executor_type = asio::any_io_executor;

    explicit task_group(asio::any_io_executor ex, task_group_options options = {});
    task_group(task_group&& other) noexcept = default;
    /// What was held before is dropped.
    task_group& operator=(task_group&& other) noexcept;
    /// Cancels what runs; never blocks.
    ~task_group();

    [[nodiscard]] executor_type get_executor() const noexcept;

    /// Begins a task now: in a turn of its strand, never in this call.
    ///
    /// `body` is an `awaitable<void>`, or a function that makes one, with or without the group's
    /// token as its argument. The function object is kept until the task is over, so the captures
    /// of a lambda live long enough.
    /// @par Errors   `operation_aborted`: the group has been cancelled, or a task has failed.
    ///               `resource_unavailable_try_again`: so many run as may (`async_spawn` waits).
    ///               The task then does not begin, and is destroyed.
    void spawn(task_name name, asio::awaitable<void> body, error_code& ec);
    template <detail::task_function F>
    void spawn(task_name name, F body, error_code& ec)
    {
        spawn(std::move(name), detail::run_task(std::move(body), token()), ec);
    }
    /// The same; throws boost::system::system_error.
    void spawn(task_name name, asio::awaitable<void> body);
    template <detail::task_function F>
    void spawn(task_name name, F body)
    {
        spawn(std::move(name), detail::run_task(std::move(body), token()));
    }

    /// Begins a task as soon as there is a place for it, in the order of the calls: whoever awaits
    /// it is slowed to what the tasks can do.
    /// @par Completion signature   `void(error_code)`; the task has begun if there is no error.
    /// @par Errors                 `operation_aborted`: the group was cancelled, or a task has
    ///                             failed. The task has not begun, and is destroyed.
    /// @par Cancellation           terminal, partial, total: the task has not begun, and will not.
    /// @par Thread safety          Any thread may call it at any time.
    /// @par Lifetime               The group may be moved or dropped meanwhile.
    /// @par Cost                   That of a task; a list node while it waits.
    template <detail::task_function F,
              asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_spawn(task_name name, F body, Token&& token = Token{})
    {
        return async_spawn(std::move(name), detail::run_task(std::move(body), this->token()),
                           std::forward<Token>(token));
    }
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_spawn(task_name name, asio::awaitable<void> body,
                                   Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code)>(
            [](auto handler, const std::shared_ptr<detail::task_group_core>& core, task_name called,
               asio::awaitable<void> task) {
                detail::start_task(core, std::move(called), std::move(task), std::move(handler));
            },
            token, core_, std::move(name), std::move(body));
    }

    /// Waits until no task is left, none that waits for its place either. Any number may wait.
    ///
    /// A group that neither failed nor was cancelled can be used again afterwards.
    /// @par Completion signature   `void(std::exception_ptr)`: the first failure, or null. A
    ///                             coroutine that awaits it gets it thrown.
    /// @par Errors                 What the first task that failed has thrown. `operation_aborted`
    ///                             (as a system_error): the join was cancelled, or the group
    ///                             dropped. A task that ends with `operation_aborted` after the
    ///                             group was cancelled has not failed.
    /// @par Cancellation           terminal, partial, total: cancels the group, and completes when
    ///                             nothing of it runs any more, not before.
    /// @par Thread safety          Any thread may call it at any time. Not from a task of the
    ///                             group: it would wait for itself.
    /// @par Lifetime               The group may be moved or dropped meanwhile.
    /// @par Cost                   Two allocations.
    template <asio::completion_token_for<void(std::exception_ptr)> Token = asio::deferred_t>
    [[nodiscard]] auto async_join(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(std::exception_ptr)>(
            [](auto handler, const std::shared_ptr<detail::task_group_core>& core) {
                detail::start_join(core, std::move(handler));
            },
            token, core_);
    }

    /// Cancels all tasks, and begins no more. From any thread.
    void cancel(const cancellation_reason& reason = {}) noexcept;
    /// Is cancelled with the group.
    [[nodiscard]] cancellation_token token() const noexcept;

    /// How many run.
    [[nodiscard]] std::size_t size() const;
    /// Which, in the order in which they began.
    [[nodiscard]] std::vector<task_info> running() const;

private:
    void drop() noexcept;

    std::shared_ptr<detail::task_group_core> core_;
};

PROCYARD_NAMESPACE_END

#endif
