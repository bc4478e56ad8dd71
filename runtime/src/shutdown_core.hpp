// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SHUTDOWN_CORE_HPP
#define PROCYARD_RUNTIME_SRC_SHUTDOWN_CORE_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/runtime/shutdown.hpp>
#include <procyard/signals/signal_set.hpp>

#include "clock_timer.hpp"
#include "shutdown_fsm.hpp"
#include "task_failures.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class context_gate;
class shutdown_target;

// The shell of shutdown_fsm: the handlers, the work in flight, the timer, and the report.
//
// The machine, the timer and the running steps belong to the strand. What any thread may touch is
// guarded by the mutex, which is never held while a handler is called, posted or destroyed.
class shutdown_core : public std::enable_shared_from_this<shutdown_core> {
public:
    using handler_type = asio::any_completion_handler<void(error_code, shutdown_report)>;

    shutdown_core(asio::any_io_executor ex, shutdown_options options);
    shutdown_core(const shutdown_core&) = delete;
    shutdown_core& operator=(const shutdown_core&) = delete;

    // From any thread.
    void add(shutdown_phase phase, task_name name, shutdown_function function, int order,
             shutdown_leftover::kind what = shutdown_leftover::kind::handler);
    void add_target(task_name name, const std::shared_ptr<shutdown_target>& target);
    void add_part(task_name name, const std::shared_ptr<shutdown_core>& part, shutdown_phase phase);
    void add_reload(task_name name, shutdown_function function);
    std::unique_ptr<shutdown_hold> hold(task_name name);
    bool request(const shutdown_request& wanted, timer_clock::time_point latest);
    void request_reload();
    void heed(std::initializer_list<int> numbers, signal_set_options how, bool reloads);
    void start_wait(handler_type handler);
    void drop() noexcept;

    [[nodiscard]] cancellation_token token(shutdown_phase phase) const noexcept
    {
        return sources_.at(static_cast<std::size_t>(phase)).token();
    }
    [[nodiscard]] bool requested() const noexcept;
    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
    [[nodiscard]] task_group& tasks() noexcept { return tasks_; }
    [[nodiscard]] std::chrono::nanoseconds child_budget() const noexcept;
    // While a shutdown runs: until when a child may live.
    [[nodiscard]] std::optional<timer_clock::time_point> child_deadline() const;

private:
    struct step_handler {
        task_name name;
        shutdown_function function;
        int order;
        shutdown_leftover::kind what;
        // Of a child and its like: to know when it has ended.
        std::shared_ptr<shutdown_target> target;
    };
    struct waiter {
        std::uint64_t id;
        pending<void(error_code, shutdown_report)> handler;
    };
    // A phase's handlers, and what of them runs.
    struct phase_state {
        std::vector<step_handler> handlers;  // by the mutex, until it begins
        bool begun = false;                  // by the mutex
        std::optional<task_group> running;
        unsigned step = 0;
    };
    class work_hold;
    using works = std::list<task_info>;

    // In the strand.
    void feed(shutdown_event event, shutdown_phase phase = {},
              timer_clock::time_point deadline = timer_clock::time_point::max());
    void perform(const shutdown_order& order);
    void begin(const shutdown_order& order);
    void run(const shutdown_order& order);
    void give_up(const shutdown_order& order);
    void end(const shutdown_order& order);
    void finish();
    void on_alarm() { feed(shutdown_event::alarm); }
    void on_step_done(shutdown_phase phase, unsigned step);
    void on_tasks_done();

    void wait_for_signal(const std::shared_ptr<signal_set>& set, bool reloads);
    void on_signal(int number, bool reloads);

    // Of the whole budget.
    [[nodiscard]] std::chrono::nanoseconds share_of(shutdown_phase phase) const noexcept;

    // With the mutex held.
    [[nodiscard]] shutdown_facts facts() const;
    void note_work_left(shutdown_phase phase);

    [[nodiscard]] phase_state& state(shutdown_phase phase)
    {
        return phases_.at(static_cast<std::size_t>(phase));
    }
    static asio::awaitable<void> run_handler(std::shared_ptr<shutdown_core> self, step_handler todo,
                                             shutdown_step step);
    static asio::awaitable<void> run_reload(std::shared_ptr<shutdown_core> self);
    [[nodiscard]] bool reloads_again() noexcept;
    static asio::awaitable<void> stop_target(std::weak_ptr<shutdown_core> whole, task_name name,
                                             std::shared_ptr<shutdown_target> target,
                                             shutdown_step step);
    static asio::awaitable<void> stop_part(std::weak_ptr<shutdown_core> whole,
                                           std::weak_ptr<shutdown_core> part,
                                           std::shared_ptr<context_gate> gate, shutdown_step step);
    void note_failure(std::string place, const task_name& name, std::exception_ptr exception);
    void adopt(const shutdown_report& part);
    void let_go(works::iterator place) noexcept;
    void cancel_wait(std::uint64_t id);

    asio::any_io_executor executor_;
    asio::any_io_executor strand_;
    shutdown_options options_;
    std::array<cancellation_source, shutdown_phase_count> sources_;
    std::shared_ptr<task_failures> task_failures_;
    task_group tasks_;

    // In the strand.
    shutdown_fsm fsm_;
    clock_timer timer_;
    std::vector<std::shared_ptr<signal_set>> signals_;
    bool dropped_ = false;

    mutable std::mutex mutex_;
    std::array<phase_state, shutdown_phase_count> phases_;
    int targets_ = 0;
    works work_;
    timer_clock::time_point last_work_ = timer_clock::time_point::min();
    bool requested_ = false;
    bool over_ = false;
    bool tasks_over_ = false;
    bool gone_ = false;
    std::vector<step_handler> reloads_;
    bool reloading_ = false;
    bool reload_again_ = false;
    shutdown_report report_;
    std::list<waiter> waiters_;
    std::uint64_t next_waiter_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
