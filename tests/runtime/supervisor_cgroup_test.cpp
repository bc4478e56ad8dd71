// SPDX-License-Identifier: BSL-1.0
// Services in cgroups of their own.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "cgroup_check.hpp"
#include "cgroup_main.hpp"
#include "daemonizing.hpp"
#include "procyard_test.hpp"
#include "run_fixture.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using namespace procyard_test;
using procyard::command;
using procyard::error_code;
using procyard::manual_clock;
using procyard::restart_kind;
using procyard::service;
using procyard::service_state;
using procyard::supervisor_result;

namespace {

command in_leaf(command what, const fs::path& place)
{
    what.tree(procyard::tree_mode::cgroup).cgroup_parent(place.string());
    return what;
}

// With a daemon that has left its group and its session, and has cleared its environment: nothing
// but a cgroup shows whose it is. Both get `more` to run first.
command unmarked_daemon(const std::string& more = "")
{
    return in_leaf(command::shell(more + "(setsid env -i /bin/sh -c '" + more
                                  + "echo member $$; exec " PROCYARD_TEST_HELPER
                                    " --mode=pause > /dev/null' &); exec " PROCYARD_TEST_HELPER
                                    " --mode=pause"),
                   test_cgroup());
}

// As /proc/PID/cgroup says it; empty: it has gone.
std::string leaf_of(pid_t pid)
{
    std::ifstream file("/proc/" + std::to_string(pid) + "/cgroup");
    const std::string text(std::istreambuf_iterator<char>(file), {});
    const auto at = text.find("/procyard-");
    return at == text.npos ? "" : text.substr(at + 1, text.find('\n', at) - at - 1);
}

}  // namespace

TEST_SUITE("supervisor: cgroups")
{
    TEST_CASE("one that daemonizes is restarted, and stopped, with all it has started (case 44)")
    {
        const nothing_left check;
        supervised f;
        std::vector<pid_t> daemons;
        f.it().add(daemonizing("a", unmarked_daemon(), daemons));
        f.it().start();
        run_until(f.ctx, [&] { return daemons.size() == 1; });
        f.until("a", service_state::ready);
        REQUIRE(lives(daemons[0]));
        CHECK(leaves() == std::vector{leaf_of(daemons[0])});
        CHECK(leaf_of(f.of("a").pid) == leaf_of(daemons[0]));
        f.it().restart("a");
        f.until("a", service_state::ready, 2);
        CHECK_MESSAGE(!lives(daemons[0]), "the first daemon is there beside the second");
        run_until(f.ctx, [&] { return daemons.size() == 2; });
        REQUIRE(lives(daemons[1]));
        CHECK(leaves() == std::vector{leaf_of(daemons[1])});
        f.stop();
        CHECK_FALSE(lives(daemons[1]));
        CHECK(leaves().empty());
    }

    TEST_CASE("one whose leader is killed is started again when all it had started is gone")
    {
        const nothing_left check;
        supervised f;
        std::vector<pid_t> daemons;
        f.it().add(daemonizing("a", unmarked_daemon(), daemons).backoff(at_once()));
        f.it().start();
        run_until(f.ctx, [&] { return daemons.size() == 1; });
        f.until("a", service_state::ready);
        ::kill(f.of("a").pid, SIGKILL);
        f.until("a", service_state::ready, 2);
        CHECK_FALSE(lives(daemons[0]));
        run_until(f.ctx, [&] { return daemons.size() == 2; });
        CHECK(leaves() == std::vector{leaf_of(daemons[1])});
        f.stop();
        CHECK_FALSE(lives(daemons[1]));
    }

    TEST_CASE("replaced: each incarnation has a leaf of its own, and the old one's goes with it")
    {
        const nothing_left check;
        supervised f;
        std::vector<pid_t> daemons;
        f.it().add(daemonizing("a", unmarked_daemon(), daemons));
        f.it().start();
        run_until(f.ctx, [&] { return daemons.size() == 1; });
        f.until("a", service_state::ready);
        const auto before = leaf_of(daemons[0]);
        f.it().replace("a");
        f.until("a", service_state::ready, 2);
        run_until(f.ctx, [&] { return daemons.size() == 2 && leaves().size() == 1; });
        CHECK_FALSE(lives(daemons[0]));
        CHECK(lives(daemons[1]));
        CHECK(leaves() == std::vector{leaf_of(daemons[1])});
        CHECK(leaves() != std::vector{before});
        CHECK(f.of("a").restarts == 0);
        f.stop();
        CHECK_FALSE(lives(daemons[1]));
    }

    TEST_CASE("those that ignore SIGTERM are killed when their grace is over, daemons as well")
    {
        const nothing_left check;
        const auto clock = std::make_shared<manual_clock>();
        supervised f(by(clock));
        std::vector<pid_t> daemons;
        f.it().add(daemonizing("a", unmarked_daemon("trap \"\" TERM; "), daemons));
        f.it().start();
        run_until(f.ctx, [&] { return daemons.size() == 1; });
        f.until("a", service_state::ready);
        outcome<error_code, supervisor_result> got;
        f.it().async_stop(got.handler());
        f.until("a", service_state::stopping);
        CHECK(lives(daemons[0]));
        clock->advance(5s);
        run_until(f.ctx, [&] { return got.done(); });
        CHECK(got.result().left.empty());
        CHECK(f.last(service_state::exited).death->status->signal() == SIGKILL);
        CHECK_FALSE(lives(daemons[0]));
    }

    TEST_CASE("destroyed while everything runs: no daemon and no leaf is left")
    {
        const nothing_left check;
        supervised f;
        std::vector<pid_t> daemons;
        f.it().add(daemonizing("a", unmarked_daemon(), daemons));
        f.it().add(daemonizing("b", unmarked_daemon(), daemons));
        f.it().start();
        run_until(f.ctx, [&] { return daemons.size() == 2; });
        for (const char* const name : {"a", "b"})
            f.until(name, service_state::ready);
        CHECK(leaves().size() == 2);
        f.guarded.reset();
        run(f.ctx);
        for (const auto pid : daemons)
            CHECK_FALSE(lives(pid));
        CHECK(leaves().empty());
        CHECK(children() == 0);
    }

    TEST_CASE("a service that the kernel kills for want of memory: its death report says so")
    {
        const auto place = fs::path(test_cgroup()) / "small";
        fs::create_directory(place);
        if (limit_memory(place, 16U << 20U)) {
            supervised f;
            f.it().add(service("a", in_leaf(helper({"--mode=burn", "1", "256"}), place))
                           .restart(restart_kind::temporary));
            f.it().start();
            f.until("a", service_state::failed);
            CHECK(f.last(service_state::failed).death->status->out_of_memory());
            f.stop();
        }
        CHECK(fs::remove(place));
    }
}
