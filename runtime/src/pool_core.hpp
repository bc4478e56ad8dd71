// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_CORE_HPP
#define PROCYARD_RUNTIME_SRC_POOL_CORE_HPP

#include <sys/types.h>
#include <unistd.h>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/detail/pool_task_state.hpp>
#include <procyard/runtime/pool_metrics.hpp>
#include <procyard/runtime/pool_options.hpp>

#include "pool_fsm.hpp"
#include "pool_index.hpp"
#include "pool_process.hpp"
#include "pool_recorder.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Carries out what the state machine decides: starts, feeds and ends processes, keeps the machine's
// one timer, and tells those who wait.
//
// Handlers of users are called at the end of an entry, in settle(), when the machine is at rest and
// no channel is lent: they may submit, cancel, and destroy the pool. What they cause is sent when
// the first few of them have run, which wakes those who sleep while the others run, and when all
// have: a worker is woken twice at most for what a turn has brought about.
class pool_core final : public pool_process_owner, public std::enable_shared_from_this<pool_core> {
public:
    using handler = asio::any_completion_handler<void(error_code)>;
    using task_pointer = std::shared_ptr<pool_task_state>;

    pool_core(pool_options options, pool_process_setup setup);
    pool_core(const pool_core&) = delete;
    pool_core& operator=(const pool_core&) = delete;
    ~pool_core();

    [[nodiscard]] const asio::any_io_executor& executor() const noexcept
    {
        return setup_->executor;
    }

    void start(handler h);
    bool submit(task_pointer task, const request_writer& request, const submit_options& options,
                bool may_wait);
    void cancel(pool_task_state& task);
    void give_credits(const pool_task_state& task, std::uint32_t items);
    void resize(unsigned min_workers, unsigned max_workers);
    void recycle();
    void stop(std::chrono::nanoseconds budget, handler h);
    void signal(int number, error_code& ec);
    // Of a stop: whether tasks that it had taken were cut off, or a worker was killed.
    [[nodiscard]] bool was_cut_short() const noexcept { return cut_short_ > 0; }
    // Why a worker could not be started last.
    [[nodiscard]] const std::string& explanation() const noexcept { return explanation_; }
    [[nodiscard]] std::vector<pid_t> pids() const;
    [[nodiscard]] pool_metrics metrics();

    // The user's object has gone.
    void abandon() noexcept;

    void on_ready(pool_process& from) override;
    [[nodiscard]] bool on_answer(pool_process& from, const parsed_record& answer,
                                 timer_clock::time_point now) override;
    void on_answers_told() override;
    void on_asked(pool_process& from) override;
    void on_ended(pool_process& from, std::shared_ptr<const death_report> report) override;

private:
    using process_pointer = std::shared_ptr<pool_process>;
    using ready_wait = std::shared_ptr<pending<void(error_code)>>;
    class sentinel;

    // What somebody is to be told.
    struct news {
        task_pointer task;
        bool over;  // else: admitted
    };

    template <class Function>
    void enter(bool now, Function what);
    void catch_up();
    void pass_time();
    template <class Function>
    void attempt(Function what) noexcept;
    void end_turn();
    [[nodiscard]] timer_clock::time_point next_due() const noexcept;
    void settle(bool now);
    void tell(std::vector<news> batch, bool now);
    void send();
    void send_early();
    void carry_out(timer_clock::time_point now);
    void carry_out(const pool_output& what);
    void start_worker(const pool_output& what);
    void end_unstarted(timer_clock::time_point now);
    // One that serves and its successor have one slot.
    void make_room_for_workers(std::size_t slots)
    {
        unstarted_.reserve(2 * slots);
        recorder_.make_room(slots);
    }
    void deliver(const pool_output& what);
    void ask(const pool_output& what);
    void look_what_has_begun(const pool_process& process);
    [[nodiscard]] bool take_withdrawn(const pool_process& from, const parsed_record& answer,
                                      timer_clock::time_point now);
    void admit(const pool_output& what);
    void complete(const pool_output& what);
    [[nodiscard]] static bool take(pool_task_state& task, std::span<const std::byte> response);
    void take_item(pool_process& from, pool_task_state& task, std::span<const std::byte> item,
                   timer_clock::time_point now);
    void mark_dirty(pool_process& process);
    void unwatch(const pool_task_state& task);
    void end_task(task_pointer task, const error_code& why);

    [[nodiscard]] error_code encode(pool_task_state& task, const request_writer& request,
                                    const submit_options& options);
    void refuse(const task_pointer& task, const error_code& why);
    void end_span(std::uint64_t task, std::uint64_t worker, const trace_context& trace,
                  pool_outcome outcome) const;
    // Null: there is none of this number. Good until tasks are kept or forgotten: who needs one for
    // longer makes a copy, which costs as much as all that is looked up here.
    [[nodiscard]] const task_pointer& find(std::uint64_t number) const noexcept;
    [[nodiscard]] pool_process* find_process(std::uint64_t number) const noexcept;
    void keep(task_pointer task);
    [[nodiscard]] task_pointer forget(std::uint64_t number);

    void look_at_memory(pool_process& process, timer_clock::time_point now);
    void hear_all(timer_clock::time_point now);
    void forget_worker(pool_process& from, std::shared_ptr<const death_report> report);
    void explain(bool was_ready);
    void fold_counters(const pool_process& process);
    void complete_ready_waits(const error_code& ec);
    void complete_stop_waits();
    void wait(std::vector<ready_wait>& list, handler h);
    void keep_watch();
    void drop_all() noexcept;
    void forget_all() noexcept;
    [[nodiscard]] bool is_copy() const noexcept { return owner_ != 0 && ::getpid() != owner_; }
    void arm();
    void on_timer();

    pool_options options_;
    std::shared_ptr<const pool_process_setup> setup_;
    pool_fsm fsm_;
    pool_recorder recorder_;
    // Who has started the first worker: a pool that has none yet may be made before a daemon forks.
    pid_t owner_ = 0;
    bool inside_ = false;
    std::exception_ptr failure_{};  // of this turn, or of a hearing since the last
    bool started_ = false;
    bool abandoned_ = false;
    bool stopping_ = false;
    bool finished_ = false;
    std::size_t cut_short_ = 0;  // see was_cut_short()

    // Tasks that are not over, each in a place of its own.
    pool_index index_{};
    std::vector<task_pointer> tasks_{};
    std::vector<pool_place> free_places_{};
    std::uint64_t last_number_ = 0;
    std::vector<std::vector<std::byte>> spare_records_{};

    std::unordered_map<std::uint64_t, process_pointer> processes_{};
    std::vector<process_pointer> dirty_{};
    std::vector<std::uint64_t> unstarted_{};  // workers that there was no memory for
    std::vector<news> news_{};
    std::vector<news> told_{};  // of tell(): kept for its memory
    // While it is told: the one that has ended, and how.
    std::uint64_t dead_worker_ = 0;
    std::shared_ptr<const death_report> death_{};

    std::vector<std::uint64_t> counters_{};  // of those that have ended
    std::string explanation_{};
    std::vector<ready_wait> ready_waits_{};
    std::vector<ready_wait> stop_waits_{};

    std::size_t watched_ = 0;  // tasks with a heartbeat that a worker has
    std::chrono::nanoseconds look_every_{};
    timer_clock::time_point next_look_{};
    std::shared_ptr<asio::cancellation_signal> timer_{};
    std::optional<timer_clock::time_point> armed_for_{};
    asio::steady_timer watch_;  // never over: its handler goes when the context does
    bool watching_ = false;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
