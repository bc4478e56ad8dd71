// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_CLOCK_HPP
#define PROCYARD_RUNTIME_CLOCK_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Where deadlines and graces take their time from: the machine's steady clock, or a clock that a
/// test moves by hand.
///
/// Runs, stop ladders, task groups, shutdowns, supervisors, pools, watchdogs and rotating files
/// take a `std::shared_ptr<timer_clock>` in their options, null meaning `steady_timer_clock()`.
/// What takes none goes by the machine's clock: channels, calls and work queues, drop policies, and
/// `supervisor_options::sweep_budget`. Derive from it to bring a clock of your own.
/// @par Thread safety   Distinct and shared objects: safe. A derived class must keep that.
class PROCYARD_RUNTIME_EXPORT timer_clock {
public:
    using duration = std::chrono::nanoseconds;
    using time_point = std::chrono::steady_clock::time_point;

    timer_clock() = default;
    timer_clock(const timer_clock&) = delete;
    timer_clock& operator=(const timer_clock&) = delete;
    virtual ~timer_clock();

    /// This clock's present. Never goes back.
    [[nodiscard]] virtual time_point now() const noexcept = 0;

    /// The time `delay` from now; `time_point::max()` when that is more than can be said, so
    /// `duration::max()` means "never".
    [[nodiscard]] time_point after(duration delay) const noexcept;

    /// Waits until this clock shows `when`. A time that has passed completes at once (but never
    /// inside the call).
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 `operation_aborted`
    /// @par Cancellation           terminal, partial, total: the wait ends, nothing else happens.
    ///                             Emit it in the handler's executor.
    /// @par Thread safety          Any thread may call it at any time.
    /// @par Lifetime               Hold the clock until the wait has completed.
    /// @par Cost                   That of an Asio timer; a manual clock allocates an entry.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_until(asio::any_io_executor ex, time_point when,
                                        Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code)>(
            [this](auto handler, asio::any_io_executor io, time_point due) {
                start_wait(std::move(io), due, std::move(handler));
            },
            token, std::move(ex), when);
    }

    /// Waits for `delay`, counted from this call (not from when a deferred operation starts):
    /// `async_wait_until(ex, after(delay))`.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 As async_wait_until.
    /// @par Cancellation           As async_wait_until.
    /// @par Thread safety          As async_wait_until.
    /// @par Lifetime               As async_wait_until.
    /// @par Cost                   That of async_wait_until.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_for(asio::any_io_executor ex, duration delay,
                                      Token&& token = Token{})
    {
        return async_wait_until(std::move(ex), after(delay), std::forward<Token>(token));
    }

protected:
    /// Starts one wait. Completes through `ex`, never inside this call; honours the handler's
    /// cancellation slot; counts as outstanding work of `ex` meanwhile.
    virtual void start_wait(asio::any_io_executor ex, time_point when,
                            asio::any_completion_handler<void(error_code)> handler) = 0;
};

/// The machine's steady clock, through Asio's timers. One object without state for everybody.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::shared_ptr<timer_clock> steady_timer_clock();

/// A clock that stands still until it is told to move. Tests of ladders, deadlines and graces take
/// no time and depend on none.
///
/// Waits that are pending when their execution context is destroyed are dropped with it, as the
/// context's own would be; those pending when the clock is destroyed complete with
/// `operation_aborted`.
/// @par Thread safety   Distinct and shared objects: safe.
/// @par Example
/// @code
/// auto clock = std::make_shared<procyard::manual_clock>();
/// async_run(command("server"), ex, run_options().deadline(1h).clock(clock), handler);
/// clock->advance(1h);   // the ladder starts now
/// @endcode
class PROCYARD_RUNTIME_EXPORT manual_clock final : public timer_clock {
public:
    /// Starts at the given time; the default is as good as any.
    explicit manual_clock(time_point start = time_point{});
    ~manual_clock() override;

    [[nodiscard]] time_point now() const noexcept override;

    /// Moves the clock, then fires the waits that are due, the earliest first and equal ones in
    /// the order they were started, each by posting it through its executor. Returns how many.
    ///
    /// A handler that starts a new wait does so at the new time: advance in steps to see a ladder
    /// rung by rung.
    std::size_t advance(duration delay);

    /// Moves the clock to the next pending wait and fires it (and those due at the same time).
    /// Returns how many, 0 when nothing is pending.
    std::size_t advance_to_next();

    /// How many waits are pending.
    [[nodiscard]] std::size_t pending() const noexcept;
    /// When the next pending wait is due; empty when nothing is pending.
    [[nodiscard]] std::optional<time_point> next() const noexcept;

    class state;  // private to clock.cpp

protected:
    void start_wait(asio::any_io_executor ex, time_point when,
                    asio::any_completion_handler<void(error_code)> handler) override;

private:
    // Shared with the cancellation handlers of pending waits and with the contexts' services:
    // either may be the last to see it.
    std::shared_ptr<state> state_;
};

PROCYARD_NAMESPACE_END

#endif
