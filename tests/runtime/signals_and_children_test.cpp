// SPDX-License-Identifier: BSL-1.0
// Signal sets and children in one process: neither is in the other's way.
#include <procyard/runtime/spawn.hpp>
#include <procyard/signals/block_signals.hpp>
#include <procyard/signals/signal_ignore_guard.hpp>
#include <procyard/signals/signal_mask_guard.hpp>
#include <procyard/signals/signal_set.hpp>

#include <boost/asio/io_context.hpp>

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "procyard_test.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

std::atomic<int> host_heard{0};

// The line of /proc/self/status of a child. (grep has a handler of its own.)
std::string mask_in_child(asio::io_context& ctx, const std::string& name)
{
    const auto text = output_of(ctx, command("cat").arg("/proc/self/status"));
    const auto begin = text.find(name) + name.size() + 1;
    return text.substr(begin, text.find('\n', begin) - begin);
}

constexpr const char* nothing = "0000000000000000";

}  // namespace

TEST_SUITE("signals and children")
{
    TEST_CASE("a child starts with an empty mask and default actions, whatever sets and guards its "
              "parent has (case 7)")
    {
        asio::io_context ctx;
        const auto everything = signal_mask_guard::all();
        const signal_ignore_guard ignored({SIGPIPE, SIGHUP});
        signal_set read(ctx.get_executor(), {SIGTERM});
        signal_set handled(ctx.get_executor(), {SIGUSR1, SIGRTMIN},
                           {.mode = signal_mode::sigaction});
        CHECK(read.mechanism() == signal_mechanism::signalfd);
        CHECK(mask_in_child(ctx, "SigBlk:") == nothing);
        CHECK(mask_in_child(ctx, "SigIgn:") == nothing);
        CHECK(mask_in_child(ctx, "SigCgt:") == nothing);
        CHECK(mask_in_child(ctx, "SigPnd:") == nothing);
    }

    TEST_CASE("a signal to a child is not told to its parent (complaint 8)")
    {
        asio::io_context ctx;
        signal_set set(ctx.get_executor(), {SIGTERM});
        child c = spawn(command("sleep").arg("1000"), ctx.get_executor());
        c.terminate();
        CHECK(wait(ctx, c) == exit_status::signaled(SIGTERM));
        CHECK_FALSE(set.try_wait().has_value());
    }

    TEST_CASE(
        "500 children end at once: each is reported once, the host's SIGCHLD handler stays and "
        "is called, and so is a set (case 8, complaint 9)")
    {
        host_heard = 0;
        struct sigaction host{};
        struct sigaction before{};
        host.sa_handler = [](int) { ++host_heard; };
        host.sa_flags = SA_RESTART;
        REQUIRE(::sigaction(SIGCHLD, &host, &before) == 0);
        constexpr int many = 500;
        int ended = 0;
        {
            asio::io_context ctx;
            signal_set set(ctx.get_executor(), {SIGCHLD});
            std::vector<child> children;
            for (int i = 0; i < many; ++i) {
                children.push_back(spawn(command("true"), ctx.get_executor()));
                children.back().async_wait([&](error_code ec, exit_status status) {
                    CHECK_FALSE(ec);
                    CHECK(status.success());
                    ++ended;
                });
            }
            // By now they have ended, or are about to; nobody has looked.
            run(ctx);
            CHECK(ended == many);
            CHECK(host_heard >= 1);
            std::uint64_t heard = 0;
            while (const auto info = set.try_wait())
                heard += info->count;
            CHECK(heard == static_cast<std::uint64_t>(host_heard.load()));
        }
        struct sigaction after{};
        ::sigaction(SIGCHLD, &before, &after);
        CHECK((after.sa_handler == host.sa_handler));
    }
}
