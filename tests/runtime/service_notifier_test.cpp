// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/service_notifier.hpp>

#include <doctest/doctest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <procyard/ipc/syscall.hpp>

#include "fake_manager.hpp"
#include "host_state.hpp"
#include "limit_guard.hpp"
#include "operation_contract.hpp"
#include "procyard_test.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;
using namespace std::chrono_literals;

namespace {

service_manager manager_at(const fake_manager& there,
                           std::optional<std::chrono::microseconds> watchdog = std::nullopt)
{
    service_manager manager;
    manager.socket = there.address();
    manager.watchdog = watchdog;
    return manager;
}

// Until there is no room.
std::size_t fill(service_notifier& notifier)
{
    error_code ec;
    std::size_t sent = 0;
    for (; sent < 100'000; ++sent) {
        notifier.try_notify(service_notice().status("full"), ec);
        if (ec)
            break;
    }
    CHECK(ec == asio::error::would_block);
    return sent;
}

template <class F>
std::string refusal(F f)
{
    try {
        f();
    } catch (const std::exception& error) {
        return error.what();
    }
    return "nothing";
}

bool has(const std::string& text, const std::string& part)
{
    return text.find(part) != std::string::npos;
}

// A notice for whose sending there is no room.
struct waiting_notify {
    explicit waiting_notify(asio::io_context& ctx)
        : notifier(std::in_place, ctx.get_executor(), manager_at(manager))
    {
        fill(*notifier);
    }
    void start(auto&& token)
    {
        notifier->async_notify(service_notice().status(text), std::forward<decltype(token)>(token));
    }
    void satisfy() { (void)manager.drain(); }
    void break_it() { text.assign(5000, 'x'); }
    static error_code breakage() { return make_errno(EMSGSIZE); }
    void destroy() { notifier.reset(); }

    fake_manager manager{};
    std::optional<service_notifier> notifier;
    std::string text = "at last";
};

}  // namespace

TEST_SUITE("service_notice")
{
    TEST_CASE("is one datagram of assignments, the last one of a name")
    {
        service_notice notice;
        CHECK(notice.empty());
        notice.ready().status("one").status("zwei ä = 2").exit_status(3).error_number(ENOENT);
        CHECK(notice.text() == "READY=1\nSTATUS=zwei ä = 2\nEXIT_STATUS=3\nERRNO=2\n");
        CHECK(service_notice().stopping().main_pid(7).text() == "STOPPING=1\nMAINPID=7\n");
        CHECK(service_notice().ill().set("X_A1", "").text() == "WATCHDOG=trigger\nX_A1=\n");
    }

    TEST_CASE("a reload has the time of CLOCK_MONOTONIC at which it was begun")
    {
        const auto now = [] {
            timespec t{};
            ::clock_gettime(CLOCK_MONOTONIC, &t);
            return t.tv_sec * 1'000'000 + t.tv_nsec / 1'000;
        };
        const auto before = now();
        const auto text = service_notice().reloading().text();
        const std::string head = "RELOADING=1\nMONOTONIC_USEC=";
        REQUIRE(text.starts_with(head));
        const auto told = std::stoll(text.substr(head.size()));
        CHECK(told >= before);
        CHECK(told <= now());
    }

    TEST_CASE("times are microseconds, never fewer than were meant")
    {
        CHECK(service_notice().extend_timeout(2s).text() == "EXTEND_TIMEOUT_USEC=2000000\n");
        CHECK(service_notice().watchdog(1ns).text() == "WATCHDOG_USEC=1\n");
    }

    TEST_CASE("what cannot be said is refused where it is written, by name")
    {
        CHECK(has(refusal([] { service_notice().status("a\nREADY=1"); }), "STATUS: a line feed"));
        CHECK(has(refusal([] { service_notice().status(std::string_view("a\0b", 3)); }), "NUL"));
        CHECK(has(refusal([] { service_notice().set("x", "1"); }), "capital letters"));
        CHECK(has(refusal([] { service_notice().set("", "1"); }), "capital letters"));
        CHECK(has(refusal([] { service_notice().set("A=B", "1"); }), "capital letters"));
        CHECK(has(refusal([] { service_notice().set("BARRIER", "1"); }), "async_barrier"));
        CHECK(has(refusal([] { service_notice().extend_timeout(0s); }), "EXTEND_TIMEOUT_USEC"));
        CHECK(has(refusal([] { service_notice().watchdog(-1s); }), "WATCHDOG_USEC"));
        CHECK(has(refusal([] { service_notice().exit_status(256); }), "EXIT_STATUS: 256"));
        CHECK(has(refusal([] { service_notice().error_number(0); }), "ERRNO: 0"));
        CHECK(has(refusal([] { service_notice().main_pid(0); }), "MAINPID: 0"));
        CHECK(has(refusal([] { service_notice().store(1, "a:b"); }), "\"a:b\" is not the name"));
        CHECK(
            has(refusal([] { service_notice().store(1, "a").store(1, "b"); }), "\"a\" and \"b\""));
        CHECK(has(refusal([] { service_notice().store(1, "a").remove_stored("a"); }), "FDSTORE"));
        CHECK(has(refusal([] { service_notice().store(-1, "a"); }), "descriptor -1"));
    }
}

TEST_SUITE("service_notifier")
{
    TEST_CASE("without a manager everything succeeds, and does nothing")
    {
        const variable no_socket("NOTIFY_SOCKET", nullptr);
        const variable watchdog("WATCHDOG_USEC", "1000000");
        const descriptor_check check;
        asio::io_context ctx;
        service_notifier notifier(ctx.get_executor(), manager_variables::keep);
        CHECK_FALSE(notifier.is_supervised());
        CHECK_FALSE(notifier.watchdog());
        error_code ec = make_errno(EINVAL);
        notifier.try_notify(service_notice().ready(), ec);
        CHECK_FALSE(ec);
        outcome<error_code> told;
        outcome<error_code> heard;
        outcome<error_code> fed;
        notifier.async_notify(service_notice().ready(), told.handler());
        notifier.async_barrier(heard.handler());
        notifier.async_feed_watchdog({}, fed.handler());
        CHECK_FALSE(told.done());
        run(ctx);
        CHECK(told.error() == error_code());
        CHECK(heard.error() == error_code());
        CHECK(fed.error() == error_code());
    }

    TEST_CASE("takes its manager out of the environment, or leaves it there")
    {
        fake_manager manager;
        asio::io_context ctx;
        for (const auto then : {manager_variables::keep, manager_variables::remove}) {
            const variable socket("NOTIFY_SOCKET", manager.address().c_str());
            const variable watchdog("WATCHDOG_USEC", "2000000");
            const variable process("WATCHDOG_PID", std::to_string(::getpid()).c_str());
            service_notifier notifier(ctx.get_executor(), then);
            CHECK(notifier.is_supervised());
            CHECK(notifier.watchdog() == 2s);
            const bool there = then == manager_variables::keep;
            for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
                CHECK((std::getenv(name) != nullptr) == there);
        }
    }

    TEST_CASE("a malformed manager is an error, and is taken out all the same")
    {
        const variable socket("NOTIFY_SOCKET", "nowhere");
        asio::io_context ctx;
        CHECK(has(refusal([&] { service_notifier(ctx.get_executor(), manager_variables::remove); }),
                  "NOTIFY_SOCKET=\"nowhere\""));
        CHECK(std::getenv("NOTIFY_SOCKET") == nullptr);
    }

    TEST_CASE("a manager that is not there is an error that has its name")
    {
        const descriptor_check check;
        asio::io_context ctx;
        service_manager nobody;
        nobody.socket = "/no/such/socket";
        CHECK(
            has(refusal([&] { service_notifier(ctx.get_executor(), nobody); }), "/no/such/socket"));
        nobody.socket = "@procyard-no-such-manager";
        CHECK(has(refusal([&] { service_notifier(ctx.get_executor(), nobody); }), "refused"));
    }

    TEST_CASE("sends one datagram, to a path or to an abstract name")
    {
        const temporary_directory place;
        for (const auto& path : {std::string(), (place.path() / "notify").string()}) {
            CAPTURE(path);
            fake_manager manager(path);
            asio::io_context ctx;
            service_notifier notifier(ctx.get_executor(), manager_at(manager));
            error_code ec;
            notifier.try_notify(service_notice().ready().status("here"), ec);
            CHECK_FALSE(ec);
            CHECK(manager.text() == "READY=1\nSTATUS=here\n");
            outcome<error_code> told;
            notifier.async_notify(service_notice().stopping(), told.handler());
            run(ctx);
            CHECK(told.error() == error_code());
            CHECK(manager.text() == "STOPPING=1\n");
            CHECK(manager.text() == "nothing");
        }
    }

    TEST_CASE("what a manager would not read is refused, with a manager or without")
    {
        fake_manager manager;
        asio::io_context ctx;
        for (auto& who : {manager_at(manager), service_manager()}) {
            service_notifier notifier(ctx.get_executor(), who);
            error_code ec;
            notifier.try_notify(service_notice(), ec);
            CHECK(ec == make_errno(EINVAL));
            notifier.try_notify(service_notice().status(std::string(4096, 'x')), ec);
            CHECK(ec == make_errno(EMSGSIZE));
            notifier.try_notify(service_notice().status(std::string(4088, 'x')), ec);
            CHECK_FALSE(ec);
        }
        CHECK(manager.text().size() == 4096);
        CHECK(manager.text() == "nothing");
    }

    TEST_CASE("descriptors go along, and stay the caller's")
    {
        const descriptor_check check;
        fake_manager manager;
        asio::io_context ctx;
        service_notifier notifier(ctx.get_executor(), manager_at(manager));
        int ends[2] = {};
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        const unique_fd read_end(ends[0]);
        const unique_fd write_end(ends[1]);
        service_notice notice;
        notice.store(read_end.get(), "state").store(write_end.get(), "state").without_polling();
        outcome<error_code> told;
        notifier.async_notify(std::move(notice), told.handler());
        run(ctx);
        CHECK(told.error() == error_code());
        auto got = manager.receive();
        REQUIRE(got);
        CHECK(got->text == "FDSTORE=1\nFDNAME=state\nFDPOLL=0\n");
        REQUIRE(got->descriptors.size() == 2);
        REQUIRE(::write(got->descriptors[1].get(), "x", 1) == 1);
        char byte = 0;
        CHECK(::read(read_end.get(), &byte, 1) == 1);
        error_code ec;
        notifier.try_notify(service_notice().remove_stored("state"), ec);
        CHECK(manager.text() == "FDSTOREREMOVE=1\nFDNAME=state\n");
    }

    TEST_CASE("a full queue is waited for, and never held against the loop")
    {
        fake_manager manager;
        asio::io_context ctx;
        service_notifier notifier(ctx.get_executor(), manager_at(manager));
        const auto sent = fill(notifier);
        outcome<error_code> told;
        notifier.async_notify(service_notice().ready(), told.handler());
        for (int i = 0; i < 10; ++i)
            ctx.poll();
        CHECK_FALSE(told.done());
        CHECK(manager.drain() == sent);
        run(ctx);
        CHECK(told.error() == error_code());
        CHECK(manager.text() == "READY=1\n");
    }

    TEST_CASE("a manager that was started again is found, one that has gone is an error")
    {
        const temporary_directory place;
        const auto path = (place.path() / "notify").string();
        fake_manager manager(path);
        asio::io_context ctx;
        service_notifier notifier(ctx.get_executor(), manager_at(manager));
        manager.close();
        error_code ec;
        notifier.try_notify(service_notice().ready(), ec);
        CHECK(ec == make_errno(ECONNREFUSED));
        notifier.try_notify(service_notice().ready(), ec);
        CHECK(ec == make_errno(ECONNREFUSED));
        ::unlink(path.c_str());
        manager.bind(path);
        outcome<error_code> told;
        notifier.async_notify(service_notice().ready(), told.handler());
        run(ctx);
        CHECK(told.error() == error_code());
        CHECK(manager.text() == "READY=1\n");
    }

    TEST_CASE("speaks also when the process has run out of descriptors")
    {
        fake_manager manager;
        asio::io_context ctx;
        service_notifier notifier(ctx.get_executor(), manager_at(manager));
        outcome<error_code> told;
        outcome<error_code> heard;
        {
            const limit_guard none(RLIMIT_NOFILE, 0);
            notifier.async_notify(service_notice().alive(), told.handler());
            notifier.async_barrier(heard.handler());
            run(ctx);
        }
        CHECK(told.error() == error_code());
        CHECK(heard.error() == make_errno(EMFILE));
        CHECK(manager.text() == "WATCHDOG=1\n");
    }
}

TEST_SUITE("async_notify"){PROCYARD_OPERATION_CONTRACT(waiting_notify)}

TEST_SUITE("async_barrier")
{
    TEST_CASE("is over when the manager has read it, and so all that came before")
    {
        const descriptor_check check;
        fake_manager manager;
        asio::io_context ctx;
        service_notifier notifier(ctx.get_executor(), manager_at(manager));
        error_code ec;
        notifier.try_notify(service_notice().ready(), ec);
        outcome<error_code> heard;
        notifier.async_barrier(heard.handler());
        for (int i = 0; i < 10; ++i)
            ctx.poll();
        CHECK_FALSE(heard.done());
        CHECK(manager.text() == "READY=1\n");
        {
            const auto asked = manager.receive();
            REQUIRE(asked);
            CHECK(asked->text == "BARRIER=1");
            CHECK(asked->descriptors.size() == 1);
            ctx.restart();
            ctx.poll();
            CHECK_FALSE(heard.done());
        }
        run(ctx);
        CHECK(heard.error() == error_code());
    }

    TEST_CASE("cancelled before it is sent, nothing is; cancelled afterwards, nobody waits")
    {
        using type = asio::cancellation_type;
        for (const auto each : {type::terminal, type::partial, type::total}) {
            const descriptor_check check;
            fake_manager manager;
            asio::io_context ctx;
            service_notifier notifier(ctx.get_executor(), manager_at(manager));
            for (const bool sent : {false, true}) {
                asio::cancellation_signal stop;
                outcome<error_code> heard;
                notifier.async_barrier(asio::bind_cancellation_slot(stop.slot(), heard.handler()));
                ctx.restart();
                for (int i = 0; i < 10 && sent; ++i)
                    ctx.poll();
                stop.emit(each);
                CHECK_FALSE(heard.done());
                run(ctx);
                CHECK(heard.count == 1);
                CHECK(heard.error() == asio::error::operation_aborted);
                CHECK(manager.text() == (sent ? "BARRIER=1" : "nothing"));
                stop.emit(each);
                run(ctx);
                CHECK(heard.count == 1);
            }
        }
    }

    TEST_CASE("ends with its notifier, on the handler's executor, and with its context")
    {
        const descriptor_check check;
        fake_manager manager;
        for (const bool sent : {false, true}) {
            asio::io_context ctx;
            asio::io_context other;
            const auto there = other.get_executor();
            std::optional<service_notifier> notifier(std::in_place, ctx.get_executor(),
                                                     manager_at(manager));
            std::optional<error_code> got;
            notifier->async_barrier(asio::bind_executor(there, [&](const error_code& ec) {
                CHECK(there.running_in_this_thread());
                got = ec;
            }));
            for (int i = 0; i < 10 && sent; ++i)
                ctx.poll();
            notifier.reset();
            CHECK_FALSE(got);
            ctx.restart();
            ctx.poll();
            CHECK_FALSE(got);
            run(other);
            REQUIRE(got);
            CHECK(*got == asio::error::operation_aborted);
        }
        for (const bool sent : {false, true}) {
            const auto alive = std::make_shared<int>(0);
            bool called = false;
            std::optional<asio::io_context> ctx(std::in_place);
            std::optional<service_notifier> notifier(std::in_place, ctx->get_executor(),
                                                     manager_at(manager));
            notifier->async_barrier([alive, &called](const error_code&) { called = true; });
            for (int i = 0; i < 10 && sent; ++i)
                ctx->poll();
            notifier.reset();
            ctx.reset();
            CHECK_FALSE(called);
            CHECK(alive.use_count() == 1);
        }
    }

    TEST_CASE("a coroutine that owns its notifier goes down with its context")
    {
        const descriptor_check check;
        fake_manager manager;
        asio::io_context ctx;
        asio::co_spawn(
            ctx,
            [](service_manager who) -> asio::awaitable<void> {
                service_notifier mine(co_await asio::this_coro::executor, std::move(who));
                co_await mine.async_barrier(asio::use_awaitable);
            }(manager_at(manager)),
            [](const std::exception_ptr&) {});
        for (int i = 0; i < 10; ++i)
            ctx.poll();
    }

    TEST_CASE("a manager that has gone is an error")
    {
        fake_manager manager;
        asio::io_context ctx;
        service_notifier notifier(ctx.get_executor(), manager_at(manager));
        manager.close();
        outcome<error_code> heard;
        notifier.async_barrier(heard.handler());
        run(ctx);
        CHECK(heard.error() == make_errno(ECONNREFUSED));
    }
}
