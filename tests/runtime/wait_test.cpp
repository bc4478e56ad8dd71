// SPDX-License-Identifier: BSL-1.0
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "busy_program.hpp"
#include "host_state.hpp"
#include "operation_contract.hpp"
#include "skip.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

command until_eof(int code)
{
    return helper({"--mode=until-eof", std::to_string(code)})
        .std_in(stdio::pipe())
        .std_out(stdio::null());
}

/// For the contract of operation_contract.hpp. There is no way to make a wait fail at once.
struct wait_for_exit {
    explicit wait_for_exit(asio::io_context& ctx) : c(spawn(until_eof(0), ctx.get_executor())) { }
    template <class Token>
    void start(Token&& token)
    {
        c.async_wait(std::forward<Token>(token));
    }
    void satisfy() { c.std_in().close(); }

    child c;
};

// A shell: a program with a sanitizer in it forbids itself a core.
constexpr const char* abort_script = "kill -ABRT $$";

/// Whether this machine dumps core for such a death, by the kernel's word and without the library.
bool dumps_core()
{
    const temporary_directory files;
    const pid_t child = ::fork();
    if (child == 0) {
        rlimit core{};
        ::getrlimit(RLIMIT_CORE, &core);
        core.rlim_cur = core.rlim_max;
        if (::setrlimit(RLIMIT_CORE, &core) == 0 && ::chdir(files.path().c_str()) == 0)
            ::execl("/bin/sh", "sh", "-c", abort_script, nullptr);
        ::_exit(1);
    }
    REQUIRE(child > 0);
    siginfo_t info{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED) == 0);
    REQUIRE(info.si_status == SIGABRT);
    return info.si_code == CLD_DUMPED;
}

asio::awaitable<void> wait_into(child& c, std::vector<exit_status>& out)
{
    out.push_back(co_await c.async_wait(asio::use_awaitable));
}

}  // namespace

TEST_SUITE("async_wait")
{
    TEST_CASE("succeeds in a later turn, and waits until it can")
    {
        check_success<wait_for_exit>();
        check_success_after_a_wait<wait_for_exit>();
    }

    TEST_CASE("of a child that has ended completes, but not inside the call")
    {
        asio::io_context ctx;
        auto c = spawn(until_eof(3), ctx.get_executor());
        c.std_in().close();
        (void)wait(ctx, c);
        outcome<error_code, exit_status> got;
        c.async_wait(got.handler());
        CHECK_FALSE(got.done());
        run(ctx);
        CHECK(got.count == 1);
        CHECK(got.result() == exit_status::exited(3));
    }

    TEST_CASE("cancelled, it has done nothing: the child goes on, the next wait gets the status")
    {
        using type = asio::cancellation_type;
        for (const auto each : {type::terminal, type::partial, type::total}) {
            check_cancellation<wait_for_exit>(each, false);
            check_cancellation<wait_for_exit>(each, true);
        }
    }

    TEST_CASE("cancelled, it leaves the other waiters waiting")
    {
        asio::io_context ctx;
        auto c = spawn(until_eof(7), ctx.get_executor());
        asio::cancellation_signal signal;
        outcome<error_code, exit_status> first;
        outcome<error_code, exit_status> second;
        c.async_wait(asio::bind_cancellation_slot(signal.slot(), first.handler()));
        c.async_wait(second.handler());
        ctx.poll();
        signal.emit(asio::cancellation_type::total);
        ctx.poll();
        CHECK(first.error() == asio::error::operation_aborted);
        CHECK_FALSE(second.done());
        c.std_in().close();
        run(ctx);
        CHECK(second.result() == exit_status::exited(7));
    }

    TEST_CASE("completes when its child object is dropped: with the status of the kill")
    {
        for (const bool waiting : {false, true}) {
            asio::io_context ctx;
            auto operation = std::make_unique<wait_for_exit>(ctx);
            outcome<error_code, exit_status> got;
            operation->start(got.handler());
            if (waiting)
                ctx.poll();
            operation.reset();
            CHECK_FALSE(got.done());
            run(ctx);
            CHECK_FALSE(got.error());
            CHECK(got.result() == exit_status::signaled(SIGKILL));
        }
    }

    TEST_CASE("goes on when its child object is moved")
    {
        asio::io_context ctx;
        auto c = spawn(until_eof(4), ctx.get_executor());
        outcome<error_code, exit_status> got;
        c.async_wait(got.handler());
        child moved(std::move(c));
        CHECK_FALSE(c);
        moved.std_in().close();
        run(ctx);
        CHECK(got.result() == exit_status::exited(4));
    }

    TEST_CASE("runs its handler on the handler's executor")
    {
        check_other_executor<wait_for_exit>();
    }

    TEST_CASE("goes down with its io_context without a call")
    {
        check_context_destruction<wait_for_exit>(false);
        check_context_destruction<wait_for_exit>(true);
    }

    TEST_CASE(
        "any number of times, at any time, from coroutines: one status (case 43 complaint 03)")
    {
        asio::io_context ctx;
        auto c = spawn(until_eof(9), ctx.get_executor());
        std::vector<exit_status> seen;
        for (int i = 0; i < 10; ++i)
            asio::co_spawn(ctx, wait_into(c, seen), asio::detached);
        ctx.poll();
        CHECK(seen.empty());
        c.std_in().close();
        run(ctx);
        for (int i = 0; i < 3; ++i)
            seen.push_back(wait(ctx, c));
        REQUIRE(c.try_wait().has_value());
        seen.push_back(*c.try_wait());
        CHECK(seen.size() == 14);
        for (const auto& status : seen) {
            CHECK(status == exit_status::exited(9));
            CHECK(status.usage() == seen.front().usage());
        }
    }

    TEST_CASE("a terminated child has the signal for every waiter (complaint 03)")
    {
        asio::io_context ctx;
        auto c = spawn(until_eof(0), ctx.get_executor());
        outcome<error_code, exit_status> first;
        c.async_wait(first.handler());
        c.terminate();
        outcome<error_code, exit_status> second;
        c.async_wait(second.handler());
        c.kill();
        run(ctx);
        CHECK(first.result().is_signaled());
        CHECK(first.result() == second.result());
        CHECK(c.try_wait() == first.result());
    }

    TEST_CASE("ten times ten children that end at once wake every waiter (case 49)")
    {
        asio::io_context ctx;
        for (int round = 0; round < 10; ++round) {
            std::vector<child> batch;
            std::vector<outcome<error_code, exit_status>> got(10);
            for (std::size_t i = 0; i < got.size(); ++i) {
                batch.push_back(spawn(until_eof(static_cast<int>(i)), ctx.get_executor()));
                batch.back().async_wait(got[i].handler());
            }
            for (auto& c : batch)
                c.std_in().close();
            run(ctx);
            for (std::size_t i = 0; i < got.size(); ++i)
                CHECK(got[i].result() == exit_status::exited(static_cast<int>(i)));
        }
    }

    TEST_CASE("two hundred living children end together (case 49)")
    {
        const auto before = children();
        asio::io_context ctx;
        std::vector<child> all;
        std::vector<outcome<error_code, exit_status>> got(200);
        for (auto& one : got) {
            all.push_back(spawn(command("cat").std_in(stdio::pipe()), ctx.get_executor()));
            all.back().async_wait(one.handler());
        }
        ctx.poll();
        for (auto& c : all)
            c.std_in().close();
        run(ctx);
        for (auto& one : got)
            CHECK(one.result().success());
        CHECK(children() == before);
    }

    TEST_CASE("of two hundred children none waits for one that ends later (case 49)")
    {
        asio::io_context ctx;
        std::vector<child> all;
        std::vector<std::size_t> completed;
        for (std::size_t i = 0; i < 200; ++i) {
            all.push_back(spawn(command("cat").std_in(stdio::pipe()), ctx.get_executor()));
            all.back().async_wait([&completed, i](error_code, exit_status status) {
                CHECK_MESSAGE(status.success(), i, ": ", status.to_string());
                completed.push_back(i);
            });
        }
        ctx.poll();
        CHECK(completed.empty());
        // All of them, in an order that is neither that of the spawns nor its reverse. Each is let
        // go when the one before has been told, so a wait that stood behind another child's would
        // never end.
        for (std::size_t n = 0; n < all.size(); ++n) {
            const std::size_t next = (n * 77 + 199) % all.size();
            all[next].std_in().close();
            CAPTURE(n);
            CAPTURE(next);
            run_until(ctx, [&] { return completed.size() > n; });
            ctx.poll();
            REQUIRE(completed.size() == n + 1);
            REQUIRE(completed.back() == next);
        }
        run(ctx);
        CHECK(completed.size() == all.size());
    }
}

TEST_SUITE("try_wait")
{
    TEST_CASE("is empty before the end and the same ever after (case 44)")
    {
        asio::io_context ctx;
        auto c = spawn(until_eof(6), ctx.get_executor());
        CHECK_FALSE(c.try_wait());
        CHECK_FALSE(c.try_wait());
        c.std_in().close();
        (void)wait(ctx, c);
        CHECK(c.try_wait() == exit_status::exited(6));
        CHECK(c.try_wait() == exit_status::exited(6));
    }

    TEST_CASE("needs no running loop, and wakes who waits (case 44)")
    {
        asio::io_context ctx;
        auto c = spawn(helper({"--mode=exit", "6"}), ctx.get_executor());
        outcome<error_code, exit_status> got;
        c.async_wait(got.handler());
        std::optional<exit_status> status;
        await([&] { return (status = c.try_wait()).has_value(); });
        CHECK(*status == exit_status::exited(6));
        CHECK_FALSE(got.done());
        run(ctx);
        CHECK(got.result() == exit_status::exited(6));
    }
}

TEST_SUITE("exit_status of a child")
{
    TEST_CASE("has the exit code in eight bits (case 42)")
    {
        asio::io_context ctx;
        for (const auto& [code, seen] :
             {std::pair{0, 0}, {1, 1}, {255, 255}, {256, 0}, {257, 1}, {-1, 255}})
            CHECK(status_of(ctx, helper({"--mode=exit", std::to_string(code)}))
                  == exit_status::exited(seen));
    }

    TEST_CASE("tells a death by signal from an exit with that number (case 42)")
    {
        asio::io_context ctx;
        for (const int number : {SIGTERM, SIGKILL, SIGUSR1, SIGPIPE, SIGRTMIN + 1}) {
            const auto killed = status_of(ctx, helper({"--mode=raise", std::to_string(number)}));
            CHECK(killed == exit_status::signaled(number));
            CHECK(killed.code() == std::nullopt);
            const auto exited = status_of(ctx, helper({"--mode=exit", std::to_string(number)}));
            CHECK(exited == exit_status::exited(number));
            CHECK(exited.signal() == std::nullopt);
        }
    }

    TEST_CASE("has the core flag (case 42)")
    {
        const bool here = dumps_core();
        rlimit core{};
        ::getrlimit(RLIMIT_CORE, &core);
        asio::io_context ctx;
        const temporary_directory files;
        const auto what = command::shell(abort_script).working_directory(files.path());
        const auto status = status_of(ctx, command(what).limit(RLIMIT_CORE, core.rlim_max));
        CHECK(status.signal() == SIGABRT);
        CHECK(status.core_dumped() == here);
        if (!here)
            skip("this machine dumps no core");
        CHECK_FALSE(status_of(ctx, command(what).limit(RLIMIT_CORE, 0)).core_dumped());
    }

    TEST_CASE("has what the child used (case 52 complaint 23)")
    {
        asio::io_context ctx;
        const auto status = status_of(ctx, helper({"--mode=burn", "30", "16"}));
        CHECK(status.success());
        using namespace std::chrono_literals;
        CHECK(status.usage().user_time + status.usage().system_time >= 30ms);
        CHECK(status.usage().max_rss_bytes >= 16U << 20);
        CHECK(status.usage().minor_faults > 0);
    }
}
