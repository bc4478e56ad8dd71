// SPDX-License-Identifier: BSL-1.0
#include "survivor_lock.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/system/system_error.hpp>

#include <cerrno>

#include <procyard/ipc/syscall.hpp>

#include "proc_fs.hpp"
#include "proc_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// The kernel has no pid of more bits (PID_MAX_LIMIT), and no machine runs for 2^40 ticks.
constexpr unsigned pid_bits = 22;
constexpr unsigned tick_bits = 40;
constexpr std::uint64_t pid_mask = (std::uint64_t(1) << pid_bits) - 1;
constexpr std::uint64_t tick_mask = (std::uint64_t(1) << tick_bits) - 1;
// Inodes of namespaces are unsigned ints.
constexpr std::uint64_t space_mask = (std::uint64_t(1) << 32) - 1;
// In every range: behind all starts, in front of all ends.
constexpr std::int64_t common_byte = std::int64_t(1) << (pid_bits + tick_bits);

struct flock lock_over(const lock_range& range) noexcept
{
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = range.start;
    lock.l_len = range.length;
    return lock;
}

bool lives(const lock_holder& holder, const lock_holder& self)
{
    // Of no other namespace, and of nobody whom /proc hides, can it be said that he is dead.
    if (holder.pid == 0 || holder.pid_space != self.pid_space)
        return true;
    if (const auto now = read_stat(holder.pid)) {
        const bool is_same =
            holder.start_ticks == 0 || holder.start_ticks == (now->start_ticks & tick_mask);
        return is_same && !is_dead(*now);
    }
    return ::kill(holder.pid, 0) == 0 || errno != ESRCH;
}

}  // namespace

lock_range range_of(const lock_holder& holder) noexcept
{
    const auto pid = static_cast<std::uint64_t>(holder.pid) & pid_mask;
    const auto start =
        static_cast<std::int64_t>((holder.start_ticks & tick_mask) << pid_bits | pid);
    const auto after = static_cast<std::int64_t>(holder.pid_space & space_mask);
    return {start, common_byte - start + 1 + after};
}

lock_holder holder_of(const lock_range& range) noexcept
{
    const auto end = range.start + range.length;
    // The whole file, say, which has no end.
    if (range.start <= 0 || range.start >= common_byte || range.length <= 0 || end <= common_byte)
        return {};
    const auto bits = static_cast<std::uint64_t>(range.start);
    return {static_cast<pid_t>(bits & pid_mask), bits >> pid_bits,
            static_cast<std::uint64_t>(end - common_byte - 1)};
}

lock_holder this_process()
{
    lock_holder self;
    self.pid = ::getpid();
    if (const auto now = read_stat(self.pid))
        self.start_ticks = now->start_ticks & tick_mask;
    struct stat space{};
    if (::stat("/proc/self/ns/pid", &space) == 0)
        self.pid_space = space.st_ino & space_mask;
    return self;
}

lock_state take_lock(int file, lock_holder& holder)
{
    const auto self = this_process();
    while (true) {
        auto lock = lock_over(range_of(self));
        if (retry_eintr([&] { return ::fcntl(file, F_OFD_SETLK, &lock); }) == 0) {
            holder = self;
            return lock_state::taken;
        }
        if (errno != EAGAIN && errno != EACCES)
            throw boost::system::system_error(last_error());
        if (retry_eintr([&] { return ::fcntl(file, F_OFD_GETLK, &lock); }) == -1)
            throw boost::system::system_error(last_error());
        if (lock.l_type == F_UNLCK)
            continue;  // it has come free: each turn is somebody else's end
        holder = holder_of({lock.l_start, lock.l_len});
        return lives(holder, self) ? lock_state::lives : lock_state::inherited;
    }
}

std::string to_text(const lock_holder& holder)
{
    if (holder.pid == 0)
        return "a program of another kind";
    const auto number = "process " + std::to_string(holder.pid);
    return holder.pid_space == this_process().pid_space ? number
                                                        : number + " of another pid namespace";
}

}  // namespace detail

PROCYARD_NAMESPACE_END
