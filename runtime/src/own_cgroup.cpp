// SPDX-License-Identifier: BSL-1.0
#include "own_cgroup.hpp"

#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include <procyard/ipc/syscall.hpp>

#include "proc_fs.hpp"
#include "proc_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr auto cgroup2_magic = 0x63677270;  // CGROUP2_SUPER_MAGIC

bool is_marked(int directory, const char* attribute)
{
    char value[8];
    const auto size = ::fgetxattr(directory, attribute, value, sizeof value);
    return size >= 1 && value[0] == '1';
}

cgroup_claim claim_to(int directory)
{
    cgroup_claim claim;
    claim.is_root = ::geteuid() == 0;
    claim.writable = ::faccessat(directory, ".", W_OK, AT_EACCESS) == 0
        && ::faccessat(directory, "cgroup.procs", W_OK, AT_EACCESS) == 0;
    claim.delegated =
        is_marked(directory, "user.delegate") || is_marked(directory, "trusted.delegate");
    return claim;
}

}  // namespace

unique_fd open_cgroup(const std::string& path, error_code& ec)
{
    unique_fd directory(
        retry_eintr([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    struct statfs info;
    if (!directory || ::fstatfs(directory.get(), &info) == -1) {
        ec = last_error();
        return {};
    }
    ec = {};
    if (info.f_type != cgroup2_magic) {
        ec = make_errno(EINVAL);
        directory.reset();
    }
    return directory;
}

void own_cgroup::look_up()
{
    std::string text;
    if (!read_file(AT_FDCWD, "/proc/self/cgroup", text, refusal_))
        return;
    const auto path = parse_own_cgroup(text);
    constexpr std::size_t limit_bytes = 16 << 20;
    refusal_ = make_errno(EOPNOTSUPP);
    if (!path || !read_file(AT_FDCWD, "/proc/self/mountinfo", text, refusal_, limit_bytes))
        return;
    refusal_ = make_errno(EOPNOTSUPP);
    for (const auto& mount : parse_cgroup_mounts(text)) {
        const auto name = directory_of(mount, *path);
        if (!name)
            continue;
        directory_ = open_cgroup(*name, refusal_);
        if (!directory_)
            continue;
        if (may_make_leaves(claim_to(directory_.get()))) {
            refusal_ = {};
            return;
        }
        directory_.reset();
        refusal_ = make_errno(EACCES);
    }
}

int own_cgroup::directory(error_code& ec)
{
    const std::lock_guard lock(mutex_);
    if (!known_)
        look_up();
    // What was only lacking at this moment is looked up again.
    using boost::system::errc::errc_t;
    known_ = refusal_ != errc_t::too_many_files_open
        && refusal_ != errc_t::too_many_files_open_in_system
        && refusal_ != errc_t::not_enough_memory;
    ec = refusal_;
    return directory_.get();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
