// SPDX-License-Identifier: BSL-1.0
//
// The smallest children: `nothing` leaves at once, `pause` (PROCYARD_BENCH_PAUSE) lives until it is
// killed.
//
// No libc: a static glibc program spends 300 µs of its start-up in cpuid instructions on a virtual
// machine, four times what fork, exec, exit and wait cost together, and would hide the differences
// the rows are about.

namespace {

#if defined(PROCYARD_BENCH_PAUSE)
constexpr bool lives_on = true;
#else
constexpr bool lives_on = false;
#endif

constexpr long set_parent_death_signal = 1;
constexpr long sigkill = 9;

#if defined(__x86_64__)
constexpr long nr_prctl = 157;
constexpr long nr_ppoll = 271;
constexpr long nr_exit_group = 231;

void call_kernel(long number, long first = 0, long second = 0)
{
    long result = number;
    __asm__ volatile("syscall"
                     : "+a"(result)
                     : "D"(first), "S"(second), "d"(0L)
                     : "rcx", "r8", "r9", "r10", "r11", "memory");
}
#elif defined(__aarch64__)
constexpr long nr_prctl = 167;
constexpr long nr_ppoll = 73;
constexpr long nr_exit_group = 94;

void call_kernel(long number, long first = 0, long second = 0)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = first;
    register long x1 __asm__("x1") = second;
    register long x2 __asm__("x2") = 0;
    register long x3 __asm__("x3") = 0;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
}
#else
#error "bench/children/nothing.cpp knows x86-64 and AArch64 only"
#endif

}  // namespace

extern "C" [[noreturn]] void _start();

void _start()
{
    // A contender that crashes must not leave thousands of these behind.
    if (lives_on)
        call_kernel(nr_prctl, set_parent_death_signal, sigkill);
    while (lives_on)
        call_kernel(nr_ppoll);  // no descriptors, no time limit: sleeps until a signal
    while (true)
        call_kernel(nr_exit_group);
}
