// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SUPERVISOR_FSM_HPP
#define PROCYARD_RUNTIME_SRC_SUPERVISOR_FSM_HPP

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/supervision.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What the supervisor hears. Services are numbers, in the order in which they were added, of which
// none is used twice; an incarnation of one is its generation, and news of another one than those
// that live are ignored: a status that comes late says nothing about the process of now.
struct supervisor_input {
    enum class kind : std::uint8_t {
        start,            // all services shall run
        stop,             // none shall; answered with `finished`
        start_service,    // one shall, also if it has failed for good
        stop_service,     // one shall not
        restart_service,  // one is stopped and started again; no failure
        replace_service,  // a second one is started, and the first stopped when that is ready
        remove_service,   // one is stopped and forgotten
        ready,            // news of an incarnation
        unready,
        unhealthy,
        extend,        // it takes longer, and says for how long from now it wants to be left alone
        ended_clean,   // it has ended, and nothing of it lives
        ended_failed,  // as well, or it could not be started
        tick,          // the time that next() has said
    };
    kind what;
    std::size_t service = 0;
    std::uint64_t generation = 0;
    // With `stop`: when everything must be gone, if that is before the supervisor's own budget.
    timer_clock::time_point deadline = timer_clock::time_point::max();
    // With `extend`.
    timer_clock::duration extension{};
    // With `unhealthy`: who says so, `unhealthy` or `watchdog`.
    service_cause cause = service_cause::unhealthy;
};

// What is to be done.
struct supervisor_output {
    enum class kind : std::uint8_t {
        start,     // answers: ready, unready, unhealthy, at last one of ended
        stop,      // ask it to; SIGKILL follows at the deadline
        kill,      // now
        finished,  // nothing lives and nothing will
        hurry,     // SIGKILL follows sooner than `stop` has said
    };
    kind what;
    std::size_t service = 0;
    std::uint64_t generation = 0;
    timer_clock::time_point deadline{};
    bool failed = false;  // with `finished`: by too many restarts

    friend bool operator==(const supervisor_output&, const supervisor_output&) = default;
};

// Which of a service's incarnations: while one is replaced there are two.
enum class incarnation_role : std::uint8_t { serving, successor, retired };

struct service_transition {
    std::uint64_t sequence = 0;  // 1, 2, 3, … without a gap
    timer_clock::time_point when{};
    std::size_t service = 0;
    std::uint64_t generation = 0;
    incarnation_role role = incarnation_role::serving;
    service_state from = service_state::configured;
    service_state to = service_state::configured;
    service_cause cause = service_cause::asked;
    timer_clock::duration delay{};  // with backoff: until the next start
};

// Decides who runs. It knows no process and no clock: what it is told has a time, and says when it
// wants to be told the next.
//
// There are no orders in flight: each service is `wanted` or not, and after every input
// reconcile() does what brings what lives closer to what is wanted. A pool that kept counts of who
// is to be started instead has deadlocked for three releases of CPython (cpython#115634).
//
// A service depends on services that were added before it alone, so the order in which they were
// added is a topological one, and there are no cycles. It starts when all it depends on is ready,
// and is stopped when no service that depends on it lives, of those that are stopped, too. One that
// would wait for what has ended for good fails instead; for what was stopped by request it waits.
//
// What was removed is forgotten after the step that says so: it costs nothing, and its number is
// nobody's any more. Inside, a service is the place where it stands, which changes then. Rejected:
// places that are used again; who was added later would stand before what it depends on.
class supervisor_fsm {
public:
    using time_point = timer_clock::time_point;
    using duration = timer_clock::duration;

    struct service_setup {
        restart_kind restart = restart_kind::permanent;
        restart_backoff backoff{};
        duration start_timeout = duration::max();
        duration stop_grace = std::chrono::seconds(5);
        // How much longer than these it may take by asking for it.
        duration most_extension = duration::zero();
        std::vector<std::size_t> depends_on{};
        bool one_shot = false;  // is ready for those that depend on it when it has ended cleanly
        // Where its incarnations are numbered, if other machines have some of the same service: a
        // member of a group that was started before. With the number of the last.
        std::shared_ptr<std::uint64_t> generations{};
        std::uint64_t generation = 0;
    };
    struct setup {
        restart_strategy strategy = restart_strategy::one_for_one;
        restart_intensity intensity{};
        duration stop_budget = std::chrono::seconds(10);
        // The last part of the budget, in which what was killed disappears.
        duration kill_reserve = std::chrono::milliseconds(500);
    };
    // What follows from one input. The transitions come in the order in which they happened.
    struct step {
        std::vector<supervisor_output> outputs;
        std::vector<service_transition> transitions;
    };

    supervisor_fsm(const setup& what, std::uint64_t seed);

    // Returns its number. It runs from now on if the supervisor was started: tick.
    std::size_t add(service_setup what);

    // How much of a stop's budget is for those that are asked: what is left then is killed, and has
    // the rest to disappear. Of max(), all.
    [[nodiscard]] static duration asking_part(duration budget, duration reserve) noexcept;

    // The result is valid until the next call.
    const step& resume(const supervisor_input& input, time_point now);
    // The result of the last call, also if that has thrown: what had been decided by then.
    [[nodiscard]] const step& last_step() const noexcept { return step_; }

    // When the next tick is due.
    [[nodiscard]] std::optional<time_point> next() const;

    // How many it knows.
    [[nodiscard]] std::size_t size() const noexcept { return services_.size(); }
    // The number of who is added next.
    [[nodiscard]] std::size_t next_number() const noexcept { return next_number_; }
    // By number; who is not known was removed.
    [[nodiscard]] service_state state(std::size_t number) const noexcept
    {
        const auto* const one = known(number);
        return one == nullptr ? service_state::removed : one->state;
    }
    [[nodiscard]] std::uint64_t generation(std::size_t number) const noexcept
    {
        const auto* const one = known(number);
        return one == nullptr ? 0 : one->main.generation;
    }
    [[nodiscard]] bool alive(std::size_t number) const noexcept
    {
        const auto* const one = known(number);
        return one != nullptr && lives(*one);
    }
    // Why an incarnation that has not been told of as ended has come to its end.
    [[nodiscard]] service_cause cause_of_end(std::size_t number, std::uint64_t generation,
                                             bool clean) const noexcept;
    // Removed, or it will be when it has ended.
    [[nodiscard]] bool leaves(std::size_t number) const noexcept
    {
        const auto* const one = known(number);
        return one == nullptr || one->removing;
    }
    [[nodiscard]] bool anybody_lives() const noexcept;
    [[nodiscard]] bool finished() const noexcept { return finished_; }

    // Which of the promises does not hold; empty when all do. For assertions: costs a look at
    // everything.
    [[nodiscard]] std::string_view broken_promise() const;

private:
    struct incarnation {
        std::uint64_t generation = 0;
        incarnation_role role = incarnation_role::serving;
        service_state phase = service_state::starting;
        time_point ready_by = time_point::max();
        time_point kill_at = time_point::max();
        // How far `extend` can put off the one of the two that is due.
        time_point most = time_point::max();
        time_point ready_since = time_point::max();
        // It was stopped because of this, and its end is a failure.
        std::optional<service_cause> fault{};
        std::optional<service_cause> stopped_for{};  // or killed for without a stop
        // The stop was not held back by who depends on it: a fault, a replacement, the budget, or
        // they are to go on without it.
        bool out_of_order = false;
    };
    struct service {
        std::size_t number = 0;
        service_setup how;
        std::vector<std::size_t> dependants{};
        service_state state = service_state::configured;
        bool main_lives = false;
        bool wanted = false;
        bool together = false;        // is stopped and started again, with others
        bool sibling_failed = false;  // that is why
        bool removing = false;
        bool replace_again = false;  // when the one that was replaced has gone
        bool completed = false;      // it has ended with success by itself
        bool left_out = false;       // its siblings were started again, it was not
        unsigned failures = 0;       // in a row
        time_point start_at = time_point::min();
        incarnation main{};
        std::optional<incarnation> extra{};
    };
    struct closing {
        time_point kill_at;
        bool failed;
    };

    static bool lives(const service& one) noexcept { return one.main_lives || one.extra; }
    static bool holds_on(const service& one) noexcept;
    static bool asked_to_stop(const incarnation& one) noexcept;
    static bool to_be_stopped(const service& one) noexcept { return !one.wanted || one.together; }

    [[nodiscard]] std::size_t position_of(std::size_t number) const noexcept;
    [[nodiscard]] const service* known(std::size_t number) const noexcept
    {
        const auto position = position_of(number);
        return position == services_.size() ? nullptr : &services_[position];
    }
    void forget_removed();
    void forget(std::size_t which);

    // From here on a service is its place, also in the inputs.
    void on_request(const supervisor_input& input, time_point now);
    void on_news(const supervisor_input& input, time_point now);
    void on_ready(std::size_t which, std::uint64_t generation, time_point now);
    void on_extend(incarnation& one, duration wanted, time_point now);
    void on_replace(std::size_t which, time_point now);
    static void want(service& one) noexcept;
    void on_end(std::size_t which, std::uint64_t generation, bool clean, time_point now);
    void on_end_of_main(std::size_t which, bool clean, time_point now);
    void on_own_end(std::size_t which, bool clean, time_point now);
    void on_time(time_point now);
    void on_time_of(std::size_t which, incarnation& one, time_point now);

    void reconcile(time_point now);
    bool stop_what_is_due(time_point now);
    bool stop_if_due(std::size_t which, time_point now);
    bool start_if_due(std::size_t which, time_point now);
    void start(std::size_t which, time_point now);
    [[nodiscard]] static incarnation begin(service& one, incarnation_role role, time_point now);
    void begin_stop(std::size_t which, incarnation& one, service_cause cause, time_point now);
    void kill(std::size_t which, incarnation& one, service_cause cause, time_point now);
    void settle(std::size_t which, service_cause cause, time_point now);
    void restart_siblings(std::size_t culprit);
    void close(time_point deadline, bool failed, time_point now);
    void share(std::size_t which, incarnation& one, time_point now);
    [[nodiscard]] duration share_of(std::size_t which, time_point now) const;

    [[nodiscard]] bool admits_restart(time_point now);
    [[nodiscard]] duration delay_of(const service& one);
    [[nodiscard]] bool serves_dependants(const service& one) const;
    [[nodiscard]] static bool is_over_for_dependants(const service& one);
    [[nodiscard]] bool waits_in_vain(const service& one) const;
    [[nodiscard]] bool together_is_down() const;
    [[nodiscard]] unsigned levels_below(std::size_t which) const;

    void move_to(std::size_t which, service_state to, service_cause cause, time_point now,
                 duration delay = {});
    void move_to(std::size_t which, incarnation& one, service_state to, service_cause cause,
                 time_point now);
    void tell(std::size_t which, const incarnation& one, service_state from, service_state to,
              service_cause cause, time_point now, duration delay = {});
    void order(supervisor_output::kind what, std::size_t which, std::uint64_t generation,
               time_point deadline = {});

    setup how_;
    std::mt19937_64 random_;
    std::vector<service> services_{};  // in the order in which they were added
    std::size_t next_number_ = 0;
    bool forgets_ = false;
    std::vector<bool> holds_{};          // of stop_what_is_due(): kept for its memory
    std::deque<time_point> restarts_{};  // those within the window
    time_point together_at_ = time_point::min();
    std::optional<closing> closing_{};
    bool started_ = false;
    bool finished_ = false;
    std::uint64_t sequence_ = 0;
    step step_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
