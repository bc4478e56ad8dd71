// SPDX-License-Identifier: BSL-1.0
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <signal.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/spawn_error.hpp>

#include "descriptor_store.hpp"
#include "manager_text.hpp"
#include "notify_socket.hpp"
#include "output_lines.hpp"
#include "service_command.hpp"
#include "service_runner.hpp"
#include "spawn_whole_tree.hpp"
#include "watched_completion.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using namespace std::chrono_literals;
using readiness_kind = service_access::readiness_kind;

// After the last process of the tree has gone, a pipe has no writer any more but one who was given
// it by other means: nobody waits long for that one.
constexpr auto output_grace = 200ms;
// What the leader leaves behind when it ends by itself has no longer than this: meanwhile nobody is
// told of the end.
constexpr std::chrono::nanoseconds remains_grace = 5s;

class command_runner final : public service_runner {
public:
    explicit command_runner(runner_setup what)
        : service_runner(std::move(what)),
          notifications_(setup_.executor),
          newline_(setup_.executor),
          tail_(how().error_tail)
    {
    }

    void start() override;
    void stop(timer_clock::time_point deadline) override;
    void kill() override;
    void abandon() noexcept override;
    [[nodiscard]] pid_t pid() const noexcept override { return child_ ? child_.id() : 0; }

private:
    [[nodiscard]] command prepare(raw_pipe& newline, error_code& ec);
    void started();
    void ask_to_stop();
    void lost_sight();
    void on_notification(notify_message& message);
    void on_assignment(const notification& what);
    void on_store(notify_message& message);
    void on_line(service_output from, std::string_view line);

    asio::awaitable<void> run(command what, std::vector<descriptor_store::entry> lent);
    asio::awaitable<void> live();
    asio::awaitable<void> read(pipe_reader* from, service_output which);
    asio::awaitable<void> wait_for_newline();
    asio::awaitable<void> climb(stop_ladder ladder);

    [[nodiscard]] std::shared_ptr<command_runner> self()
    {
        return std::static_pointer_cast<command_runner>(shared_from_this());
    }

    asio::cancellation_signal spawn_signal_{};
    spawn_failure failure_{};
    child child_{};
    notify_socket notifications_;
    pipe_reader newline_;
    output_tail tail_;
    survivor_book::ticket record_{};
    orphan_burial::ticket dead_orphans_{};
    unsigned outputs_open_ = 0;
    bool is_spawned_ = false;
    bool stops_ = false;
    bool killed_ = false;
    std::size_t bytes_read_ = 0;
    bool gone_ = false;  // nothing of it lives
    bool is_abandoned_ = false;
    std::shared_ptr<asio::cancellation_signal> drained_{};
};

// What waits in the pipe.
std::size_t unread(pipe_reader& from)
{
    int bytes = 0;
    if (!from.is_open() || ::ioctl(from.native_handle(), FIONREAD, &bytes) != 0 || bytes < 0)
        return 0;
    return static_cast<std::size_t>(bytes);
}

// Keeps the runner as long as the coroutine of one of its members.
template <class Owner, class Member, class... Args>
asio::awaitable<void> keep(Owner owner, Member member, Args... args)
{
    co_await ((*owner).*member)(std::move(args)...);
}

command command_runner::prepare(raw_pipe& newline, error_code& ec)
{
    if (is_listened_to(how()))
        notifications_.open(ec);
    auto what = command_of(setup_, notifications_.address());
    if (!ec && service_access::kind(how().ready) == readiness_kind::newline) {
        newline = make_raw_pipe(ec);
        what.descriptor(service_access::descriptor(how().ready),
                        stdio::descriptor(std::move(newline.write_end)));
    }
    return what;
}

void command_runner::start()
{
    error_code ec;
    raw_pipe newline;
    auto what = prepare(newline, ec);
    if (!ec && newline.read_end)
        newline_.assign(std::move(newline.read_end), ec);
    if (ec) {
        notifications_.close();
        death_report report;
        report.text = ec.message();
        return tell_end(false, std::move(report));
    }
    const auto ended = [me = self()](const std::exception_ptr& error) {
        if (error)
            me->lost_sight();
    };
    asio::co_spawn(setup_.executor,
                   keep(self(), &command_runner::run, std::move(what), setup_.kept->all()),
                   watched_completion(setup_.executor, ended, [me = self()] { me->lost_sight(); }));
}

// Not by the blocking spawn: an exec from a file system that hangs would hold all supervision, and
// the stop. The command goes with the spawn: it holds the child's end of the pipe for the newline.
// What it borrows from the store is `lent` until the spawn is over: the store may close its own
// meanwhile. (Not handed over to the command, which would make it blocking.)
asio::awaitable<void> command_runner::run(command what, std::vector<descriptor_store::entry> lent)
{
    auto token =
        asio::bind_cancellation_slot(spawn_signal_.slot(), asio::as_tuple(asio::use_awaitable));
    auto [ec, made] = co_await async_spawn_whole_tree(std::move(what), setup_.executor, failure_,
                                                      std::move(token));
    lent.clear();
    is_spawned_ = !ec;
    if (ec) {
        notifications_.close();
        newline_.close();
        death_report report;
        report.text =
            failure_ ? failure_.to_string() : std::string("killed while it was being started");
        co_return tell_end(false, std::move(report));
    }
    child_ = std::move(made);
    started();
    if (killed_)
        kill();
    else if (stops_)
        ask_to_stop();
    co_await live();
}

void command_runner::started()
{
    dead_orphans_ = setup_.burial->watch(child_.id());
    // At once: who is not ready yet may be silent for long.
    if (setup_.book) {
        record_ = setup_.book->add(how().name, setup_.generation, child_.id());
        setup_.book->write();
    }
    if (!notifications_.address().empty()) {
        notifications_.start(
            child_.id(), [this](notify_message& message) { on_notification(message); },
            weak_from_this());
    }
    const auto outputs = {std::pair(&child_.std_out(), service_output::out),
                          std::pair(&child_.std_err(), service_output::err)};
    drained_ = std::make_shared<asio::cancellation_signal>();
    for (const auto& [from, which] : outputs) {
        if (!from->is_open())
            continue;
        ++outputs_open_;
        supervise(keep(self(), &command_runner::read, from, which));
    }
    if (stops_ || killed_)
        return;
    if (how().watchdog)
        start_watchdog();
    if (how().health)
        start_health();
    switch (service_access::kind(how().ready)) {
    case readiness_kind::started: tell_started(); break;
    case readiness_kind::probe: start_probe(); break;
    case readiness_kind::newline: supervise(keep(self(), &command_runner::wait_for_newline)); break;
    case readiness_kind::told:
    case readiness_kind::line: break;  // heard where it comes
    }
}

// From the spawn until nothing of it lives and nothing of it is to be read.
asio::awaitable<void> command_runner::live()
{
    const auto [ec, status] = co_await child_.async_wait(asio::as_tuple(asio::use_awaitable));
    dead_orphans_ = {};  // from here on they are the tree's
    notifications_.drain();
    end_checks();
    // What it has started goes with it; nothing happens if there is nothing.
    auto ladder =
        stop_ladder{}.signal(how().stop_signal, std::min(how().stop_grace, remains_grace));
    ladder.clock = setup_.clock;
    (void)co_await child_.async_stop(std::move(ladder), asio::as_tuple(asio::use_awaitable));
    notifications_.close();
    newline_.close();
    // Who has ended waits for no room: what is left in its pipes is read.
    gone_ = true;
    setup_.log->wake();
    // As much as is there now, as long as our own reading takes: what comes later is of somebody
    // who is none of the tree, and may write for days.
    const auto remains = unread(child_.std_out()) + unread(child_.std_err());
    const auto begin = bytes_read_;
    for (bool is_last = false; outputs_open_ > 0 && !killed_ && !is_last;) {
        const auto before = bytes_read_;
        // One more time: a read may have been on its way.
        is_last = before - begin >= remains;
        (void)co_await steady_timer_clock()->async_wait_for(
            setup_.executor, output_grace,
            asio::bind_cancellation_slot(drained_->slot(), asio::as_tuple(asio::use_awaitable)));
        is_last = is_last || bytes_read_ == before;
    }
    child_.std_out().close();
    child_.std_err().close();
    if (setup_.book)
        setup_.book->remove(record_);
    death_report report;
    if (!ec)
        report.status = status;
    report.text = status_text_;
    report.error_tail = tail_.get();
    // Asked to stop, by its signal: that is how it was to end.
    const bool by_request =
        asked_ && !ec && status.is_signaled() && status.signal() == how().stop_signal;
    tell_end(!ec && (status.success() || by_request), std::move(report));
}

// There was no memory to start it, or to wait for its end. It has to have one all the same.
void command_runner::lost_sight()
{
    if (is_abandoned_)
        return;
    abandon();
    death_report report;
    report.text = "killed: there was no memory to supervise it";
    tell_end(false, std::move(report));
}

asio::awaitable<void> command_runner::read(pipe_reader* from, service_output which)
{
    output_lines lines;
    const auto each = [&](std::string_view line) { on_line(which, line); };
    std::array<char, 16384> buffer;
    for (;;) {
        while (setup_.log->full() && !gone_)
            co_await setup_.log->room();
        const auto [ec, size] = co_await from->async_read_some(asio::buffer(buffer),
                                                               asio::as_tuple(asio::use_awaitable));
        const std::string_view bytes(buffer.data(), size);
        bytes_read_ += size;
        if (which == service_output::err)
            tail_.take(bytes);
        lines.take(bytes, each);
        setup_.log->lose(lines.take_lost());
        if (ec)
            break;
    }
    lines.finish(each);
    if (--outputs_open_ == 0)
        drained_->emit(asio::cancellation_type::terminal);
}

void command_runner::on_line(service_output from, std::string_view line)
{
    setup_.log->take(from, line);
    if (service_access::kind(how().ready) == readiness_kind::line
        && line.find(service_access::text(how().ready)) != std::string_view::npos)
        tell(supervisor_input::kind::ready);
}

asio::awaitable<void> command_runner::wait_for_newline()
{
    std::array<char, 64> buffer;
    for (;;) {
        const auto [ec, size] = co_await newline_.async_read_some(
            asio::buffer(buffer), asio::as_tuple(asio::use_awaitable));
        if (std::string_view(buffer.data(), size).find('\n') != std::string_view::npos)
            break;
        if (ec)
            co_return;  // it has closed it without a word: it is never ready
    }
    newline_.close();
    tell(supervisor_input::kind::ready);
}

void command_runner::on_notification(notify_message& message)
{
    on_store(message);
    for (const auto& one : message.assignments)
        on_assignment(one);
}

// MAINPID is not followed: the process that was spawned is the service, and its tree goes with it.
void command_runner::on_assignment(const notification& what)
{
    const bool tells = service_access::kind(how().ready) == readiness_kind::told;
    const auto microseconds = [&]() -> timer_clock::duration {
        const auto number = parse_notified_number(what.value).value_or(0);
        constexpr auto most =
            std::chrono::duration_cast<std::chrono::microseconds>(timer_clock::duration::max());
        return number > static_cast<std::uint64_t>(most.count())
            ? timer_clock::duration::max()
            : std::chrono::microseconds(number);
    };
    if (what.name == "READY" && what.value == "1" && tells)
        tell(supervisor_input::kind::ready);
    else if ((what.name == "RELOADING" || what.name == "STOPPING") && what.value == "1" && tells)
        tell(supervisor_input::kind::unready);
    else if (what.name == "STATUS")
        status_text_ = what.value;
    else if (what.name == "WATCHDOG" && what.value == "1")
        alive();
    else if (what.name == "WATCHDOG" && what.value == "trigger")
        trigger_watchdog();
    else if (what.name == "WATCHDOG_USEC")
        set_watchdog(microseconds());
    else if (what.name == "EXTEND_TIMEOUT_USEC")
        tell(supervisor_input::kind::extend, microseconds());
}

// Descriptors that come with anything else are closed with the message. A name that is none is
// ignored, as sd_notify(3) has it, and not what comes with it.
void command_runner::on_store(notify_message& message)
{
    const auto name = message.value_of("FDNAME");
    if (message.value_of("FDSTOREREMOVE") == "1")
        setup_.kept->remove(name);
    else if (message.value_of("FDSTORE") == "1")
        setup_.kept->keep(is_descriptor_name(name) ? name : "stored",
                          std::move(message.descriptors), message.value_of("FDPOLL") != "0");
}

asio::awaitable<void> command_runner::climb(stop_ladder ladder)
{
    (void)co_await child_.async_stop(std::move(ladder), asio::as_tuple(asio::use_awaitable));
}

void command_runner::stop(timer_clock::time_point)
{
    end_checks();
    stops_ = true;
    // After a watchdog the state in which it hangs is worth a core file.
    asked_ = !watchdog_bit();
    if (is_spawned_)
        ask_to_stop();
}

void command_runner::ask_to_stop()
{
    const int number = watchdog_bit() ? SIGABRT : how().stop_signal;
    // The supervisor says when it is killed.
    auto ladder = stop_ladder{}.signal(number, std::chrono::nanoseconds::max());
    ladder.clock = setup_.clock;
    supervise(keep(self(), &command_runner::climb, std::move(ladder)));
}

void command_runner::kill()
{
    end_checks();
    killed_ = true;
    if (!is_spawned_)
        return spawn_signal_.emit(asio::cancellation_type::terminal);
    // Nobody kills it a second time: where there is no memory for the ladder it is sent the signal
    // without one, and live() looks after what is left of its tree.
    const auto send = [me = self()] {
        error_code ignored;
        me->child_.signal_tree(SIGKILL, ignored);
    };
    auto ended = [send](const std::exception_ptr& error) {
        if (error)
            send();
    };
    asio::co_spawn(setup_.executor, keep(self(), &command_runner::climb, stop_ladder::kill()),
                   watched_completion(setup_.executor, std::move(ended), send));
}

void command_runner::abandon() noexcept
{
    is_abandoned_ = true;
    // Not by dropping the child: what reads its outputs refers to it. The coroutines end when it
    // has, or with the context, whose end drops it.
    try {
        kill();
    } catch (...) {  // no memory for a ladder
        error_code ec;
        child_.signal_tree(SIGKILL, ec);
    }
}

}  // namespace

std::shared_ptr<service_runner> make_command_runner(runner_setup what)
{
    return std::make_shared<command_runner>(std::move(what));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
