// SPDX-License-Identifier: BSL-1.0
#include "pool_core.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/errc.hpp>

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <new>
#include <random>
#include <span>
#include <stdexcept>
#include <utility>

#include "pool_check.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using namespace std::chrono_literals;
using kind = pool_output::kind;

constexpr std::size_t most_spare_records = 256;
constexpr std::size_t most_spare_bytes = 64 * 1024;
// Of the handlers of a turn: after so many what they have caused is sent.
constexpr std::size_t told_before_sending = 24;

std::uint64_t seed_of(const pool_options& options)
{
    return options.seed != 0 ? options.seed : std::random_device{}();
}

// A codec of the user's may throw. Out of an initiating function that would destroy the coroutine
// that waits, which could not catch it.
error_code write_request(pool_task_state& task, const request_writer& request,
                         std::span<std::byte> to)
{
    try {
        if (request.write(request.value, to))
            return {};
        task.report.text = "the request is no value that can be sent";
    } catch (const std::bad_alloc&) {
        return make_error_code(boost::system::errc::not_enough_memory);
    } catch (const std::exception& e) {
        task.report.text = e.what();
    } catch (...) {
        task.report.text = "the codec of the request has thrown";
    }
    return pool_errc::bad_message;
}

std::uint64_t to_ns(std::chrono::nanoseconds limit)
{
    return limit == std::chrono::nanoseconds::max() ? 0 : static_cast<std::uint64_t>(limit.count());
}

}  // namespace

// Notices that the context goes down, while somebody may wait for something. One that there was no
// memory to keep notices nothing.
class pool_core::sentinel {
public:
    explicit sentinel(std::weak_ptr<pool_core> core) noexcept : core_(std::move(core)) { }
    sentinel(sentinel&&) noexcept = default;
    sentinel(const sentinel&) = delete;
    sentinel& operator=(const sentinel&) = delete;
    sentinel& operator=(sentinel&&) = delete;
    ~sentinel()
    {
        const auto core = core_.lock();
        if (core && core->watching_)
            core->drop_all();
    }
    void operator()(const error_code&) { core_.reset(); }

private:
    std::weak_ptr<pool_core> core_;  // null after a move or a call
};

pool_core::pool_core(pool_options options, pool_process_setup setup)
    : options_(std::move(options)),
      setup_(std::make_shared<const pool_process_setup>(std::move(setup))),
      fsm_(pool_fsm::setup(options_), seed_of(options_)),
      recorder_(options_.tasks_per_worker, options_.clock->now()),
      counters_(options_.counters.size()),
      watch_(setup_->executor)
{
}

pool_core::~pool_core() = default;

// Every entry: what it is about, and then what follows from it.
template <class Function>
void pool_core::enter(bool now, Function what)
{
    if (abandoned_)
        return;
    if (inside_) {  // a handler of a user, called by settle(), which goes on afterwards
        catch_up();
        what();
        return;
    }
    const auto self = shared_from_this();
    catch_up();
    what();
    settle(now);
}

void pool_core::settle(bool now)
{
    struct guard {
        bool& inside;
        ~guard() { inside = false; }
    };
    const auto self = shared_from_this();
    const guard over{inside_ = true};
    do {
        send();
        // One that stops is ready for nothing: who waits for that is told when it has stopped.
        if (!ready_waits_.empty() && !stopping_ && fsm_.ready() >= fsm_.min_workers())
            complete_ready_waits({});
        tell(std::exchange(news_, std::move(told_)), now);
    } while (!abandoned_ && (!news_.empty() || !dirty_.empty()));
    if (finished_)
        complete_stop_waits();
    arm();
}

// Those behind one for which there is no memory stay in the list, and have another turn.
void pool_core::send()
{
    try {
        for (std::size_t i = 0; i < dirty_.size(); ++i) {
            const auto process = dirty_[i];
            process->is_dirty = false;
            process->flush();
            if (process->has_been_asked())
                look_what_has_begun(*process);
        }
    } catch (...) {
        asio::post(setup_->executor, [self = shared_from_this()] { self->settle(true); });
        throw;
    }
    dirty_.clear();
}

// To who sleeps that is half of a round trip. Not after the first one: a worker that shares the
// processor with this process would be given it for one task.
void pool_core::send_early()
{
    for (std::size_t i = 0; i < dirty_.size() && !abandoned_; ++i) {
        const auto process = dirty_[i];
        process->flush();
    }
}

// A handler that throws does so into run(), and the others are told in another turn.
void pool_core::tell(std::vector<news> batch, bool now)
{
    std::size_t told = 0;
    try {
        while (told < batch.size()) {
            const auto one = std::move(batch[told++]);
            if (one.over)
                one.task->on_over(now);
            else
                one.task->on_admitted(now);
            if (told == told_before_sending)
                send_early();
        }
    } catch (...) {
        news_.insert(news_.begin(),
                     std::make_move_iterator(batch.begin() + static_cast<std::ptrdiff_t>(told)),
                     std::make_move_iterator(batch.end()));
        asio::post(setup_->executor, [self = shared_from_this()] { self->settle(true); });
        throw;
    }
    batch.clear();
    told_ = std::move(batch);
}

void pool_core::start(handler h)
{
    wait(ready_waits_, std::move(h));
    enter(false, [&] {
        keep_watch();
        make_room_for_workers(options_.max_workers);
        if (!std::exchange(started_, true)) {
            const auto time = options_.clock->now();
            fsm_.start(time);
            carry_out(time);
        }
    });
}

// Tasks.

error_code pool_core::encode(pool_task_state& task, const request_writer& request,
                             const submit_options& options)
{
    task.trace = options.trace;
    if (options_.spans.begin) {
        pool_span span;
        span.task = last_number_ + 1;
        span.trace = options.trace;
        task.trace = options_.spans.begin(span);
    }
    const auto trace_bytes = trace_size(task.trace);
    const auto size = pool_header_bytes + trace_bytes + request.size_bytes;
    if (trace_bytes > UINT16_MAX || size > setup_->setup.longest_record) {
        task.report.text = "a request of " + std::to_string(request.size_bytes) + " bytes, with "
            + std::to_string(trace_bytes) + " of trace context; a record has at most "
            + std::to_string(setup_->setup.longest_record) + " (channels.max_message_bytes)";
        return pool_errc::bad_message;
    }
    if (!spare_records_.empty()) {
        task.record = std::move(spare_records_.back());
        spare_records_.pop_back();
    }
    task.record.resize(size);
    const std::span whole(task.record);
    write_trace(task.trace, whole.subspan(pool_header_bytes, trace_bytes));
    return write_request(task, request, whole.subspan(pool_header_bytes + trace_bytes));
}

// It was never submitted.
void pool_core::refuse(const task_pointer& task, const error_code& why)
{
    task->over = true;
    task->error = why;
    task->report.outcome = pool_outcome::task_failed;
    last_number_ = fsm_.refuse();
    end_span(last_number_, 0, task->trace, pool_outcome::task_failed);
    news_.push_back({task, true});
}

void pool_core::end_span(std::uint64_t task, std::uint64_t worker, const trace_context& trace,
                         pool_outcome outcome) const
{
    if (!options_.spans.end)
        return;
    pool_span span;
    span.task = task;
    span.worker = worker;
    span.trace = trace;
    span.outcome = outcome;
    options_.spans.end(span);
}

bool pool_core::submit(task_pointer task, const request_writer& request,
                       const submit_options& options, bool may_wait)
{
    bool submitted = false;
    const auto because_gone = [&] {
        task->over = true;
        task->error = asio::error::operation_aborted;
        task->on_over(false);
    };
    if (abandoned_) {
        because_gone();
        return false;
    }
    enter(false, [&] {
        // There will never be room in one that stops, which says so instead.
        const bool is_full = fsm_.waiting() > 0 || fsm_.queued() >= options_.high_water;
        if (!may_wait && is_full && !stopping_) {
            task->over = true;
            task->error = asio::error::would_block;
            return;
        }
        if (const auto wrong = encode(*task, request, options))
            return refuse(task, wrong);
        keep_watch();
        const auto now = options_.clock->now();
        const auto until = options.queue_deadline > timer_clock::time_point::max() - now
            ? timer_clock::time_point::max()
            : now + options.queue_deadline;
        // What a stream has given cannot be taken back.
        const bool idempotent = options.idempotent && !task->is_stream;
        task->core = this;
        task->heartbeat = options.heartbeat;
        task->run_limit = options.run_deadline;
        task->number = fsm_.submit({options.priority, options.key, until, options.run_deadline,
                                    options.heartbeat, idempotent, options.strikes},
                                   now);
        last_number_ = task->number;
        keep(std::move(task));
        carry_out(now);
        cut_short_ -= stopping_ ? 1 : 0;  // it is refused, and was never taken
        submitted = !stopping_;
    });
    return submitted;
}

void pool_core::cancel(pool_task_state& task)
{
    // By the destructor of a task, too, and that may run in a copy by fork.
    if (is_copy())
        return;
    enter(false, [&] {
        const auto time = options_.clock->now();
        fsm_.cancel(task.number, time);
        carry_out(time);
    });
}

void pool_core::give_credits(const pool_task_state& task, std::uint32_t items)
{
    enter(false, [&] {
        auto* const process = find_process(task.worker);
        if (process == nullptr || !find(task.number))
            return;
        auto& kept = *find(task.number);
        kept.credits += items;
        process->give_credits(kept, items);
        mark_dirty(*process);
    });
}

const pool_core::task_pointer& pool_core::find(std::uint64_t number) const noexcept
{
    static const task_pointer none;
    const auto place = index_.find(number);
    return place == no_place ? none : tasks_[place];
}

void pool_core::keep(task_pointer task)
{
    const auto number = task->number;
    auto place = static_cast<pool_place>(tasks_.size());
    if (free_places_.empty()) {
        tasks_.push_back(std::move(task));
    } else {
        place = free_places_.back();
        free_places_.pop_back();
        tasks_[place] = std::move(task);
    }
    index_.insert(number, place);
}

pool_core::task_pointer pool_core::forget(std::uint64_t number)
{
    const auto place = index_.find(number);
    index_.erase(number);
    free_places_.push_back(place);
    return std::exchange(tasks_[place], nullptr);
}

// What the machine wants.

void pool_core::carry_out(timer_clock::time_point now)
{
    recorder_.record(fsm_, now);
    for (const auto& one : fsm_.outputs())
        carry_out(one);
    end_unstarted(now);
}

void pool_core::carry_out(const pool_output& what)
{
    switch (what.what) {
    case kind::start_worker: start_worker(what); break;
    case kind::deliver: deliver(what); break;
    case kind::ask: ask(what); break;
    case kind::retire: {
        auto& process = *find_process(what.worker);
        process.retire();
        mark_dirty(process);
        break;
    }
    case kind::terminate: find_process(what.worker)->terminate(what.overdue); break;
    case kind::kill:
        cut_short_ += stopping_ ? 1 : 0;
        find_process(what.worker)->kill();
        break;
    case kind::struck: find(what.task)->report.deaths.push_back(death_); break;
    case kind::complete: complete(what); break;
    case kind::admitted: admit(what); break;
    case kind::finished: finished_ = true; break;
    }
}

void pool_core::ask(const pool_output& what)
{
    auto& task = *find(what.task);
    auto& process = *find_process(what.worker);
    task.asked = true;
    process.ask(task, what.outcome == pool_outcome::queue_deadline);
    mark_dirty(process);
}

void pool_core::admit(const pool_output& what)
{
    // Most have nobody who waits for that.
    if (const auto& task = find(what.task); task->waits_for_admission())
        news_.push_back({task, false});
}

// What the machine wants behind this is wanted all the same, and who waits for this worker waits
// for its end, or for the next one: so a want of memory is the end of a worker, and no exception.
void pool_core::start_worker(const pool_output& what)
{
    pool_span span;
    span.worker = what.worker;
    trace_context trace;
    if (options_.spans.begin)
        trace = options_.spans.begin(span);
    try {
        auto process = std::make_shared<pool_process>(*this, setup_, what.worker, what.slot);
        processes_.emplace(what.worker, process);
        if (owner_ == 0)
            owner_ = ::getpid();
        process->start(trace);
    } catch (const std::bad_alloc&) {
        if (auto* const begun = find_process(what.worker))
            begun->forget_owner();  // it may have posted that it is lost
        processes_.erase(what.worker);
        unstarted_.push_back(what.worker);  // has room for all that there can be
        end_span(0, what.worker, trace, pool_outcome::done);
    }
}

void pool_core::deliver(const pool_output& what)
{
    const auto& task = find(what.task);
    auto& process = *find_process(what.worker);
    task->worker = what.worker;
    task->attempt = what.attempt;
    task->asked = false;
    task->unsent = true;
    task->report.attempts = what.attempt;
    task->credits = task->is_stream ? stream_window : 0;
    const bool is_watched = task->heartbeat != std::chrono::nanoseconds::max();
    pool_header header{};
    header.kind = static_cast<std::uint8_t>(pool_record::task);
    header.flags = static_cast<std::uint8_t>((task->is_stream ? pool_flag_stream : 0)
                                             | (is_watched ? pool_flag_beats : 0));
    header.trace_bytes = static_cast<std::uint16_t>(trace_size(task->trace));
    header.attempt = what.attempt;
    header.task = task->number;
    header.run_ns = to_ns(task->run_limit);
    header.credits = task->credits;
    write_header(header, task->record);
    process.deliver(task);
    mark_dirty(process);
    if (!is_watched)
        return;
    ++process.watched;
    const auto every = std::max<std::chrono::nanoseconds>(task->heartbeat / 4, pool_beat);
    look_every_ = watched_++ == 0 ? every : std::min(look_every_, every);
    const auto look = options_.clock->after(look_every_);
    next_look_ = watched_ == 1 ? look : std::min(next_look_, look);
}

void pool_core::unwatch(const pool_task_state& task)
{
    if (task.heartbeat == std::chrono::nanoseconds::max())
        return;
    auto* const process = find_process(task.worker);
    if (process == nullptr)
        return;  // it waited, or its worker has ended
    --process->watched;
    --watched_;
}

void pool_core::complete(const pool_output& what)
{
    using enum pool_outcome;
    auto task = forget(what.task);
    auto& report = task->report;
    cut_short_ += what.outcome == stopped ? 1 : 0;
    report.outcome = what.outcome;
    report.attempts = what.attempt;
    report.wait_time = what.waited;
    report.run_time = what.ran;
    // One that had been begun, and ends with its worker.
    const bool by_death = dead_worker_ != 0 && what.worker == dead_worker_
        && task->worker == dead_worker_ && what.outcome != stopped;
    if (by_death)
        report.deaths.push_back(death_);
    auto why = make_pool_error(what.outcome);
    if (task->fault)
        why = task->fault;
    // One that was never begun has no end that it was cut off from.
    else if (task->is_stream
             && (what.outcome == worker_died || (what.outcome == poisoned && what.attempt > 0)))
        why = pool_errc::truncated;
    unwatch(*task);
    end_task(std::move(task), why);
    end_span(what.task, what.worker, news_.back().task->trace, what.outcome);
}

void pool_core::end_task(task_pointer task, const error_code& why)
{
    task->core = nullptr;
    task->over = true;
    task->worker = 0;
    task->error = why;
    if (spare_records_.size() < most_spare_records && task->record.capacity() <= most_spare_bytes
        && !task->unsent)
        spare_records_.push_back(std::move(task->record));
    news_.push_back({std::move(task), true});
}

pool_process* pool_core::find_process(std::uint64_t number) const noexcept
{
    const auto found = number == 0 ? processes_.end() : processes_.find(number);
    return found == processes_.end() ? nullptr : found->second.get();
}

void pool_core::mark_dirty(pool_process& process)
{
    if (process.is_dirty)
        return;
    dirty_.push_back(process.shared_from_this());
    process.is_dirty = true;
}

pool_metrics pool_core::metrics()
{
    auto all = recorder_.snapshot(fsm_, options_.clock->now());
    for (std::size_t i = 0; i < counters_.size(); ++i) {
        auto sum = counters_[i];
        for (const auto& [number, process] : processes_)
            sum += process->record().counter(i);
        all.counters.push_back({options_.counters[i], sum});
    }
    return all;
}

// The whole of it.

void pool_core::resize(unsigned min_workers, unsigned max_workers)
{
    if (const auto problem = problem_of_workers(min_workers, max_workers); !problem.empty())
        throw std::invalid_argument("process_pool: " + problem);
    enter(false, [&] {
        const auto now = options_.clock->now();
        make_room_for_workers(max_workers);
        fsm_.resize(min_workers, max_workers, now);
        carry_out(now);
    });
}

void pool_core::recycle()
{
    enter(false, [&] {
        const auto now = options_.clock->now();
        fsm_.recycle_all(now);
        carry_out(now);
    });
}

void pool_core::stop(std::chrono::nanoseconds budget, handler h)
{
    wait(stop_waits_, std::move(h));
    enter(false, [&] {
        // What does not end by itself has to be ended within the budget, too.
        const auto most = std::max(budget, 0ns) / 2;
        const auto asking = std::min(options_.ask_grace, most);
        const auto to_end = asking + std::min(options_.term_grace, most - asking);
        const auto now = options_.clock->now();
        const auto kill_by = options_.clock->after(std::max(budget, 0ns));
        const auto drain_by =
            kill_by == timer_clock::time_point::max() ? kill_by : kill_by - to_end;
        stopping_ = true;
        const auto refused = fsm_.waiting();  // these as well
        fsm_.stop(drain_by, kill_by, now);
        carry_out(now);
        cut_short_ -= refused;
    });
}

void pool_core::signal(int number, error_code& ec)
{
    ec.clear();
    for (const auto& [worker, process] : processes_) {
        error_code failed;
        process->signal_tree(number, failed);
        if (failed)
            ec = failed;
    }
}

std::vector<pid_t> pool_core::pids() const
{
    std::vector<pid_t> all;
    for (const auto& [number, process] : processes_) {
        if (process->pid() != 0)
            all.push_back(process->pid());
    }
    return all;
}

void pool_core::wait(std::vector<ready_wait>& list, handler h)
{
    auto one = std::make_shared<pending<void(error_code)>>(setup_->executor, std::move(h));
    if (abandoned_) {
        one->complete(asio::error::operation_aborted);
        return;
    }
    std::erase_if(list, [](const auto& each) { return !*each; });
    list.push_back(one);
    auto slot = one->get_cancellation_slot();
    if (!slot.is_connected())
        return;
    slot.assign([weak = std::weak_ptr(one)](asio::cancellation_type type) {
        const auto waiting = weak.lock();
        if (waiting && *waiting && type != asio::cancellation_type::none)
            waiting->complete(asio::error::operation_aborted);
    });
}

// These are few, so each is told in a turn of its own, where it may throw.
void pool_core::complete_ready_waits(const error_code& ec)
{
    while (!ready_waits_.empty()) {
        const auto one = ready_waits_.front();
        ready_waits_.erase(ready_waits_.begin());
        if (*one)
            one->complete(ec);
    }
}

void pool_core::complete_stop_waits()
{
    watch_.cancel();
    for (const auto& one : std::exchange(stop_waits_, {})) {
        if (*one)
            one->complete(error_code());
    }
    complete_ready_waits(pool_errc::stopped);
}

void pool_core::keep_watch()
{
    if (watching_)
        return;
    watch_.expires_at(asio::steady_timer::time_point::max());
    watch_.async_wait(sentinel(weak_from_this()));
    watching_ = true;
}

// The context goes down: handlers may own the pool, and with it themselves.
void pool_core::drop_all() noexcept
{
    const auto tasks = std::exchange(tasks_, {});
    const auto untold = std::exchange(news_, {});
    const auto ready = std::exchange(ready_waits_, {});
    const auto stop = std::exchange(stop_waits_, {});
    index_ = {};
    abandoned_ = true;
    for (const auto& task : tasks) {
        if (!task)
            continue;
        task->core = nullptr;
        task->over = true;
        task->drop();
    }
    for (const auto& one : untold)
        one.task->drop();
}

// What waits in a copy waits for ever: nobody there hears of the workers.
void pool_core::forget_all() noexcept
{
    for (const auto& task : tasks_) {
        if (task)
            task->core = nullptr;
    }
    for (const auto& [number, process] : processes_)
        process->forget_owner();
}

void pool_core::abandon() noexcept
{
    if (std::exchange(abandoned_, true))
        return;
    // A copy by fork leaves everything as it is: the workers are the original's.
    if (is_copy())
        return forget_all();
    if (timer_)
        timer_->emit(asio::cancellation_type::terminal);
    watch_.cancel();
    for (const auto& [number, process] : processes_) {
        process->abandon();
        end_span(0, number, process->trace, pool_outcome::done);
    }
    processes_.clear();
    dirty_.clear();
    // From here on handlers are posted, which takes memory: where there is none even for this the
    // host ends (std::terminate). Rejected: to drop them; a coroutine's posts in its destructor.
    for (const auto& task : std::exchange(tasks_, {})) {
        if (!task)
            continue;
        task->core = nullptr;
        task->over = true;
        task->report.outcome = pool_outcome::stopped;
        task->error = asio::error::operation_aborted;
        end_span(task->number, task->worker, task->trace, pool_outcome::stopped);
        task->on_over(false);
    }
    for (const auto& one : std::exchange(news_, {})) {
        if (one.over)
            one.task->on_over(false);
    }
    complete_ready_waits(asio::error::operation_aborted);
    for (const auto& one : std::exchange(stop_waits_, {})) {
        if (*one)
            one->complete(asio::error::operation_aborted);
    }
}

// A timer that comes too early costs less than to set one for each task.
void pool_core::arm()
{
    const auto next = abandoned_ ? timer_clock::time_point::max() : next_due();
    if (next == timer_clock::time_point::max() || (armed_for_ && *armed_for_ <= next)) {
        const bool idle = timer_ && (finished_ || abandoned_);
        if (idle) {
            timer_->emit(asio::cancellation_type::terminal);
            timer_.reset();
            armed_for_.reset();
        }
        return;
    }
    const auto begun = std::make_shared<asio::cancellation_signal>();
    options_.clock->async_wait_until(
        setup_->executor, next,
        asio::bind_cancellation_slot(
            begun->slot(), [weak = weak_from_this(), mine = std::weak_ptr(begun)](error_code ec) {
                const auto self = weak.lock();
                // Another timer may have taken its place since it was due.
                if (!ec && self && self->timer_ && self->timer_ == mine.lock())
                    self->on_timer();
            }));
    // Not before: without memory for the wait none is set, and the next turn tries again.
    if (timer_)
        timer_->emit(asio::cancellation_type::terminal);
    timer_ = begun;
    armed_for_ = next;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
