// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_SPINNING_HPP
#define PROCYARD_IPC_SRC_SPINNING_HPP

#include <unistd.h>

#include <chrono>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Between two looks at the same word.
inline void relax_processor() noexcept
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// On a machine with one processor whoever spins keeps the peer from running. This thread's own
// affinity says nothing about the peer's.
inline std::chrono::nanoseconds sensible_spin(std::chrono::nanoseconds asked) noexcept
{
    return ::sysconf(_SC_NPROCESSORS_ONLN) == 1 ? std::chrono::nanoseconds(0) : asked;
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
