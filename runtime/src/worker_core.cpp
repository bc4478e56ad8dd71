// SPDX-License-Identifier: BSL-1.0
#include "worker_core.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/runtime/inherited.hpp>
#include <procyard/runtime/pool_error.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// So many tasks are begun in one turn of the loop, and then others have one.
constexpr int tasks_in_a_turn = 64;
// A year: what is longer is no limit, and could not be added to a time.
constexpr std::uint64_t longest_run = std::uint64_t{366} * 24 * 3600 * 1000 * 1000 * 1000;
// What a sysexits(3) program returns when it is itself at fault.
constexpr int internal_failure = 70;

void complain(const std::string& what)
{
    (void)std::fprintf(stderr, "procyard worker: %s\n", what.c_str());
}

std::string text_of(const std::exception_ptr& error)
{
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        return e.what();
    } catch (...) {
        return "an exception of an unknown type";
    }
}

bool is_cancellation(const std::exception_ptr& error)
{
    try {
        std::rethrow_exception(error);
    } catch (const boost::system::system_error& e) {
        return e.code() == asio::error::operation_aborted;
    } catch (...) {
        return false;
    }
}

// A text as the payload of a record.
answer_writer text_writer(const std::string_view& text)
{
    return {text.size(), &text, [](const void* erased, std::span<std::byte> to) {
                const auto& from = *static_cast<const std::string_view*>(erased);
                if (!from.empty())
                    std::memcpy(to.data(), from.data(), from.size());
                return true;
            }};
}

// Of what calls a codec of the user's in an initiating function: what that throws would destroy the
// coroutine that waits, and end the worker.
template <class Write>
error_code outcome_of(Write write)
{
    try {
        return write() ? error_code() : make_error_code(pool_errc::bad_message);
    } catch (const std::bad_alloc&) {
        return make_error_code(boost::system::errc::not_enough_memory);
    } catch (...) {
        return pool_errc::bad_message;
    }
}

constexpr answer_writer no_payload{0, nullptr,
                                   [](const void*, std::span<std::byte>) { return true; }};

}  // namespace

worker_core::worker_core(asio::io_context& ctx, std::string entry_name, pool_handler* handler,
                         const worker_warm_up* warm_up, std::string why,
                         std::chrono::nanoseconds spin)
    : ctx_(&ctx),
      entry_name_(std::move(entry_name)),
      handler_(handler),
      warm_up_(warm_up),
      why_not_(std::move(why)),
      spin_(spin),
      beat_(ctx)
{
}

worker_core::~worker_core()
{
    // A job may be kept longer.
    for (const auto& task : running_)
        task->core = nullptr;
}

int worker_core::run()
{
    if (!open())
        return internal_failure;
    listen();
    ctx_->run();
    return code_;
}

bool worker_core::open()
{
    error_code ec;
    const auto ex = ctx_->get_executor();
    const std::string name(pool_channel_name);
    tx_ = inherited<sender<bytes>>(ex, name + ".out", ec, spin_);
    if (!ec)
        rx_ = inherited<receiver<bytes>>(ex, name + ".in", ec, spin_);
    if (!ec)
        control_ = find_inherited(std::string(pool_control_name), ec).socket;
    if (ec)
        complain("the pool's channels: " + ec.message() + ' ' + rx_.explanation()
                 + tx_.explanation());
    return !ec;
}

// What comes from the pool.

void worker_core::listen()
{
    rx_.async_wait_readable([this](const error_code& ec) { on_readable(ec); });
}

void worker_core::on_readable(const error_code& ec)
{
    if (over_)
        return;
    if (ec) {
        end(ec);
        return;
    }
    if (!drain())
        return;
    listen();
    pump();
}

// Takes all that is there. Nothing is done about it before the ring has its room back: a handler
// may look at the channel again.
bool worker_core::drain()
{
    if (!take_all())
        return false;
    for (const auto& task : std::exchange(to_cancel_, {}))
        cancel(task);
    return !over_;
}

// Until there is nothing: a batch ends with what was there when the channel was last looked at.
bool worker_core::take_all()
{
    error_code ec;
    bool good = true;
    while (good && !ec) {
        auto batch = rx_.try_receive_batch(ec);
        bytes record;
        while (good && batch.next(record))
            good = take(record);
    }
    if (!good) {
        end(channel_errc::peer_broke_rules);
        return false;
    }
    if (ec != asio::error::would_block) {
        end(ec);
        return false;
    }
    return !over_;
}

bool worker_core::take(bytes record)
{
    parsed_record parsed;
    if (!parse_record(record, pool_side::pool, parsed))
        return false;
    if (greeted_ == (parsed.kind() == pool_record::setup))
        return false;
    switch (parsed.kind()) {
    case pool_record::setup: return take_setup(parsed.payload);
    case pool_record::task: return take_task(parsed);
    case pool_record::cancel: take_cancel(parsed); return true;
    case pool_record::credit: take_credit(parsed); return true;
    case pool_record::stop: stopping_ = true; return true;
    case pool_record::hello:
    case pool_record::result:
    case pool_record::item:
    case pool_record::failed:
    case pool_record::cancelled: break;  // a worker's own
    }
    return false;
}

bool worker_core::take_setup(bytes payload)
{
    greeted_ = true;
    if (!decode_message(payload, setup_) || setup_.version != pool_version
        || setup_.tasks_at_once == 0) {
        complain("the pool speaks another version of the protocol");
        return false;
    }
    if (!send_record())
        return false;
    // In a turn of its own: what warms up must not run while the channel is lent.
    asio::post(*ctx_, [this] { warm_up(); });
    return true;
}

bool worker_core::take_task(const parsed_record& record)
{
    task_pointer task;
    if (spare_.empty()) {
        task = std::make_shared<worker_task>();
        task->executor = ctx_->get_executor();
    } else {
        task = std::move(spare_.back());
        spare_.pop_back();
    }
    task->core = this;
    task->number = record.header.task;
    task->attempt = record.header.attempt;
    task->credits = record.header.credits;
    task->run_limit = std::chrono::nanoseconds(
        static_cast<std::int64_t>(std::min(record.header.run_ns, longest_run)));
    task->wants_beats = (record.header.flags & pool_flag_beats) != 0;
    task->is_stream = record.is_stream();
    task->cancelled = false;
    task->begun = false;
    task->trace = {};
    if (!parse_trace(record.trace, task->trace))
        return false;
    task->request.assign(record.payload.begin(), record.payload.end());
    queue_.push_back(std::move(task));
    return true;
}

void worker_core::take_cancel(const parsed_record& record)
{
    const auto is_it = [&](const task_pointer& task) {
        return task->number == record.header.task && task->attempt == record.header.attempt;
    };
    // One that is unknown has been answered before this came.
    const bool only_unbegun = (record.header.flags & pool_flag_unbegun) != 0;
    for (const auto& task : running_) {
        if (is_it(task) && !only_unbegun)
            to_cancel_.push_back(task);
    }
    for (const auto& task : queue_) {
        if (is_it(task))
            to_cancel_.push_back(task);
    }
}

void worker_core::take_credit(const parsed_record& record)
{
    const auto found = std::find_if(running_.begin(), running_.end(), [&](const auto& task) {
        return task->number == record.header.task && task->attempt == record.header.attempt;
    });
    const auto waiting = std::find_if(queue_.begin(), queue_.end(), [&](const auto& task) {
        return task->number == record.header.task;
    });
    if (found == running_.end()) {
        if (waiting != queue_.end())
            (*waiting)->credits += record.header.credits;
        return;
    }
    auto& task = **found;
    task.credits += record.header.credits;
    if (task.yields && task.credits > 0) {
        --task.credits;
        put_later(std::move(task.item));
        task.item = {};
        task.yields.complete({});
    }
}

void worker_core::cancel(const task_pointer& task)
{
    if (task->core == nullptr || task->cancelled)
        return;
    task->cancelled = true;
    if (task->begun) {
        task->signal.emit(asio::cancellation_type::terminal);
        return;
    }
    // It stays in the queue, in its place of the order, and is passed over there.
    (void)put(header_of(*task, pool_record::cancelled), no_payload);
    task->core = nullptr;
}

void worker_core::end(const error_code& why)
{
    if (std::exchange(over_, true))
        return;
    // The pool has gone, or wants no more of this worker: that is an end as any other.
    const bool clean = why == channel_errc::closed || why == channel_errc::peer_died;
    if (!clean)
        complain("the channel from the pool: " + why.message());
    code_ = clean ? 0 : internal_failure;
    ctx_->stop();
}

// The worker's own words.

bool worker_core::send_record()
{
    error_code ec;
    record_ = own_worker_record::create(setup_.counters, ec);
    if (!ec) {
        const std::uint64_t size = record_.memory().size();
        const std::array<int, 1> fds{record_.memory().native_handle()};
        (void)try_send_descriptors(control_.get(), std::as_bytes(std::span(&size, 1)), fds, ec);
    }
    control_.reset();
    if (ec)
        complain("its record: " + ec.message());
    return !ec;
}

// As long as a task runs that wants it: one that has nothing to do wakes nobody.
void worker_core::start_beating()
{
    record_.beat();
    if (std::exchange(beating_, true) || setup_.beat_ns == 0)
        return;
    wait_for_beat();
}

void worker_core::wait_for_beat()
{
    beat_.expires_after(
        std::chrono::nanoseconds(static_cast<std::int64_t>(std::min(setup_.beat_ns, longest_run))));
    beat_.async_wait([this](const error_code& ec) {
        if (ec || over_)
            return;
        record_.beat();
        beating_ = std::any_of(running_.begin(), running_.end(),
                               [](const task_pointer& task) { return task->wants_beats; });
        if (beating_)
            wait_for_beat();
    });
}

void worker_core::warm_up()
{
    if (!why_not_.empty() || warm_up_ == nullptr || !*warm_up_) {
        say_hello(why_not_);
        return;
    }
    asio::awaitable<void> warming;
    try {
        warming = (*warm_up_)();
    } catch (...) {
        say_hello(text_of(std::current_exception()));
        return;
    }
    asio::co_spawn(*ctx_, std::move(warming), [this](const std::exception_ptr& error) {
        say_hello(error ? text_of(error) : std::string());
    });
}

void worker_core::say_hello(const std::string& why_not)
{
    hello_message hello;
    hello.ready = why_not.empty() ? 1 : 0;
    hello.entry = entry_name_;
    if (handler_ != nullptr) {
        hello.request = handler_->request().to_bytes();
        hello.response = handler_->response().to_bytes();
    }
    hello.text = to_printable(why_not);
    pool_header header{};
    header.kind = static_cast<std::uint8_t>(pool_record::hello);
    put_later(make_record(header, hello));
}

// Running tasks.

// Nothing is begun before the answers to what has ended are where the pool finds them, even if this
// process dies: it would not know that the next one was begun in the place of an ended one, and two
// tasks would be told the death of one.
//
// Between the note that a task is begun and its handler the channel is looked at once more: when a
// cancel is there, the pool may not have seen the note, and the task be over for it. What else is
// found waits: an answer to it could be on its way still when the handler is called.
//
// So that this look finds next to nothing, all that has come is taken after each task, when none is
// noted: a record can kill who takes it, by its mere size, and the task that is noted would be told
// that death. What remains is what comes between the two looks. Rejected: a second note around the
// taking, which each task would pay for.
void worker_core::pump()
{
    for (int left = tasks_in_a_turn; left > 0 && !queue_.empty(); --left) {
        if (running_.size() >= setup_.tasks_at_once || over_ || !unsent_.empty())
            return;
        const auto task = queue_.front();
        record_.begin();
        if (!take_all())
            return;
        const bool cancelled = task->cancelled
            || std::find(to_cancel_.begin(), to_cancel_.end(), task) != to_cancel_.end();
        queue_.pop_front();
        if (!cancelled)
            begin(task);
        if (!drain())
            return;
    }
    if (queue_.empty())
        end_if_done();
    else if (running_.size() < setup_.tasks_at_once && unsent_.empty()
             && !std::exchange(pump_posted_, true))
        asio::post(*ctx_, [this] {
            pump_posted_ = false;
            pump();
        });
}

void worker_core::begin(const task_pointer& task)
{
    task->begun = true;
    task->deadline = std::chrono::steady_clock::time_point{};
    if (task->run_limit.count() != 0)
        task->deadline = std::chrono::steady_clock::now() + task->run_limit;
    running_.push_back(task);
    if (task->wants_beats)
        start_beating();
    if (handler_->is_coroutine()) {
        begin_coroutine(task);
        return;
    }
    std::exception_ptr error;
    try {
        pool_job what(task);
        handler_->run(what, task->request);
    } catch (...) {
        error = std::current_exception();
    }
    ended(task, error);
}

void worker_core::begin_coroutine(const task_pointer& task)
{
    asio::awaitable<void> working;
    try {
        working = handler_->start(pool_job(task), task->request);
    } catch (...) {
        ended(task, std::current_exception());
        return;
    }
    asio::co_spawn(*ctx_, std::move(working),
                   asio::bind_cancellation_slot(task->signal.slot(),
                                                [this, task](const std::exception_ptr& error) {
                                                    ended(task, error);
                                                    pump();
                                                }));
}

void worker_core::ended(const task_pointer& task, const std::exception_ptr& error)
{
    if (task->core != nullptr) {
        if (error)
            fail(*task, error);
        else
            fail(*task, std::make_exception_ptr(std::logic_error("the handler has not answered")));
    }
    const auto found = std::find(running_.begin(), running_.end(), task);
    if (found != running_.end()) {
        *found = std::move(running_.back());
        running_.pop_back();
    }
    recycle(task);
}

void worker_core::fail(worker_task& task, const std::exception_ptr& error)
{
    if (task.cancelled && is_cancellation(error)) {
        (void)put(header_of(task, pool_record::cancelled), no_payload);
    } else {
        const auto room = setup_.longest_record
            - std::min<std::uint64_t>(setup_.longest_record, pool_header_bytes);
        const auto text = to_printable(text_of(error), std::min<std::uint64_t>(longest_text, room));
        const std::string_view view(text);
        (void)put(header_of(task, pool_record::failed), text_writer(view));
    }
    finish(task);
}

void worker_core::finish(worker_task& task)
{
    task.core = nullptr;
    if (task.yields)
        task.yields.complete(asio::error::operation_aborted);
}

// One that no job refers to any more is used again, with the memory that it has.
void worker_core::recycle(task_pointer task)
{
    constexpr std::size_t most_spare = 64;
    constexpr std::size_t most_bytes = 64 * 1024;
    // Ours and the caller's.
    if (task.use_count() > 2 || handler_->is_coroutine() || spare_.size() >= most_spare
        || task->request.capacity() > most_bytes)
        return;
    spare_.push_back(std::move(task));
}

// Answers.

pool_header worker_core::header_of(const worker_task& task, pool_record kind) const
{
    pool_header header{};
    header.kind = static_cast<std::uint8_t>(kind);
    header.attempt = task.attempt;
    header.task = task.number;
    return header;
}

void worker_core::answer(worker_task& task, const answer_writer& response)
{
    if (!put(header_of(task, pool_record::result), response))
        throw std::length_error("the response of " + std::to_string(response.size_bytes)
                                + " bytes cannot be sent");
    finish(task);
}

void worker_core::answer_without(worker_task& task)
{
    if (!task.is_stream)
        throw std::logic_error("the entry \"" + entry_name_
                               + "\" gives items: submit the task as a stream");
    auto header = header_of(task, pool_record::result);
    header.flags = pool_flag_stream;
    (void)put(header, no_payload);
    finish(task);
}

void worker_core::yield(const std::shared_ptr<worker_task>& task, const type_description& type,
                        const answer_writer& item, pending<void(error_code)> handler)
{
    if (!task->is_stream) {
        handler.complete(asio::error::operation_not_supported);
        return;
    }
    if (task->yields) {
        handler.complete(asio::error::already_started);
        return;
    }
    const auto header = header_of(*task, pool_record::item);
    if (type.fingerprint != handler_->response().fingerprint) {
        handler.complete(pool_errc::bad_message);
        return;
    }
    if (task->credits > 0) {
        const auto ec = outcome_of([&] { return put(header, item); });
        task->credits -= ec ? 0 : 1;
        handler.complete(ec);
        return;
    }
    std::vector<std::byte> record;
    const auto ec = outcome_of([&] {
        record.resize(pool_header_bytes + item.size_bytes);
        write_header(header, record);
        return record.size() <= setup_.longest_record
            && item.write(item.value, std::span(record).subspan(pool_header_bytes));
    });
    if (ec) {
        handler.complete(ec);
        return;
    }
    task->item = std::move(record);
    task->yields = std::move(handler);
    ++task->wait;
    auto slot = task->yields.get_cancellation_slot();
    if (!slot.is_connected())
        return;
    // It may be heard of when its wait is over, and another one there.
    slot.assign([weak = std::weak_ptr(task), wait = task->wait](asio::cancellation_type type_of) {
        const auto waiting = weak.lock();
        if (type_of == asio::cancellation_type::none || !waiting || !waiting->yields
            || waiting->wait != wait)
            return;
        waiting->item = {};
        waiting->yields.complete(asio::error::operation_aborted);
    });
}

bool worker_core::look_whether_cancelled(const worker_task& task)
{
    // A coroutine's worker hears of it by itself.
    if (!task.cancelled && !handler_->is_coroutine())
        (void)drain();
    return task.cancelled || over_;
}

// Written where the pool reads it, if there is room at once.
bool worker_core::put(const pool_header& header, const answer_writer& what)
{
    const auto size = pool_header_bytes + what.size_bytes;
    // Before the ring is looked at, where a longer one may fit just now.
    if (size > setup_.longest_record)
        return false;
    if (unsent_.empty()) {
        error_code ec;
        auto room = tx_.try_loan_bytes(size, ec);
        if (room) {
            write_header(header, room.bytes());
            if (!what.write(what.value, room.bytes().subspan(pool_header_bytes)))
                return false;  // the loan goes back
            (void)room.commit();
            return true;
        }
    }
    std::vector<std::byte> record(size);
    write_header(header, record);
    if (!what.write(what.value, std::span(record).subspan(pool_header_bytes)))
        return false;
    put_later(std::move(record));
    return true;
}

void worker_core::put_later(std::vector<std::byte> record)
{
    unsent_.push_back(std::move(record));
    if (unsent_.size() == 1)
        send_next();
}

void worker_core::send_next()
{
    tx_.async_send(bytes(unsent_.front()), [this](const error_code& ec) {
        if (over_)
            return;
        if (ec) {
            end(ec);
            return;
        }
        unsent_.pop_front();
        if (!unsent_.empty())
            send_next();
        else
            pump();
    });
}

void worker_core::end_if_done()
{
    if (!stopping_ || !queue_.empty() || !running_.empty() || !unsent_.empty())
        return;
    over_ = true;
    ctx_->stop();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
