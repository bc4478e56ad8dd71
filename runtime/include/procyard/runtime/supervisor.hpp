// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SUPERVISOR_HPP
#define PROCYARD_RUNTIME_SUPERVISOR_HPP

#include <sys/types.h>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/exit_status.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/service.hpp>
#include <procyard/runtime/supervision.hpp>

PROCYARD_NAMESPACE_BEGIN

class shutdown_coordinator;

/// How one incarnation of a service has ended.
/// @par Thread safety   A value; distinct objects: safe, though copies share the exception. Shared
///                      objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT death_report {
    /// Of a command that could be spawned: with signal, OOM flag and rusage.
    std::optional<exit_status> status{};
    /// Why it could not be spawned, or what it said of itself (`STATUS=` of sd_notify); else empty.
    std::string text{};
    /// What a coroutine has thrown.
    std::exception_ptr exception{};
    /// The end of its standard error.
    std::string error_tail{};
    /// From its start to its end.
    std::chrono::nanoseconds uptime{};
    /// It was asked to stop.
    bool asked = false;
    /// Why: what it was asked to stop for, or killed for without that; else `ended` with success,
    /// or `crashed`, which is also said of one that could not be started. Of a pool's worker:
    /// `asked` (what for is in the outcome of its task, if it had one), `start_timeout`, `ended`,
    /// `crashed`.
    service_cause cause = service_cause::ended;

    /// `killed by SIGSEGV (core dumped) after 1.5 s; stderr ends with: "…"`, and in parentheses
    /// the cause, if it was stopped for one: `killed by SIGABRT after 9 s (its watchdog has run
    /// out)`
    [[nodiscard]] std::string to_string() const;
};

/// A service has changed its state.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT service_event {
    /// 1, 2, 3, … for each supervisor with all its groups, without a gap; but one for which there
    /// was no memory is missing.
    std::uint64_t sequence = 0;
    timer_clock::time_point when{};
    /// Of a member of a group: "group/member".
    std::string service{};
    std::uint64_t generation = 0;
    /// While a service is replaced, the events of its second incarnation say so, and those of the
    /// members of that. When that one takes over, a member that stands elsewhere than it did in the
    /// first one has an event that does not, with the cause `replaced`.
    bool replacement = false;
    service_state from = service_state::configured;
    service_state to = service_state::configured;
    service_cause cause = service_cause::asked;
    /// With `backoff`: until the next start.
    std::chrono::nanoseconds delay{};
    /// Of an incarnation that has ended.
    std::shared_ptr<const death_report> death{};

    /// `12 web.3: ready -> backoff (it has failed), next start in 400 ms: exit 1 after 2 s`,
    /// with the death's own cause where that is another one
    [[nodiscard]] std::string to_string() const;
};

/// Where a service stands.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct service_snapshot {
    /// Of a member of a group: "group/member".
    std::string name{};
    service_state state = service_state::configured;
    std::uint64_t generation = 0;
    /// Of a command that runs; else 0.
    pid_t pid = 0;
    /// When its last change of state was.
    timer_clock::time_point since{};
    std::uint64_t restarts = 0;
    /// What a command has said of itself last (`STATUS=`).
    std::string status_text{};
    /// Lines of its outputs that have not come to its log: for want of room, because the log threw,
    /// or because the time to stop was over.
    std::uint64_t lines_lost = 0;
    /// What it has left with the supervisor; see `service::keep_descriptors`.
    std::size_t descriptors_kept = 0;
    /// Of the last incarnation that has ended, if any has.
    std::shared_ptr<const death_report> last_death{};
};

/// How a supervisor has ended.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct supervisor_result {
    /// There were more restarts than the intensity allows, survivors that could not be killed, or
    /// the state directory did not come free.
    bool failed = false;
    /// Which service had the last one too many, which processes of another supervisor could not be
    /// killed, or whose the state directory is; empty if none.
    std::string culprit{};
    /// What still lived when the stop's budget was over (a coroutine that does not listen to
    /// cancellation, a process that cannot be killed), of a group the members: empty when all have
    /// gone.
    std::vector<std::string> left{};
    timer_clock::duration stop_time{};
};

/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct supervisor_options {
    // Not an aggregate: GCC 12 destroys one that is made inside a co_await expression twice.
    supervisor_options() = default;

    restart_strategy strategy = restart_strategy::one_for_one;
    restart_intensity intensity{};
    /// Everything has stopped after so long: each service has its grace, or its share of what is
    /// left if that is less, and is killed then.
    std::chrono::nanoseconds stop_budget = std::chrono::seconds(10);
    orphan_policy orphans = orphan_policy::kill;
    /// Where the supervisor writes down what would outlive it, if it is killed: a directory for it
    /// alone, made if it is not there. What another supervisor with this directory has left behind
    /// is killed, with all that it has started, and has gone before anything is started: there are
    /// never two incarnations. Empty: nothing is written down, and nobody is looked for.
    std::filesystem::path state_directory{};
    /// How long those that another supervisor has left may take to be gone, with its lock of the
    /// directory, by the machine's clock. Then the supervisor has failed, and its result's
    /// `culprit` says who is left.
    std::chrono::nanoseconds sweep_budget = std::chrono::seconds(30);
    /// Null: the machine's steady clock.
    std::shared_ptr<timer_clock> clock{};
    /// Hears each change of state, also of the members of groups, in order, on the supervisor's
    /// executor. Must not throw; may call the supervisor, and destroy it; is not called again
    /// before it has returned.
    std::function<void(const service_event&)> on_event{};
    /// Of the jitter; 0: one that differs each time.
    std::uint64_t seed = 0;
};

/// Keeps services up: starts them in the order of their dependencies, starts again what ends,
/// after longer and longer delays, gives up when that happens too often, and stops everything in
/// the reverse order within one budget.
///
/// What it decides is a state machine that is tested with random worlds; see `service_state`.
///
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe. Its executor has to run one
///                      handler at a time: a strand, or a context that one thread runs; use it from
///                      there.
/// @par Lifetime        When the object is destroyed without a stop, everything it supervises is
///                      killed (a coroutine: cancelled) and nothing waits for it.
/// @par Cost            A timer, and nothing wakes up while nothing happens. Commands are spawned
///                      by the context's spawner thread (see `async_spawn`), one after the other:
///                      an exec that hangs holds up the starts behind it, not the supervision.
/// @par Example         @snippet examples/18_supervisor.cpp supervisor
class PROCYARD_RUNTIME_EXPORT supervisor {
public:
    using executor_type = asio::any_io_executor;

    /// @throws std::runtime_error   the state directory is that of a supervisor that lives, or
    ///                              cannot be used; the message has the path, and the pid of who
    ///                              has it
    explicit supervisor(asio::any_io_executor ex, supervisor_options options = {});
    supervisor(supervisor&&) noexcept = default;
    supervisor& operator=(supervisor&&) noexcept;
    ~supervisor();

    [[nodiscard]] executor_type get_executor() const noexcept;

    /// Adds a service. It starts with the others, or now if the supervisor was started.
    /// @throws std::invalid_argument   a name that is empty, has a slash, is there already, or is
    ///                                 that of a dependency that is not there, or is being
    ///                                 removed; what is wrong with the service
    void add(const service& what);

    /// All that were added shall run.
    void start();
    /// One shall run: also one that has failed for good. As with the other names here, it may be
    /// the member of a group that runs, "group/member": what is asked of it holds until it is asked
    /// something else, or the group is started again.
    /// @throws std::invalid_argument   there is none of the name, or its group does not run
    void start(std::string_view name);
    /// One shall not, until it is started again.
    void stop(std::string_view name);
    /// One is stopped and started again, and nobody with it, whatever the strategy. No failure.
    void restart(std::string_view name);
    /// A second incarnation is started, and the first one stopped when the second is ready. If it
    /// does not become ready, the first one stays.
    void replace(std::string_view name);
    /// One is stopped and forgotten: when `removed` is told it is in no snapshot, its name is free,
    /// and what is kept of it is its log, until that has got what waits for it.
    /// @throws std::invalid_argument   there is none of the name, another one depends on it, or it
    ///                                 is the member of a group
    void remove(std::string_view name);

    /// Where they all stand, in the order in which they were added; behind each group its members,
    /// of one that does not run as they stood at its end.
    [[nodiscard]] std::vector<service_snapshot> snapshot() const;

    /// Completes when what another supervisor with this state directory has left is gone, at once
    /// without a state directory: the time to make what they may have held, like a socket for
    /// `service::listen`. Services may be added before; they start by themselves when it is over.
    /// @par Completion signature   `void(error_code)`
    /// @par Errors                 `timed_out`: they were not gone after the options'
    ///                             `sweep_budget`, the supervisor was stopped before, or another
    ///                             one has got the directory that it waited for;
    ///                             `operation_aborted`
    /// @par Cancellation           terminal, partial, total: the wait ends, the sweep goes on.
    /// @par Thread safety          As async_wait.
    /// @par Lifetime               As async_wait.
    /// @par Cost                   A look at each process of the machine, until they have gone.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_sweep(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code)>(
            [](auto handler, const std::shared_ptr<detail::supervisor_core>& core) {
                start_sweep(core, std::move(handler));
            },
            token, core_);
    }

    /// Completes when the supervisor has ended: it was stopped, or has given up.
    /// @par Completion signature   `void(error_code, supervisor_result)`
    /// @par Errors                 `operation_aborted`
    /// @par Cancellation           terminal, partial, total: the wait ends, the supervisor goes on.
    /// @par Thread safety          From the supervisor's executor; so is its cancellation.
    /// @par Lifetime               The object may be moved while the wait is pending. Destroying it
    ///                             completes it with `operation_aborted`.
    /// @par Cost                   An allocation.
    template <
        asio::completion_token_for<void(error_code, supervisor_result)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, supervisor_result)>(
            [](auto handler, const std::shared_ptr<detail::supervisor_core>& core) {
                start_wait(core, std::move(handler));
            },
            token, core_);
    }

    /// Stops everything, and completes when all have gone and their logs have got what waited for
    /// them, or the budget is over: the earlier of the options' budget and `budget` from now. What
    /// has not come to its log by then is lost, and counted.
    /// @par Completion signature   `void(error_code, supervisor_result)`
    /// @par Errors                 `operation_aborted`
    /// @par Cancellation           terminal, partial, total: the wait ends, the stop goes on.
    /// @par Thread safety          As async_wait.
    /// @par Lifetime               As async_wait.
    /// @par Cost                   That of stopping each of the children.
    template <
        asio::completion_token_for<void(error_code, supervisor_result)> Token = asio::deferred_t>
    [[nodiscard]] auto async_stop(std::chrono::nanoseconds budget, Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, supervisor_result)>(
            [](auto handler, const std::shared_ptr<detail::supervisor_core>& core,
               std::chrono::nanoseconds most) { start_stop(core, most, std::move(handler)); },
            token, core_, budget);
    }
    /// With the options' budget.
    template <
        asio::completion_token_for<void(error_code, supervisor_result)> Token = asio::deferred_t>
    [[nodiscard]] auto async_stop(Token&& token = Token{})
    {
        return async_stop(std::chrono::nanoseconds::max(), std::forward<Token>(token));
    }

private:
    friend class shutdown_coordinator;
    using end_handler = asio::any_completion_handler<void(error_code, supervisor_result)>;

    static void start_sweep(const std::shared_ptr<detail::supervisor_core>& core,
                            asio::any_completion_handler<void(error_code)> h);
    static void start_wait(const std::shared_ptr<detail::supervisor_core>& core, end_handler h);
    static void start_stop(const std::shared_ptr<detail::supervisor_core>& core,
                           std::chrono::nanoseconds budget, end_handler h);

    std::shared_ptr<detail::supervisor_core> core_;
};

PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const service_event& event);
PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const death_report& report);

PROCYARD_NAMESPACE_END

#endif
