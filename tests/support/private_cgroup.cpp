// SPDX-License-Identifier: BSL-1.0
#include "private_cgroup.hpp"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace procyard_test {

private_cgroup::private_cgroup()
{
    make();
}

void private_cgroup::make()
{
    const auto refuse = [this](const char* step) {
        refusal_ = std::string(step) + ": " + std::strerror(errno);
    };
    if (::unshare(CLONE_NEWNS) == -1)
        return refuse("unshare(CLONE_NEWNS)");
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == -1)
        return refuse("mount(MS_PRIVATE)");
    char point[] = "/tmp/procyard-cgroup-XXXXXX";
    if (::mkdtemp(point) == nullptr)
        return refuse("mkdtemp");
    if (::mount("none", point, "cgroup2", 0, nullptr) == -1) {
        refuse("mount(cgroup2)");
        ::rmdir(point);
        return;
    }
    mount_ = point;
    const auto directory = mount_ + "/test-" + std::to_string(::getpid());
    if (::mkdir(directory.c_str(), 0755) == -1)
        return refuse("mkdir");
    directory_ = directory;
}

private_cgroup::~private_cgroup()
{
    if (!directory_.empty())
        ::rmdir(directory_.c_str());
    if (!mount_.empty()) {
        ::umount2(mount_.c_str(), MNT_DETACH);
        ::rmdir(mount_.c_str());
    }
}

}  // namespace procyard_test
