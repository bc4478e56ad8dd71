// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_WAKE_BARRIER_HPP
#define PROCYARD_IPC_SRC_WAKE_BARRIER_HPP

#include <cstdint>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The two halves of a fence that costs one side of a ring nothing: membarrier(2), Linux 4.16,
// MEMBARRIER_CMD_GLOBAL_EXPEDITED. ring_core.hpp says what for.
//
// Rejected: the private command, which reaches the caller's own process only; and the global one
// that is not expedited, which waits for a grace period of the kernel's (milliseconds).

// Registers this process as one whose running threads the barrier of others reaches, and says what
// it can do: bits of ring_feature. Registering again is a system call that changes nothing.
// Process-wide effect: a barrier of any process interrupts the processors on which threads of this
// one run (1 µs or less). An exec ends it; a fork hands it on.
[[nodiscard]] std::uint64_t join_wake_barrier() noexcept;

// A full fence in this thread, and in each running thread of the processes that have registered.
// False: it is forbidden since (a seccomp filter that came later). Then do not sleep: nobody need
// see that one does.
// Pre: join_wake_barrier() has said feature_barrier_caller.
[[nodiscard]] bool wake_barrier() noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
