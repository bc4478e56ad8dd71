// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SERVICE_NOTIFIER_HPP
#define PROCYARD_RUNTIME_SERVICE_NOTIFIER_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/service_manager.hpp>
#include <procyard/runtime/service_notice.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How a watchdog is fed.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT watchdog_options {
    // Not an aggregate: GCC 12 destroys one that is made inside a co_await expression twice.
    watchdog_options() = default;

    /// Event loops beside the notifier's own of which each must have run a handler since the last
    /// sign of life: one executor for each io_context.
    std::vector<asio::any_io_executor> loops{};
    /// The time the manager gives; empty: what it has said in the environment. 2 µs or more.
    std::optional<std::chrono::nanoseconds> interval{};
    /// Measures it; null: the machine's steady clock.
    std::shared_ptr<timer_clock> clock{};
};

namespace detail {

class notifier_core;

PROCYARD_RUNTIME_EXPORT void start_notify(const std::shared_ptr<notifier_core>& core,
                                          const service_notice& notice,
                                          asio::any_completion_handler<void(error_code)> handler);
PROCYARD_RUNTIME_EXPORT void start_barrier(const std::shared_ptr<notifier_core>& core,
                                           asio::any_completion_handler<void(error_code)> handler);
PROCYARD_RUNTIME_EXPORT void start_feeding(const std::shared_ptr<notifier_core>& core,
                                           watchdog_options options,
                                           asio::any_completion_handler<void(error_code)> handler);

}  // namespace detail

/// Tells a service manager how this process does: that it is ready, reloads, stops, lives. What
/// sd_notify(3) does, without its library, and without ever holding the event loop.
///
/// Without a manager (`is_supervised()` is false) everything succeeds and does nothing, so a
/// service need not ask. After a move the source is empty, and may be assigned to and destroyed.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, except try_notify(), which
///                      any thread may call at any time.
/// @par Lifetime        May be destroyed while operations are pending, which then complete with
///                      operation_aborted. Destroy it before its context.
/// @par Cost            One descriptor, if there is a manager, until the last operation has
///                      completed.
/// @par Example         @snippet examples/guide/serving.cpp notify
class PROCYARD_RUNTIME_EXPORT service_notifier {
public:
    using executor_type = asio::any_io_executor;

    /// Of the manager that the environment names; see `service_manager::from_environment`, also for
    /// what is wrong with it and for who else may use the environment meanwhile.
    /// @throws boost::system::system_error   what is malformed; or the socket could not be made
    ///                                       (EMFILE), or not be connected (ENOENT, ECONNREFUSED,
    ///                                       EACCES, …): what() names it
    service_notifier(const asio::any_io_executor& ex, manager_variables then);
    /// Of this manager.
    /// @throws boost::system::system_error   as above
    service_notifier(const asio::any_io_executor& ex, service_manager manager);
    service_notifier(service_notifier&& other) noexcept;
    service_notifier& operator=(service_notifier&& other) noexcept;
    ~service_notifier();

    /// Whether somebody hears.
    [[nodiscard]] bool is_supervised() const noexcept;
    /// How often the manager expects a sign of life; empty: it does not.
    [[nodiscard]] std::optional<std::chrono::microseconds> watchdog() const noexcept;
    [[nodiscard]] executor_type get_executor() const noexcept;

    /// Sends a notice without waiting.
    /// @par Errors          `would_block`: the manager's queue is full, try again or use
    ///                      `async_notify`; ECONNREFUSED: it has gone, and nobody has taken its
    ///                      place; EMSGSIZE: more than 4,096 bytes, which a manager does not read;
    ///                      EINVAL: it says nothing. Nothing has been sent then.
    /// @par Thread safety   Any thread may call it at any time.
    void try_notify(const service_notice& notice, error_code& ec) noexcept;

    /// Sends a notice, as soon as the manager's queue has room for it.
    ///
    /// Await it before the next one if their order matters: those that are sent at the same time
    /// overtake each other.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 Those of `try_notify`, without `would_block`;
    ///                             `operation_aborted`.
    /// @par Cancellation           terminal, partial, total: nothing has been sent.
    /// @par Cost                   A wait for the socket, one system call, a few allocations.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_notify(service_notice notice, Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code)>(
            [](auto handler, const std::shared_ptr<detail::notifier_core>& core,
               const service_notice& what) {
                detail::start_notify(core, what, std::move(handler));
            },
            token, core_, std::move(notice));
    }

    /// Waits until the manager has read everything that was sent before (BARRIER=1). A process
    /// that ends before may not be heard: nobody knows any more whose it was.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 `operation_aborted`; EMFILE; as `async_notify`.
    /// @par Cancellation           terminal, partial, total: the wait ends. The question may have
    ///                             been sent; the answer concerns nobody then. There is no limit of
    ///                             time but this.
    /// @par Limits                 Of a manager that dies meanwhile it cannot be told what it has
    ///                             read.
    /// @par Cost                   That of `async_notify`, and a pipe.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_barrier(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code)>(
            [](auto handler, const std::shared_ptr<detail::notifier_core>& core) {
                detail::start_barrier(core, std::move(handler));
            },
            token, core_);
    }

    /// Gives signs of life (WATCHDOG=1), at once and then twice in each interval, until it is
    /// cancelled.
    ///
    /// Each is proof that the event loops run: it is sent by a handler of the notifier's own, after
    /// every loop of the options has run one as well, which is looked for eight times in each
    /// interval. One that is stuck gets no second question, and no sign is given until it answers,
    /// however many others run. Completes at once, with success, if the manager expects nothing of
    /// this process.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 `operation_aborted`; as `async_notify`, when no sign could be
    ///                             given for a whole interval (a manager may start again): then no
    ///                             more are given. EINVAL: an interval of less than 2 µs.
    /// @par Cancellation           terminal, partial, total: no more signs are given.
    /// @par Thread safety          May be cancelled from any thread. A loop of the options must
    ///                             live as long as this goes on; it may live longer.
    /// @par Cost                   A timer and a system call twice in each interval; with loops
    ///                             of the options a few timers more, and a handler in each.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_feed_watchdog(watchdog_options options, Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code)>(
            [](auto handler, const std::shared_ptr<detail::notifier_core>& core,
               watchdog_options how) {
                detail::start_feeding(core, std::move(how), std::move(handler));
            },
            token, core_, std::move(options));
    }
    /// The same with `watchdog_options()`: this loop alone, in the manager's time.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_feed_watchdog(Token&& token = Token{})
    {
        return async_feed_watchdog(watchdog_options(), std::forward<Token>(token));
    }

private:
    std::shared_ptr<detail::notifier_core> core_;
};

PROCYARD_NAMESPACE_END

#endif
