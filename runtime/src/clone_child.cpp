// SPDX-License-Identifier: BSL-1.0
#include "clone_child.hpp"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include <cerrno>
#include <mutex>

#include "child_main.hpp"
#include "kernel_features.hpp"
#include "raw_syscall.hpp"

// Newer than the headers of the oldest supported distributions.
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

// struct clone_args of <linux/sched.h>, which clashes with <sched.h> in some libcs.
struct alignas(8) clone3_arguments {
    std::uint64_t flags;
    std::uint64_t pidfd;
    std::uint64_t child_tid;
    std::uint64_t parent_tid;
    std::uint64_t exit_signal;
    std::uint64_t stack;
    std::uint64_t stack_size;
    std::uint64_t tls;
    std::uint64_t set_tid;
    std::uint64_t set_tid_size;
    std::uint64_t cgroup;
};
static_assert(sizeof(clone3_arguments) == 88, "CLONE_ARGS_SIZE_VER2: the version with `cgroup`");

PROCYARD_CHILD_SIDE void child_entry(child_plan* plan) noexcept
{
    child_main(*plan);
}

// The child must leave the call on its own stack, so it cannot return into C++: it calls
// child_entry right behind the system call. Not libc's clone(): it has no clone3, and its wrapper
// would be one more thing of libc in the child.
PROCYARD_CHILD_SIDE long clone_and_enter(long number, long a, long b, long c,
                                         child_plan* plan) noexcept
{
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = 0;
    register long r8 __asm__("r8") = 0;
    register auto r12 __asm__("r12") = &child_entry;
    register auto r13 __asm__("r13") = plan;
    __asm__ volatile("syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xorl %%ebp, %%ebp\n\t"  // the end of the frame chain, for whoever unwinds
                     "movq %%r13, %%rdi\n\t"
                     "callq *%%r12\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r12), "r"(r13)
                     : "rcx", "r11", "memory", "cc");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = 0;
    register long x4 __asm__("x4") = 0;
    register auto x19 __asm__("x19") = &child_entry;
    register auto x20 __asm__("x20") = plan;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, x20\n\t"
                     "blr x19\n\t"
                     "brk 1\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x19), "r"(x20)
                     : "memory", "cc");
    return x0;
#else
#error "Procyard needs a few lines of assembly for this processor: see clone_and_enter"
#endif
}

constexpr unsigned long long common_flags = CLONE_VM | CLONE_VFORK;

long try_clone3(const clone_request& request, bool with_pidfd, int& pidfd) noexcept
{
    clone3_arguments arguments{};
    arguments.flags = common_flags | CLONE_CLEAR_SIGHAND | request.namespaces
        | (with_pidfd ? CLONE_PIDFD : 0ULL) | (request.share_descriptors ? CLONE_FILES : 0ULL)
        | (request.cgroup >= 0 ? CLONE_INTO_CGROUP : 0ULL);
    arguments.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
    arguments.exit_signal = SIGCHLD;
    arguments.stack = reinterpret_cast<std::uint64_t>(request.stack);
    arguments.stack_size = request.stack_bytes;
    if (request.cgroup >= 0)
        arguments.cgroup = static_cast<std::uint64_t>(request.cgroup);
    request.signals->handlers_cleared = true;
    return clone_and_enter(SYS_clone3, raw_arg(&arguments), sizeof arguments, 0, request.plan);
}

long try_clone(const clone_request& request, bool with_pidfd, int& pidfd) noexcept
{
    const unsigned long long flags = common_flags | request.namespaces
        | (with_pidfd ? CLONE_PIDFD : 0ULL) | (request.share_descriptors ? CLONE_FILES : 0ULL)
        | SIGCHLD;
    char* const top = static_cast<char*>(request.stack) + request.stack_bytes;
    request.signals->handlers_cleared = false;
    return clone_and_enter(SYS_clone, static_cast<long>(flags), raw_arg(top), raw_arg(&pidfd),
                           request.plan);
}

// The memory of a process that changes its user becomes "not dumpable": no core file, no debugger,
// /proc files that are root's. That is meant for the child, but until its exec the memory is the
// parent's as well. So what was is put back when the child is gone from it; by the last one, where
// several threads spawn at once. A static, since it stands for a property of the process.
class dumpable_guard {
public:
    explicit dumpable_guard(bool active) noexcept : active_(active)
    {
        if (!active_)
            return;
        const std::lock_guard lock(mutex);
        if (count++ == 0)
            before = ::prctl(PR_GET_DUMPABLE);
    }
    dumpable_guard(const dumpable_guard&) = delete;
    dumpable_guard& operator=(const dumpable_guard&) = delete;
    ~dumpable_guard()
    {
        if (!active_)
            return;
        const std::lock_guard lock(mutex);
        if (--count == 0 && before == 1)
            (void)::prctl(PR_SET_DUMPABLE, 1);
    }

private:
    static inline constinit std::mutex mutex;
    static inline constinit int count = 0;
    static inline constinit int before = 0;
    bool active_;
};

// What a kernel without clone3 says, and what sandboxes say that were written before it (container
// runtimes with EPERM).
bool means_missing(long error) noexcept
{
    return error == -ENOSYS || error == -EPERM || error == -E2BIG;
}

long clone_somehow(const clone_request& request, clone_result& result, int& pidfd) noexcept
{
    auto& features = kernel();
    const bool with_pidfd = has(features.pidfd);
    if (has(features.clone3)) {
        const long answer = try_clone3(request, with_pidfd, pidfd);
        if (!means_missing(answer))
            return answer;
        // Namespaces have an EPERM of their own. Only what fails with clone as well, or works with
        // it, tells the two apart.
        const long second = request.cgroup >= 0 ? answer : try_clone(request, with_pidfd, pidfd);
        if (second > 0) {
            clear(features.clone3);
            result.mechanism = spawn_mechanism::clone;
        }
        return second;
    }
    result.mechanism = spawn_mechanism::clone;
    return try_clone(request, with_pidfd, pidfd);
}

}  // namespace

bool can_clone_into_cgroup() noexcept
{
    return has(kernel().clone3) && has(kernel().clone_into_cgroup);
}

clone_result clone_child(const clone_request& request) noexcept
{
    clone_result result;
    int pidfd = -1;
    const int saved_errno = errno;
    // Also those libc keeps for itself: a cancellation or setuid signal must not run its handler in
    // the child.
    const std::uint64_t all = ~std::uint64_t{0};
    std::uint64_t before = 0;
    raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, raw_arg(&all), raw_arg(&before), sizeof all);
    if (request.inherited_mask != nullptr)
        *request.inherited_mask = before;
    const long answer = [&] {
        const dumpable_guard memory(request.changes_identity);
        return clone_somehow(request, result, pidfd);
    }();
    raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, raw_arg(&before), 0, sizeof before);
    errno = saved_errno;

    if (answer < 0) {
        result.error = static_cast<int>(-answer);
        return result;
    }
    result.pid = static_cast<pid_t>(answer);
    result.pidfd.reset(pidfd);
    return result;
}

}  // namespace detail
PROCYARD_NAMESPACE_END
