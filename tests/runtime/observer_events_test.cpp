// SPDX-License-Identifier: BSL-1.0
// Whom an event is about, and which there are none of.
#include <signal.h>
#include <sys/wait.h>

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/runtime/observer.hpp>

#include "event_log.hpp"
#include "pipeline_run_fixture.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

/// Who was told about: the programs of the events of one kind.
class speakers final : public observer {
public:
    explicit speakers(child_event::kind what) : what_(what) { }
    void on_event(const child_event& event) noexcept override
    {
        if (event.what == what_)
            programs.push_back(std::string(event.program) + ' ' + std::string(event.text));
    }
    std::vector<std::string> programs;

private:
    child_event::kind what_;
};

}  // namespace

TEST_SUITE("observer")
{
    TEST_CASE("is told of no signal that nobody got")
    {
        asio::io_context ctx;
        const auto log = watch(ctx);
        auto c = spawn(command("true"), ctx.get_executor());
        error_code ec;
        SUBCASE("because the child was reaped")
        {
            CHECK(wait(ctx, c).success());
            c.signal(SIGUSR1, ec);
        }
        SUBCASE("because somebody else reaped it")
        {
            siginfo_t ended{};
            REQUIRE(::waitid(P_PID, static_cast<id_t>(c.id()), &ended, WEXITED) == 0);
            c.signal(SIGUSR1, ec);
        }
        SUBCASE("because its tree is empty")
        {
            CHECK(wait(ctx, c).success());
            for (const int number : {SIGUSR1, SIGSTOP, SIGCONT, SIGKILL}) {
                c.signal_tree(number, ec);
                CHECK_FALSE(ec);
            }
        }
        CHECK_FALSE(ec);
        for (const auto& line : log->lines())
            CHECK_MESSAGE(line.find("signal sent") == std::string::npos, line);
    }

    TEST_CASE("is told of a signal to those whom an ended child has left")
    {
        asio::io_context ctx;
        const auto log = watch(ctx);
        // The shell ends; the helper it started stays in its group, and says so.
        auto c = spawn(command::shell("\"$0\" --mode=pause & exit 0")
                           .arg(PROCYARD_TEST_HELPER)
                           .std_out(stdio::pipe()),
                       ctx.get_executor());
        (void)read_line(ctx, c.std_out());
        CHECK(wait(ctx, c).success());
        error_code ec;
        c.signal_tree(SIGTERM, ec);
        CHECK_FALSE(ec);
        CHECK(log->count("signal sent SIGTERM (tree)") == 1);
    }

    TEST_CASE_FIXTURE(pipeline_run_fixture,
                      "a limit in a pipeline is the stage's that wrote too much")
    {
        const auto told = std::make_shared<speakers>(child_event::kind::limit_hit);
        set_observer(ctx.get_executor(), told);
        const capture_options four{.limit_bytes = 4, .on_limit = limit_policy::stop};
        std::string expected;
        SUBCASE("the last one's output")
        {
            expected = "tail stdout limit";
            (*this)(command("echo", {"0123456789"}) | command("cat") | command("tail"),
                    run_options().std_out(run_output().capture(four)));
        }
        SUBCASE("an inner one's errors")
        {
            expected = "sh stderr limit";
            (*this)(command("true") | command("sh", {"-c", "echo 0123456789 >&2"}) | command("cat"),
                    run_options().std_err(run_output().capture(four)));
        }
        REQUIRE(told->programs.size() == 1);
        CHECK(told->programs.front() == expected);
        set_observer(ctx.get_executor(), nullptr);
    }

    TEST_CASE_FIXTURE(pipeline_run_fixture, "the end of the outputs is told for each process")
    {
        const auto told = std::make_shared<speakers>(child_event::kind::drained);
        set_observer(ctx.get_executor(), told);
        (*this)(command("echo", {"text"}) | command("cat"));
        REQUIRE(told->programs.size() == 2);
        CHECK(told->programs[0] == "echo ");
        CHECK(told->programs[1] == "cat ");
        set_observer(ctx.get_executor(), nullptr);
    }
}
