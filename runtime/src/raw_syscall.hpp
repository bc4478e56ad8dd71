// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_RAW_SYSCALL_HPP
#define PROCYARD_RUNTIME_SRC_RAW_SYSCALL_HPP

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include <procyard/ipc/config.hpp>

// System calls without the C library, for the code between clone and exec. libc's wrappers are not
// merely superfluous there: the child shares the parent's memory, so they would write the parent's
// errno, take locks that another thread of the parent may hold (setuid and its kin signal all
// threads), and enter the dynamic linker on their first call.

#define PROCYARD_CHILD_SIDE                                                                        \
    __attribute__((no_sanitize("address", "undefined", "thread"), no_stack_protector))
#if defined(__clang__)
#undef PROCYARD_CHILD_SIDE
#define PROCYARD_CHILD_SIDE                                                                        \
    __attribute__((no_sanitize("address", "undefined", "thread", "memory"), no_stack_protector,    \
                   disable_sanitizer_instrumentation, no_profile_instrument_function))
#endif

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// The kernel's answer: negative errno on failure.
PROCYARD_CHILD_SIDE inline long raw_syscall(long number, long a = 0, long b = 0, long c = 0,
                                            long d = 0, long e = 0) noexcept
{
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
#else
    // Elsewhere through libc, which costs the parent's errno (saved by the launcher) and nothing
    // more.
    const long result = ::syscall(number, a, b, c, d, e);
    return result == -1 ? -errno : result;
#endif
}

template <class T>
PROCYARD_CHILD_SIDE inline long raw_arg(T* pointer) noexcept
{
    return reinterpret_cast<long>(pointer);
}

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
