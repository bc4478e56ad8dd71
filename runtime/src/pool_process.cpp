// SPDX-License-Identifier: BSL-1.0
#include "pool_process.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <utility>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/duplex.hpp>
#include <procyard/ipc/unix_socket.hpp>
#include <procyard/runtime/spawn.hpp>
#include <procyard/runtime/stop.hpp>

#include "command_access.hpp"
#include "stop_budget.hpp"
#include "watched_completion.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using namespace std::chrono_literals;

// After the last process of its tree has gone, nobody sends any more but who was given the other
// end by other means: nobody waits long for that one.
constexpr auto remains_grace = 200ms;

// An end that is a socket and nothing else, for command::pass().
struct control_end { };

template <class Owner, class Member, class... Args>
asio::awaitable<void> keep(Owner owner, Member member, Args... args)
{
    co_await ((*owner).*member)(std::move(args)...);
}

// All three or none: what this process was told itself belongs to another trace, and a traceparent
// with the tracestate of another one is worse than none. Without a context of the pool's the
// command's own words count. Rejected: to set what is there alone, since the rest is inherited.
void set_trace(command& what, const trace_context& trace)
{
    const auto set = [&](const char* name, const std::string& value) {
        if (!value.empty())
            what.env(name, value);
        else if (!trace.empty() || !command_access::environment(what).contains(name))
            what.env_remove(name);
    };
    set("TRACEPARENT", trace.traceparent);
    set("TRACESTATE", trace.tracestate);
    set("BAGGAGE", trace.baggage);
}

// A worker that starts a pool instead of its work starts itself, and that one the next: each
// generation has more processes than the one before. Said on the standard error as well, whose end
// is what the pool of this worker hears of it. Rejected: to refuse the pool when it is made, which
// does no harm before run_if_worker().
std::string problem_of_this_process(bool is_first)
{
    const char* const entry = std::getenv(std::string(pool_entry_variable).c_str());
    if (entry == nullptr)
        return {};
    auto problem = "this process was started as a worker, for the entry \"" + to_printable(entry)
        + "\": worker_entries::run_if_worker() has to be called before a pool is started";
    if (is_first)
        (void)std::fprintf(stderr, "procyard worker: %s\n", problem.c_str());
    return problem;
}

}  // namespace

pool_process::pool_process(pool_process_owner& owner,
                           std::shared_ptr<const pool_process_setup> setup, std::uint64_t number,
                           std::size_t slot)
    : owner_(&owner),
      setup_(std::move(setup)),
      number_(number),
      slot_(slot),
      started_(setup_->clock->now()),
      tail_(setup_->error_tail)
{
}

// Its life.

command pool_process::prepare(const trace_context& trace_of_it, error_code& ec)
{
    auto what = setup_->program;
    const auto* const standard = command_access::standard(what);
    const auto is_free = [&](int number) {
        return stdio_access::what(standard[number]) == stdio_access::kind::inherit;
    };
    if (is_free(0))
        what.std_in(stdio::null());
    if (is_free(2))
        what.std_err(stdio::pipe());
    if (command_access::parent_death_signal(what) == 0)
        what.parent_death_signal(SIGKILL);
    if (!setup_->affinity.empty())
        what.cpu_affinity(setup_->affinity[slot_ % setup_->affinity.size()]);
    what.env(std::string(pool_entry_variable), setup_->entry);
    if (setup_->channels.spin > 0ns)
        what.env(std::string(pool_spin_variable), std::to_string(setup_->channels.spin.count()));
    else if (!command_access::environment(what).contains(std::string(pool_spin_variable)))
        what.env_remove(std::string(pool_spin_variable));  // this process may be a worker itself
    set_trace(what, trace_of_it);
    tell_grace(what, setup_->grace);

    auto sides = make_duplex<bytes, bytes>(setup_->channels, ec);
    raw_socket_pair control;
    if (!ec)
        control = make_raw_socket_pair(SOCK_SEQPACKET, ec);
    if (!ec)
        tx_ = sender<bytes>(setup_->executor, std::move(sides.here.sender), ec);
    if (!ec)
        rx_ = receiver<bytes>(setup_->executor, std::move(sides.here.receiver), ec);
    if (ec)
        return what;
    control_ = std::move(control.first);
    const std::string name(pool_channel_name);
    what.pass(std::move(sides.there.sender), name + ".out");
    what.pass(std::move(sides.there.receiver), name + ".in");
    what.pass(unopened<control_end>(std::move(control.second), {}), std::string(pool_control_name));
    return what;
}

void pool_process::start(const trace_context& trace_of_it)
{
    trace = trace_of_it;
    all_told_ = std::make_shared<asio::cancellation_signal>();
    spawning_ = std::make_shared<asio::cancellation_signal>();
    report_ = std::make_shared<death_report>();
    going_ = std::make_shared<asio::cancellation_signal>();
    error_code ec;
    auto what = command(std::string());
    text_ = problem_of_this_process(number_ == 1);
    if (text_.empty())
        what = prepare(trace_of_it, ec);
    if (ec)
        text_ = "its channels: " + ec.message();
    begin(keep(shared_from_this(), &pool_process::live, std::move(what)),
          &pool_process::lost_sight);
}

// What it does when it throws, or comes to an operation that cannot be begun.
void pool_process::begin(asio::awaitable<void> part, void (pool_process::*failed)())
{
    const auto over = [me = shared_from_this(), failed](const std::exception_ptr& error) {
        if (error)
            (*me.*failed)();
    };
    const auto lost = [me = shared_from_this(), failed] { (*me.*failed)(); };
    asio::co_spawn(setup_->executor, std::move(part),
                   watched_completion(setup_->executor, over, lost));
}

asio::awaitable<void> pool_process::live(command what)
{
    // Whoever starts a worker is not told of its end before that has returned.
    co_await asio::post(setup_->executor, asio::use_awaitable);
    if (!text_.empty()) {
        post_end(std::nullopt);
        co_return;
    }
    spawn_failure failure;
    auto [ec, made] = co_await async_spawn(
        std::move(what), setup_->executor, failure,
        asio::bind_cancellation_slot(spawning_->slot(), asio::as_tuple(asio::use_awaitable)));
    spawning_.reset();
    if (ec) {
        text_ = killed_ ? "was not started any more" : failure.to_string();
        post_end(std::nullopt);
        co_return;
    }
    child_ = std::move(made);
    if (killed_)
        supervise(keep(shared_from_this(), &pool_process::climb, stop_ladder::kill()));
    auto how = setup_->setup;
    how.slot = static_cast<std::uint32_t>(slot_);
    pool_header header{};
    header.kind = static_cast<std::uint8_t>(pool_record::setup);
    unsent_.insert(unsent_.begin(), outgoing{nullptr, make_record(header, how), 0});
    flush();
    ++sources_;
    listen();
    if (child_.std_err().is_open()) {
        ++sources_;
        supervise(keep(shared_from_this(), &pool_process::read_errors));
    }
    const auto [lost, status] = co_await child_.async_wait(asio::as_tuple(asio::use_awaitable));
    gone_ = true;
    going_->emit(asio::cancellation_type::terminal);
    co_await wait_for_remains();
    post_end(lost ? std::nullopt : std::optional(status));
}

// What it has started goes with it, and what it has committed is told before its end is.
asio::awaitable<void> pool_process::wait_for_remains()
{
    (void)co_await child_.async_stop(stop_ladder::kill(), asio::as_tuple(asio::use_awaitable));
    if (sources_ > 0) {
        (void)co_await steady_timer_clock()->async_wait_for(
            setup_->executor, remains_grace,
            asio::bind_cancellation_slot(all_told_->slot(), asio::as_tuple(asio::use_awaitable)));
    }
}

// In a turn of its own: what a handler of a user throws belongs to who runs the executor, and would
// end up in the coroutine that waits for the process.
void pool_process::post_end(std::optional<exit_status> status)
{
    asio::post(setup_->executor, [me = shared_from_this(), status] { me->tell_end(status); });
}

// Its end is told whatever fails for its last answers, since nobody tells it again: tasks whose
// answers are lost end by it. What it takes memory for was taken when it was started.
void pool_process::tell_end(const std::optional<exit_status>& status)
{
    if (std::exchange(told_, true))
        return;
    std::exception_ptr failure;
    try {
        hear();
    } catch (...) {
        failure = std::current_exception();
    }
    tx_.close();
    rx_.close();
    if (child_)
        child_.std_err().close();
    if (owner_ != nullptr)
        owner_->on_ended(*this, report_of(status));
    if (failure)
        std::rethrow_exception(failure);
}

std::shared_ptr<const death_report>
pool_process::report_of(const std::optional<exit_status>& status) noexcept
{
    const auto report = std::exchange(report_, nullptr);
    report->status = status;
    report->uptime = setup_->clock->now() - started_;
    report->asked = asked_;
    report->cause = overdue_          ? service_cause::start_timeout
        : asked_                      ? service_cause::asked
        : status && status->success() ? service_cause::ended
                                      : service_cause::crashed;
    try {
        // That a program is none that works is seen by nothing else: it may well end with 0.
        if (status && !greeted_ && !asked_ && text_.empty())
            text_ = "it ended before it was ready: in its warm-up, or it does not call "
                    "worker_entries::run_if_worker()";
        report->text = text_;
        report->error_tail = tail_.get();
    } catch (const std::bad_alloc&) {
        report->text = std::move(text_);  // as much as there is memory for
    }
    return report;
}

// For want of memory nor that is said.
void pool_process::explain(const char* why) noexcept
{
    try {
        if (text_.empty())
            text_ = why;
    } catch (const std::bad_alloc&) {
        text_.clear();
    }
}

// Whether that was sent, or nobody is there any more: to look whom one that was reaped has left
// takes memory, and what ends it is on its way.
bool pool_process::kill_now() noexcept
{
    error_code ec;
    try {
        if (child_)
            child_.signal_tree(SIGKILL, ec);
    } catch (const std::bad_alloc&) {
        return true;
    }
    return child_ && !ec;
}

// There was no memory to wait for its end. It has to have one all the same.
void pool_process::lost_sight()
{
    text_.clear();
    explain("killed: its end could not be waited for");
    (void)kill_now();
    tell_end(std::nullopt);
}

void pool_process::supervise(asio::awaitable<void> part)
{
    // One that fails (there is no memory) leaves a worker that nobody listens to.
    begin(std::move(part), &pool_process::kill_unheard);
}

void pool_process::kill_unheard()
{
    (void)kill_now();
}

asio::awaitable<void> pool_process::read_errors()
{
    std::array<char, 4096> buffer;
    for (;;) {
        const auto [ec, size] = co_await child_.std_err().async_read_some(
            asio::buffer(buffer), asio::as_tuple(asio::use_awaitable));
        tail_.take({buffer.data(), size});
        if (ec)
            break;
    }
    one_source_ended();
}

void pool_process::one_source_ended()
{
    if (--sources_ == 0)
        all_told_->emit(asio::cancellation_type::terminal);
}

asio::awaitable<void> pool_process::climb(stop_ladder ladder)
{
    ladder.clock = setup_->clock;
    (void)co_await child_.async_stop(std::move(ladder), asio::as_tuple(asio::use_awaitable));
}

// For one that has nobody to talk to any more.
asio::awaitable<void> pool_process::put_down(std::chrono::nanoseconds grace)
{
    if (gone_)
        co_return;
    const auto [ec] = co_await setup_->clock->async_wait_for(
        setup_->executor, grace,
        asio::bind_cancellation_slot(going_->slot(), asio::as_tuple(asio::use_awaitable)));
    if (ec)
        co_return;
    if (text_.empty())
        text_ = "it has closed its channel, and lives";
    end_hard();
}

void pool_process::terminate(bool overdue)
{
    asked_ = unwanted_ = true;
    overdue_ = overdue_ || overdue;
    if (overdue && text_.empty())
        text_ = "it was not ready in time: its warm-up takes longer, or it does not call "
                "worker_entries::run_if_worker()";
    if (!child_)
        return kill();  // it has heard nothing yet
    // The pool says when it is killed.
    supervise(keep(shared_from_this(), &pool_process::climb,
                   stop_ladder{}.signal(SIGTERM, std::chrono::nanoseconds::max())));
}

void pool_process::kill()
{
    unwanted_ = true;
    end_hard();
}

void pool_process::end_hard()
{
    asked_ = true;
    if (std::exchange(killed_, true))
        return;
    if (child_)
        supervise(keep(shared_from_this(), &pool_process::climb, stop_ladder::kill()));
    else if (spawning_)
        spawning_->emit(asio::cancellation_type::terminal);
}

void pool_process::signal_tree(int number, error_code& ec)
{
    ec.clear();
    if (child_)
        child_.signal_tree(number, ec);
}

void pool_process::abandon() noexcept
{
    owner_ = nullptr;
    try {
        unsent_.clear();
        kill();
    } catch (...) {  // no memory for a ladder
        (void)kill_now();
    }
}

// To the worker.

void pool_process::deliver(std::shared_ptr<pool_task_state> task)
{
    unsent_.push_back({std::move(task), {}, number_});
}

void pool_process::say(pool_header header)
{
    unsent_.push_back({nullptr, make_record(header), 0});
}

void pool_process::ask(const pool_task_state& task, bool only_unbegun)
{
    asking_ = true;
    pool_header header{};
    header.kind = static_cast<std::uint8_t>(pool_record::cancel);
    header.flags = only_unbegun ? pool_flag_unbegun : 0;
    header.task = task.number;
    header.attempt = task.attempt;
    say(header);
}

// One record, as long as that waits: a worker that gives items and takes nothing would fill the
// memory of its pool. Of more than can be said it is told as many as can.
void pool_process::give_credits(const pool_task_state& task, std::uint32_t items)
{
    for (auto& one : unsent_) {
        if (one.credited != task.number || one.attempt != task.attempt)
            continue;
        pool_header header{};
        std::memcpy(&header, one.own.data(), sizeof header);
        header.credits +=
            std::min(items, std::numeric_limits<std::uint32_t>::max() - header.credits);
        write_header(header, one.own);
        return;
    }
    pool_header header{};
    header.kind = static_cast<std::uint8_t>(pool_record::credit);
    header.task = task.number;
    header.attempt = task.attempt;
    header.credits = items;
    say(header);
    unsent_.back().credited = task.number;
    unsent_.back().attempt = task.attempt;
}

void pool_process::retire()
{
    asked_ = unwanted_ = true;
    pool_header header{};
    header.kind = static_cast<std::uint8_t>(pool_record::stop);
    say(header);
}

// As much as there is room for becomes visible at once; what is left goes as the worker takes it.
void pool_process::flush()
{
    constexpr std::size_t most = 32;
    if (sending_ || !child_ || !tx_.is_open())
        return;
    error_code ec;
    while (!unsent_.empty() && !ec) {
        std::array<bytes, most> views;
        const auto count = std::min(most, unsent_.size());
        for (std::size_t i = 0; i < count; ++i)
            views[i] = unsent_[i].get();
        const auto sent = tx_.try_send_some(std::span(views).first(count), ec);
        for (std::size_t i = 0; i < sent; ++i)
            has_gone(unsent_[i]);
        unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(sent));
    }
    if (ec == asio::error::would_block || ec == channel_errc::too_long)
        send_first();
    else if (ec)
        could_not_send(ec);
}

// What was lost would be missing in the worker's count of what it has begun, and nobody would hear
// of it: so the worker ends, and its tasks are done by others. That it has gone the one who listens
// hears as well.
void pool_process::could_not_send(const error_code& ec)
{
    if (ec == channel_errc::too_long)
        return broke_rules("a record was too long for its channel");
    const bool is_end = ec == channel_errc::closed || ec == channel_errc::peer_died
        || ec == asio::error::operation_aborted;
    if (is_end || killed_)
        return;
    if (text_.empty())
        text_ = "its channel: " + ec.message();
    end_hard();
}

void pool_process::has_gone(const outgoing& what) noexcept
{
    if (!what.task)
        return;
    touched_ = std::max(touched_, ++sent_);
    if (what.task->worker == what.worker)
        what.task->unsent = false;
}

bool pool_process::has_been_asked() noexcept
{
    return unsent_.empty() && !sending_ && tx_.is_open() && std::exchange(asking_, false);
}

void pool_process::send_first()
{
    sending_ = true;
    // The record lives as long as the operation: an end may come first, and let go of all.
    auto first = std::make_shared<outgoing>(std::move(unsent_.front()));
    unsent_.erase(unsent_.begin());
    if (first->task)
        touched_ = sent_ + 1;
    tx_.async_send(first->get(), [me = shared_from_this(), first](const error_code& ec) {
        me->sending_ = false;
        if (!ec)
            me->has_gone(*first);
        if (ec)
            return me->could_not_send(ec);
        me->flush();
        // The last thing that is done, as in on_readable().
        if (me->asking_ && me->unsent_.empty() && !me->sending_ && me->owner_ != nullptr)
            me->owner_->on_asked(*me);
    });
}

// From the worker.

void pool_process::listen()
{
    rx_.async_wait_readable(
        [me = shared_from_this()](const error_code& ec) { me->on_readable(ec); });
}

// Whatever is thrown is for run(), when all is done: what throws may be a function of the user's
// that must not (pool_options::spans), which makes nobody deaf, or there is no memory. Then an
// answer is lost, or all that come: so the worker ends, which its tasks are told of. Rejected: to
// try again later, since a timer takes memory, too, and what was half heard cannot be heard again.
void pool_process::on_readable(const error_code& ec)
{
    auto failure = ec ? nullptr : hear_or_end();
    const auto deaf = or_end([&] {
        if (ec || broken_)
            stopped_listening(ec);
        else
            listen();
    });
    if (deaf)
        failure = deaf;
    // The last thing that is done: it may throw, and must not make anybody deaf.
    if (!ec && owner_ != nullptr)
        owner_->on_answers_told();
    if (failure)
        std::rethrow_exception(failure);
}

template <class Function>
std::exception_ptr pool_process::or_end(Function what) noexcept
{
    try {
        what();
    } catch (const std::bad_alloc&) {
        end_unheard();
        return std::current_exception();
    } catch (...) {
        return std::current_exception();
    }
    return nullptr;
}

std::exception_ptr pool_process::hear_or_end() noexcept
{
    return or_end([&] { hear(); });
}

// Killed is who was sent it: where the kernel refuses that, the machine's kill climbs a ladder.
void pool_process::end_unheard() noexcept
{
    asked_ = true;
    explain("killed: there was no memory to hear it");
    killed_ = kill_now() || killed_;
}

void pool_process::stopped_listening(const error_code& ec)
{
    if (!broken_ && !gone_ && ec && ec != asio::error::operation_aborted) {
        const bool is_end = ec == channel_errc::closed || ec == channel_errc::peer_died;
        if (!is_end)
            text_ = "its channel: " + ec.message();
        // One that ends has closed before. One that lives on is of no use.
        supervise(keep(shared_from_this(), &pool_process::put_down,
                       is_end ? setup_->grace : std::chrono::nanoseconds(0)));
    }
    one_source_ended();
}

// One that has broken a rule is not listened to any more.
void pool_process::hear()
{
    if (broken_ || !rx_.is_open())
        return;
    error_code ec;
    auto batch = rx_.try_receive_batch(ec);
    if (ec)
        return;
    // All of it is heard now; to read the clock for each costs as much as to parse it.
    const auto now = setup_->clock->now();
    bytes record;
    while (!broken_ && batch.next(record))
        take(record, now);
}

void pool_process::take(bytes record, timer_clock::time_point now)
{
    parsed_record parsed;
    if (!parse_record(record, pool_side::worker, parsed))
        return broke_rules("sent what is no record");
    if (greeted_ == (parsed.kind() == pool_record::hello))
        return broke_rules(greeted_ ? "said hello twice" : "answered before it said hello");
    if (owner_ == nullptr)
        return;
    if (parsed.kind() == pool_record::hello)
        take_hello(parsed.payload);
    else if (!owner_->on_answer(*this, parsed, now))
        broke_rules("answered a task that it does not have");
}

void pool_process::take_hello(bytes payload)
{
    greeted_ = true;
    hello_message hello;
    if (!decode_message(payload, hello))
        return broke_rules("sent a hello that is none");
    text_ = fault_of(hello);
    if (text_.empty()) {
        owner_->on_ready(*this);
        return;
    }
    retire();
    flush();
    supervise(keep(shared_from_this(), &pool_process::put_down, setup_->grace));
}

// Why it cannot work here, in words; empty if it can.
std::string pool_process::fault_of(const hello_message& hello)
{
    if (hello.version != pool_version)
        return "it speaks version " + std::to_string(hello.version)
            + " of the protocol, and this is " + std::to_string(pool_version);
    if (hello.ready != 1)
        return hello.text.empty() ? "its warm-up has failed" : to_printable(hello.text);
    const auto compare = [](const char* what, const std::string& theirs,
                            const type_description& ours) -> std::string {
        type_description type;
        if (!type_description::parse(std::as_bytes(std::span(theirs)), type))
            return std::string("its description of a ") + what + " is none";
        const auto difference = explain_difference(ours, type);
        return difference.empty() ? difference : std::string("of the ") + what + ": " + difference;
    };
    auto fault = compare("request", hello.request, *setup_->request);
    if (fault.empty())
        fault = compare("response", hello.response, *setup_->response);
    if (fault.empty() && !take_memory())
        fault = "it has not sent its record";
    return fault;
}

bool pool_process::take_memory()
{
    error_code ec;
    std::uint64_t size = 0;
    std::array<unique_fd, 1> room;
    const auto got = try_receive_descriptors(control_.get(),
                                             std::as_writable_bytes(std::span(&size, 1)), room, ec);
    control_.reset();
    return !ec && got.bytes == sizeof size && got.descriptors == 1
        && peer_worker_record::attach(std::move(room[0]), static_cast<std::size_t>(size), record_);
}

// A worker that lies is not asked to end.
void pool_process::broke_rules(const std::string& how)
{
    if (std::exchange(broken_, true))
        return;
    text_ = "it broke the protocol: " + how;
    end_hard();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
