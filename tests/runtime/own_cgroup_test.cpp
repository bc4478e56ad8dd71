// SPDX-License-Identifier: BSL-1.0
#include "own_cgroup.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <procyard/ipc/syscall.hpp>

#include "cgroup_check.hpp"
#include "cgroup_leaf.hpp"
#include "cgroup_main.hpp"
#include "proc_fs.hpp"
#include "proc_text.hpp"
#include "skip.hpp"

namespace fs = std::filesystem;
using namespace procyard::detail;
using procyard::error_code;
using procyard::make_errno;
using procyard::unique_fd;
using procyard_test::nothing_left;

TEST_SUITE("own_cgroup")
{
    TEST_CASE("root needs more than being able to")
    {
        CHECK(may_make_leaves({.is_root = false, .writable = true, .delegated = false}));
        CHECK(may_make_leaves({.is_root = true, .writable = true, .delegated = true}));
        CHECK_FALSE(may_make_leaves({.is_root = true, .writable = true, .delegated = false}));
        CHECK_FALSE(may_make_leaves({.is_root = false, .writable = false, .delegated = true}));
    }

    TEST_CASE("is found where this process runs, and used when it is marked as delegated")
    {
        const nothing_left check;
        const auto home = fs::path(test_cgroup()) / "home";
        fs::create_directory(home);
        // This process itself: where it came from it goes back to.
        std::string before;
        error_code ec;
        REQUIRE(read_file(AT_FDCWD, "/proc/self/cgroup", before, ec));
        const auto original = parse_own_cgroup(before).value();
        std::ofstream(home / "cgroup.procs") << ::getpid() << std::endl;
        {
            own_cgroup not_delegated;
            const int directory = not_delegated.directory(ec);
            CHECK((directory == -1) == (::geteuid() == 0));
            CHECK((ec == make_errno(EACCES)) == (::geteuid() == 0));
        }
        if (::setxattr(home.c_str(), "user.delegate", "1", 1, 0) == 0) {
            own_cgroup delegated;
            const int directory = delegated.directory(ec);
            CHECK_FALSE(ec);
            REQUIRE(directory >= 0);
            CHECK(delegated.directory(ec) == directory);
            const auto leaf = cgroup_leaf::create(directory, ec);
            CHECK_FALSE(ec);
            CHECK(fs::exists(home / leaf.name()));
        } else {
            procyard_test::skip("this kernel has no user xattrs on cgroups");
        }
        const auto root = fs::path(test_cgroup()).parent_path();
        std::ofstream(root / original.substr(1) / "cgroup.procs") << ::getpid() << std::endl;
        CHECK(fs::remove(home));
    }

    TEST_CASE(
        "without root, a cgroup that was handed over is used, and one that was not is refused")
    {
        const nothing_left check;
        const auto home = fs::path(test_cgroup()) / "home";
        fs::create_directory(home);
        constexpr uid_t nobody = 65534;
        for (const bool handed_over : {false, true}) {
            INFO("handed over: ", handed_over);
            if (handed_over) {
                REQUIRE(::chown(home.c_str(), nobody, nobody) == 0);
                REQUIRE(::chown((home / "cgroup.procs").c_str(), nobody, nobody) == 0);
            }
            const pid_t child = ::fork();
            if (child == 0) {
                std::ofstream(home / "cgroup.procs") << ::getpid() << std::endl;
                if (::setresgid(nobody, nobody, nobody) == -1
                    || ::setresuid(nobody, nobody, nobody) == -1)
                    ::_exit(10);
                error_code ec;
                own_cgroup own;
                const int directory = own.directory(ec);
                if (!handed_over)
                    ::_exit(directory == -1 && ec == make_errno(EACCES) ? 0 : 11);
                auto leaf = cgroup_leaf::create(directory, ec);
                if (!leaf)
                    ::_exit(12);
                const auto procs = leaf.open_procs(ec);
                const bool joined = procs && ::write(procs.get(), "0", 1) == 1;
                const bool left = [&] {
                    const unique_fd back(::openat(directory, "cgroup.procs", O_WRONLY | O_CLOEXEC));
                    return ::write(back.get(), "0", 1) == 1;
                }();
                ::_exit(joined && left && !leaf.remove() ? 0 : 13);
            }
            int status = -1;
            REQUIRE(::waitpid(child, &status, 0) == child);
            CHECK(WIFEXITED(status));
            CHECK(WEXITSTATUS(status) == 0);
        }
        CHECK(fs::remove(home));
    }

    TEST_CASE("a directory that is no cgroup is refused")
    {
        error_code ec;
        CHECK_FALSE(open_cgroup("/proc", ec));
        CHECK(ec == make_errno(EINVAL));
        CHECK_FALSE(open_cgroup("/nowhere at all", ec));
        CHECK(ec == make_errno(ENOENT));
    }
}
