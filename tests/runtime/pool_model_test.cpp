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
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "pool_judge.hpp"
#include "pool_known.hpp"
#include "pool_time_judge.hpp"

using procyard::pool_balance;
using procyard::pool_outcome;
using procyard::to_string;
using procyard::detail::pool_fsm;
using procyard::detail::pool_output;
using procyard::detail::pool_task_number;
using procyard::detail::pool_worker_number;
using procyard_test::known_pool;
using procyard_test::known_task;
using procyard_test::known_worker;
using namespace std::chrono_literals;

namespace {

using kind = pool_output::kind;
using duration = pool_fsm::duration;

// A world that behaves at random, before two judges.
class random_world : public known_pool {
public:
    explicit random_world(std::uint64_t seed) : random_(seed), fsm_(how = make_setup(), seed)
    {
        note([&] { fsm_.start(now); });
    }

    // Until everything has ended: after a while everybody is kind, and what was submitted has to
    // come to its end by itself; then the pool is stopped.
    std::size_t run(std::size_t most_steps)
    {
        std::size_t steps = 0;
        while (steps < most_steps && goes_on() && !stopping) {
            ++steps;
            step();
        }
        kind_ = true;
        for (std::size_t left = 20000; goes_on() && !stopping && unfinished.size() > 0; --left) {
            ++steps;
            if (left == 0)
                fail("a task is forgotten");
            kind_step();
        }
        if (goes_on() && !stopping)
            stop();
        for (std::size_t left = 20000; goes_on(); --left) {
            ++steps;
            if (left == 0)
                fail("the stop does not come to an end");
            kind_step();
        }
        if (broken.empty() && (finished != 1 || unfinished.size() != 0 || !workers.empty()))
            fail("not all is over, or not told once");
        return steps;
    }

private:
    bool goes_on() const { return broken.empty() && !fsm_.finished(); }

    pool_fsm::setup make_setup()
    {
        pool_fsm::setup made;
        made.max_workers = static_cast<unsigned>(1 + pick(6));
        made.min_workers = static_cast<unsigned>(pick(made.max_workers + 1));
        made.tasks_per_worker = static_cast<unsigned>(1 + pick(3));
        made.prefetch = static_cast<unsigned>(pick(4));
        made.high_water = 1 + pick(30);
        made.balance = static_cast<pool_balance>(pick(3));
        made.idle_timeout = pick(3) == 0 ? duration::max() : 1s + some(1s, 30);
        made.start_timeout = pick(3) == 0 ? duration::max() : 1s + some(1s, 10);
        made.ask_grace = some(100ms, 20);
        made.term_grace = some(100ms, 20);
        made.recycle_after_jobs = pick(2) == 0 ? 0 : 1 + pick(20);
        made.recycle_after_age = pick(3) == 0 ? 1s + some(1s, 60) : duration::max();
        made.recycle_jitter = 0.5;
        made.backoff = {.first = 10ms + some(10ms, 20),
                        .factor = 2,
                        .cap = 2s,
                        .jitter = 0.3,
                        .stable_after = 5s};
        made.strikes = static_cast<unsigned>(1 + pick(4));
        return made;
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
            task.terms.queue_until = now + some(100ms, 50);
        if (pick(4) == 0)
            task.terms.run_limit = 1ms + some(100ms, 50);
        if (pick(6) == 0)
            task.terms.heartbeat_limit = 1ms + some(100ms, 50);
        task.terms.idempotent = pick(2) == 0;
        task.terms.strikes = pick(4) == 0 ? static_cast<unsigned>(1 + pick(5)) : 0;
        const auto expected = tasks.size() + 1;
        tasks.emplace(expected, task);
        unfinished.insert(expected);
        pool_task_number number = 0;
        note([&] { number = fsm_.submit(task.terms, now); });
        if (number != expected)
            fail("a number that is not the next one");
    }

    void cancel()
    {
        if (unfinished.empty() || pick(10) == 0) {
            const auto any = pick(tasks.size() + 3);
            if (tasks.count(any) != 0)
                tasks[any].cancelled = true;
            return note([&] { fsm_.cancel(any, now); });
        }
        const auto number =
            *std::next(unfinished.begin(), static_cast<std::ptrdiff_t>(pick(unfinished.size())));
        auto& task = tasks[number];
        task.cancelled = true;
        const bool is_queued = task.worker == 0;
        note([&] { fsm_.cancel(number, now); });
        if (is_queued && !task.over)
            fail("a task that nobody has is not cancelled at once");
        if (!task.over && !task.asked && !workers[task.worker].terminated
            && !workers[task.worker].killed)
            fail("nobody is asked to cancel a task");
    }

    void change()
    {
        switch (pick(12)) {
        case 0:
            how.max_workers = static_cast<unsigned>(1 + pick(6));
            how.min_workers = static_cast<unsigned>(pick(how.max_workers + 1));
            changed_size = true;
            for (auto& [slot, when] : changed)
                when = slot >= how.max_workers ? inputs + 1 : when;
            note([&] { fsm_.resize(how.min_workers, how.max_workers, now); });
            return;
        case 1: return keeps_ready([&] { fsm_.recycle_all(now); });
        case 2: return pick(10) == 0 ? stop() : advance();
        default:
            if (!workers.empty())
                keeps_ready([&] { fsm_.recycle(any_worker()->first, now); });
        }
    }

    void stop()
    {
        stopping = true;
        drain_by = now + some(1s, 10);
        kill_by = drain_by + some(1s, 5);
        note([&] { fsm_.stop(drain_by, kill_by, now); });
    }

    // What is late, said twice, or of somebody who never was.
    void nonsense()
    {
        const auto stranger = 1 + pick(2 * last_worker + 5);
        const bool is_alive = workers.count(stranger) != 0;
        switch (pick(5)) {
        case 0:
            if (!is_alive || workers[stranger].ready)
                note([&] { fsm_.worker_ready(stranger, now); });
            return;
        case 1:
            if (!is_alive)
                note([&] { fsm_.worker_ended(stranger, pick(5), pick(5), pick(5), now); });
            return;
        case 2: {
            const auto task = pick(tasks.size() + 3);
            if (place_at(stranger, task) == 0)
                note([&] { fsm_.task_ended(stranger, task, pool_outcome::done, now); });
            return;
        }
        case 3:
            if (!is_alive)
                note([&] { fsm_.worker_beat(stranger, now); });
            return;
        default: note([&] { fsm_.tick(now); });
        }
    }

    // Something that a worker does.
    void work()
    {
        if (workers.empty())
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
        case 1: workers[number].stubborn = pick(4) == 0; return;
        case 2:
            workers[number].beat = now;
            note([&] { fsm_.worker_beat(number, now); });
            workers[number].told = std::max(one.told, one.started);
            note([&] { fsm_.worker_runs(number, one.started, now); });
            return;
        default: return answer(number);
        }
    }

    void become_ready(pool_worker_number number)
    {
        workers[number].ready = true;
        workers[number].beat = now;
        changed[workers[number].slot] = inputs + 1;
        keeps_ready([&] { fsm_.worker_ready(number, now); });
    }

    // `unheard`: so many more, in the place of tasks whose end nobody will hear of.
    void begin(known_worker& one, std::size_t unheard = 0)
    {
        for (std::size_t i = 0; i < one.tasks.size() && i < how.tasks_per_worker + unheard; ++i) {
            if (std::exchange(one.begun[i], 1))
                continue;
            one.started = one.places[i];
            auto& task = tasks[one.tasks[i]];
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
        auto& one = workers[number];
        if (pick(3) == 0)
            begin(one);
        if (one.tasks.empty())
            return;
        const auto which = pick(one.tasks.size());
        const auto task = one.tasks[which];
        const bool may_leave = tasks[task].asked || one.withdrawn[which]
            || (tasks[task].asked_off && !one.begun[which]);
        if (may_leave && pick(2) == 0)
            return end_task(number, which, pool_outcome::cancelled);
        if (one.begun[which] && !one.withdrawn[which])
            end_task(number, which, pick(5) == 0 ? pool_outcome::task_failed : pool_outcome::done);
    }

    void end_task(pool_worker_number number, std::size_t which, pool_outcome said)
    {
        auto& one = workers[number];
        const auto task = one.tasks[which];
        one.answered = std::max(one.answered, one.places[which]);
        if (said != pool_outcome::cancelled)
            one.told = std::max(one.told, one.places[which]);
        one.tasks.erase(one.tasks.begin() + static_cast<std::ptrdiff_t>(which));
        one.places.erase(one.places.begin() + static_cast<std::ptrdiff_t>(which));
        one.begun.erase(one.begun.begin() + static_cast<std::ptrdiff_t>(which));
        one.withdrawn.erase(one.withdrawn.begin() + static_cast<std::ptrdiff_t>(which));
        ending_task = task;
        note([&] { fsm_.task_ended(number, task, said, now); });
        ending_task = 0;
        if (broken.empty() && !tasks[task].over)
            fail("a task has ended, and is not over");
    }

    // The worker has heard what it was asked; and the pool looks how far it is, which may be a lie.
    void confirm(pool_worker_number number)
    {
        auto& one = workers[number];
        auto said = one.started;
        const bool lies = !kind_ && pick(8) == 0;
        if (lies)
            said = pick(one.delivered + 3);
        for (std::size_t i = 0; i < one.tasks.size(); ++i) {
            auto& task = tasks[one.tasks[i]];
            const bool was_asked = task.asked || task.asked_off;
            task.lied_about = task.lied_about || (lies && was_asked);
            one.withdrawn[i] = one.withdrawn[i] || (was_asked && !one.begun[i]);
        }
        confirming = number;
        confirmed = said;
        one.told = std::max(one.told, said);
        note([&] { fsm_.worker_begun(number, said, now); });
        confirming = 0;
        for (std::size_t i = 0; i < one.tasks.size(); ++i) {
            const auto& task = tasks[one.tasks[i]];
            if (one.withdrawn[i] && !task.over && !task.lied_about)
                fail("task " + std::to_string(one.tasks[i]) + " cannot be begun, and is not over");
        }
    }

    void die(pool_worker_number number)
    {
        begin(workers[number], pick(4) == 0 ? 1 + pick(2) : 0);
        end(number);
    }

    void end(pool_worker_number number)
    {
        auto& one = workers[number];
        auto said = one.started;
        // All that it has answered or begun has come to it.
        const auto least = std::max(one.started, one.answered);
        const auto sent = least + pick(one.delivered - least + 1);
        one.touched = std::min(one.delivered, sent + pick(2));
        if (!kind_ && pick(8) == 0) {
            said = pick(4) == 0 ? ~std::uint64_t{0} : pick(one.delivered + 3);
            for (std::size_t i = 0; i < one.tasks.size(); ++i) {
                // Nobody believes it what has not come to it.
                auto& task = tasks[one.tasks[i]];
                task.lied_about = task.lied_about || one.places[i] <= sent;
            }
        }
        dying = std::move(one);
        workers.erase(number);
        for (const auto task : dying.tasks)
            tasks[task].worker = 0;
        ending_worker = number;
        changed[dying.slot] = inputs + 1;
        note([&] { fsm_.worker_ended(number, said, sent, dying.touched, now); });
        ending_worker = 0;
        dying = {};
    }

    // Everybody does what they shall, but who is stubborn.
    void kind_step()
    {
        for (auto& [number, one] : workers) {
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
        for (auto& [number, one] : workers) {
            if (one.stubborn && !stopping && (!fsm_.next() || pick(4) == 0))
                return die(number);
        }
        if (!fsm_.next())
            return fail("does not end, and waits for nothing: " + std::to_string(fsm_.waiting())
                        + " waiting, " + std::to_string(fsm_.queued()) + " queued, "
                        + std::to_string(fsm_.in_flight()) + " in flight, "
                        + std::to_string(fsm_.ready()) + " ready of "
                        + std::to_string(workers.size()) + ", balance "
                        + std::string(to_string(how.balance)));
        advance();
    }

    void advance()
    {
        const auto next = fsm_.next();
        if (next && (pick(3) > 0 || kind_))
            now = std::max(now, *next);
        else
            now += some(1ms, 3000);
        if (next)
            now = std::min(now, std::max(*next, now - duration(50ms)));
        if (stopping && next && *next > kill_by)
            fail("waits for longer than its stop may take");
        note([&] { fsm_.tick(now); });
    }

    // Who is recycled is replaced first.
    template <class Input>
    void keeps_ready(Input input)
    {
        const auto before = fsm_.ready();
        const bool was_changed = changed_size || stopping;
        note(input);
        if (!was_changed && fsm_.ready() + count(kind::terminate) + count(kind::retire) < before)
            fail("a recycling makes fewer ready");
    }

    template <class Input>
    void note(Input input)
    {
        if (!broken.empty())
            return;
        input();
        ++inputs;
        if (const auto what = fsm_.broken_promise(); !what.empty())
            fail(std::string(what));
        const std::vector<pool_output> outputs(fsm_.outputs().begin(), fsm_.outputs().end());
        for (const auto& one : outputs) {
            time_judge_.saw(one);
            judge_.saw(one);
            if (one.what == kind::start_worker)
                workers[one.worker].stubborn = !kind_ && pick(20) == 0;
        }
        if (const auto next = fsm_.next(); next && *next <= now)
            fail("wakes up for nothing");
        time_judge_.input_ends();
        judge_.input_ends();
    }

    std::size_t count(kind what) const
    {
        const auto outputs = fsm_.outputs();
        return static_cast<std::size_t>(
            std::count_if(outputs.begin(), outputs.end(),
                          [&](const pool_output& one) { return one.what == what; }));
    }

    std::map<pool_worker_number, known_worker>::iterator any_worker()
    {
        return std::next(workers.begin(), static_cast<std::ptrdiff_t>(pick(workers.size())));
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
    pool_fsm fsm_;
    procyard_test::pool_judge judge_{*this, fsm_};
    procyard_test::pool_time_judge time_judge_{*this};
    bool kind_ = false;
};

}  // namespace

TEST_CASE("100,000 random steps keep every promise of the pool")
{
    const char* const wanted = std::getenv("PROCYARD_POOL_STEPS");
    const std::size_t most = wanted ? std::stoull(wanted) : 100'000;
    std::size_t steps = 0;
    std::uint64_t seed = 0;
    std::size_t ends[procyard::pool_outcomes] = {};
    std::size_t let_go = 0;
    std::size_t late = 0;
    std::size_t late_begun = 0;
    while (steps < most) {
        CAPTURE(seed);
        random_world world(++seed);
        steps += world.run(2000);
        REQUIRE(world.broken == "");
        for (std::size_t i = 0; i < procyard::pool_outcomes; ++i)
            ends[i] += world.ends[i];
        let_go += world.let_go;
        late += world.late;
        late_begun += world.late_begun;
    }
    // Otherwise it would say nothing of one of them.
    for (std::size_t i = 0; i < procyard::pool_outcomes; ++i) {
        CAPTURE(to_string(static_cast<pool_outcome>(i)));
        CHECK(ends[i] > 0);
    }
    CHECK(let_go > 0);
    CHECK(late > 0);
    CHECK(late_begun > 0);
    MESSAGE(seed << " worlds, " << steps << " steps, " << let_go << " tasks withdrawn, " << late
                 << " told by their workers' leave that they are late, " << late_begun
                 << " asked for and begun");
}
