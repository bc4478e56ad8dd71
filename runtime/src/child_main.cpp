// SPDX-License-Identifier: BSL-1.0
//
// Everything that runs in a child between clone and exec, and nothing else.
//
// This code runs in a new process on the parent's memory (CLONE_VM), on a stack of its own, with
// all signals blocked, while the thread that spawned stands still (CLONE_VFORK) and all other
// threads of the parent run on. Therefore:
//   - it reads one prepared plan, and writes only to its stack, the plan's result fields, the
//     parking slots of its moves, and the place for its own id in its environment;
//   - it calls no function of libc or of the C++ library, only raw_syscall and what is in this file
//     (memory functions the compiler may insert are the one exception: they have no state);
//   - it allocates nothing, takes no lock, runs no destructor, and ends with exec or exit_group,
//     never with exit().
// Sanitizers and stack protectors are off here: their shadow of a stack that is not this thread's
// would report nonsense.

#include "child_main.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include <cerrno>

#include "raw_syscall.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

// All of them return 0 or an errno value.

PROCYARD_CHILD_SIDE int to_error(long result) noexcept
{
    return result < 0 ? static_cast<int>(-result) : 0;
}

// What rt_sigaction(2) takes, which is not libc's struct sigaction.
struct kernel_sigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    unsigned long mask;
};
constexpr int last_standard_signal = 31;
constexpr int last_signal = 64;
constexpr std::size_t kernel_sigset_bytes = 8;

PROCYARD_CHILD_SIDE int set_disposition(int number, void (*handler)(int)) noexcept
{
    kernel_sigaction action;
    action.handler = handler;
    action.flags = 0;
    action.restorer = nullptr;
    action.mask = 0;
    return to_error(
        raw_syscall(SYS_rt_sigaction, number, raw_arg(&action), 0, kernel_sigset_bytes));
}

// The parent's handlers must not run here: they would run on the parent's memory. Exec keeps what
// is ignored, so that is reset as well. All signals are still blocked, so the order within the loop
// does not matter.
// Not asked for in the parent, so that only what is ignored there costs a call here: that takes
// half the time, but a signal that another thread begins to ignore in between would stay ignored.
PROCYARD_CHILD_SIDE int reset_signals(const signal_plan& plan) noexcept
{
    for (int number = 1; number <= last_signal; ++number) {
        if (number == SIGKILL || number == SIGSTOP)
            continue;
        // A system call each: where the handlers are gone already, the real-time ones (half of them
        // all) only if need be.
        if (number > last_standard_signal && plan.handlers_cleared
            && (plan.ignored_realtime >> (number - 1) & 1) == 0)
            continue;
        if (plan.inherit) {
            if (plan.handlers_cleared)
                break;
            kernel_sigaction now;
            if (raw_syscall(SYS_rt_sigaction, number, 0, raw_arg(&now), kernel_sigset_bytes) < 0
                || now.handler == SIG_IGN)
                continue;
        }
        if (const int error = set_disposition(number, SIG_DFL); error != 0 && error != EINVAL)
            return error;
    }
    for (std::size_t i = 0; i < plan.ignore_count; ++i) {
        if (const int error = set_disposition(plan.ignore[i], SIG_IGN); error != 0)
            return error;
    }
    return 0;
}

PROCYARD_CHILD_SIDE int write_file(const char* path, const char* text, std::size_t size) noexcept
{
    const long fd = raw_syscall(SYS_openat, AT_FDCWD, raw_arg(path), O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return to_error(fd);
    const long written = raw_syscall(SYS_write, fd, raw_arg(text), static_cast<long>(size));
    raw_syscall(SYS_close, fd);
    return to_error(written);
}

// data: three strings, each ended by NUL: the line for uid_map, for gid_map; size is unused.
PROCYARD_CHILD_SIDE int map_ids(const char* lines) noexcept
{
    std::size_t uid_size = 0;
    while (lines[uid_size] != '\0')
        ++uid_size;
    const char* gid_line = lines + uid_size + 1;
    std::size_t gid_size = 0;
    while (gid_line[gid_size] != '\0')
        ++gid_size;
    // Without CAP_SETGID outside, the kernel wants setgroups given up before a group may be mapped
    // (user_namespaces(7)).
    if (const int error = write_file("/proc/self/setgroups", "deny", 4);
        error != 0 && error != ENOENT)
        return error;
    if (const int error = write_file("/proc/self/gid_map", gid_line, gid_size); error != 0)
        return error;
    return write_file("/proc/self/uid_map", lines, uid_size);
}

// Descriptors

struct kernel_dirent {
    std::uint64_t inode;
    std::int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[1];
};

PROCYARD_CHILD_SIDE bool is_kept(const descriptor_plan& plan, long fd) noexcept
{
    for (std::size_t i = 0; i < plan.keep_count; ++i) {
        if (plan.keep[i] == fd)
            return true;
    }
    return false;
}

PROCYARD_CHILD_SIDE void close_listed(const descriptor_plan& plan, long directory, char* buffer,
                                      long size) noexcept
{
    for (;;) {
        const long got = raw_syscall(SYS_getdents64, directory, raw_arg(buffer), size);
        if (got <= 0)
            return;
        for (long at = 0; at < got;) {
            const auto* entry = reinterpret_cast<const kernel_dirent*>(buffer + at);
            at += entry->length;
            long fd = 0;
            bool number = entry->name[0] != '\0';
            for (const char* c = entry->name; *c != '\0'; ++c) {
                number = number && *c >= '0' && *c <= '9';
                fd = fd * 10 + (*c - '0');
            }
            if (number && fd != directory && !is_kept(plan, fd))
                raw_syscall(SYS_close, fd);
        }
    }
}

// Before Linux 5.9, or where a sandbox forbids close_range: by /proc, and without /proc one number
// after the other. The limit on open files may since have been lowered below what is open, so it is
// no bound where a list can be had.
PROCYARD_CHILD_SIDE void close_others_slowly(const descriptor_plan& plan) noexcept
{
    const long directory = raw_syscall(SYS_openat, AT_FDCWD, raw_arg("/proc/self/fd"),
                                       O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (directory >= 0) {
        alignas(kernel_dirent) char buffer[2048];
        close_listed(plan, directory, buffer, sizeof buffer);
        raw_syscall(SYS_close, directory);
        return;
    }
    rlimit limit;
    limit.rlim_cur = 0;
    raw_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, raw_arg(&limit));
    constexpr rlim_t enough = 1U << 20;
    const long end = static_cast<long>(limit.rlim_cur < enough ? limit.rlim_cur : enough);
    for (long fd = 0; fd < end; ++fd) {
        if (!is_kept(plan, fd))
            raw_syscall(SYS_close, fd);
    }
}

PROCYARD_CHILD_SIDE int close_others(const descriptor_plan& plan) noexcept
{
    if (!plan.close_range) {
        close_others_slowly(plan);
        return 0;
    }
    // In a trimmed table nothing stands above the cut but what was parked or fetched, and that
    // closes on exec.
    const unsigned end =
        plan.unshare_above > 0 ? static_cast<unsigned>(plan.unshare_above) - 1 : ~0U;
    unsigned first = 0;
    for (std::size_t i = 0; i <= plan.keep_count && first <= end; ++i) {
        const unsigned next = i == plan.keep_count ? end : static_cast<unsigned>(plan.keep[i]) - 1;
        if (i == plan.keep_count || static_cast<unsigned>(plan.keep[i]) > first) {
            const unsigned last = next < end ? next : end;
            const long result = raw_syscall(SYS_close_range, first, static_cast<long>(last), 0);
            if (result == -ENOSYS || result == -EPERM) {
                close_others_slowly(plan);
                return 0;
            }
            if (result < 0)
                return to_error(result);
        }
        if (i < plan.keep_count)
            first = static_cast<unsigned>(plan.keep[i]) + 1;
    }
    return 0;
}

PROCYARD_CHILD_SIDE bool is_target(const descriptor_plan& plan, int fd) noexcept
{
    for (std::size_t i = 0; i < plan.move_count; ++i) {
        if (plan.moves[i].target == fd)
            return true;
    }
    return false;
}

// What stands in the parent's table alone, above the numbers that were copied.
PROCYARD_CHILD_SIDE int fetch_descriptors(const descriptor_plan& plan) noexcept
{
    const long parent = raw_syscall(SYS_pidfd_open, raw_syscall(SYS_getppid), 0);
    if (parent < 0)
        return to_error(parent);
    for (std::size_t i = 0; i < plan.move_count; ++i) {
        fd_move& move = plan.moves[i];
        if (move.source < plan.unshare_above)
            continue;
        const long fetched = raw_syscall(SYS_pidfd_getfd, parent, move.source, 0);
        if (fetched < 0)
            return to_error(fetched);
        move.source = static_cast<int>(fetched);
    }
    return 0;  // `parent` closes on exec, or earlier if its number is a target
}

// A duplicate of the source on a number that nobody must go to. The lowest one, and not one above
// them all: that may be above the limit on open files, and a high number makes a large table.
PROCYARD_CHILD_SIDE long park(const descriptor_plan& plan, int source) noexcept
{
    for (long from = 3;;) {
        const long parked = raw_syscall(SYS_fcntl, source, F_DUPFD_CLOEXEC, from);
        if (parked < 0 || !is_target(plan, static_cast<int>(parked)))
            return parked;
        raw_syscall(SYS_close, parked);
        from = parked + 1;
    }
}

// Two phases, so that any permutation works: first every source that stands where another one must
// go is parked elsewhere, then each is put where it belongs. `failed` is the child's number
// that could not be made.
PROCYARD_CHILD_SIDE int move_descriptors(const descriptor_plan& plan, std::int64_t& failed) noexcept
{
    for (std::size_t i = 0; i < plan.move_count; ++i) {
        fd_move& move = plan.moves[i];
        move.parked = move.source;
        failed = move.target;
        if (move.source == move.target || !is_target(plan, move.source))
            continue;
        const long parked = park(plan, move.source);
        if (parked < 0)
            return to_error(parked);
        move.parked = static_cast<int>(parked);
    }
    for (std::size_t i = 0; i < plan.move_count; ++i) {
        const fd_move& move = plan.moves[i];
        failed = move.target;
        // dup3 refuses equal numbers, and what it makes is not close-on-exec, as it must be here.
        const long result = move.parked == move.target
            ? raw_syscall(SYS_fcntl, move.target, F_SETFD, 0)
            : raw_syscall(SYS_dup3, move.parked, move.target, 0);
        if (result < 0)
            return to_error(result);
    }
    return 0;
}

PROCYARD_CHILD_SIDE int arrange_descriptors(const descriptor_plan& plan,
                                            std::int64_t& failed) noexcept
{
    failed = table_failed;
    if (plan.unshare_above > 0) {
        // The kernel copies only what lies below: this is what makes a spawn independent of the
        // parent's open descriptors. Until here the table is the parent's own, and not one
        // descriptor may be opened, closed or moved.
        const long result = raw_syscall(SYS_close_range, plan.unshare_above, static_cast<long>(~0U),
                                        CLOSE_RANGE_UNSHARE);
        if (result < 0)
            return to_error(result);
        if (plan.fetch) {
            if (const int error = fetch_descriptors(plan); error != 0)
                return error;
        }
    }
    if (const int error = move_descriptors(plan, failed); error != 0)
        return error;
    failed = table_failed;
    return close_others(plan);
}

// Attributes

PROCYARD_CHILD_SIDE int add_nice(int increment) noexcept
{
    const long raw =
        raw_syscall(SYS_getpriority, PRIO_PROCESS, 0);  // 20 - nice, so that it is never negative
    if (raw < 0)
        return to_error(raw);
    return to_error(raw_syscall(SYS_setpriority, PRIO_PROCESS, 0, 20 - raw + increment));
}

constexpr int last_capability_bit = 63;

PROCYARD_CHILD_SIDE int drop_bounding_set(std::uint64_t keep, bool keep_over_user_change) noexcept
{
    for (int capability = 0; capability <= last_capability_bit; ++capability) {
        if ((keep >> capability & 1) != 0)
            continue;
        const long has = raw_syscall(SYS_prctl, PR_CAPBSET_READ, capability);
        if (has == -EINVAL)
            break;  // the kernel knows no higher one
        if (has != 1)
            continue;
        if (const long result = raw_syscall(SYS_prctl, PR_CAPBSET_DROP, capability); result < 0)
            return to_error(result);
    }
    const long cleared = raw_syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (cleared < 0)
        return to_error(cleared);
    return keep_over_user_change ? to_error(raw_syscall(SYS_prctl, PR_SET_KEEPCAPS, 1)) : 0;
}

// The second half, after the change of user (which would have taken the rest away with it).
PROCYARD_CHILD_SIDE int set_capabilities(std::uint64_t keep) noexcept
{
    __user_cap_header_struct header;
    header.version = _LINUX_CAPABILITY_VERSION_3;
    header.pid = 0;
    __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; ++i) {
        const auto bits = static_cast<unsigned>(keep >> (32 * i));
        data[i].effective = bits;
        data[i].permitted = bits;
        data[i].inheritable = bits;
    }
    if (const long result = raw_syscall(SYS_capset, raw_arg(&header), raw_arg(data)); result < 0)
        return to_error(result);
    for (int capability = 0; capability <= last_capability_bit; ++capability) {
        if ((keep >> capability & 1) == 0)
            continue;
        const long raised =
            raw_syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
        if (raised < 0)
            return to_error(raised);
    }
    return 0;
}

// From the last digit to the first, at the end of the room, and then to its beginning: the entry of
// the environment begins in front of it.
PROCYARD_CHILD_SIDE int write_own_id(const own_id_plan& plan) noexcept
{
    unsigned long rest = static_cast<unsigned long>(raw_syscall(SYS_getpid));
    std::size_t begin = plan.size - 1;
    plan.digits[begin] = '\0';
    do {
        if (begin == 0)
            return ERANGE;
        plan.digits[--begin] = static_cast<char>('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    for (std::size_t i = 0; begin + i < plan.size; ++i)
        plan.digits[i] = plan.digits[begin + i];
    return 0;
}

// parent: the parent's pid as this process sees it, or 0 when it sees none (a pid namespace of its
// own).
PROCYARD_CHILD_SIDE int die_with_parent(int signal_number, std::int64_t parent) noexcept
{
    if (const long result = raw_syscall(SYS_prctl, PR_SET_PDEATHSIG, signal_number); result < 0)
        return to_error(result);
    // A parent that died before the call above will not die again.
    if (parent != 0 && raw_syscall(SYS_getppid) != parent)
        raw_syscall(SYS_kill, raw_syscall(SYS_getpid), SIGKILL);
    return 0;
}

// Our number as the parent sees it: /proc is still the parent's.
PROCYARD_CHILD_SIDE int outer_id(pid_t& id) noexcept
{
    char text[32];
    const long size =
        raw_syscall(SYS_readlinkat, AT_FDCWD, raw_arg("/proc/self"), raw_arg(text), sizeof text);
    if (size < 0)
        return to_error(size);
    id = 0;
    for (long i = 0; i < size; ++i) {
        if (text[i] < '0' || text[i] > '9')
            return EPROTO;
        id = id * 10 + (text[i] - '0');
    }
    return 0;
}

// From the moment at which this is written, the guardian kills us if the parent dies; until then
// the kernel does.
PROCYARD_CHILD_SIDE int tell_guardian(const child_op& op) noexcept
{
    if (const int error = die_with_parent(SIGKILL, op.c); error != 0)
        return error;
    pid_t id = static_cast<pid_t>(raw_syscall(SYS_getpid));
    if (op.c == 0) {
        if (const int error = outer_id(id); error != 0)
            return error;
    }
    if (const long written = raw_syscall(SYS_pwrite64, op.a, raw_arg(&id), sizeof id, op.b);
        written < 0)
        return to_error(written);
    return to_error(raw_syscall(SYS_prctl, PR_SET_PDEATHSIG, 0));
}

PROCYARD_CHILD_SIDE int run_program(const exec_plan& plan) noexcept
{
    long pause_ns = 1'000'000;
    for (unsigned attempt = 0;; ++attempt) {
        const long result =
            raw_syscall(SYS_execve, raw_arg(plan.path), raw_arg(plan.argv), raw_arg(plan.envp));
        if (result != -ETXTBSY || attempt == plan.text_busy_retries)
            return to_error(result);
        timespec pause;
        pause.tv_sec = pause_ns / 1'000'000'000;
        pause.tv_nsec = pause_ns % 1'000'000'000;
        raw_syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, raw_arg(&pause), 0);
        pause_ns *= 2;
    }
}

PROCYARD_CHILD_SIDE int limit_resource(child_op& op) noexcept
{
    rlimit limit;
    limit.rlim_cur = static_cast<rlim_t>(op.b);
    limit.rlim_max = static_cast<rlim_t>(op.c);
    return to_error(raw_syscall(SYS_prlimit64, 0, op.a, raw_arg(&limit), 0));
}

PROCYARD_CHILD_SIDE int schedule(const child_op& op) noexcept
{
    sched_param parameter;
    parameter.sched_priority = static_cast<int>(op.b);
    return to_error(raw_syscall(SYS_sched_setscheduler, 0, op.a, raw_arg(&parameter)));
}

PROCYARD_CHILD_SIDE int become(const child_op& op) noexcept
{
    if (op.b != 0) {
        if (const long result = raw_syscall(SYS_setgroups, 0, 0); result < 0)
            return to_error(result);
    }
    return to_error(raw_syscall(SYS_setresuid, op.a, op.a, op.a));
}

// One step of the plan. The switch has no default, so a new step that nobody carries out is a
// warning.
PROCYARD_CHILD_SIDE int perform(child_op& op) noexcept
{
    const long size = static_cast<long>(op.size);
    switch (op.step) {
    case spawn_step::signals:
        // data: signal_plan at the first; a: 1 for the second time, when the mask (data, 8 bytes)
        // is set.
        if (op.a == 0)
            return reset_signals(*static_cast<const signal_plan*>(op.data));
        return to_error(
            raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, raw_arg(op.data), 0, kernel_sigset_bytes));
    case spawn_step::session: return to_error(raw_syscall(SYS_setsid));
    case spawn_step::process_group:  // a: the group, 0 for a new one
        return to_error(raw_syscall(SYS_setpgid, 0, op.a));
    case spawn_step::cgroup:  // a: descriptor of cgroup.procs, in the parent's numbers
        return to_error(raw_syscall(SYS_write, op.a, raw_arg("0"), 1));
    case spawn_step::descriptors:  // data: descriptor_plan; out: b, the child's number that failed
        return arrange_descriptors(*static_cast<const descriptor_plan*>(op.data), op.b);
    case spawn_step::guardian:  // a: descriptor of its book, in the parent's numbers; b: the place
                                // in it; c: the parent's pid
        return tell_guardian(op);
    case spawn_step::controlling_terminal:  // a: the child's number
        return to_error(raw_syscall(SYS_ioctl, op.a, TIOCSCTTY, 0));
    case spawn_step::namespaces:  // data: the lines of the id maps
        return map_ids(static_cast<const char*>(op.data));
    case spawn_step::umask: raw_syscall(SYS_umask, op.a); return 0;
    case spawn_step::nice: return add_nice(static_cast<int>(op.a));
    case spawn_step::scheduler: return schedule(op);  // a: policy, b: priority
    case spawn_step::cpu_affinity:                    // data: the mask
        return to_error(raw_syscall(SYS_sched_setaffinity, 0, size, raw_arg(op.data)));
    case spawn_step::limit: return limit_resource(op);  // a: resource, b: soft, c: hard
    case spawn_step::working_directory:                 // data: path
        return to_error(raw_syscall(SYS_chdir, raw_arg(op.data)));
    case spawn_step::capabilities:  // a: 0 before the change of user, 1 after; b: kept ones; c:
                                    // user changes
        return op.a == 0 ? drop_bounding_set(static_cast<std::uint64_t>(op.b), op.c != 0)
                         : set_capabilities(static_cast<std::uint64_t>(op.b));
    case spawn_step::supplementary_groups:  // data: gids, size: how many
        return to_error(raw_syscall(SYS_setgroups, size, raw_arg(op.data)));
    case spawn_step::group: return to_error(raw_syscall(SYS_setresgid, op.a, op.a, op.a));
    case spawn_step::user: return become(op);  // a: the user, b: 1 to give up all groups before
    case spawn_step::no_new_privileges:
        return to_error(raw_syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    case spawn_step::parent_death_signal:  // a: signal, b: the parent's pid
        return die_with_parent(static_cast<int>(op.a), op.b);
    case spawn_step::exec: return run_program(*static_cast<const exec_plan*>(op.data));
    case spawn_step::environment:  // data: own_id_plan
        return write_own_id(*static_cast<const own_id_plan*>(op.data));
    case spawn_step::none:
    case spawn_step::program:
    case spawn_step::arguments:
    case spawn_step::options:
    case spawn_step::lookup:
    case spawn_step::pipe:
    case spawn_step::open_file:
    case spawn_step::terminal:
    case spawn_step::tree:
    case spawn_step::clone: return EINVAL;  // the parent's own steps: never in a plan
    }
    return EINVAL;
}

}  // namespace

PROCYARD_CHILD_SIDE void child_main(child_plan& plan) noexcept
{
    for (std::size_t i = 0; i < plan.op_count; ++i) {
        child_op& op = plan.ops[i];
        op.error = perform(op);
        if (op.error != 0 && !op.optional) {
            plan.failed_op = static_cast<int>(i);
            break;
        }
    }
    for (;;)
        raw_syscall(SYS_exit_group, 127);
}

}  // namespace detail
PROCYARD_NAMESPACE_END
