// SPDX-License-Identifier: BSL-1.0
#include "cgroup_leaf.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include <procyard/ipc/syscall.hpp>

#include "cgroup_check.hpp"
#include "cgroup_main.hpp"
#include "feature_off.hpp"
#include "own_cgroup.hpp"
#include "proc_fs.hpp"
#include "proc_text.hpp"
#include "procyard_test.hpp"
#include "skip.hpp"
#include "test_process.hpp"

namespace fs = std::filesystem;
using namespace procyard::detail;
using procyard::error_code;
using procyard::make_errno;
using procyard::unique_fd;
using procyard_test::leaves;
using procyard_test::nothing_left;
using procyard_test::test_process;
using procyard_test::wait_ready;

namespace {

unique_fd parent_directory()
{
    error_code ec;
    auto directory = open_cgroup(test_cgroup(), ec);
    REQUIRE_FALSE(ec);
    return directory;
}

cgroup_leaf make_leaf()
{
    error_code ec;
    auto leaf = cgroup_leaf::create(parent_directory().get(), ec);
    REQUIRE_FALSE(ec);
    REQUIRE(leaf);
    return leaf;
}

test_process start_in(const cgroup_leaf& leaf, std::vector<std::string> mode)
{
    error_code ec;
    const auto procs = leaf.open_procs(ec);
    REQUIRE_FALSE(ec);
    return test_process(std::move(mode), {.cgroup_procs = procs.get()});
}

/// Waits as the library does: read, then wait for the change after the reading.
void wait_until_empty(const cgroup_leaf& leaf)
{
    error_code ec;
    const auto events = leaf.open_events(ec);
    REQUIRE_FALSE(ec);
    while (cgroup_leaf::populated(events.get(), ec)) {
        REQUIRE_FALSE(ec);
        wait_ready(events.get(), POLLPRI);
    }
    REQUIRE_FALSE(ec);
}

/// Kills as a stop does: again and again, until nobody is left. A process that is between the fork
/// and its entry into the cgroup while cgroup.kill goes through the list is missed by the kernel.
void kill_until_empty(const cgroup_leaf& leaf)
{
    error_code ec;
    const auto events = leaf.open_events(ec);
    REQUIRE_FALSE(ec);
    constexpr int first_sweep_ms = 20;
    do {
        CHECK_FALSE(leaf.kill());
        pollfd change{events.get(), POLLPRI, 0};
        REQUIRE(::poll(&change, 1, first_sweep_ms) != -1);
    } while (cgroup_leaf::populated(events.get(), ec));
    REQUIRE_FALSE(ec);
}

/// A freeze takes effect some time after it was ordered, and the kernel says when.
void wait_until_frozen(const cgroup_leaf& leaf)
{
    error_code ec;
    const auto events = leaf.open_events(ec);
    REQUIRE_FALSE(ec);
    char text[256];
    for (;;) {
        const auto count = ::pread(events.get(), text, sizeof text, 0);
        REQUIRE(count > 0);
        if (parse_keyed({text, static_cast<std::size_t>(count)}, "frozen") == 1U)
            return;
        wait_ready(events.get(), POLLPRI);
    }
}

char state_of(pid_t pid)
{
    const auto record = read_stat(pid);
    return record ? record->state : '-';
}

}  // namespace

TEST_SUITE("cgroup_leaf")
{
    TEST_CASE("is made, and removed with the object")
    {
        const nothing_left check;
        {
            auto leaf = make_leaf();
            CHECK(leaves() == std::vector{leaf.name()});
            error_code ec;
            CHECK_FALSE(leaf.populated(ec));
            CHECK_FALSE(ec);
            const auto moved = std::move(leaf);
            CHECK_FALSE(leaf);
            CHECK(leaves() == std::vector{moved.name()});
        }
        CHECK(leaves().empty());
    }

    TEST_CASE("two leaves have two names")
    {
        const nothing_left check;
        const auto one = make_leaf();
        const auto two = make_leaf();
        CHECK(one.name() != two.name());
    }

    TEST_CASE("kills a whole family, whatever sessions and parents it has")
    {
        for (const bool old_kernel : {false, true}) {
            INFO("without cgroup.kill: ", old_kernel);
            const nothing_left check;
            for (const std::string mode :
                 {"family", "setsid", "daemon", "daemon-orphan", "stopped", "orphans"}) {
                INFO("mode: ", mode);
                const auto leaf = make_leaf();
                auto leader = start_in(leaf, {mode, "2"});
                leader.expect("member", 1);
                std::optional<feature_off> off;
                if (old_kernel)
                    off.emplace(&kernel_features::cgroup_kill);
                CHECK_FALSE(leaf.kill());
                leader.read_to_end();
                wait_until_empty(leaf);
                CHECK(leaf.members().empty());
            }
        }
    }

    TEST_CASE("catches those that fork as fast as they can, in sessions of their own")
    {
        for (const bool old_kernel : {false, true}) {
            INFO("without cgroup.kill: ", old_kernel);
            const nothing_left check;
            for (const std::string mode : {"runaway-sessions", "runaway", "breeder"}) {
                INFO("mode: ", mode);
                const auto leaf = make_leaf();
                auto leader = start_in(leaf, {mode, mode == "breeder" ? "2000" : "50000"});
                leader.expect("ready", mode == "breeder" ? 1 : 2);
                std::optional<feature_off> off;
                if (old_kernel)
                    off.emplace(&kernel_features::cgroup_kill);
                kill_until_empty(leaf);
                CHECK(leader.read_to_end() == "");  // it never came to its end
            }
        }
    }

    TEST_CASE("a tree of 200 processes")
    {
        const nothing_left check;
        const auto leaf = make_leaf();
        auto leader = start_in(leaf, {"family", "200"});
        leader.expect("member", 201);
        CHECK(leaf.members().size() == 201);
        CHECK_FALSE(leaf.kill());
        leader.read_to_end();
        wait_until_empty(leaf);
    }

    TEST_CASE("the end of the leader is not the end of the tree, and its leaf stays")
    {
        const nothing_left check;
        auto leaf = make_leaf();
        auto leader = start_in(leaf, {"orphans", "2", "5"});
        leader.expect("member", 2);
        CHECK(leader.reap() == 5);
        error_code ec;
        CHECK(leaf.populated(ec));
        CHECK(leaf.remove() == make_errno(EBUSY));
        CHECK(leaf);
        CHECK_FALSE(leaf.kill());
        leader.read_to_end();
        wait_until_empty(leaf);
        CHECK_FALSE(leaf.remove());
        CHECK_FALSE(leaf);
        CHECK_FALSE(leaf.remove());
    }

    TEST_CASE("every member gets a signal once")
    {
        for (const bool no_pidfd : {false, true}) {
            INFO("without pidfd: ", no_pidfd);
            std::optional<feature_off> off;
            if (no_pidfd)
                off.emplace(&kernel_features::pidfd);
            const nothing_left check;
            const auto leaf = make_leaf();
            auto leader = start_in(leaf, {"family", "150"});
            leader.expect("member", 151);
            CHECK_FALSE(leaf.signal(SIGTERM));
            leader.read_to_end();
            CHECK(leader.reap() == SIGTERM);
            wait_until_empty(leaf);
        }
    }

    TEST_CASE("frozen members are killed like the others")
    {
        for (const bool old_kernel : {false, true}) {
            INFO("without cgroup.kill: ", old_kernel);
            std::optional<feature_off> off;
            if (old_kernel)
                off.emplace(&kernel_features::cgroup_kill);
            const nothing_left check;
            const auto leaf = make_leaf();
            auto leader = start_in(leaf, {"pause"});
            leader.expect("ready", 1);
            CHECK_FALSE(leaf.freeze());
            wait_until_frozen(leaf);
            error_code ec;
            CHECK(leaf.populated(ec));
            CHECK_FALSE(leaf.kill());
            CHECK(leader.reap() == SIGKILL);
            wait_until_empty(leaf);
        }
    }

    TEST_CASE("thawed members go on")
    {
        const nothing_left check;
        const auto leaf = make_leaf();
        auto leader = start_in(leaf, {"pause"});
        leader.expect("ready", 1);
        CHECK_FALSE(leaf.freeze());
        wait_until_frozen(leaf);
        CHECK_FALSE(leaf.thaw());
        CHECK_FALSE(leaf.signal(SIGTERM));
        CHECK(leader.reap() == SIGTERM);
        wait_until_empty(leaf);
    }

    TEST_CASE("inner cgroups of its members are killed and removed, however deep")
    {
        for (const bool old_kernel : {false, true}) {
            INFO("without cgroup.kill: ", old_kernel);
            std::optional<feature_off> off;
            if (old_kernel)
                off.emplace(&kernel_features::cgroup_kill);
            const nothing_left check;
            auto leaf = make_leaf();
            auto path = fs::path(test_cgroup()) / leaf.name();
            for (int depth = 0; depth < 40; ++depth) {
                path /= "inner cgroup";
                REQUIRE(fs::create_directory(path));
                fs::create_directory(path / "side");
            }
            auto leader = start_in(leaf, {"family", "1"});
            const auto inner = leader.expect("member", 2);
            REQUIRE(inner.size() == 1);
            std::ofstream(path / "cgroup.procs") << inner.front() << std::endl;
            const auto members = leaf.members();
            CHECK(members.size() == 2);
            CHECK(std::binary_search(members.begin(), members.end(), inner.front()));
            CHECK(leaf.remove() == make_errno(EBUSY));
            CHECK(fs::exists(path / "side"));  // a living family's
            CHECK_FALSE(leaf.kill());
            leader.read_to_end();
            wait_until_empty(leaf);
            CHECK_FALSE(leaf.remove());
        }
    }

    TEST_CASE("a leaf that somebody else has removed is empty, and no error")
    {
        const nothing_left check;
        auto leaf = make_leaf();
        REQUIRE(fs::remove(fs::path(test_cgroup()) / leaf.name()));
        error_code ec;
        CHECK_FALSE(leaf.populated(ec));
        CHECK_FALSE(ec);
        CHECK_FALSE(leaf.kill());
        CHECK_FALSE(leaf.freeze());
        CHECK_FALSE(leaf.thaw());
        CHECK_FALSE(leaf.signal(SIGTERM));
        CHECK(leaf.members().empty());
        CHECK_FALSE(leaf.remove());
        CHECK_FALSE(leaf);
    }

    TEST_CASE("no leaf at all answers everything with nothing")
    {
        cgroup_leaf none;
        CHECK_FALSE(none);
        CHECK_FALSE(none.kill());
        CHECK_FALSE(none.signal(SIGTERM));
        CHECK_FALSE(none.remove());
        CHECK(none.members().empty());
        CHECK_FALSE(none.usage().oom_kills);
    }

    TEST_CASE("what a killed maker left behind is cleared away, what lives is not")
    {
        const nothing_left check;
        const auto root = fs::path(test_cgroup());
        // Empty leaves of nobody, one of them with an inner cgroup; one with a living family; one
        // whose maker lives and has locked it; and a directory that is none of ours.
        fs::create_directories(root / "procyard-999999-0");
        fs::create_directories(root / "procyard-999999-1" / "inner");
        fs::create_directories(root / "procyard-999999-2" / "inner");
        fs::create_directories(root / "procyard-999999-3");
        fs::create_directories(root / "other");
        const unique_fd family(
            ::open((root / "procyard-999999-2" / "cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
        test_process member({"pause"}, {.cgroup_procs = family.get()});
        member.expect("ready", 1);
        {
            const unique_fd locked(
                ::open((root / "procyard-999999-3").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
            REQUIRE(::flock(locked.get(), LOCK_EX | LOCK_NB) == 0);
            cgroup_leaf::remove_stale(parent_directory().get());
            auto names = leaves();
            std::sort(names.begin(), names.end());
            CHECK(names
                  == std::vector<std::string>{"other", "procyard-999999-2", "procyard-999999-3"});
            CHECK(fs::exists(root / "procyard-999999-2" / "inner"));
        }
        ::kill(member.pid(), SIGKILL);
        member.reap();
        cgroup_leaf::remove_stale(parent_directory().get());
        CHECK(leaves() == std::vector<std::string>{"other"});
        fs::remove(root / "other");
    }

    TEST_CASE("the first leaf in each place clears away what killed makers have left there")
    {
        const nothing_left check;
        const auto first = make_leaf();
        for (const char* const name : {"one", "another"}) {
            const auto place = fs::path(test_cgroup()) / name;
            const auto stale = place / "procyard-999999-0";
            fs::create_directories(stale);
            error_code ec;
            const auto parent = open_cgroup(place.string(), ec);
            REQUIRE_FALSE(ec);
            (void)cgroup_leaf::create(parent.get(), ec);
            CHECK_FALSE(ec);
            CHECK_FALSE(fs::exists(stale));
            fs::remove(place);
        }
    }

    TEST_CASE("a name that is taken is passed over")
    {
        const nothing_left check;
        const auto first = make_leaf();
        // The next three names, as a maker with our number might have left them, locked.
        const auto dash = first.name().rfind('-');
        const auto number = std::stoull(first.name().substr(dash + 1));
        std::vector<unique_fd> locked;
        std::vector<fs::path> paths;
        for (unsigned i = 1; i <= 3; ++i) {
            paths.push_back(fs::path(test_cgroup())
                            / (first.name().substr(0, dash + 1) + std::to_string(number + i)));
            REQUIRE(fs::create_directory(paths.back()));
            locked.emplace_back(::open(paths.back().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
            REQUIRE(::flock(locked.back().get(), LOCK_EX | LOCK_NB) == 0);
        }
        {
            const auto next = make_leaf();
            CHECK(next.name() == first.name().substr(0, dash + 1) + std::to_string(number + 4));
        }
        for (const auto& path : paths)
            fs::remove(path);
    }

    TEST_CASE("no leaf is made below a threaded cgroup, and nothing is left of the attempt")
    {
        const nothing_left check;
        const auto threaded = fs::path(test_cgroup()) / "threaded";
        fs::create_directory(threaded);
        std::ofstream(threaded / "cgroup.type") << "threaded" << std::endl;
        error_code ec;
        const auto parent = open_cgroup(threaded, ec);
        REQUIRE_FALSE(ec);
        CHECK_FALSE(cgroup_leaf::create(parent.get(), ec));
        CHECK(ec == make_errno(EOPNOTSUPP));
        CHECK(fs::remove(threaded));
    }

    TEST_CASE("counts the processor time of its members")
    {
        const nothing_left check;
        const auto leaf = make_leaf();
        auto leader = start_in(leaf, {"exit", "0"});
        CHECK(leader.reap() == 0);
        const auto usage = leaf.usage();
        REQUIRE(usage.cpu_time);
        CHECK(usage.cpu_time->count() > 0);
    }

    TEST_CASE("processes outside are not signalled")
    {
        const nothing_left check;
        const auto leaf = make_leaf();
        test_process outside({"pause"});
        outside.expect("ready", 1);
        auto leader = start_in(leaf, {"pause"});
        leader.expect("ready", 1);
        CHECK_FALSE(leaf.signal(SIGTERM));
        CHECK(leader.reap() == SIGTERM);
        CHECK(state_of(outside.pid()) != 'Z');
    }
}
