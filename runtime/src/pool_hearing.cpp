// SPDX-License-Identifier: BSL-1.0
// What pool_core hears of its workers, and when. pool_core.cpp has the rest.
#include "pool_core.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <new>
#include <utility>
#include <vector>

#include "resident_memory.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using namespace std::chrono_literals;

constexpr auto memory_look = 100ms;

// So that one more can be put in without memory.
template <class T>
void make_room(std::vector<T>& in)
{
    if (in.size() == in.capacity())
        in.reserve(2 * in.size() + 16);
}

}  // namespace

// max(): never.
timer_clock::time_point pool_core::next_due() const noexcept
{
    const auto next = fsm_.first_due();
    return watched_ > 0 ? std::min(next, next_look_) : next;
}

// Before the time is judged, whatever it is that comes first after the loop has stood still: what
// was answered, and who was alive, in time.
void pool_core::catch_up()
{
    const auto next = next_due();
    if (next != timer_clock::time_point::max() && !fsm_.is_held() && next <= options_.clock->now())
        pass_time();
}

// Everything that was told is noted: now follows what comes of it, and of the time.
void pool_core::pass_time()
{
    const auto now = options_.clock->now();
    const bool was_inside = inside_;
    if (next_due() <= now)
        hear_all(now);
    inside_ = was_inside;
    fsm_.tick(now);
    carry_out(now);
}

// What fails is for run(), but not before the turn is over: a machine that is held, or a core that
// takes itself for one that is inside, would let go of neither until a worker says something.
template <class Function>
void pool_core::attempt(Function what) noexcept
{
    try {
        what();
    } catch (...) {
        failure_ = std::current_exception();
    }
}

void pool_core::end_turn()
{
    const auto self = shared_from_this();
    settle(true);
    if (failure_)
        std::rethrow_exception(std::exchange(failure_, nullptr));
}

void pool_core::on_timer()
{
    timer_.reset();
    armed_for_.reset();
    if (abandoned_)
        return;
    attempt([&] { catch_up(); });  // which is what the time is for
    if (!inside_)
        end_turn();
}

// Not for the caller either, who may be the destructor of a task: what has failed is thrown by the
// next turn of the pool's own, and who was not heard ends, so that there is one.
void pool_core::hear_all(timer_clock::time_point now)
{
    // While it is held the machine starts nobody, and a worker that is heard ends in another turn.
    fsm_.hold();
    for (const auto& [number, process] : processes_) {
        if (auto failed = process->hear_or_end())
            failure_ = std::move(failed);
        fsm_.worker_runs(number, process->record().begun(), now);
    }
    if (watched_ == 0)
        return;
    next_look_ = now + look_every_;
    for (const auto& [number, process] : processes_) {
        const auto beats = process->record().beats();
        if (process->watched > 0 && beats != std::exchange(process->seen_beats, beats))
            fsm_.worker_beat(number, now);
    }
}

void pool_core::on_ready(pool_process& from)
{
    inside_ = true;  // until on_answers_told()
    fsm_.hold();
    const auto now = options_.clock->now();
    fsm_.worker_ready(from.number(), now);
    carry_out(now);
}

// A codec of the user's may throw, in the middle of a batch: that is its task's matter.
bool pool_core::take(pool_task_state& task, std::span<const std::byte> response)
{
    try {
        if (task.take(response))
            return true;
        task.spoil("what the worker has answered is no response");
    } catch (const std::exception& e) {
        task.spoil(e.what());
    } catch (...) {
        task.spoil("the codec of the response has thrown");
    }
    return false;
}

// Behind one that is none there are no others: who takes them would not know that it is missing. So
// its task has failed, which is told when its worker has let go of it. Nobody takes these: their
// credits return at once, since the worker may heed nothing, and wait for them.
void pool_core::take_item(pool_process& from, pool_task_state& task,
                          std::span<const std::byte> item, timer_clock::time_point now)
{
    const bool had_failed = static_cast<bool>(task.fault);
    if (!had_failed && take(task, item))
        return;
    ++task.credits;
    from.give_credits(task, 1);
    mark_dirty(from);
    if (had_failed)
        return;
    fsm_.cancel(task.number, now, pool_outcome::task_failed);
    carry_out(now);
}

// What was asked of a worker is in its channel: what it has not begun by now it never will.
void pool_core::look_what_has_begun(const pool_process& process)
{
    fsm_.hold();
    const auto now = options_.clock->now();
    fsm_.worker_begun(process.number(), process.record().begun_after_cancel(), now);
    carry_out(now);
    pass_time();
}

void pool_core::on_asked(pool_process& from)
{
    if (abandoned_)
        return;
    if (auto* const process = find_process(from.number()))
        mark_dirty(*process);
    attempt([&] { pass_time(); });
    end_turn();
}

// An answer to what is over already: its worker has room again.
bool pool_core::take_withdrawn(const pool_process& from, const parsed_record& answer,
                               timer_clock::time_point now)
{
    const auto number = answer.header.task;
    if (!fsm_.is_withdrawn(from.number(), number, answer.header.attempt))
        return false;
    if (answer.kind() == pool_record::item)
        return true;
    inside_ = true;  // until on_answers_told()
    fsm_.hold();
    fsm_.task_ended(from.number(), number, pool_outcome::cancelled, now);
    carry_out(now);
    return true;
}

bool pool_core::on_answer(pool_process& from, const parsed_record& answer,
                          timer_clock::time_point now)
{
    // Not by a copy of what owns it: nothing ends it before it is told that it has ended.
    auto* const found = find(answer.header.task).get();
    if (found == nullptr)
        return take_withdrawn(from, answer, now);
    auto& task = *found;
    if (task.worker != from.number() || task.attempt != answer.header.attempt || task.unsent)
        return false;
    inside_ = true;  // until on_answers_told()
    fsm_.hold();
    auto outcome = pool_outcome::done;
    switch (answer.kind()) {
    case pool_record::item:
        if (!task.is_stream || task.credits == 0)
            return false;
        --task.credits;
        take_item(from, task, answer.payload, now);
        return true;
    case pool_record::result:
        if (answer.is_stream() && !task.is_stream)
            return false;
        if (!answer.is_stream() && !take(task, answer.payload))
            outcome = pool_outcome::task_failed;
        break;
    case pool_record::failed:
        outcome = pool_outcome::task_failed;
        task.report.text = to_printable(
            {reinterpret_cast<const char*>(answer.payload.data()), answer.payload.size()});
        break;
    case pool_record::cancelled:
        if (!task.asked)
            return false;
        outcome = pool_outcome::cancelled;
        break;
    case pool_record::setup:
    case pool_record::task:
    case pool_record::cancel:
    case pool_record::credit:
    case pool_record::stop:
    case pool_record::hello: return false;
    }
    if (task.fault)
        outcome = pool_outcome::task_failed;
    // Behind this nothing may fail before it is told: nobody would tell it again.
    make_room(free_places_);
    make_room(news_);
    make_room(spare_records_);
    fsm_.make_room();
    fsm_.task_ended(from.number(), task.number, outcome, now);
    carry_out(now);
    look_at_memory(from, now);
    return true;
}

void pool_core::on_answers_told()
{
    if (abandoned_)
        return;
    attempt([&] { pass_time(); });
    end_turn();
}

void pool_core::on_ended(pool_process& from, std::shared_ptr<const death_report> report)
{
    if (abandoned_)
        return;
    const auto self = shared_from_this();
    inside_ = true;
    attempt([&] { pass_time(); });  // what it has answered comes first
    attempt([&] { forget_worker(from, std::move(report)); });
    end_turn();
}

void pool_core::forget_worker(pool_process& from, std::shared_ptr<const death_report> report)
{
    const auto self = from.shared_from_this();
    const bool was_ready = static_cast<bool>(from.record());
    fold_counters(from);
    dead_worker_ = from.number();
    death_ = std::move(report);
    const auto now = options_.clock->now();
    fsm_.worker_ended(from.number(), from.record().begun(), from.sent(), from.touched(), now);
    watched_ -= std::exchange(from.watched, 0);
    processes_.erase(from.number());
    carry_out(now);
    dead_worker_ = 0;
    explain(was_ready);
    if (!was_ready && !from.was_unwanted() && !stopping_)
        complete_ready_waits(pool_errc::not_ready);
    death_.reset();
    end_span(0, from.number(), from.trace, pool_outcome::done);
}

// Not before all that the machine wished is carried out: it is told of an end, and wishes anew. At
// the same time, so that it wants nothing of those of whom it was not told yet.
void pool_core::end_unstarted(timer_clock::time_point now)
{
    while (!unstarted_.empty()) {
        fsm_.make_room();
        fsm_.worker_ended(unstarted_.back(), 0, 0, 0, now);
        unstarted_.pop_back();
        carry_out(now);
        try {
            explanation_ = "there was no memory to start a worker";
            if (!stopping_)
                complete_ready_waits(pool_errc::not_ready);
        } catch (const std::bad_alloc&) {
            explanation_.clear();  // who waits still is told with the next one
        }
    }
}

// One that was ready, and has died since, is in the reports of its tasks.
void pool_core::explain(bool was_ready)
{
    const auto& death = *death_;
    if (death.asked && death.text.empty())
        return;
    if (!death.text.empty() && death.status) {
        auto how = death;
        how.cause = service_cause::asked;  // the text says why, in more words
        explanation_ = death.text + " (" + how.to_string() + ')';
    } else if (!was_ready)
        explanation_ = death.to_string();
}

void pool_core::fold_counters(const pool_process& process)
{
    for (std::size_t i = 0; i < counters_.size(); ++i)
        counters_[i] += process.record().counter(i);
}

void pool_core::look_at_memory(pool_process& process, timer_clock::time_point now)
{
    if (options_.recycle_above_bytes == 0 || now - process.memory_seen < memory_look)
        return;
    process.memory_seen = now;
    if (resident_bytes(process.pid()) <= options_.recycle_above_bytes)
        return;
    fsm_.recycle(process.number(), now);
    carry_out(now);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
