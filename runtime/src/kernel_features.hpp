// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_KERNEL_FEATURES_HPP
#define PROCYARD_RUNTIME_SRC_KERNEL_FEATURES_HPP

#include <atomic>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// What the running kernel, or a seccomp filter above it, lets this process use.
///
/// Each flag starts as "assumed there", is tested before every use of its feature, and is cleared
/// by the first refusal that means "unknown" and not "not now" (`refused()` below). A cleared flag
/// is never set again by the library: a kernel does not learn. One struct for the process and not
/// one per object, because it describes the process; a test clears a flag to force the fallback
/// behind it (tests/support/feature_off.hpp).
///
/// All accesses are relaxed: a flag publishes nothing but itself, and a thread that still sees the
/// old value gets the same refusal and clears it again.
struct kernel_features {
    using flag = std::atomic<bool>;

    flag pidfd{true};                ///< pidfd_open (5.3), pidfd_send_signal (5.1), P_PIDFD (5.4)
    flag clone3{true};               ///< 5.3; refused by many container filters
    flag clone_into_cgroup{true};    ///< clone3 with CLONE_INTO_CGROUP: 5.7
    flag close_range{true};          ///< 5.9
    flag close_range_unshare{true};  ///< CLOSE_RANGE_UNSHARE: 5.9
    flag pidfd_getfd{true};          ///< 5.6, and allowed to trace the parent (Yama may say no)
    flag pidfd_group_signal{true};   ///< pidfd_send_signal with PIDFD_SIGNAL_PROCESS_GROUP: 6.9
    flag pidfd_info_exit{true};      ///< ioctl PIDFD_GET_INFO with PIDFD_INFO_EXIT: 6.15
    flag cgroup_kill{true};          ///< cgroup.kill: 5.14
    flag proc_children{true};        ///< /proc/<pid>/task/<tid>/children: CONFIG_PROC_CHILDREN
};

/// The process's one record.
[[nodiscard]] kernel_features& kernel() noexcept;

/// Whether to try the feature.
[[nodiscard]] inline bool has(const kernel_features::flag& feature) noexcept
{
    return feature.load(std::memory_order_relaxed);
}

/// The feature is not there: remembers it.
inline void clear(kernel_features::flag& feature) noexcept
{
    feature.store(false, std::memory_order_relaxed);
}

/// Whether a system call that failed with `error_number` is one this kernel or its filter does not
/// know, and remembers that it does not.
///
/// ENOSYS always means that. Everything else depends on the call (EINVAL for an unknown flag,
/// E2BIG for clone3 with a longer struct, EPERM from a filter for a call that has no EPERM of its
/// own), so the caller names the one that means it there.
[[nodiscard]] bool refused(kernel_features::flag& feature, int error_number,
                           int also_means_unknown = 0) noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
