// SPDX-License-Identifier: BSL-1.0
#include "runner.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/system/system_error.hpp>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <procyard/runtime/probes.hpp>

#include "table.hpp"

namespace supervise {

namespace asio = boost::asio;
using namespace procyard;

namespace {

// Fewer than may ask, so that there is always somebody who may stop a service.
constexpr int most_followers = 8;
constexpr std::size_t bytes_at_once = 64 << 10;
constexpr std::size_t events_shown = 12;

unique_fd listen_on(const std::string& name, std::uint16_t port)
{
    unique_fd made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int on = 1;
    if (!made || ::setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0
        || ::bind(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0
        || ::listen(made.get(), SOMAXCONN) != 0) {
        throw boost::system::system_error(errno, boost::system::system_category(),
                                          "listen " + name + ':' + std::to_string(port));
    }
    return made;
}

command command_of(const service_config& one, const std::string& text,
                   const std::optional<guardian>& by)
{
    auto what = command::shell(text);
    if (!one.directory.empty())
        what.working_directory(one.directory);
    for (const auto& [name, value] : one.environment)
        what.env(name, value);
    if (by)
        what.guarded_by(*by);
    return what;
}

service_probe probe_of(const service_config& one, const probe_config& how,
                       const std::optional<guardian>& by)
{
    using kind = probe_config::kind;
    switch (how.what) {
    case kind::http: return http_probe(how.text);
    case kind::command: return command_probe(command_of(one, how.text, by));
    case kind::tcp: break;
    }
    return tcp_probe(how.port);
}

readiness ready_of(const service_config& one, const std::optional<guardian>& by)
{
    using kind = ready_config::kind;
    const auto& how = one.ready;
    switch (how.what) {
    case kind::notify: return readiness::told();
    case kind::newline: return readiness::newline_on(how.number);
    case kind::line: return readiness::line_with(how.text);
    case kind::probe: return readiness::probe(probe_of(one, how.probe, by));
    case kind::started: break;
    }
    return readiness::started();
}

service service_of(const service_config& one, const std::optional<guardian>& by)
{
    service made(one.name, command_of(one, one.command, by));
    if (one.one_shot)
        made.one_shot();
    made.restart(one.restart)
        .backoff(one.backoff)
        .depends_on(one.depends_on)
        .ready_when(ready_of(one, by))
        .stop_grace(one.grace)
        .may_extend(one.may_extend)
        .keep_descriptors(one.keep_descriptors);
    if (one.start_timeout)
        made.start_timeout(*one.start_timeout);
    if (one.watchdog)
        made.watchdog(*one.watchdog);
    if (const auto& health = one.health; health.probe)
        made.health(probe_of(one, *health.probe, by), health.interval, health.failures,
                    health.most);
    for (const auto& [name, port] : one.listen)
        made.listen(name, listen_on(name, port));
    return made;
}

// Where files are written. Never joined: a disk that stands still must not hold up the end.
asio::thread_pool& disk()
{
    static auto* const all = new asio::thread_pool(1);
    return *all;
}

// The batch is the caller's, who waits.
asio::awaitable<void> write_all(std::shared_ptr<rotating_file> file, const log_batch* batch)
{
    for (const auto& line : batch->lines)
        file->write(line.text);
    co_return;
}

}  // namespace

runner::runner(const asio::any_io_executor& ex, config how)
    : how_(std::move(how)),
      on_terminal_(::isatty(STDOUT_FILENO) == 1),
      executor_(ex)
{
    supervisor_options options;
    options.strategy = how_.strategy;
    options.intensity = how_.intensity;
    options.stop_budget = how_.stop_budget;
    options.state_directory = how_.state;
    options.on_event = [this](const service_event& event) { on_event(event); };
    if (how_.guardian)
        guardian_.emplace(ex);
    supervisor_ = std::make_unique<procyard::supervisor>(ex, std::move(options));
}

asio::awaitable<void> runner::start()
{
    const auto [ec] = co_await supervisor_->async_sweep(asio::as_tuple(asio::use_awaitable));
    if (ec)
        co_return;  // its result says why
    for (const auto& one : how_.services)
        add(one);
    supervisor_->start();
}

void runner::add(const service_config& one)
{
    auto made = service_of(one, guardian_);
    std::shared_ptr<rotating_file> file;
    if (!one.log.empty())
        file = std::make_shared<rotating_file>(one.log, one.rotation);
    const auto kept = std::make_shared<service_lines>(executor_);
    lines_.try_emplace(one.name, kept);
    // From a queue, and in a thread of its own: a disk that takes its time loses lines, and counts
    // them, and holds nobody up. No executor helps with that, a file is always ready.
    made.log([kept, file](log_batch batch) -> asio::awaitable<void> {
        for (const auto& line : batch.lines)
            kept->keep(line.from, line.text);
        if (!file)
            co_return;
        co_await asio::co_spawn(disk(), write_all(file, &batch), asio::use_awaitable);
        kept->unwritten = file->lost();
    });
    supervisor_->add(made);
}

void runner::service_lines::keep(service_output from, std::string_view line)
{
    ring.push((from == service_output::err ? "! " : "  ") + printable(std::string(line)));
    news.cancel();
}

// On a terminal the table and the last events, drawn over what was there; else a line for each.
void runner::on_event(const service_event& event)
{
    if (!on_terminal_) {
        std::cout << printable(event.to_string()) << std::endl;
        return;
    }
    events_.push_back(printable(event.to_string()));
    if (events_.size() > events_shown)
        events_.pop_front();
    terminal_size size;
    winsize told{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &told) == 0 && told.ws_row > 0 && told.ws_col > 0)
        size = {told.ws_row, told.ws_col};
    std::cout << "\x1b[H\x1b[J" << screen_of(table(), events_, size) << std::flush;
}

std::string runner::table() const
{
    auto all = supervisor_->snapshot();
    for (auto& one : all) {
        if (const auto known = lines_.find(one.name); known != lines_.end())
            one.lines_lost += known->second->unwritten;
    }
    return table_of(all, steady_timer_clock()->now());
}

std::string runner::act(std::string_view verb, const std::string& name)
{
    if (verb == "start")
        supervisor_->start(name);
    else if (verb == "stop")
        supervisor_->stop(name);
    else if (verb == "restart")
        supervisor_->restart(name);
    else if (verb == "replace")
        supervisor_->replace(name);
    else
        return "error: \"" + std::string(verb)
            + "\" is none of: status, logs, start, stop, restart, replace\n";
    return "ok\n";
}

std::string runner::answer(std::string_view request)
{
    const auto verb = request.substr(0, request.find(' '));
    const std::string name(request.substr(std::min(verb.size() + 1, request.size())));
    if (verb == "status")
        return "ok\n" + table();
    try {
        if (verb != "logs")
            return act(verb, name);
    } catch (const std::exception& error) {
        return "error: " + std::string(error.what()) + '\n';
    }
    const auto found = lines_.find(name);
    if (found == lines_.end())
        return "error: there is no service \"" + name + "\"\n";
    const auto& ring = found->second->ring;
    return "ok\n" + ring.since(ring.begin(), std::numeric_limits<std::size_t>::max()).text;
}

asio::awaitable<void> runner::follow(std::shared_ptr<unix_stream::socket> client, std::string name)
{
    const auto found = lines_.find(name);
    std::string text = "ok\n";
    if (found == lines_.end())
        text = "error: there is no service \"" + name + "\"\n";
    else if (followers_ == most_followers)
        text = "error: " + std::to_string(followers_) + " follow already\n";
    struct counted {
        int& number;
        explicit counted(int& all) : number(++all) { }
        counted(const counted&) = delete;
        ~counted() { --number; }
    };
    const bool may_follow = text.starts_with("ok");
    std::optional<counted> one;  // before others have their turn
    if (may_follow)
        one.emplace(followers_);
    co_await asio::async_write(*client, asio::buffer(text), asio::use_awaitable);
    if (!may_follow)
        co_return;
    const auto kept = found->second;
    auto& lines = *kept;
    // It has nothing more to say, so what can be read is its end.
    const auto gone = std::make_shared<bool>(false);
    client->async_wait(unix_stream::socket::wait_read,
                       [gone, client, news = &lines.news](const boost::system::error_code& ec) {
                           *gone = true;
                           if (ec != asio::error::operation_aborted)
                               news->cancel();
                       });
    const auto state = co_await asio::this_coro::cancellation_state;
    auto next = lines.ring.begin();
    while (!*gone && state.cancelled() == asio::cancellation_type::none) {
        // A copy, of a bounded size: the ring goes on while the client takes its time.
        const auto part = lines.ring.since(next, bytes_at_once);
        next = part.next;
        if (part.text.empty())
            (void)co_await lines.news.async_wait(asio::as_tuple(asio::use_awaitable));
        else
            co_await asio::async_write(*client, asio::buffer(part.text), asio::use_awaitable);
    }
}

}  // namespace supervise
