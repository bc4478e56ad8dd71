// SPDX-License-Identifier: BSL-1.0
// Closing descriptors where the kernel has no close_range and nobody has mounted /proc.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <sstream>
#include <string>
#include <vector>

#include "feature_off.hpp"
#include "skip.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;
using procyard::detail::kernel_features;

namespace {

// The numbers that a child says are open.
std::vector<int> numbers_in(const std::string& text)
{
    std::vector<int> numbers;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
        numbers.push_back(std::stoi(line));
    return numbers;
}

// Whether this process may have mounts of its own; asked in a child, which goes.
bool may_unmount()
{
    asio::io_context ctx;
    namespace_options own;
    own.mount = true;
    spawn_failure failure;
    auto c = spawn(command("true").namespaces(own), ctx.get_executor(), failure);
    return c && wait(ctx, c).success();
}

bool root_is_mount()
{
    struct statx status{};
    return ::statx(AT_FDCWD, "/", 0, STATX_TYPE, &status) == 0
        && (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

}  // namespace

TEST_SUITE("command::descriptor")
{
    TEST_CASE("closes one number after the other in a process without /proc" * doctest::skip())
    {
        // Inherited unless somebody closes it.
        const int stray = ::fcntl(2, F_DUPFD_CLOEXEC, 600);
        REQUIRE(stray >= 600);
        REQUIRE(::fcntl(stray, F_SETFD, 0) == 0);
        REQUIRE(::unshare(CLONE_NEWNS) == 0);
        REQUIRE(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
        REQUIRE(::umount2("/proc", MNT_DETACH) == 0);
        REQUIRE(::access("/proc/self/fd", F_OK) == -1);

        const feature_off no_close_range(&kernel_features::close_range);
        asio::io_context ctx;
        const auto text = output_of(
            ctx, helper({"--mode=descriptors"}).tree(tree_mode::none).std_in(stdio::null()));
        CHECK(numbers_in(text) == std::vector{0, 1, 2});
        ::close(stray);
    }

    TEST_CASE("nothing else is open in a child where there is neither close_range nor /proc")
    {
        if (!may_unmount()) {
            skip("this user may not take /proc away from a process");
            return;
        }
        if (!root_is_mount()) {
            skip("in a chroot mounts cannot be made private by their root");
            return;
        }
        check_isolated("closes one number after the other in a process without /proc");
    }
}
