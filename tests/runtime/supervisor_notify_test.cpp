// SPDX-License-Identifier: BSL-1.0
#include "notify_socket.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/steady_timer.hpp>

#include <procyard/runtime/supervisor.hpp>

#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"

using namespace std::chrono_literals;
using namespace procyard_test;
using procyard::command;
using procyard::manual_clock;
using procyard::readiness;
using procyard::restart_kind;
using procyard::service;
using procyard::service_state;
using procyard::supervisor_options;
using procyard::detail::notification;
using procyard::detail::notify_message;
using procyard::detail::notify_socket;
using procyard::detail::parse_notifications;

namespace {

std::string text_of(const std::vector<notification>& all)
{
    std::string text;
    for (const auto& one : all)
        text += "[" + std::string(one.name) + "|" + std::string(one.value) + "]";
    return text;
}

// Speaks as anybody of this machine can, and may pass a descriptor.
void say_as_a_stranger(const std::string& address, std::string_view message, int passed = -1)
{
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::memcpy(to.sun_path, address.data(), address.size());
    to.sun_path[0] = '\0';
    std::string text(message);
    iovec data{text.data(), text.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof passed)] = {};
    msghdr header{};
    header.msg_name = &to;
    header.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    if (passed >= 0) {
        header.msg_control = control;
        header.msg_controllen = sizeof control;
        cmsghdr* const part = CMSG_FIRSTHDR(&header);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof passed);
        std::memcpy(CMSG_DATA(part), &passed, sizeof passed);
    }
    const procyard::unique_fd from(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    CHECK(::sendmsg(from.get(), &header, 0) == static_cast<ssize_t>(text.size()));
}

// What it passes is a pipe's end. True: it is closed when the message has been received.
bool closes_what_a_stranger_passes(notify_socket& socket, std::string_view message)
{
    int ends[2] = {-1, -1};
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    const procyard::unique_fd mine(ends[0]);
    procyard::unique_fd passed(ends[1]);
    say_as_a_stranger(socket.address(), message, passed.get());
    passed.reset();
    char byte = 0;
    // In the message, it is open.
    CHECK(::read(mine.get(), &byte, 1) == -1);
    socket.drain();
    return ::read(mine.get(), &byte, 1) == 0;
}

}  // namespace

TEST_SUITE("sd_notify")
{
    TEST_CASE("assignments, one in a line; what is none is left out")
    {
        CHECK(text_of(parse_notifications("READY=1\nSTATUS=a=b c\n")) == "[READY|1][STATUS|a=b c]");
        CHECK(text_of(parse_notifications("nothing\n=1\n\nX=\nMAINPID=7")) == "[X|][MAINPID|7]");
        CHECK(text_of(parse_notifications("")).empty());
    }

    TEST_CASE("READY=1 makes a service ready, and STATUS= is what it says of itself")
    {
        supervised f;
        f.it().add(service("a", helper({"--mode=notify", "STATUS=warming up", "READY=1"}))
                       .ready_when(readiness::told()));
        f.it().start();
        f.until("a", service_state::ready);
        CHECK(f.of("a").status_text == "warming up");
        f.stop();
    }

    TEST_CASE("RELOADING=1 takes the readiness away until the next READY=1")
    {
        supervised f;
        f.it().add(service("a", helper({"--mode=notify", "READY=1", "RELOADING=1"}))
                       .ready_when(readiness::told()));
        f.it().start();
        f.until("a", service_state::unready);
        CHECK(f.came_to(service_state::ready) == "a.1");
        f.stop();
    }

    TEST_CASE("what a process says just before it ends is heard (systemd#2737)")
    {
        supervised f;
        f.it().add(service("a", helper({"--mode=notify-and-exit", "READY=1\nSTATUS=last words"}))
                       .ready_when(readiness::told())
                       .restart(restart_kind::temporary));
        f.it().start();
        f.until("a", service_state::failed);
        CHECK(f.last(service_state::failed).death->text == "last words");
        CHECK(f.last(service_state::failed).death->status->code() == 3);
    }

    TEST_CASE("a child of the service may speak for it, and its barrier is answered")
    {
        supervised f;
        std::vector<std::string> lines;
        f.it().add(service("a", helper({"--mode=notify-by-child", "READY=1"}))
                       .ready_when(readiness::told())
                       .log([&](procyard::service_output, std::string_view line) {
                           lines.emplace_back(line.substr(0, line.find(' ')));
                       }));
        f.it().start();
        f.until("a", service_state::ready);
        run_until(f.ctx, [&] { return !lines.empty(); });
        CHECK(lines == std::vector<std::string>{"done"});
        f.stop();
    }

    TEST_CASE("a watchdog is fed by WATCHDOG=1, and the child finds the time in its environment")
    {
        supervisor_options options;
        const auto clock = std::make_shared<manual_clock>();
        options.clock = clock;
        supervised f(options);
        std::vector<std::string> lines;
        f.it().add(service("a",
                           command::shell("echo $WATCHDOG_USEC; exec " PROCYARD_TEST_HELPER
                                          " --mode=notify WATCHDOG=1 READY=1"))
                       .ready_when(readiness::told())
                       .watchdog(10s)
                       .restart(restart_kind::temporary)
                       .log([&](procyard::service_output, std::string_view line) {
                           lines.emplace_back(line);
                       }));
        f.it().start();
        f.until("a", service_state::ready);
        run_until(f.ctx, [&] { return !lines.empty(); });
        CHECK(lines.front() == "10000000");
        clock->advance(10s);
        f.until("a", service_state::failed);
        CHECK(f.last(service_state::failed).death->status->signal() == SIGABRT);
    }

    TEST_CASE("EXTEND_TIMEOUT_USEC puts off the end of a start, as far as it may")
    {
        supervisor_options options;
        const auto clock = std::make_shared<manual_clock>();
        options.clock = clock;
        supervised f(options);
        f.it().add(
            service("a", helper({"--mode=notify", "EXTEND_TIMEOUT_USEC=8000000\nSTATUS=more"}))
                .ready_when(readiness::told())
                .restart(restart_kind::temporary)
                .start_timeout(3s)
                .may_extend(2s));
        f.it().start();
        run_until(f.ctx, [&] { return f.of("a").status_text == "more"; });
        f.ctx.poll();
        clock->advance(3s);
        f.ctx.poll();
        CHECK(f.state("a") == service_state::starting);
        clock->advance(2s);
        f.until("a", service_state::failed);
        CHECK(f.last(service_state::failed).cause == procyard::service_cause::start_timeout);
    }

    TEST_CASE("a coroutine extends its stop, again and again, as far as it may")
    {
        supervisor_options options;
        const auto clock = std::make_shared<manual_clock>();
        options.clock = clock;
        options.stop_budget = 1h;
        supervised f(options);
        std::optional<procyard::service_context> inside;
        boost::asio::steady_timer release(f.ctx, boost::asio::steady_timer::time_point::max());
        f.it().add(service("a",
                           [&](procyard::service_context me) -> boost::asio::awaitable<void> {
                               inside.emplace(me);
                               co_await deaf_until_said(&release);
                           })
                       .stop_grace(2s)
                       .may_extend(10s));
        f.it().start();
        f.until("a", service_state::ready);
        f.it().stop("a");
        f.until("a", service_state::stopping);
        for (int i = 0; i < 5; ++i) {
            inside->extend(2s);
            f.ctx.poll();
            clock->advance(1900ms);
            f.ctx.poll();
        }
        CHECK(f.state("a") == service_state::stopping);
        clock->advance(2s);
        f.until("a", service_state::killing);
        release.cancel();
        f.until("a", service_state::exited);
        f.stop();
    }

    TEST_CASE("WATCHDOG_USEC sets another time; WATCHDOG=trigger is as if it had gone hungry")
    {
        supervisor_options options;
        const auto clock = std::make_shared<manual_clock>();
        options.clock = clock;
        supervised f(options);
        f.it().add(service("a", helper({"--mode=notify", "WATCHDOG_USEC=2000000\nREADY=1"}))
                       .ready_when(readiness::told())
                       .watchdog(1h)
                       .restart(restart_kind::temporary));
        f.it().add(service("b", helper({"--mode=notify", "READY=1", "WATCHDOG=trigger"}))
                       .ready_when(readiness::told())
                       .restart(restart_kind::temporary));
        f.it().start();
        f.until("a", service_state::ready);
        f.until("b", service_state::failed);
        CHECK(f.last(service_state::failed).cause == procyard::service_cause::watchdog);
        CHECK(f.last(service_state::failed).death->status->signal() == SIGABRT);
        CHECK(f.state("a") == service_state::ready);
        clock->advance(2s);
        f.until("a", service_state::failed);
        CHECK(f.last(service_state::failed).death->status->signal() == SIGABRT);
    }

    TEST_CASE("FDSTORE=1: what is left is given to the next incarnation, as many as may be")
    {
        supervised f;
        f.it().add(service("a", helper({"--mode=notify-store", "one", "two", "a:b"}))
                       .ready_when(readiness::told())
                       .keep_descriptors(3));
        f.it().start();
        f.until("a", service_state::ready);
        CHECK(f.of("a").status_text == "0 ");
        CHECK(f.of("a").descriptors_kept == 3);
        f.it().restart("a");
        f.until("a", service_state::ready, 2);
        // A name that is none is ignored.
        CHECK(f.of("a").status_text == "3 one:two:stored");
        CHECK(f.of("a").descriptors_kept == 3);
        f.it().replace("a");
        f.until("a", service_state::ready, 3);
        CHECK(f.of("a").status_text == "3 one:two:stored");
        f.it().stop("a");
        f.until("a", service_state::exited);
        run_until(f.ctx, [&] { return f.of("a").descriptors_kept == 0; });
        f.stop();
    }

    TEST_CASE("without permission nothing is kept")
    {
        supervised f;
        f.it().add(
            service("a", helper({"--mode=notify-store", "x"})).ready_when(readiness::told()));
        f.it().start();
        f.until("a", service_state::ready);
        CHECK(f.of("a").descriptors_kept == 0);
        f.stop();
    }

    TEST_CASE(
        "FDPOLL=0 keeps what has hung up, which else is dropped; FDSTORE says how many may be")
    {
        supervised f;
        f.it().add(service("a", helper({"--mode=notify-store", "!gone", "?kept"}))
                       .ready_when(readiness::told())
                       .keep_descriptors(2));
        std::string told;
        f.it().add(service("b", procyard::command::shell("echo $FDSTORE"))
                       .one_shot()
                       .keep_descriptors(7)
                       .log([&](procyard::service_output, std::string_view line) { told = line; }));
        f.it().start();
        f.until("a", service_state::ready);
        run_until(f.ctx, [&] { return f.of("a").descriptors_kept == 1; });
        f.it().restart("a");
        f.until("a", service_state::ready, 2);
        CHECK(f.of("a").status_text == "1 kept");
        f.until("b", service_state::exited);
        CHECK(told == "7");
        f.stop();
    }

    TEST_CASE("numbers in messages are decimal and whole, or none")
    {
        using procyard::detail::parse_notified_number;
        CHECK(parse_notified_number("0") == 0U);
        CHECK(parse_notified_number("18446744073709551615") == ~0ULL);
        for (const char* const text : {"", "-1", " 1", "1 ", "1s", "18446744073709551616"})
            CHECK_FALSE(parse_notified_number(text));
    }

    TEST_CASE("strangers are not listened to, and what they pass is closed")
    {
        boost::asio::io_context ctx;
        const auto owner = std::make_shared<int>();
        notify_socket socket(ctx.get_executor());
        procyard::error_code ec;
        socket.open(ec);
        REQUIRE(!ec);
        std::string heard;
        // Of the process 1, which this one is no child's child of.
        const auto nobody_of_ours = ::getpid() + 1'000'000;
        socket.start(
            nobody_of_ours, [&](notify_message& one) { heard += text_of(one.assignments); }, owner);
        say_as_a_stranger(socket.address(), "READY=1");
        socket.drain();
        for (const std::string_view message : {"READY=1", "FDSTORE=1\nFDNAME=a", "BARRIER=1"})
            CHECK_MESSAGE(closes_what_a_stranger_passes(socket, message), std::string(message));
        CHECK_MESSAGE(heard.empty(), heard);
        socket.close();
    }

    TEST_CASE("a message that is too long, or no text, harms nobody")
    {
        boost::asio::io_context ctx;
        const auto owner = std::make_shared<int>();
        notify_socket socket(ctx.get_executor());
        procyard::error_code ec;
        socket.open(ec);
        REQUIRE(!ec);
        std::string heard;
        socket.start(
            ::getpid(), [&](notify_message& one) { heard += text_of(one.assignments); }, owner);
        say_as_a_stranger(socket.address(), "A=" + std::string(10000, 'x'));
        say_as_a_stranger(socket.address(), std::string("\0\n\xff=\n=", 6));
        say_as_a_stranger(socket.address(), "B=1");
        socket.drain();
        CHECK(heard == "[\xff|][B|1]");
        socket.close();
    }
}
