// SPDX-License-Identifier: BSL-1.0
// A child under a debugger or strace: its pidfd says that it is dead, and it cannot be waited for
// before the tracer has let it go.
#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <unistd.h>

#include <fstream>
#include <optional>
#include <string>

#include "busy_program.hpp"
#include "feature_off.hpp"
#include "skip.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;
using procyard::detail::kernel_features;

namespace {

// Field 3 of proc(5): R, S, Z, …
char state_of(pid_t pid)
{
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(file, text);
    const auto name_end = text.rfind(')');
    return name_end == std::string::npos ? '?' : text.at(name_end + 2);
}

}  // namespace

TEST_SUITE("a traced child")
{
    TEST_CASE("a child that a tracer holds has not ended, and nothing waits for it "
              "(complaints 02 and 14)")
    {
        for (const bool pidfd : {true, false}) {
            CAPTURE(pidfd);
            std::optional<feature_off> off;
            if (!pidfd)
                off.emplace(&kernel_features::pidfd);
            asio::io_context ctx;
            auto c = spawn(
                helper({"--mode=until-eof", "7"}).std_in(stdio::pipe()).std_out(stdio::pipe()),
                ctx.get_executor());
            CHECK(read_line(ctx, c.std_out()).starts_with("ready"));
            auto tracer = spawn(helper({"--mode=trace", std::to_string(c.id())})
                                    .std_in(stdio::pipe())
                                    .std_out(stdio::pipe()),
                                ctx.get_executor());
            if (read_line(ctx, tracer.std_out()).starts_with("refused")) {
                skip("this process may trace nobody");
                return;
            }
            outcome<error_code, exit_status> got;
            c.async_wait(got.handler());
            c.std_in().close();
            await([&] { return state_of(c.id()) == 'Z'; });

            // The loop goes on: others are started, waited for and reaped meanwhile.
            for (int i = 0; i < 20; ++i)
                CHECK(status_of(ctx, command("/bin/true")).success());
            CHECK_FALSE(got.done());
            CHECK_FALSE(c.try_wait());
            error_code ec;
            c.signal(SIGTERM, ec);  // dead, and nobody else's: nothing happens
            CHECK_FALSE(ec);

            tracer.std_in().close();
            run_until(ctx, [&] { return got.done(); });
            CHECK(got.result() == exit_status::exited(7));
            CHECK(wait(ctx, tracer).success());
        }
    }
}
