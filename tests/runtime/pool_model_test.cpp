// SPDX-License-Identifier: BSL-1.0
#include "pool_fsm.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pool_known.hpp"

using procyard::pool_balance;
using procyard::pool_outcome;
using procyard::to_string;
using procyard::detail::pool_fsm;
using procyard::detail::pool_output;
using procyard::detail::pool_task_number;
using procyard::detail::pool_worker_number;
using procyard_test::known_task;
using procyard_test::known_worker;
using namespace std::chrono_literals;

namespace {

using kind = pool_output::kind;
using time_point = pool_fsm::time_point;
using duration = pool_fsm::duration;

// A world that behaves at random, and knows what may never be, from what it is told alone: it does
// not look into the machine, but for how many workers drain.
class random_world {
public:
    explicit random_world(std::uint64_t seed) : random_(seed), how_(make_setup()), fsm_(how_, seed)
    {
        note([&] { fsm_.start(now_); });
    }

    // Until everything has ended: after a while everybody is kind, and what was submitted has to
    // come to its end by itself; then the pool is stopped.
    std::size_t run(std::size_t most_steps)
    {
        std::size_t steps = 0;
        while (steps < most_steps && goes_on() && !stopping_) {
            ++steps;
            step();
        }
        kind_ = true;
        for (std::size_t left = 20000; goes_on() && !stopping_ && unfinished() > 0; --left) {
            ++steps;
            if (left == 0)
                fail("a task is forgotten");
            kind_step();
        }
        if (goes_on() && !stopping_)
            stop();
        for (std::size_t left = 20000; goes_on(); --left) {
            ++steps;
            if (left == 0)
                fail("the stop does not come to an end");
            kind_step();
        }
        if (broken_.empty() && (finished_ != 1 || unfinished() != 0 || !workers_.empty()))
            fail("not all is over, or not told once");
        return steps;
    }

    std::string broken() const { return broken_; }
    std::size_t over(pool_outcome what) const { return over_[static_cast<std::size_t>(what)]; }
    std::size_t withdrawn() const { return withdrawn_; }

private:
    bool goes_on() const { return broken_.empty() && !fsm_.finished(); }

    pool_fsm::setup make_setup()
    {
        pool_fsm::setup how;
        how.max_workers = static_cast<unsigned>(1 + pick(6));
        how.min_workers = static_cast<unsigned>(pick(how.max_workers + 1));
        how.tasks_per_worker = static_cast<unsigned>(1 + pick(3));
        how.prefetch = static_cast<unsigned>(pick(4));
        how.high_water = 1 + pick(30);
        how.balance = static_cast<pool_balance>(pick(3));
        how.idle_timeout = pick(3) == 0 ? duration::max() : 1s + some(1s, 30);
        how.start_timeout = pick(3) == 0 ? duration::max() : 1s + some(1s, 10);
        how.ask_grace = some(100ms, 20);
        how.term_grace = some(100ms, 20);
        how.recycle_after_jobs = pick(2) == 0 ? 0 : 1 + pick(20);
        how.recycle_after_age = pick(3) == 0 ? 1s + some(1s, 60) : duration::max();
        how.recycle_jitter = 0.5;
        how.backoff = {.first = 10ms + some(10ms, 20),
                       .factor = 2,
                       .cap = 2s,
                       .jitter = 0.3,
                       .stable_after = 5s};
        how.strikes = static_cast<unsigned>(1 + pick(4));
        return how;
    }

    void step()
    {
        switch (pick(24)) {
        case 0:
        case 1: return advance();
        case 2:
        case 3:
        case 4:
        case 5:
        case 6: return submit();
        case 7: return cancel();
        case 8: return pick(4) == 0 ? change() : work();
        case 9: return nonsense();
        default: return work();
        }
    }

    void submit()
    {
        known_task task;
        task.terms.priority = static_cast<int>(pick(3));
        task.terms.key = pick(10);
        if (pick(4) == 0)
            task.terms.queue_until = now_ + some(100ms, 50);
        if (pick(4) == 0)
            task.terms.run_limit = 1ms + some(100ms, 50);
        if (pick(6) == 0)
            task.terms.heartbeat_limit = 1ms + some(100ms, 50);
        task.terms.idempotent = pick(2) == 0;
        task.terms.strikes = pick(4) == 0 ? static_cast<unsigned>(1 + pick(5)) : 0;
        const auto expected = tasks_.size() + 1;
        tasks_.emplace(expected, task);
        unfinished_.insert(expected);
        pool_task_number number = 0;
        note([&] { number = fsm_.submit(task.terms, now_); });
        if (number != expected)
            fail("a number that is not the next one");
    }

    void cancel()
    {
        if (unfinished_.empty() || pick(10) == 0) {
            const auto any = pick(tasks_.size() + 3);
            if (tasks_.count(any) != 0)
                tasks_[any].cancelled = true;
            return note([&] { fsm_.cancel(any, now_); });
        }
        const auto number =
            *std::next(unfinished_.begin(), static_cast<std::ptrdiff_t>(pick(unfinished_.size())));
        auto& task = tasks_[number];
        task.cancelled = true;
        const bool is_queued = task.worker == 0;
        note([&] { fsm_.cancel(number, now_); });
        if (is_queued && !task.over)
            fail("a task that nobody has is not cancelled at once");
        if (!task.over && !task.asked && !workers_[task.worker].terminated
            && !workers_[task.worker].killed)
            fail("nobody is asked to cancel a task");
    }

    void change()
    {
        switch (pick(12)) {
        case 0:
            how_.max_workers = static_cast<unsigned>(1 + pick(6));
            how_.min_workers = static_cast<unsigned>(pick(how_.max_workers + 1));
            changed_size_ = true;
            for (auto& [slot, when] : changed_)
                when = slot >= how_.max_workers ? inputs_ + 1 : when;
            note([&] { fsm_.resize(how_.min_workers, how_.max_workers, now_); });
            return;
        case 1: return keeps_ready([&] { fsm_.recycle_all(now_); });
        case 2: return pick(10) == 0 ? stop() : advance();
        default:
            if (!workers_.empty())
                keeps_ready([&] { fsm_.recycle(any_worker()->first, now_); });
        }
    }

    void stop()
    {
        stopping_ = true;
        drain_by_ = now_ + some(1s, 10);
        kill_by_ = drain_by_ + some(1s, 5);
        note([&] { fsm_.stop(drain_by_, kill_by_, now_); });
    }

    // What is late, said twice, or of somebody who never was.
    void nonsense()
    {
        const auto stranger = 1 + pick(2 * last_worker_ + 5);
        const bool is_alive = workers_.count(stranger) != 0;
        switch (pick(5)) {
        case 0:
            if (!is_alive || workers_[stranger].ready)
                note([&] { fsm_.worker_ready(stranger, now_); });
            return;
        case 1:
            if (!is_alive)
                note([&] { fsm_.worker_ended(stranger, pick(5), pick(5), pick(5), now_); });
            return;
        case 2: {
            const auto task = pick(tasks_.size() + 3);
            if (place_at(stranger, task) == 0)
                note([&] { fsm_.task_ended(stranger, task, pool_outcome::done, now_); });
            return;
        }
        case 3:
            if (!is_alive)
                note([&] { fsm_.worker_beat(stranger, now_); });
            return;
        default: note([&] { fsm_.tick(now_); });
        }
    }

    // Something that a worker does.
    void work()
    {
        if (workers_.empty())
            return advance();
        const auto [number, one] = *any_worker();
        if (pick(6) == 0)
            return confirm(number);
        if (one.killed)
            return end(number);
        if (one.stubborn)
            return;
        if (one.terminated || one.retired)
            return pick(2) == 0 ? end(number) : advance();
        if (!one.ready)
            return pick(6) == 0 ? end(number) : become_ready(number);
        switch (pick(16)) {
        case 0: return die(number);
        case 1: workers_[number].stubborn = pick(4) == 0; return;
        case 2:
            workers_[number].beat = now_;
            note([&] { fsm_.worker_beat(number, now_); });
            note([&] { fsm_.worker_runs(number, one.started, now_); });
            return;
        default: return answer(number);
        }
    }

    void become_ready(pool_worker_number number)
    {
        workers_[number].ready = true;
        workers_[number].beat = now_;
        changed_[workers_[number].slot] = inputs_ + 1;
        keeps_ready([&] { fsm_.worker_ready(number, now_); });
    }

    // `unheard`: so many more, in the place of tasks whose end nobody will hear of.
    void begin(known_worker& one, std::size_t unheard = 0)
    {
        for (std::size_t i = 0; i < one.tasks.size() && i < how_.tasks_per_worker + unheard; ++i) {
            if (std::exchange(one.begun[i], 1))
                continue;
            one.started = one.places[i];
            auto& task = tasks_[one.tasks[i]];
            // It counts it, and passes it over.
            if (one.withdrawn[i])
                continue;
            if (task.over && !task.lied_about)
                fail("task " + std::to_string(one.tasks[i]) + " is over, and begun");
            if (task.begun_ever && !task.terms.idempotent && !task.lied_about)
                fail("task " + std::to_string(one.tasks[i]) + " is begun twice");
            task.begun_ever = true;
        }
    }

    // Begins what it can, or ends what it has begun, or agrees to leave what it was asked to.
    void answer(pool_worker_number number)
    {
        auto& one = workers_[number];
        if (pick(3) == 0)
            begin(one);
        if (one.tasks.empty())
            return;
        const auto which = pick(one.tasks.size());
        const auto task = one.tasks[which];
        const bool may_leave = tasks_[task].asked || one.withdrawn[which]
            || (tasks_[task].asked_off && !one.begun[which]);
        if (may_leave && pick(2) == 0)
            return end_task(number, which, pool_outcome::cancelled);
        if (one.begun[which] && !one.withdrawn[which])
            end_task(number, which, pick(5) == 0 ? pool_outcome::task_failed : pool_outcome::done);
    }

    void end_task(pool_worker_number number, std::size_t which, pool_outcome said)
    {
        auto& one = workers_[number];
        const auto task = one.tasks[which];
        one.answered = std::max(one.answered, one.places[which]);
        one.tasks.erase(one.tasks.begin() + static_cast<std::ptrdiff_t>(which));
        one.places.erase(one.places.begin() + static_cast<std::ptrdiff_t>(which));
        one.begun.erase(one.begun.begin() + static_cast<std::ptrdiff_t>(which));
        one.withdrawn.erase(one.withdrawn.begin() + static_cast<std::ptrdiff_t>(which));
        ending_task_ = task;
        note([&] { fsm_.task_ended(number, task, said, now_); });
        ending_task_ = 0;
        if (broken_.empty() && !tasks_[task].over)
            fail("a task has ended, and is not over");
    }

    // The worker has heard what it was asked; and the pool looks how far it is, which may be a lie.
    void confirm(pool_worker_number number)
    {
        auto& one = workers_[number];
        auto said = one.started;
        const bool lies = !kind_ && pick(8) == 0;
        if (lies)
            said = pick(one.delivered + 3);
        for (std::size_t i = 0; i < one.tasks.size(); ++i) {
            auto& task = tasks_[one.tasks[i]];
            const bool was_asked = task.asked || task.asked_off;
            task.lied_about = task.lied_about || (lies && was_asked);
            one.withdrawn[i] = one.withdrawn[i] || (was_asked && !one.begun[i]);
        }
        confirming_ = number;
        confirmed_ = said;
        note([&] { fsm_.worker_begun(number, said, now_); });
        confirming_ = 0;
        for (std::size_t i = 0; i < one.tasks.size(); ++i) {
            const auto& task = tasks_[one.tasks[i]];
            if (one.withdrawn[i] && !task.over && !task.lied_about)
                fail("task " + std::to_string(one.tasks[i]) + " cannot be begun, and is not over");
        }
    }

    void die(pool_worker_number number)
    {
        begin(workers_[number], pick(4) == 0 ? 1 + pick(2) : 0);
        end(number);
    }

    void end(pool_worker_number number)
    {
        auto& one = workers_[number];
        auto said = one.started;
        // All that it has answered or begun has come to it.
        const auto least = std::max(one.started, one.answered);
        const auto sent = least + pick(one.delivered - least + 1);
        one.touched = std::min(one.delivered, sent + pick(2));
        if (!kind_ && pick(8) == 0) {
            said = pick(4) == 0 ? ~std::uint64_t{0} : pick(one.delivered + 3);
            for (std::size_t i = 0; i < one.tasks.size(); ++i) {
                // Nobody believes it what has not come to it.
                auto& task = tasks_[one.tasks[i]];
                task.lied_about = task.lied_about || one.places[i] <= sent;
            }
        }
        dying_ = std::move(one);
        workers_.erase(number);
        for (const auto task : dying_.tasks)
            tasks_[task].worker = 0;
        ending_worker_ = number;
        changed_[dying_.slot] = inputs_ + 1;
        note([&] { fsm_.worker_ended(number, said, sent, dying_.touched, now_); });
        ending_worker_ = 0;
        dying_ = {};
    }

    // Everybody does what they shall, but who is stubborn.
    void kind_step()
    {
        for (auto& [number, one] : workers_) {
            if (one.killed || (!one.stubborn && (one.terminated || one.retired)))
                return end(number);
            if (one.stubborn || one.terminated)
                continue;
            if (!one.ready)
                return become_ready(number);
            begin(one);
            if (one.tasks.empty())
                continue;
            if (one.begun[0])
                return end_task(number, 0,
                                one.withdrawn[0] ? pool_outcome::cancelled : pool_outcome::done);
        }
        // Who is stubborn and has no deadline would be so for ever.
        for (auto& [number, one] : workers_) {
            if (one.stubborn && !stopping_ && (!fsm_.next() || pick(4) == 0))
                return die(number);
        }
        if (!fsm_.next())
            return fail("does not end, and waits for nothing: " + std::to_string(fsm_.waiting())
                        + " waiting, " + std::to_string(fsm_.queued()) + " queued, "
                        + std::to_string(fsm_.in_flight()) + " in flight, "
                        + std::to_string(fsm_.ready()) + " ready of "
                        + std::to_string(workers_.size()) + ", balance "
                        + std::string(to_string(how_.balance)));
        advance();
    }

    void advance()
    {
        const auto next = fsm_.next();
        if (next && (pick(3) > 0 || kind_))
            now_ = std::max(now_, *next);
        else
            now_ += some(1ms, 3000);
        if (next)
            now_ = std::min(now_, std::max(*next, now_ - duration(50ms)));
        if (stopping_ && next && *next > kill_by_)
            fail("waits for longer than its stop may take");
        note([&] { fsm_.tick(now_); });
    }

    // Who is recycled is replaced first.
    template <class Input>
    void keeps_ready(Input input)
    {
        const auto before = fsm_.ready();
        const bool was_changed = changed_size_ || stopping_;
        note(input);
        if (!was_changed && fsm_.ready() + count(kind::terminate) + count(kind::retire) < before)
            fail("a recycling makes fewer ready");
    }

    template <class Input>
    void note(Input input)
    {
        if (!broken_.empty())
            return;
        input();
        ++inputs_;
        if (const auto what = fsm_.broken_promise(); !what.empty())
            fail(std::string(what));
        const std::vector<pool_output> outputs(fsm_.outputs().begin(), fsm_.outputs().end());
        for (const auto& one : outputs)
            obey(one);
        if (const auto next = fsm_.next(); next && *next <= now_)
            fail("wakes up for nothing");
        check_size();
    }

    std::size_t count(kind what) const
    {
        const auto outputs = fsm_.outputs();
        return static_cast<std::size_t>(
            std::count_if(outputs.begin(), outputs.end(),
                          [&](const pool_output& one) { return one.what == what; }));
    }

    // Replacement = desired - alive, after each input.
    void check_size()
    {
        if (stopping_ || fsm_.finished())
            return;
        const auto counts = fsm_.workers(now_);
        std::map<std::size_t, unsigned> in_slot;
        unsigned beside = 0;
        for (const auto& [number, one] : workers_)
            beside += ++in_slot[one.slot] > 1 ? 1 : 0;
        if (beside > 1)
            fail("more than one worker too many");
        if (workers_.size() != fsm_.alive())
            fail("does not know who lives");
        std::size_t admitted = 0;
        for (const auto number : unfinished_)
            admitted += tasks_[number].admitted ? 1 : 0;
        const auto wanted = std::min<std::size_t>(
            std::max<std::size_t>((admitted + how_.tasks_per_worker - 1) / how_.tasks_per_worker,
                                  how_.min_workers),
            how_.max_workers);
        const auto there = counts.starting + counts.idle + counts.busy + counts.cooling;
        const auto taken = static_cast<std::size_t>(
            std::count_if(in_slot.begin(), in_slot.end(),
                          [&](const auto& one) { return one.first < how_.max_workers; }));
        if (there < wanted && workers_.size() < how_.max_workers
            && taken + counts.cooling < how_.max_workers)
            fail("wants " + std::to_string(wanted) + " workers, has " + std::to_string(there)
                 + " and starts none: " + std::to_string(counts.starting) + " starting, "
                 + std::to_string(counts.idle) + " idle, " + std::to_string(counts.busy) + " busy, "
                 + std::to_string(counts.leaving) + " leaving, " + std::to_string(counts.cooling)
                 + " cooling, of " + std::to_string(how_.max_workers));
        if (workers_.size() <= how_.max_workers)
            changed_size_ = false;
    }

    void obey(const pool_output& one)
    {
        switch (one.what) {
        case kind::start_worker: return on_start(one);
        case kind::deliver: return on_deliver(one);
        case kind::ask: return on_ask(one);
        case kind::struck: return on_struck(one);
        case kind::complete: return on_complete(one);
        case kind::admitted:
            if (std::exchange(tasks_[one.task].admitted, true))
                fail("admitted twice");
            return;
        case kind::finished:
            ++finished_;
            if (!workers_.empty() || !unfinished_.empty())
                fail("finished, and there is somebody or something");
            return;
        case kind::retire:
        case kind::terminate:
        case kind::kill: return on_stop(one);
        }
    }

    void on_start(const pool_output& one)
    {
        if (one.worker != ++last_worker_)
            fail("a worker's number is not the next one");
        if (one.slot >= how_.max_workers)
            fail("a slot beyond the last one");
        unsigned beside = 0;
        for (const auto& [number, other] : workers_)
            beside += other.slot == one.slot ? 1 : 0;
        if (beside > 1 || workers_.size() + 1 > how_.max_workers + 1)
            fail("more workers than there may be");
        if (stopping_ && now_ >= drain_by_)
            fail("starts a worker while all are stopped");
        workers_[one.worker] = known_worker{.slot = one.slot, .beat = now_};
        workers_[one.worker].stubborn = !kind_ && pick(20) == 0;
    }

    void on_deliver(const pool_output& one)
    {
        auto& task = tasks_[one.task];
        if (workers_.count(one.worker) == 0)
            return fail("delivers to nobody");
        auto& at = workers_[one.worker];
        if (!at.ready || at.retired || at.terminated || at.killed)
            fail("delivers to a worker that is not ready");
        if (task.over || task.worker != 0 || !task.admitted)
            fail("delivers what is over, elsewhere, or not admitted");
        if (at.tasks.size() >= how_.tasks_per_worker + how_.prefetch)
            fail("more in flight than the credit");
        if (task.begun_ever && !task.terms.idempotent && !task.lied_about)
            fail("what may be begun once was, and is delivered again");
        if (one.attempt != task.strikes + 1)
            fail("a wrong attempt");
        if ((at.alone && !at.tasks.empty()) || (task.must_be_alone() && at.delivered > 0))
            fail("a task that has a strike, or is suspected, is not alone in a fresh worker");
        at.alone = task.must_be_alone();
        if (!task.must_be_alone()) {
            check_order(one.task);
            check_home(task.terms.key, one.slot);
        }
        at.places.push_back(++at.delivered);
        at.tasks.push_back(one.task);
        at.begun.push_back(0);
        at.withdrawn.push_back(0);
        task.worker = one.worker;
        task.delivered_at = now_;
        task.asked = task.asked_off = false;
    }

    void check_order(pool_task_number number)
    {
        const auto& task = tasks_[number];
        for (const auto other : unfinished_) {
            const auto& before = tasks_[other];
            if (before.worker != 0 || !before.admitted || before.must_be_alone() || other == number)
                continue;
            if (how_.balance == pool_balance::sticky_key && before.terms.key != task.terms.key)
                continue;
            if (before.terms.priority > task.terms.priority
                || (before.terms.priority == task.terms.priority && other < number))
                fail("task " + std::to_string(number) + " goes before " + std::to_string(other));
        }
    }

    // A key moves only if its worker has gone, or to one that has come.
    void check_home(std::uint64_t key, std::size_t slot)
    {
        if (how_.balance != pool_balance::sticky_key)
            return;
        auto& [home, since] = homes_.try_emplace(key, slot, inputs_).first->second;
        if (home != slot && home < how_.max_workers && changed_[home] < since
            && changed_[slot] < since)
            fail("key " + std::to_string(key) + " leaves its worker for nothing");
        home = slot;
        since = inputs_;
    }

    void on_ask(const pool_output& one)
    {
        auto& task = tasks_[one.task];
        if (task.over || task.worker != one.worker || workers_.count(one.worker) == 0)
            return fail("asks of a task that the worker does not have");
        const bool is_off = one.outcome == pool_outcome::queue_deadline;
        if (task.asked || std::exchange(is_off ? task.asked_off : task.asked, true))
            fail("asks twice");
    }

    void on_struck(const pool_output& one)
    {
        auto& task = tasks_[one.task];
        if (one.worker != ending_worker_ || task.worker != 0)
            fail("a strike of somebody who has not ended");
        if (one.attempt == task.strikes)
            return on_suspected(one.task, task);
        if (!task.terms.idempotent)
            fail("a strike of a task that may not be begun again");
        if (!dying_.has_begun(one.task) && !task.lied_about)
            fail("a strike of a task that was not begun");
        if (one.attempt != ++task.strikes)
            fail("a strike that does not count");
        if (task.strikes >= limit_of(task))
            fail("as many strikes as a task may have, and it is not over");
    }

    void on_suspected(pool_task_number number, known_task& task)
    {
        if (!is_suspect(number))
            fail("suspects a task that was not the next one of a worker that served");
        if (++task.suspicions >= task.most_suspicions(limit_of(task)))
            fail("as many suspicions as are enough, and it is not over");
    }

    // Whether it was the first that the worker which has just died would have begun, and had any
    // part of.
    bool is_suspect(pool_task_number number) const
    {
        const bool served = dying_.ready && !dying_.retired && !dying_.terminated && !dying_.killed;
        if (!served || dying_.tasks.empty())
            return false;
        const auto lied = [&](auto each) { return tasks_.at(each).lied_about; };
        if (std::any_of(dying_.tasks.begin(), dying_.tasks.end(), lied))
            return true;
        std::size_t next = 0;
        while (next < dying_.tasks.size() && dying_.withdrawn[next])
            ++next;
        return next < dying_.tasks.size() && dying_.tasks[next] == number && dying_.begun[next] == 0
            && dying_.places[next] <= dying_.touched;
    }

    // 0: the worker does not have it.
    std::uint64_t place_at(pool_worker_number worker, pool_task_number task) const
    {
        const auto at = workers_.find(worker);
        if (at == workers_.end())
            return 0;
        const auto& tasks = at->second.tasks;
        const auto found = std::find(tasks.begin(), tasks.end(), task);
        return found == tasks.end() ? 0 : at->second.places[std::size_t(found - tasks.begin())];
    }

    unsigned limit_of(const known_task& task) const
    {
        return task.terms.strikes == 0 ? how_.strikes : task.terms.strikes;
    }

    void on_complete(const pool_output& one)
    {
        auto& task = tasks_[one.task];
        if (std::exchange(task.over, true))
            return fail("a task is over twice");
        unfinished_.erase(one.task);
        ++over_[static_cast<std::size_t>(one.outcome)];
        const bool is_let_go =
            (task.asked || task.asked_off) && place_at(confirming_, one.task) > confirmed_;
        if (task.worker != 0 && ending_task_ != one.task && ending_worker_ != task.worker
            && !is_let_go)
            fail("over, and its worker has neither answered nor gone, and may begin it");
        withdrawn_ += is_let_go ? 1 : 0;
        if (one.waited < 0s || one.ran < 0s)
            fail("a time below nothing");
        const bool honest = !task.lied_about;
        const bool begun = dying_.has_begun(one.task);
        bool right = true;
        switch (one.outcome) {
        case pool_outcome::done:
        case pool_outcome::task_failed: right = ending_task_ == one.task; break;
        case pool_outcome::worker_died: right = !task.terms.idempotent && (begun || !honest); break;
        case pool_outcome::queue_deadline: right = now_ >= task.terms.queue_until; break;
        case pool_outcome::run_deadline:
            right = now_ - task.delivered_at >= task.terms.run_limit;
            break;
        case pool_outcome::heartbeat_lost:
            right = task.terms.heartbeat_limit != duration::max()
                && now_ - task.delivered_at >= task.terms.heartbeat_limit;
            break;
        case pool_outcome::cancelled: right = task.cancelled; break;
        case pool_outcome::poisoned:
            right =
                (task.terms.idempotent && task.strikes + 1 == limit_of(task) && (begun || !honest))
                || (task.suspicions + 1 == task.most_suspicions(limit_of(task))
                    && is_suspect(one.task));
            break;
        case pool_outcome::stopped: right = stopping_; break;
        }
        if (!right)
            fail("task " + std::to_string(one.task)
                 + " is over without reason: " + std::string(to_string(one.outcome)));
    }

    void on_stop(const pool_output& one)
    {
        if (workers_.count(one.worker) == 0)
            return fail("stops what does not live");
        auto& at = workers_[one.worker];
        changed_[at.slot] = inputs_;
        if (one.what == kind::retire && (std::exchange(at.retired, true) || at.terminated))
            fail("told to end twice");
        if (one.what == kind::retire && !at.tasks.empty())
            fail("told to end while it has tasks");
        if (one.what == kind::terminate && (at.terminated || at.killed))
            fail("SIGTERM twice");
        if (one.what == kind::terminate)
            at.terminated = now_;
        if (one.what != kind::kill)
            return;
        if (std::exchange(at.killed, true))
            fail("SIGKILL twice");
        if (!(stopping_ && now_ >= kill_by_)
            && (!at.terminated || now_ - *at.terminated < how_.term_grace))
            fail("SIGKILL before the grace is over");
    }

    std::map<pool_worker_number, known_worker>::iterator any_worker()
    {
        return std::next(workers_.begin(), static_cast<std::ptrdiff_t>(pick(workers_.size())));
    }

    std::size_t unfinished() const { return unfinished_.size(); }

    void fail(const std::string& what)
    {
        if (broken_.empty())
            broken_ = what + ", at input " + std::to_string(inputs_);
    }

    duration some(duration unit, std::size_t below)
    {
        return unit * static_cast<duration::rep>(pick(below));
    }

    std::size_t pick(std::size_t below)
    {
        return std::uniform_int_distribution<std::size_t>(0, below - 1)(random_);
    }

    std::mt19937_64 random_;
    pool_fsm::setup how_;
    pool_fsm fsm_;
    time_point now_{std::chrono::hours(1)};
    std::map<pool_task_number, known_task> tasks_{};
    std::set<pool_task_number> unfinished_{};
    std::map<pool_worker_number, known_worker> workers_{};
    known_worker dying_{};
    std::map<std::size_t, std::uint64_t> changed_{};  // each slot: when its worker came or went
    std::map<std::uint64_t, std::pair<std::size_t, std::uint64_t>> homes_{};  // each key's, when
    pool_worker_number last_worker_ = 0;
    pool_task_number ending_task_ = 0;
    pool_worker_number ending_worker_ = 0;
    pool_worker_number confirming_ = 0;
    std::uint64_t confirmed_ = 0;  // what it is said to have begun
    std::size_t over_[procyard::pool_outcomes] = {};
    std::size_t withdrawn_ = 0;
    time_point drain_by_ = time_point::max();
    time_point kill_by_ = time_point::max();
    bool kind_ = false;
    bool stopping_ = false;
    bool changed_size_ = false;
    std::size_t finished_ = 0;
    std::uint64_t inputs_ = 0;
    std::string broken_{};
};

}  // namespace

TEST_CASE("100,000 random steps keep every promise of the pool")
{
    const char* const wanted = std::getenv("PROCYARD_POOL_STEPS");
    const std::size_t most = wanted ? std::stoull(wanted) : 100'000;
    std::size_t steps = 0;
    std::uint64_t seed = 0;
    std::size_t over[procyard::pool_outcomes] = {};
    std::size_t withdrawn = 0;
    while (steps < most) {
        CAPTURE(seed);
        random_world world(++seed);
        steps += world.run(2000);
        REQUIRE(world.broken() == "");
        for (std::size_t i = 0; i < procyard::pool_outcomes; ++i)
            over[i] += world.over(static_cast<pool_outcome>(i));
        withdrawn += world.withdrawn();
    }
    // Otherwise it would say nothing of one of them.
    for (std::size_t i = 0; i < procyard::pool_outcomes; ++i) {
        CAPTURE(to_string(static_cast<pool_outcome>(i)));
        CHECK(over[i] > 0);
    }
    CHECK(withdrawn > 0);
    MESSAGE(seed << " worlds, " << steps << " steps, " << withdrawn << " tasks withdrawn");
}
