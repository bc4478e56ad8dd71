// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SHUTDOWN_HPP
#define PROCYARD_RUNTIME_SHUTDOWN_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/deferred.hpp>

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/cancellation.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/shutdown_report.hpp>
#include <procyard/runtime/stop.hpp>
#include <procyard/runtime/task_group.hpp>
#include <procyard/signals/signal_options.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How much time a shutdown has, and who gets how much of it.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT shutdown_options {
    // Not an aggregate: GCC 12 destroys one that is made inside a co_await expression twice.
    shutdown_options() = default;

    /// From the request to the end of the last phase. Stay below what the service manager gives:
    /// Kubernetes kills after 30 s, systemd after 90 s.
    std::chrono::nanoseconds budget = std::chrono::seconds(25);
    /// How long new work is taken after the request at most, until a load balancer has heard. 0:
    /// none is.
    std::chrono::nanoseconds linger{};
    /// Ends the linger early, when no new work has come for so long.
    std::chrono::nanoseconds quiet = std::chrono::milliseconds(500);
    /// Each phase may take its weight's share of the time that is left when it begins. What it does
    /// not use goes to the others. Linger has none: it shares the time of the drain.
    std::array<unsigned, shutdown_phase_count> weights{1, 0, 1, 10, 2, 4, 2};
    /// The shutdown ends at this time at the latest; set by `heed_parent`.
    timer_clock::time_point latest = timer_clock::time_point::max();
    /// Measures it all; null: the machine's steady clock.
    std::shared_ptr<timer_clock> clock{};

    shutdown_options& weight(shutdown_phase phase, unsigned parts);
    /// Reads from the environment what the parent gives this process, if that is a Procyard program
    /// (`shutdown_coordinator::hand_down`, a supervisor, a pool): the budget becomes the smaller of
    /// both.
    /// @par Thread safety   Safe if nobody changes the environment meanwhile.
    shutdown_options& heed_parent();
};

/// What a parent gives its children in their environment, in nanoseconds: how long they may take
/// from the moment they are asked to stop. A supervisor gives it to its services and a pool to its
/// workers: nine tenths of the grace, unless the command says something of the variable itself.
inline constexpr const char* stop_budget_variable = "PROCYARD_STOP_BUDGET_NS";
/// For children that are started while their parent shuts down already: until when, on
/// CLOCK_MONOTONIC, which all processes of a machine share.
inline constexpr const char* stop_deadline_variable = "PROCYARD_STOP_DEADLINE_NS";

/// A wish to shut down.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct shutdown_request {
    // Not an aggregate: GCC 12 destroys one that is made inside a co_await expression twice.
    shutdown_request() = default;
    explicit shutdown_request(const cancellation_reason& why, int code = 0)
        : reason(why),
          exit_code(code)
    {
    }

    cancellation_reason reason{};
    /// What `shutdown_report::exit_code` is to be; 0: that is up to how it goes.
    int exit_code = 0;
    /// Instead of the options'.
    std::optional<std::chrono::nanoseconds> budget{};
};

/// What a handler is told.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct shutdown_step {
    shutdown_step() = default;

    shutdown_phase phase{};
    /// When it is cancelled and left alone.
    timer_clock::time_point deadline{};
    /// Why all this.
    cancellation_reason reason{};
    std::shared_ptr<timer_clock> clock{};

    /// How much time is left; never negative.
    [[nodiscard]] std::chrono::nanoseconds remaining() const noexcept
    {
        const auto now = clock->now();
        return now < deadline ? deadline - now : std::chrono::nanoseconds::zero();
    }
};

class shutdown_coordinator;
class supervisor;

namespace detail {

class pool_core;
class shutdown_core;

// Not the pool's own header, which who has none need not read.
template <class Pool>
concept pool_to_stop = requires(const Pool& pool) {
    { pool.core() } -> std::convertible_to<const std::shared_ptr<pool_core>&>;
};

using shutdown_function = std::function<asio::awaitable<void>(shutdown_step)>;

template <class F>
concept shutdown_handler = std::is_invocable_r_v<asio::awaitable<void>, F&, shutdown_step>
    || std::is_invocable_r_v<asio::awaitable<void>, F&>;

template <class F>
shutdown_function make_shutdown_function(F function)
{
    if constexpr (std::is_invocable_v<F&, shutdown_step>)
        return function;
    else
        return
            [function = std::move(function)](const shutdown_step&) mutable { return function(); };
}

PROCYARD_RUNTIME_EXPORT void
start_shutdown_wait(const std::shared_ptr<shutdown_core>& core,
                    asio::any_completion_handler<void(error_code, shutdown_report)> handler);

// Work in flight, as its holder has it.
struct PROCYARD_RUNTIME_EXPORT shutdown_hold {
    shutdown_hold() = default;
    shutdown_hold(const shutdown_hold&) = delete;
    shutdown_hold& operator=(const shutdown_hold&) = delete;
    virtual ~shutdown_hold();
};

}  // namespace detail

/// A piece of work that is to be finished before a shutdown cancels: a request, a connection. It
/// counts until it is destroyed or released. Move-only.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
class PROCYARD_RUNTIME_EXPORT shutdown_work {
public:
    shutdown_work() = default;

    /// Still counts.
    [[nodiscard]] explicit operator bool() const noexcept { return hold_ != nullptr; }
    /// It is finished. From any thread.
    void release() noexcept { hold_.reset(); }

private:
    friend class shutdown_coordinator;
    explicit shutdown_work(std::unique_ptr<detail::shutdown_hold> hold) noexcept
        : hold_(std::move(hold))
    {
    }

    std::unique_ptr<detail::shutdown_hold> hold_;
};

/// Ends a program, or a part of it, in order and in time.
///
/// What is to be done is said beforehand: handlers for phases, children, parts, work in flight. A
/// request (a call, a signal) then starts the phases, one after the other:
///
/// | phase | what happens | over when |
/// |---|---|---|
/// | announce | its handlers | they have returned |
/// | linger | new work is still taken, the drain begins | `linger` is over, or `quiet` |
/// | close_intake | its token is cancelled; its handlers | they have returned |
/// | drain | its handlers, since linger began | they have returned and no `hold()` is left |
/// | cancel | its token is cancelled, and `tasks()`; its handlers | all that has ended |
/// | stop_children | children, supervisors, pools, last added first; handlers | they are gone |
/// | flush | its handlers | they have returned |
///
/// There is one deadline for all of it, and each phase has its share; one that is over early leaves
/// its time to the others. Whoever outstays its phase is cancelled and left behind, and the next
/// phase begins: no handler, request or child can hold the shutdown up. The report names them,
/// where they were begun, and how long they had been running.
///
/// Handlers of a phase run at the same time, unless they are given an order: then those of each
/// number together, the smallest first. Each runs in a strand of its own, and is cancelled
/// (terminal) when its time is over.
///
/// The destructor cancels what runs and waits for nobody. Destroy it before its context.
/// @par Thread safety   Distinct objects: safe. Shared objects: safe, but for destruction.
/// @par Cost            Nothing runs before there is a request. `hold()`: an allocation and a
/// mutex.
/// @par Example         @snippet examples/guide/shutting_down.cpp coordinator
class PROCYARD_RUNTIME_EXPORT shutdown_coordinator {
public:
    using executor_type = asio::any_io_executor;

    explicit shutdown_coordinator(asio::any_io_executor ex, shutdown_options options = {});
    shutdown_coordinator(const shutdown_coordinator&) = delete;
    shutdown_coordinator& operator=(const shutdown_coordinator&) = delete;
    ~shutdown_coordinator();

    [[nodiscard]] executor_type get_executor() const noexcept;

    // What is to be done

    /// Has `handler`, a function that makes an `awaitable<void>`, with or without a `shutdown_step`
    /// as its argument, run in a phase. What it throws is in the report, and stops nothing else.
    /// @par Errors   Throws boost::system::system_error: `already_started` when the phase has
    ///               begun, `invalid_argument` for `linger`, which has no handlers.
    template <detail::shutdown_handler F>
    void on(shutdown_phase phase, task_name name, F handler, int order = 0)
    {
        add_handler(phase, std::move(name), detail::make_shutdown_function(std::move(handler)),
                    order);
    }
    /// Stops the child and all it has started in phase `stop_children`. Of several children the one
    /// that was added last is stopped first, and the next one when that is gone. Each has its
    /// share: SIGTERM for the child alone, so that it ends what it has started itself. What is left
    /// when it has ended, or when four fifths of its share are over, gets SIGTERM, and a tenth of
    /// the share later SIGKILL.
    ///
    /// Handlers of that phase come after the children, if their order is 0 or more. The `child`
    /// object may go; then its drop policy acts. A child that has ended costs nothing.
    /// @par Errors   As `on`.
    void add_child(task_name name, const child& stopped);
    /// Stops a supervisor among the children: the one that was added last, be it a child, a
    /// supervisor or a pool, is stopped first. Its budget is its share of the phase, less a tenth
    /// for what has to be killed. Each service that is left is in the report, by the supervisor's
    /// name and its own: `services/web`. That it had given up is a failure there.
    ///
    /// It is stopped on its own executor. One that has been destroyed is nobody's concern.
    /// @par Errors   As `on`.
    void add_supervisor(task_name name, const supervisor& stopped);
    /// Stops a `process_pool` among the children, as `add_supervisor` does: it runs what it has,
    /// as long as its budget goes. If tasks were cut off then, or a worker had to be killed, the
    /// pool is in the report.
    /// @par Errors   As `on`.
    template <detail::pool_to_stop Pool>
    void add_pool(task_name name, const Pool& stopped)
    {
        add_pool_core(std::move(name), stopped.core());
    }
    /// Shuts down another coordinator, a part of the program, in a phase of this one: by default
    /// while work is drained. It can be shut down alone before. Its leftovers and failures are in
    /// this one's report as well.
    /// @par Errors   As `on`.
    void add_part(task_name name, shutdown_coordinator& part,
                  shutdown_phase phase = shutdown_phase::drain);

    /// Counts as work in flight, and as new work, until what is returned is destroyed.
    [[nodiscard]] shutdown_work hold(task_name name);
    /// For coroutines that run in the background, and end when they are cancelled: in phase
    /// `cancel`. One that fails concerns nobody but the report, which has the first 16 of these
    /// failures, and how many more there were.
    [[nodiscard]] task_group& tasks() noexcept;

    /// Is cancelled when the phase begins: by `announce`, that there will be an end, so answer
    /// `Connection: close`; by `close_intake`, what takes new work; by `cancel`, everything.
    [[nodiscard]] cancellation_token
    token(shutdown_phase phase = shutdown_phase::cancel) const noexcept;
    /// Whether somebody has asked.
    [[nodiscard]] bool requested() const noexcept;

    /// Tells a child-to-be how long it may take to stop: `stop_budget_variable`, and while a
    /// shutdown runs `stop_deadline_variable`.
    ///
    /// The deadline is that of the requests until now, less the time that phase `flush` needs.
    /// @par Limits   It may be more than the child gets: children that are stopped one after the
    ///               other share the budget, and a request that comes later may bring a shorter
    ///               one.
    void hand_down(command& what) const;

    // Requests

    /// Begins the shutdown. True for the first call; a later one only counts if its time is over
    /// earlier. From any thread; not from a signal handler.
    bool request(const shutdown_request& wanted = {});

    /// Begins the shutdown when one of these signals comes: as `request`, with its number as the
    /// reason. By default the next one of them ends the process at once, decided in the signal
    /// handler, so that a second ^C works however the event loop is stuck.
    ///
    /// The signals are let go of when the shutdown is over, or the coordinator destroyed.
    /// @par Errors                 Throws what `signal_set::add` does.
    /// @par Process-wide effects   Those of `signal_set`.
    void on_signals(std::initializer_list<int> numbers,
                    signal_set_options how = {.mode = signal_mode::automatic,
                                              .second = second_signal::dies_of_it});
    /// Reloads whenever this signal comes; by custom SIGHUP.
    /// @par Errors                 As `on_signals`.
    /// @par Process-wide effects   Those of `signal_set`.
    void reload_on(int signal_number, signal_set_options how = {});

    /// Waits until a shutdown was requested and is over. Any number may wait, also afterwards.
    /// @par Completion signature   `void(error_code, shutdown_report)`
    /// @par Errors                 `operation_aborted`; what failed is in the report.
    /// @par Cancellation           terminal, partial, total: the wait ends, a shutdown goes on.
    /// @par Thread safety          Any thread may call it at any time.
    /// @par Lifetime               When the coordinator is destroyed: `operation_aborted`.
    /// @par Cost                   A list node, and a copy of the report.
    template <
        asio::completion_token_for<void(error_code, shutdown_report)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, shutdown_report)>(
            [](auto handler, const std::shared_ptr<detail::shutdown_core>& core) {
                detail::start_shutdown_wait(core, std::move(handler));
            },
            token, core_);
    }

    // Reload

    /// Has `handler` run whenever a reload is requested: all of them, one after the other. What it
    /// throws ends that reload, and is in the report of the shutdown.
    template <detail::shutdown_handler F>
    void on_reload(task_name name, F handler)
    {
        add_reload(std::move(name), detail::make_shutdown_function(std::move(handler)));
    }
    /// Reloads. Requests that come while one runs are one more reload after it, however many they
    /// are. Once a shutdown was requested, nothing is reloaded any more. From any thread.
    void request_reload();

private:
    void add_handler(shutdown_phase phase, task_name name, detail::shutdown_function handler,
                     int order);
    void add_reload(task_name name, detail::shutdown_function handler);
    void add_pool_core(task_name name, const std::shared_ptr<detail::pool_core>& core);

    std::shared_ptr<detail::shutdown_core> core_;
};

PROCYARD_NAMESPACE_END

#endif
