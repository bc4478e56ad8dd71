// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_SYSCALL_REFUSAL_HPP
#define PROCYARD_TESTS_SUPPORT_SYSCALL_REFUSAL_HPP

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <array>
#include <cstdint>

namespace procyard_test {

/// Which system calls the kernel refuses, and how: those of this number of which the argument (its
/// lower half), masked, has this value. Without a mask: all.
struct syscall_refusal {
    long number;
    int error_number;
    unsigned argument = 0;
    std::uint32_t mask = 0;
    std::uint32_t value = 0;
};

/// From here on, in this thread and what it starts, without a way back. Several add up. False when
/// the kernel has no filters.
[[nodiscard]] inline bool let_answer(const syscall_refusal& what, std::uint32_t verdict)
{
    const auto argument =
        static_cast<std::uint32_t>(offsetof(seccomp_data, args) + 8U * what.argument);
    std::array<sock_filter, 7> program{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(what.number), 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, what.mask),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, what.value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, verdict),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog filter{program.size(), program.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// These fail.
[[nodiscard]] inline bool refuse(const syscall_refusal& what)
{
    return let_answer(what, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(what.error_number));
}

/// The process is killed as it enters one of these, by SIGSYS, which it cannot handle. It leaves no
/// core dump: a limit of one byte also keeps the kernel from starting a program that takes it,
/// which a limit of none does not.
[[nodiscard]] inline bool die_at(const syscall_refusal& what)
{
    const rlimit no_core{1, 1};
    (void)::setrlimit(RLIMIT_CORE, &no_core);  // refused where the hard limit is 0 already
    return let_answer(what, SECCOMP_RET_KILL_PROCESS);
}

}  // namespace procyard_test

#endif
