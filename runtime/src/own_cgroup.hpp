// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_OWN_CGROUP_HPP
#define PROCYARD_RUNTIME_SRC_OWN_CGROUP_HPP

#include <mutex>
#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// Opens a cgroup v2 directory that the user has named. EINVAL when it is not one.
[[nodiscard]] unique_fd open_cgroup(const std::string& path, error_code& ec);

/// What is known of the cgroup this process runs in.
struct cgroup_claim {
    bool is_root = false;    ///< runs as root, who may write everywhere
    bool writable = false;   ///< directory and cgroup.procs
    bool delegated = false;  ///< marked by systemd (Delegate=yes) as its processes' to manage
};

/// Whether leaves may be made in it. Root's being able to says nothing about being meant to: the
/// cgroup may be one that systemd, or a container runtime, manages by itself.
[[nodiscard]] constexpr bool may_make_leaves(const cgroup_claim& claim) noexcept
{
    return claim.writable && (!claim.is_root || claim.delegated);
}

/// The cgroup v2 of this process as a place for leaves, looked up once: the lookup reads the mount
/// table, which is long on some machines.
/// @par Thread safety   Distinct and shared objects: safe.
class own_cgroup {
public:
    /// The directory, which lives as long as `*this`; -1 and the reason when leaves must not or
    /// cannot be made there.
    [[nodiscard]] int directory(error_code& ec);

private:
    void look_up();

    std::mutex mutex_;
    bool known_ = false;
    unique_fd directory_;
    error_code refusal_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
