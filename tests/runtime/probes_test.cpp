// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/probes.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <exception>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/ipc/channel_listener.hpp>
#include <procyard/runtime/channel_probe.hpp>
#include <procyard/runtime/observer.hpp>
#include <procyard/runtime/shutdown.hpp>
#include <procyard/runtime/supervisor.hpp>

#include "busy_program.hpp"
#include "host_state.hpp"
#include "limit_guard.hpp"
#include "procyard_test.hpp"
#include "run_fixture.hpp"
#include "socket_place.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"

namespace asio = boost::asio;
using namespace std::chrono_literals;
using namespace procyard_test;
using procyard::channel_probe;
using procyard::command;
using procyard::command_probe;
using procyard::duplex;
using procyard::error_code;
using procyard::http_probe;
using procyard::http_probe_options;
using procyard::readiness;
using procyard::receiver;
using procyard::sender;
using procyard::service;
using procyard::service_probe;
using procyard::service_state;
using procyard::tcp_probe;
using procyard::unix_probe;

namespace {

using answered = outcome<std::exception_ptr, bool>;

// One that is never taken for an exception.
struct question {
    question(asio::io_context& ctx, const service_probe& probe)
    {
        asio::co_spawn(ctx, probe(), asio::bind_cancellation_slot(cancel.slot(), got.handler()));
    }
    bool answer()
    {
        CHECK_MESSAGE(!got.get<0>(), "a probe has thrown");
        return got.result();
    }
    asio::cancellation_signal cancel{};
    answered got{};
};

bool ask(asio::io_context& ctx, const service_probe& probe)
{
    question one(ctx, probe);
    run_until(ctx, [&] { return one.got.done(); });
    return one.answer();
}

// Asked, and cancelled when nothing more happens.
bool ask_in_vain(asio::io_context& ctx, const service_probe& probe)
{
    question one(ctx, probe);
    for (int turn = 0; turn < 20; ++turn) {
        ctx.restart();
        ctx.poll();
    }
    CHECK_FALSE(one.got.done());
    one.cancel.emit(asio::cancellation_type::terminal);
    run_until(ctx, [&] { return one.got.done(); });
    return one.answer();
}

// A port of the loopback on which nobody listens, for as long as this lives.
struct silent_port {
    asio::io_context ctx;
    asio::ip::tcp::socket holder{ctx, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
    [[nodiscard]] std::uint16_t number() const { return holder.local_endpoint().port(); }
};

rlim_t first_free_descriptor()
{
    const procyard::unique_fd one(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0));
    REQUIRE(one);
    return static_cast<rlim_t>(one.get());
}

// Hears one request on each connection, and says what it is told to.
template <class Protocol>
struct http_server {
    explicit http_server(asio::io_context& ctx, const typename Protocol::endpoint& where)
        : acceptor(ctx, where)
    {
        asio::co_spawn(ctx, serve(this), [](const std::exception_ptr&) { });
    }
    static asio::awaitable<void> serve(http_server* self)
    {
        for (;;) {
            auto client = co_await self->acceptor.async_accept(asio::use_awaitable);
            self->heard.clear();
            (void)co_await asio::async_read_until(client, asio::dynamic_buffer(self->heard),
                                                  "\r\n\r\n", asio::use_awaitable);
            (void)co_await asio::async_write(client, asio::buffer(self->says),
                                             asio::as_tuple(asio::use_awaitable));
            // Until the probe has gone, when it is not told that this was all.
            char byte = 0;
            if (!self->closes)
                (void)co_await client.async_read_some(asio::buffer(&byte, 1),
                                                      asio::as_tuple(asio::use_awaitable));
        }
    }

    typename Protocol::acceptor acceptor;
    std::string says = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    bool closes = true;
    std::string heard{};
};

struct web {
    [[nodiscard]] std::string url(std::string_view target = "/") const
    {
        return "http://127.0.0.1:" + std::to_string(server.acceptor.local_endpoint().port())
            + std::string(target);
    }
    bool says(const std::string& answer, http_probe_options how = {})
    {
        server.says = answer;
        return ask(ctx, http_probe(url(), std::move(how)));
    }

    descriptor_check descriptors;
    asio::io_context ctx;
    http_server<asio::ip::tcp> server{ctx, {asio::ip::address_v4::loopback(), 0}};
};

std::string refusal(std::string_view url, http_probe_options how = {})
{
    try {
        (void)http_probe(url, std::move(how));
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return "accepted";
}

// A daemon in a session of its own, and the command that has started it; each has written down who
// it is when the second one has.
command daemonizing(const temporary_directory& where)
{
    return command::shell("cd " + where.path().string()
                          + "; (setsid sh -c 'echo $$ > daemon; exec tail -f /dev/null' &)"
                            "; until [ -s daemon ]; do :; done; echo $$ > leader;"
                            " exec tail -f /dev/null");
}

}  // namespace

TEST_SUITE("tcp_probe")
{
    TEST_CASE("somebody listens, or nobody does, and one that is asked again sees it anew")
    {
        const descriptor_check descriptors;
        asio::io_context ctx;
        const silent_port silent;
        const auto probe = tcp_probe(silent.number());
        CHECK_FALSE(ask(ctx, probe));
        {
            asio::ip::tcp::acceptor here(ctx, {asio::ip::address_v4::loopback(), 0});
            CHECK(ask(ctx, tcp_probe(here.local_endpoint().port())));
            CHECK(ask(ctx, tcp_probe(here.local_endpoint())));
        }
        CHECK_FALSE(ask(ctx, probe));
    }

    TEST_CASE("localhost is IPv6, too")
    {
        asio::io_context ctx;
        asio::ip::tcp::acceptor here(ctx);
        error_code ec;
        here.open(asio::ip::tcp::v6(), ec);
        if (!ec)
            here.bind({asio::ip::address_v6::loopback(), 0}, ec);
        if (ec)
            return;  // a machine without it
        here.listen();
        CHECK(ask(ctx, tcp_probe(here.local_endpoint().port())));
    }

    TEST_CASE("without a descriptor left the answer is no, and no exception")
    {
        asio::io_context ctx;
        asio::ip::tcp::acceptor here(ctx, {asio::ip::address_v4::loopback(), 0});
        const auto probe = tcp_probe(here.local_endpoint());
        CHECK(ask(ctx, probe));
        {
            const limit_guard none(RLIMIT_NOFILE, first_free_descriptor());
            CHECK_FALSE(ask(ctx, probe));
        }
        CHECK(ask(ctx, probe));
    }
}

TEST_SUITE("unix_probe")
{
    TEST_CASE("somebody listens, nobody does any more, and nobody has the name")
    {
        const descriptor_check descriptors;
        asio::io_context ctx;
        const socket_place place;
        const auto probe = unix_probe(place.path);
        CHECK_FALSE(ask(ctx, probe));
        {
            const asio::local::stream_protocol::acceptor here(ctx, place.path);
            CHECK(ask(ctx, probe));
        }
        CHECK_FALSE(ask(ctx, probe));
        CHECK_THROWS_AS((void)unix_probe(std::string(200, 'x')), boost::system::system_error);
    }

    TEST_CASE("a queue that is full is a no, at once (Asio takes it for a connection)")
    {
        asio::io_context ctx;
        const socket_place place;
        asio::local::stream_protocol::acceptor here(ctx);
        here.open();
        here.bind(place.path);
        here.listen(0);
        const auto probe = unix_probe(place.path);
        CHECK(ask(ctx, probe));
        // The first one has gone, and stands in the queue all the same.
        CHECK_FALSE(ask(ctx, probe));
    }
}

TEST_SUITE("http_probe")
{
    TEST_CASE("any status from 200 to 299 is good, and no other")
    {
        web f;
        CHECK(f.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        CHECK(f.says("HTTP/1.1 204 No Content\r\n\r\n"));
        CHECK(f.says("HTTP/1.0 299 So so\r\n\r\nuntil the end"));
        CHECK_FALSE(f.says("HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"));
        CHECK_FALSE(f.says("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
        CHECK_FALSE(f.says("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"));
        CHECK_FALSE(f.says("220 mail\r\n"));
        CHECK_FALSE(f.says(""));
        CHECK_FALSE(f.says("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"));
    }

    TEST_CASE("another status, where that is the good one")
    {
        web f;
        http_probe_options how;
        how.status = 401;
        CHECK(f.says("HTTP/1.1 401 Who?\r\nContent-Length: 0\r\n\r\n", how));
        CHECK_FALSE(f.says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", how));
    }

    TEST_CASE("an answer that is whole is enough: the server need not close the connection")
    {
        web f;
        f.server.closes = false;
        CHECK(f.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        CHECK_FALSE(ask_in_vain(f.ctx, [&] {
            f.server.says = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok";
            return http_probe(f.url())();
        }));
    }

    TEST_CASE("what is asked for: the target, the host, further fields")
    {
        web f;
        http_probe_options how;
        how.headers = {{"X-Who", "a supervisor"}};
        CHECK(ask(f.ctx, http_probe(f.url("/health?deep=1#part"), how)));
        const auto host = f.url("").substr(7);
        CHECK(f.server.heard
              == "GET /health?deep=1 HTTP/1.1\r\nHost: " + host
                  + "\r\nUser-Agent: procyard\r\nAccept: */*\r\nConnection: close\r\n"
                    "X-Who: a supervisor\r\n\r\n");
        CHECK(ask(f.ctx, http_probe("http://localhost" + host.substr(9) + "?x")));
        CHECK(f.server.heard.starts_with("GET /?x HTTP/1.1\r\nHost: localhost:"));
    }

    TEST_CASE("over a Unix socket, whatever the host is called")
    {
        const descriptor_check descriptors;
        asio::io_context ctx;
        const socket_place place;
        http_server<asio::local::stream_protocol> server(ctx, place.path);
        http_probe_options how;
        how.unix_socket = place.path;
        CHECK(ask(ctx, http_probe("http://the.daemon/_ping", how)));
        CHECK(server.heard.starts_with("GET /_ping HTTP/1.1\r\nHost: the.daemon\r\n"));
    }

    TEST_CASE("nobody listens; nobody answers: cancelled, it ends at once")
    {
        const descriptor_check descriptors;
        asio::io_context ctx;
        const silent_port silent;
        CHECK_FALSE(ask(ctx, http_probe("http://localhost:" + std::to_string(silent.number()))));
        asio::ip::tcp::acceptor mute(ctx, {asio::ip::address_v4::loopback(), 0});
        CHECK_FALSE(ask_in_vain(
            ctx, http_probe("http://127.0.0.1:" + std::to_string(mute.local_endpoint().port()))));
    }

    TEST_CASE("refuses what is no URL, and says why")
    {
        CHECK(refusal("https://localhost/")
              == "http_probe: \"https://localhost/\" is no http://HOST[:PORT][/TARGET]");
        CHECK(refusal("http://database:80/")
              == "http_probe: \"http://database:80/\" has a host that is neither an address nor "
                 "localhost");
        for (const char* const url :
             {"", "localhost", "http://", "http:///x", "http://:80", "http://localhost:",
              "http://localhost:0", "http://localhost:65536", "http://localhost:80x",
              "http://user@localhost/", "http://[::1", "http://[::1]80", "http://localhost/a b",
              "http://localhost/\r\nX: y", "http://localhost/\x7f", "http://local host"})
            CHECK_MESSAGE(refusal(url).starts_with("http_probe: "), std::string(url));
        for (const char* const url :
             {"http://[::1]:80/", "http://127.0.0.1", "http://localhost?x", "http://localhost#x"})
            CHECK_MESSAGE(refusal(url) == "accepted", std::string(url));
        http_probe_options how;
        how.headers = {{"X", "a\r\nY: b"}};
        CHECK(refusal("http://localhost/", how).find("is no value of a field")
              != std::string::npos);
        how.headers = {{"X Y", "a"}};
        CHECK(refusal("http://localhost/", how).find("is no name of a field") != std::string::npos);
    }
}

TEST_SUITE("command_probe")
{
    TEST_CASE("success is healthy, and nothing else is")
    {
        asio::io_context ctx;
        warm_up(ctx);
        CHECK(ask(ctx, command_probe(command("true"))));
        const auto fails = command_probe(command("false"));
        CHECK_FALSE(ask(ctx, fails));
        CHECK_FALSE(ask(ctx, fails));
        CHECK_FALSE(ask(ctx, command_probe(command("no-such-program"))));
        CHECK_FALSE(ask(ctx, command_probe(command::shell("kill -9 $$"))));
        CHECK(children() == 0);
    }

    TEST_CASE("its streams are /dev/null, and a pipe of ours that nobody reads is, too")
    {
        asio::io_context ctx;
        const temporary_directory where;
        const auto look = "for i in 0 1 2; do readlink /proc/$$/fd/$i; done > "
            + (where.path() / "seen").string() + "; yes | head -c 1000000";
        CHECK(ask(ctx, command_probe(command::shell(look).std_out(procyard::stdio::pipe()))));
        CHECK(where.read("seen").starts_with("/dev/null\n"));
        CHECK(where.read("seen").ends_with("/dev/null\n"));
        const auto file = where.path() / "own";
        CHECK(ask(
            ctx,
            command_probe(command("echo", {"kept"}).std_out(procyard::stdio::write_file(file)))));
        CHECK(where.read("own") == "kept\n");
    }

    TEST_CASE("it does not inherit what our own supervisor has given us")
    {
        asio::io_context ctx;
        REQUIRE(::setenv("NOTIFY_SOCKET", "@somebody", 1) == 0);
        CHECK(ask(ctx, command_probe(command::shell("[ -z \"$NOTIFY_SOCKET\" ]"))));
        CHECK(ask(ctx,
                  command_probe(
                      command::shell("[ \"$NOTIFY_SOCKET\" = own ]").env("NOTIFY_SOCKET", "own"))));
        REQUIRE(::unsetenv("NOTIFY_SOCKET") == 0);
        const variable budget(procyard::stop_budget_variable, "77");
        const variable deadline(procyard::stop_deadline_variable, "88");
        CHECK(ask(ctx,
                  command_probe(command::shell(
                      "[ -z \"$PROCYARD_STOP_BUDGET_NS$PROCYARD_STOP_DEADLINE_NS\" ]"))));
    }

    TEST_CASE("cancelled, it is killed with the daemon it has started, and ends when they are gone")
    {
        asio::io_context ctx;
        const temporary_directory where;
        question one(ctx, command_probe(daemonizing(where)));
        await([&] {
            ctx.poll();
            return where.read("leader").ends_with('\n');
        });
        const auto daemon = std::stoi(where.read("daemon"));
        const auto leader = std::stoi(where.read("leader"));
        REQUIRE(lives(daemon));
        REQUIRE(lives(leader));
        one.cancel.emit(asio::cancellation_type::terminal);
        run_until(ctx, [&] { return one.got.done(); });
        CHECK_FALSE(one.answer());
        CHECK_FALSE(lives(daemon));
        CHECK_FALSE(lives(leader));
        CHECK(children() == 0);
    }

    TEST_CASE("cancelled before it has begun, and while it is spawned: nothing is left")
    {
        for (int progress = 0; progress < 4; ++progress) {
            CAPTURE(progress);
            asio::io_context ctx;
            question one(ctx, command_probe(command("tail", {"-f", "/dev/null"})));
            if (progress > 0)
                ctx.poll();
            if (progress > 1)
                await([] { return children() == 1; });
            // The poll may have heard that it runs: then nothing more comes, and this must end.
            if (progress > 2)
                ctx.run_one_for(100ms);
            one.cancel.emit(asio::cancellation_type::terminal);
            run_until(ctx, [&] { return one.got.done(); });
            CHECK_FALSE(one.got.result());
            CHECK(children() == 0);
        }
    }

    TEST_CASE("cancelled when it runs and nobody has heard so: the daemon is gone, too, and reaped")
    {
        // On the spawner thread, which has made it and says so to the loop when this returns.
        struct held final : procyard::observer {
            void on_event(const procyard::child_event& event) noexcept override
            {
                if (event.what == procyard::child_event::kind::spawned)
                    (void)cancelled.get_future().wait_for(deadlock_guard);
            }
            std::promise<void> cancelled;
        };
        asio::io_context ctx;
        const temporary_directory where;
        const auto spawner = std::make_shared<held>();
        set_observer(ctx.get_executor(), spawner);
        question one(ctx, command_probe(daemonizing(where)));
        ctx.poll();
        await([&] { return where.read("leader").ends_with('\n'); });
        one.cancel.emit(asio::cancellation_type::terminal);
        spawner->cancelled.set_value();
        run_until(ctx, [&] { return one.got.done(); });
        CHECK_FALSE(one.answer());
        CHECK_FALSE(lives(std::stoi(where.read("daemon"))));
        CHECK_FALSE(lives(std::stoi(where.read("leader"))));
        CHECK(children() == 0);
    }

    TEST_CASE("what it leaves behind when it succeeds goes with it")
    {
        asio::io_context ctx;
        const temporary_directory where;
        CHECK(ask(ctx,
                  command_probe(command::shell("cd " + where.path().string()
                                               + "; setsid sh -c 'echo $$ > daemon; exec tail -f "
                                                 "/dev/null' & until [ -s daemon ]; do :; done"))));
        CHECK_FALSE(lives(std::stoi(where.read("daemon"))));
        CHECK(children() == 0);
    }
}

TEST_SUITE("channel_probe")
{
    TEST_CASE("a listener that accepts gives out a channel; one that does not, does not")
    {
        const descriptor_check descriptors;
        asio::io_context ctx;
        const socket_place place;
        const auto probe = channel_probe<sender<int>>(place.path);
        CHECK_FALSE(ask(ctx, probe));
        procyard::channel_listener<receiver<int>> listener(ctx.get_executor(), place.path);
        CHECK_FALSE(ask_in_vain(ctx, probe));
        using accepted = outcome<error_code, procyard::accepted_end<receiver<int>>>;
        accepted first;
        listener.async_accept(first.handler());
        CHECK(ask(ctx, probe));
        accepted second;
        listener.async_accept(second.handler());
        CHECK_FALSE(ask(ctx, channel_probe<sender<double>>(place.path)));
    }

    TEST_CASE("a question, and what is a good answer")
    {
        asio::io_context ctx;
        const socket_place place;
        procyard::channel_listener<duplex<int, int>> listener(ctx.get_executor(), place.path);
        asio::co_spawn(
            ctx,
            [](procyard::channel_listener<duplex<int, int>>* from) -> asio::awaitable<void> {
                for (;;) {
                    auto one = co_await from->async_accept(asio::use_awaitable);
                    const auto asked = co_await one.end.receiver.async_receive(asio::use_awaitable);
                    if (asked == 0)
                        continue;  // hangs up
                    co_await one.end.sender.async_send(asked + 1, asio::use_awaitable);
                    // Until the probe has gone: what is sent to an end that is closed is lost.
                    (void)co_await one.end.receiver.async_receive(
                        asio::as_tuple(asio::use_awaitable));
                }
            }(&listener),
            [](const std::exception_ptr&) {});
        const auto is_42 = [](int answer) { return answer == 42; };
        CHECK(ask(ctx, channel_probe<int, int>(place.path, 41, is_42)));
        CHECK_FALSE(ask(ctx, channel_probe<int, int>(place.path, 4, is_42)));
        CHECK_FALSE(ask(ctx, channel_probe<int, int>(place.path, 0, is_42)));
    }
}

TEST_SUITE("supervisor: probes")
{
    TEST_CASE("ready by HTTP; and health by a command, which fails as often as it may")
    {
        supervised f;
        http_server<asio::ip::tcp> server(f.ctx, {asio::ip::address_v4::loopback(), 0});
        server.says = "HTTP/1.1 503 Not yet\r\nContent-Length: 0\r\n\r\n";
        const auto port = std::to_string(server.acceptor.local_endpoint().port());
        const temporary_directory where;
        const auto mark = where.write("healthy", "");
        auto one = sleeper("a");
        one.ready_when(
               readiness::probe(http_probe("http://localhost:" + port), 1ms, deadlock_guard))
            .health(command_probe(command("test", {"-e", mark.string()})), 1ms, 2, deadlock_guard)
            .restart(procyard::restart_kind::temporary);
        f.it().add(one);
        f.it().start();
        run_until(f.ctx, [&] { return !server.heard.empty(); });
        CHECK(f.state("a") == service_state::starting);
        server.says = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        f.until("a", service_state::ready);
        std::filesystem::remove(mark);
        f.until("a", service_state::failed);
        CHECK(f.last(service_state::failed).cause == procyard::service_cause::unhealthy);
        f.stop();
        CHECK(children() == 0);
    }
}
