// SPDX-License-Identifier: BSL-1.0
#include "wake_barrier.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <procyard/ipc/detail/ring_core.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>

#include "io_features.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

long membarrier(int command) noexcept
{
    return ::syscall(SYS_membarrier, command, 0, 0);
}

}  // namespace

std::uint64_t join_wake_barrier() noexcept
{
    // Relaxed: see io_features.
    if (!io().membarrier.load(std::memory_order_relaxed))
        return feature_none;
    if (membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0
        && membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0)
        return feature_barrier_target | feature_barrier_caller;
    // ENOSYS, EINVAL: an older kernel, or one without it (nohz_full). EPERM: a sandbox.
    io().membarrier.store(false, std::memory_order_relaxed);
    return feature_none;
}

bool wake_barrier() noexcept
{
    return membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
