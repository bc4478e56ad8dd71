// SPDX-License-Identifier: BSL-1.0
// What becomes of the children that services leave behind while they run.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/runtime/tree.hpp>

#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"

using namespace procyard_test;
using procyard::command;
using procyard::service;
using procyard::service_state;

namespace {

// Its orphan is dead when it is ready, and it serves on.
service leaves_orphan(std::string name, std::vector<pid_t>& orphans)
{
    service made(std::move(name),
                 command::shell("( : & echo $! ); echo ready; exec tail -f /dev/null")
                     .tree(procyard::tree_mode::subreaper));
    made.backoff(at_once())
        .ready_when(procyard::readiness::line_with("ready"))
        .log([&](procyard::service_output, std::string_view line) {
            if (line != "ready")
                orphans.push_back(std::stoi(std::string(line)));
        });
    return made;
}

bool is_there(pid_t pid)
{
    return ::kill(pid, 0) == 0 || errno != ESRCH;
}

struct saved_action {
    saved_action() { ::sigaction(SIGCHLD, nullptr, &before); }
    ~saved_action() { ::sigaction(SIGCHLD, &before, nullptr); }
    struct sigaction before{};
};

}  // namespace

TEST_SUITE("supervisor")
{
    TEST_CASE("an orphan of a service is reaped while the service lives")
    {
        supervised f;
        std::vector<pid_t> orphans;
        f.it().add(leaves_orphan("a", orphans));
        f.it().start();
        f.until("a", service_state::ready);
        run_until(f.ctx, [&] { return orphans.size() == 1; });  // its log may come later
        run_until(f.ctx, [&] { return !is_there(orphans[0]); });
        CHECK(f.state("a") == service_state::ready);
        // Another one's orphans are heard of, too, when the first has been restarted.
        f.it().add(leaves_orphan("b", orphans));
        f.it().restart("a");
        f.until("a", service_state::ready, 2);
        f.until("b", service_state::ready);
        run_until(f.ctx, [&] { return orphans.size() == 3; });
        run_until(f.ctx, [&] { return !is_there(orphans[1]) && !is_there(orphans[2]); });
        f.stop();
        CHECK(children() == 0);
    }

    TEST_CASE("a child of the host is left to the host, dead or alive")
    {
        supervised f;
        pid_t child = 0;
        char name[] = "false";
        char* const arguments[] = {name, nullptr};
        REQUIRE(::posix_spawnp(&child, name, nullptr, nullptr, arguments, environ) == 0);
        siginfo_t ended{};
        REQUIRE(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT) == 0);
        std::vector<pid_t> orphans;
        f.it().add(leaves_orphan("a", orphans));
        f.it().start();
        f.until("a", service_state::ready);
        run_until(f.ctx, [&] { return orphans.size() == 1; });  // its log may come later
        run_until(f.ctx, [&] { return !is_there(orphans[0]); });
        f.stop();
        int status = 0;
        CHECK(::waitpid(child, &status, 0) == child);
        CHECK(WEXITSTATUS(status) == 1);
    }

    TEST_CASE("SIGCHLD is as the host had it when no service lives, and all the time if ignored")
    {
        const saved_action kept;
        for (const bool ignored : {false, true}) {
            CAPTURE(ignored);
            ::signal(SIGCHLD, ignored ? SIG_IGN : SIG_DFL);
            supervised f;
            std::vector<pid_t> orphans;
            f.it().add(leaves_orphan("a", orphans));
            f.it().start();
            f.until("a", service_state::ready);
            const bool untouched = !ignored || ::signal(SIGCHLD, SIG_IGN) == SIG_IGN;
            CHECK(untouched);
            run_until(f.ctx, [&] { return orphans.size() == 1; });
            // Where the kernel reaps it nobody is told, so nothing runs that would make a look.
            while (ignored && is_there(orphans[0]))
                ::sched_yield();
            run_until(f.ctx, [&] { return !is_there(orphans[0]); });
            f.stop();
            const bool put_back = ::signal(SIGCHLD, SIG_DFL) == (ignored ? SIG_IGN : SIG_DFL);
            CHECK(put_back);
        }
    }
}
