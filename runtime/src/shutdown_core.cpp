// SPDX-License-Identifier: BSL-1.0
#include "shutdown_core.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <utility>

#include "context_gate.hpp"
#include "exception_text.hpp"
#include "far_wait.hpp"
#include "shutdown_target.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr unsigned no_step = std::numeric_limits<unsigned>::max();

task_group_options each_for_itself(const cancellation_token& parent,
                                   const std::shared_ptr<timer_clock>& clock)
{
    task_group_options options;
    options.on_failure = task_failure::concerns_nobody;
    options.parent = parent;
    options.clock = clock;
    return options;
}

// Of the background tasks. The group may outlive the coordinator, so it shares the list.
task_group_options noted_in(const std::shared_ptr<task_failures>& failures,
                            task_group_options options)
{
    options.on_task_failed = [failures](const task_name& name, const std::exception_ptr& failure) {
        failures->note(name, failure);
    };
    return options;
}

// How many different orders there are.
template <class Handlers>
unsigned count_steps(const Handlers& handlers)
{
    std::vector<int> orders;
    orders.reserve(handlers.size());
    for (const auto& one : handlers)
        orders.push_back(one.order);
    std::sort(orders.begin(), orders.end());
    const auto end = std::unique(orders.begin(), orders.end());
    return static_cast<unsigned>(end - orders.begin());
}

}  // namespace

shutdown_hold::~shutdown_hold() = default;

class shutdown_core::work_hold final : public shutdown_hold {
public:
    work_hold(std::shared_ptr<shutdown_core> core, works::iterator place) noexcept
        : core_(std::move(core)),
          place_(place)
    {
    }
    work_hold(const work_hold&) = delete;
    work_hold& operator=(const work_hold&) = delete;
    ~work_hold() override { core_->let_go(place_); }

private:
    std::shared_ptr<shutdown_core> core_;
    works::iterator place_;
};

shutdown_core::shutdown_core(asio::any_io_executor ex, shutdown_options options)
    : executor_(std::move(ex)),
      strand_(asio::make_strand(executor_)),
      options_(std::move(options)),
      task_failures_(std::make_shared<task_failures>()),
      tasks_(
          executor_,
          noted_in(task_failures_, each_for_itself(token(shutdown_phase::cancel), options_.clock))),
      fsm_({options_.linger, options_.quiet, options_.weights})
{
    if (!options_.clock)
        options_.clock = steady_timer_clock();
}

void shutdown_core::add(shutdown_phase phase, task_name name, shutdown_function function, int order,
                        shutdown_leftover::kind what)
{
    step_handler added{std::move(name), std::move(function), order, what, nullptr};
    error_code ec;
    {
        const std::lock_guard lock(mutex_);
        if (phase == shutdown_phase::linger)
            ec = make_error_code(boost::system::errc::invalid_argument);
        else if (state(phase).begun)
            ec = asio::error::already_started;
        else
            return state(phase).handlers.push_back(std::move(added));
    }
    throw boost::system::system_error(ec, "shutdown handler \"" + added.name.text + '"');
}

void shutdown_core::add_target(task_name name, const std::shared_ptr<shutdown_target>& target)
{
    auto function = [weak = weak_from_this(), name, target](shutdown_step step) {
        return stop_target(weak, name, target, std::move(step));
    };
    step_handler added{std::move(name), std::move(function), 0, target->kind(), target};
    std::vector<step_handler> ended;  // destroyed outside the lock
    {
        const std::lock_guard lock(mutex_);
        auto& place = state(shutdown_phase::stop_children);
        if (!place.begun) {
            auto& all = place.handlers;
            std::vector<step_handler> living;
            living.reserve(all.size() + 1);  // from here on nothing is thrown that would lose one
            ended.reserve(all.size());
            for (auto& one : all)
                (one.target && one.target->has_ended() ? ended : living).push_back(std::move(one));
            all = std::move(living);
            added.order = --targets_;
            all.push_back(std::move(added));
            return;
        }
    }
    throw boost::system::system_error(asio::error::already_started,
                                      "shutdown of \"" + added.name.text + '"');
}

void shutdown_core::add_part(task_name name, const std::shared_ptr<shutdown_core>& part,
                             shutdown_phase phase)
{
    add(
        phase, std::move(name),
        [weak = weak_from_this(), known = std::weak_ptr(part),
         gate = context_gate::of(part->executor())](shutdown_step step) {
            return stop_part(weak, known, gate, std::move(step));
        },
        0);
}

void shutdown_core::add_reload(task_name name, shutdown_function function)
{
    step_handler added{std::move(name), std::move(function), 0, shutdown_leftover::kind::handler,
                       nullptr};
    const std::lock_guard lock(mutex_);
    reloads_.push_back(std::move(added));
}

std::unique_ptr<shutdown_hold> shutdown_core::hold(task_name name)
{
    const auto now = options_.clock->now();
    works added;
    added.push_back({std::move(name), now});
    const auto place = added.begin();
    {
        const std::lock_guard lock(mutex_);
        work_.splice(work_.end(), added);
        last_work_ = now;
    }
    return std::make_unique<work_hold>(shared_from_this(), place);
}

void shutdown_core::let_go(works::iterator place) noexcept
{
    works gone;
    {
        const std::lock_guard lock(mutex_);
        gone.splice(gone.end(), work_, place);
        // Before a request nobody asks; what comes later is counted then.
        if (!requested_ || !work_.empty() || over_ || gone_)
            return;
    }
    asio::post(strand_, [self = shared_from_this()] { self->feed(shutdown_event::changed); });
}

bool shutdown_core::requested() const noexcept
{
    const std::lock_guard lock(mutex_);
    return requested_;
}

bool shutdown_core::request(const shutdown_request& wanted, timer_clock::time_point latest)
{
    const auto budget = options_.clock->after(wanted.budget.value_or(options_.budget));
    const auto deadline = std::min({budget, latest, options_.latest});
    bool first = false;
    {
        const std::lock_guard lock(mutex_);
        first = !std::exchange(requested_, true);
        if (!first) {
            report_.deadline = std::min(report_.deadline, deadline);
        } else {
            report_.reason = wanted.reason;
            report_.requested_exit_code = wanted.exit_code;
            report_.began = options_.clock->now();
            report_.deadline = deadline;
        }
    }
    asio::post(strand_, [self = shared_from_this(), deadline] {
        self->feed(shutdown_event::requested, {}, deadline);
    });
    return first;
}

std::chrono::nanoseconds shutdown_core::share_of(shutdown_phase phase) const noexcept
{
    unsigned all = 0;
    for (const auto weight : options_.weights)
        all += weight;
    const auto part = options_.weights.at(static_cast<std::size_t>(phase));
    return all == 0 ? options_.budget : options_.budget / all * part;
}

std::chrono::nanoseconds shutdown_core::child_budget() const noexcept
{
    // A fifth is kept for who does not go by itself; see stop_child().
    return share_of(shutdown_phase::stop_children) / 5 * 4;
}

std::optional<timer_clock::time_point> shutdown_core::child_deadline() const
{
    const std::lock_guard lock(mutex_);
    if (!requested_)
        return std::nullopt;
    // What comes after the children have stopped has its share of what is left as well.
    const auto left = report_.deadline - options_.clock->now();
    return report_.deadline - std::min(share_of(shutdown_phase::flush), left / 2);
}

shutdown_facts shutdown_core::facts() const
{
    shutdown_facts now;
    for (std::size_t n = 0; n < shutdown_phase_count; ++n)
        now.steps.at(n) = count_steps(phases_.at(n).handlers);
    now.work_left = !work_.empty();
    now.tasks_left = !tasks_over_;
    now.last_activity = last_work_;
    return now;
}

void shutdown_core::feed(shutdown_event event, shutdown_phase phase,
                         timer_clock::time_point deadline)
{
    if (dropped_)
        return;
    std::vector<shutdown_order> orders;
    {
        // Until the phases that begin are sealed: the machine counts on their steps.
        const std::lock_guard lock(mutex_);
        orders = fsm_.resume({event, options_.clock->now(), phase, deadline}, facts());
        for (const auto& order : orders) {
            if (order.kind == shutdown_order_kind::begin)
                state(order.phase).begun = true;
        }
    }
    for (const auto& order : orders)
        perform(order);
}

void shutdown_core::perform(const shutdown_order& order)
{
    switch (order.kind) {
    case shutdown_order_kind::begin: begin(order); break;
    case shutdown_order_kind::run: run(order); break;
    case shutdown_order_kind::give_up: give_up(order); break;
    case shutdown_order_kind::end: end(order); break;
    case shutdown_order_kind::arm:
        timer_.arm(*options_.clock, strand_, order.when, shared_from_this(),
                   &shutdown_core::on_alarm);
        break;
    case shutdown_order_kind::finish: finish(); break;
    }
}

void shutdown_core::begin(const shutdown_order& order)
{
    auto& phase = state(order.phase);
    cancellation_reason reason;
    {
        const std::lock_guard lock(mutex_);
        // Each to its place, behind its equals. (std::stable_sort makes Clang warn of a deprecated
        // function in libstdc++.)
        auto& all = phase.handlers;
        for (auto next = all.begin(); next != all.end(); ++next) {
            const auto place =
                std::upper_bound(all.begin(), next, *next, [](const auto& one, const auto& other) {
                    return one.order < other.order;
                });
            std::rotate(place, next, std::next(next));
        }
        report_.phases.push_back({order.phase, options_.clock->now(), order.when, {}});
        reason = report_.reason;
    }
    reason.type = asio::cancellation_type::terminal;
    sources_.at(static_cast<std::size_t>(order.phase)).request_cancel(reason);
    if (order.phase == shutdown_phase::cancel)
        tasks_.async_join(
            asio::bind_executor(strand_, [self = shared_from_this()](const std::exception_ptr&) {
                self->on_tasks_done();
            }));
}

void shutdown_core::run(const shutdown_order& order)
{
    auto& phase = state(order.phase);
    phase.step = order.step;
    phase.running.emplace(executor_, each_for_itself({}, options_.clock));
    shutdown_step told;
    told.phase = order.phase;
    told.deadline = order.when;
    told.clock = options_.clock;
    told.reason = *token(order.phase).reason();
    // The handlers are nobody else's since the phase has begun.
    unsigned step = 0;
    for (std::size_t n = 0; n < phase.handlers.size(); ++n) {
        if (n != 0 && phase.handlers[n].order != phase.handlers[n - 1].order)
            ++step;
        if (step == order.step)
            phase.running->spawn(phase.handlers[n].name,
                                 run_handler(shared_from_this(), phase.handlers[n], told));
    }
    phase.running->async_join(
        asio::bind_executor(strand_, [self = shared_from_this(), order](const std::exception_ptr&) {
            self->on_step_done(order.phase, order.step);
        }));
}

void shutdown_core::on_step_done(shutdown_phase phase, unsigned step)
{
    if (dropped_ || !state(phase).running || state(phase).step != step)
        return;  // it was given up
    state(phase).running.reset();
    feed(shutdown_event::step_done, phase);
}

void shutdown_core::on_tasks_done()
{
    {
        const std::lock_guard lock(mutex_);
        tasks_over_ = true;
    }
    feed(shutdown_event::changed);
}

void shutdown_core::give_up(const shutdown_order& order)
{
    auto& phase = state(order.phase);
    if (!phase.running)
        return;
    const auto now = options_.clock->now();
    {
        const std::lock_guard lock(mutex_);
        for (auto& left : phase.running->running()) {
            const auto same = [&](const step_handler& one) {
                return one.name.text == left.name.text;
            };
            const auto found = std::find_if(phase.handlers.begin(), phase.handlers.end(), same);
            const auto what =
                found == phase.handlers.end() ? shutdown_leftover::kind::handler : found->what;
            report_.leftovers.push_back(
                {order.phase, what, std::move(left.name), now - left.since});
        }
    }
    // Their ladders would come to it later, if the event loop runs so long.
    unsigned step = 0;
    for (std::size_t n = 0; n < phase.handlers.size(); ++n) {
        if (n != 0 && phase.handlers[n].order != phase.handlers[n - 1].order)
            ++step;
        if (step == order.step && phase.handlers[n].target)
            phase.handlers[n].target->kill();
    }
    phase.step = no_step;
    // Dropped: it cancels what runs, and nobody waits for it any more.
    phase.running.reset();
}

void shutdown_core::end(const shutdown_order& order)
{
    const std::lock_guard lock(mutex_);
    for (auto& record : report_.phases) {
        if (record.phase == order.phase)
            record.ended = options_.clock->now();
    }
    // Not if there is any now: more may have come in another thread since the machine was asked.
    if (order.late)
        note_work_left(order.phase);
}

void shutdown_core::note_work_left(shutdown_phase phase)
{
    const auto now = options_.clock->now();
    const auto note = [&](const task_info& left, shutdown_leftover::kind what) {
        report_.leftovers.push_back({phase, what, left.name, now - left.since});
    };
    for (const auto& work : work_)
        note(work, shutdown_leftover::kind::work);
    if (phase == shutdown_phase::cancel) {
        for (const auto& task : tasks_.running())
            note(task, shutdown_leftover::kind::task);
    }
}

void shutdown_core::finish()
{
    timer_.cancel();
    // What comes now ends the process as it would have before: it is on its way out.
    signals_.clear();
    std::list<waiter> done;
    shutdown_report result;
    std::vector<step_handler> used;  // may have the last reference to anything
    {
        const std::lock_guard lock(mutex_);
        over_ = true;
        for (auto& phase : phases_)
            std::move(phase.handlers.begin(), phase.handlers.end(), std::back_inserter(used));
        for (auto& phase : phases_)
            phase.handlers.clear();
        report_.ended = options_.clock->now();
        task_failures_->move_to(report_.failures);
        result = report_;
        done.swap(waiters_);
    }
    for (auto& one : done)
        one.handler.complete({}, result);
}

asio::awaitable<void> shutdown_core::run_handler(std::shared_ptr<shutdown_core> self,
                                                 step_handler todo, shutdown_step step)
{
    std::exception_ptr failure;
    try {
        co_await todo.function(step);
    } catch (...) {
        failure = std::current_exception();
    }
    const auto cancellation = co_await asio::this_coro::cancellation_state;
    // Who was given up is in the report already.
    if (failure && cancellation.cancelled() == asio::cancellation_type::none)
        self->note_failure(std::string(to_string(step.phase)), todo.name, failure);
}

void shutdown_core::note_failure(std::string place, const task_name& name,
                                 std::exception_ptr exception)
{
    auto what = exception_text(exception);
    const std::lock_guard lock(mutex_);
    report_.failures.push_back({std::move(place), name, std::move(exception), std::move(what)});
}

void shutdown_core::adopt(const shutdown_report& part)
{
    const std::lock_guard lock(mutex_);
    report_.leftovers.insert(report_.leftovers.end(), part.leftovers.begin(), part.leftovers.end());
    report_.failures.insert(report_.failures.end(), part.failures.begin(), part.failures.end());
}

// A cancellation does not reach what is being stopped.
asio::awaitable<void> shutdown_core::stop_target(std::weak_ptr<shutdown_core> whole, task_name name,
                                                 std::shared_ptr<shutdown_target> target,
                                                 shutdown_step step)
{
    const auto remains = co_await target->stop(step);
    const auto self = whole.lock();
    const auto cancellation = co_await asio::this_coro::cancellation_state;
    // Who was given up is in the report already.
    if (!self || cancellation.cancelled() != asio::cancellation_type::none)
        co_return;
    {
        const std::lock_guard lock(self->mutex_);
        for (const auto& one : remains.left) {
            auto named = name;
            if (!one.part.empty())
                named.text += '/' + one.part;
            self->report_.leftovers.push_back(
                {step.phase, one.what, std::move(named), remains.took});
        }
    }
    if (!remains.failure.empty())
        throw std::runtime_error(remains.failure);
}

// Weak, and through the gate: the part may be of another context, and go before.
asio::awaitable<void> shutdown_core::stop_part(std::weak_ptr<shutdown_core> whole,
                                               std::weak_ptr<shutdown_core> part,
                                               std::shared_ptr<context_gate> gate,
                                               shutdown_step step)
{
    constexpr bool may_be_cancelled = true;
    bool is_begun = false;
    const auto report = co_await wait_afar<shutdown_report>(
        [&](const std::shared_ptr<far_promise<shutdown_report>>& told) {
            const auto inside = gate->enter();
            auto there = inside ? part.lock() : nullptr;
            if (!there)  // nothing is left of it
                return;
            const auto ex = there->executor();
            // Not kept here: if it is the last to go, it goes where it is used.
            asio::post(
                ex,
                [there = std::move(there), told, reason = step.reason, deadline = step.deadline] {
                    try {
                        shutdown_request wanted;
                        wanted.reason = reason;
                        there->request(wanted, deadline);
                        there->start_wait([told](const error_code&, shutdown_report result) {
                            told->keep(std::move(result));  // of one that has been destroyed: empty
                        });
                    } catch (...) {
                        told->break_it(std::current_exception());
                    }
                });
        },
        &is_begun, may_be_cancelled);
    if (const auto self = whole.lock())
        self->adopt(report);
}

void shutdown_core::heed(std::initializer_list<int> numbers, signal_set_options how, bool reloads)
{
    const auto set = std::make_shared<signal_set>(strand_, numbers, how);
    asio::post(strand_, [self = shared_from_this(), set, reloads] {
        if (self->dropped_ || self->fsm_.done())
            return;
        self->signals_.push_back(set);
        self->wait_for_signal(set, reloads);
    });
}

void shutdown_core::wait_for_signal(const std::shared_ptr<signal_set>& set, bool reloads)
{
    // Weak: the set is a part of this, and the handler a part of the set.
    set->async_wait(asio::bind_executor(strand_,
                                        [weak = weak_from_this(), known = std::weak_ptr(set),
                                         reloads](const error_code& ec, const signal_info& info) {
                                            const auto self = weak.lock();
                                            const auto heard = known.lock();
                                            if (ec || !self || !heard)
                                                return;
                                            self->on_signal(info.number, reloads);
                                            self->wait_for_signal(heard, reloads);
                                        }));
}

void shutdown_core::on_signal(int number, bool reloads)
{
    if (reloads) {
        request_reload();
        return;
    }
    request(shutdown_request({.cause = cancellation_cause::signal,
                              .signal = number,
                              .type = asio::cancellation_type::terminal}),
            timer_clock::time_point::max());
}

void shutdown_core::request_reload()
{
    {
        const std::lock_guard lock(mutex_);
        if (requested_ || gone_)
            return;
        if (std::exchange(reloading_, true)) {
            reload_again_ = true;
            return;
        }
    }
    error_code ignored;  // it is cancelled: there is nothing to be reloaded any more
    tasks_.spawn("reload", run_reload(shared_from_this()), ignored);
}

asio::awaitable<void> shutdown_core::run_reload(std::shared_ptr<shutdown_core> self)
{
    do {
        std::vector<step_handler> todo;
        {
            const std::lock_guard lock(self->mutex_);
            todo = self->reloads_;
        }
        for (const auto& one : todo) {
            shutdown_step step;
            step.deadline = timer_clock::time_point::max();
            step.clock = self->options_.clock;
            std::exception_ptr failure;
            try {
                co_await one.function(step);
            } catch (...) {
                failure = std::current_exception();
            }
            if (failure) {
                // One that is cancelled with all the rest has not failed.
                const auto cancellation = co_await asio::this_coro::cancellation_state;
                if (cancellation.cancelled() == asio::cancellation_type::none)
                    self->note_failure("reload", one.name, failure);
                break;
            }
        }
    } while (self->reloads_again());
}

bool shutdown_core::reloads_again() noexcept
{
    const std::lock_guard lock(mutex_);
    reloading_ = std::exchange(reload_again_, false) && !requested_;
    return reloading_;
}

void shutdown_core::start_wait(handler_type handler)
{
    pending<void(error_code, shutdown_report)> waiting(executor_, std::move(handler));
    auto slot = waiting.get_cancellation_slot();
    std::uint64_t id = 0;
    {
        const std::lock_guard lock(mutex_);
        id = next_waiter_++;
    }
    // Before the waiter is in the list: from then on another thread may complete it, and the slot
    // goes with its handler.
    if (slot.is_connected()) {
        slot.assign([weak = weak_from_this(), id](asio::cancellation_type) {
            if (const auto self = weak.lock())
                self->cancel_wait(id);
        });
    }
    shutdown_report result;
    bool aborted = false;
    {
        const std::lock_guard lock(mutex_);
        aborted = gone_;
        if (!gone_ && !over_) {
            waiters_.push_back({id, std::move(waiting)});
            return;
        }
        result = report_;
    }
    if (aborted)
        waiting.complete(asio::error::operation_aborted, {});
    else
        waiting.complete({}, std::move(result));
}

void shutdown_core::cancel_wait(std::uint64_t id)
{
    std::list<waiter> cancelled;
    {
        const std::lock_guard lock(mutex_);
        for (auto at = waiters_.begin(); at != waiters_.end(); ++at) {
            if (at->id == id) {
                cancelled.splice(cancelled.end(), waiters_, at);
                break;
            }
        }
    }
    for (auto& one : cancelled)
        one.handler.complete(asio::error::operation_aborted, {});
}

void shutdown_core::drop() noexcept
{
    std::list<waiter> aborted;
    {
        const std::lock_guard lock(mutex_);
        gone_ = true;
        aborted.swap(waiters_);
    }
    for (auto& one : aborted)
        one.handler.complete(asio::error::operation_aborted, {});
    tasks_.cancel({.cause = cancellation_cause::dropped});
    // What runs, and the timer, are the strand's.
    asio::post(strand_, [self = shared_from_this()] {
        self->dropped_ = true;
        self->timer_.cancel();
        self->signals_.clear();
        for (auto& phase : self->phases_)
            phase.running.reset();
    });
}

}  // namespace detail

PROCYARD_NAMESPACE_END
