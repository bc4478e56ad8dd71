// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_SIGNAL_INFO_HPP
#define PROCYARD_SIGNALS_SIGNAL_INFO_HPP

#include <signal.h>
#include <sys/types.h>

#include <cstdint>
#include <iosfwd>

#include <procyard/ipc/config.hpp>
#include <procyard/signals/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What a `signal_set` tells of a signal.
///
/// A standard signal (below SIGRTMIN) is a level and no message: the kernel keeps one of each
/// number, and forgets the others until that one is taken. So a count of signals is never a count
/// of events. A real-time signal is told once for each that was sent.
struct signal_info {
    int number = 0;
    /// How many have come since the last one of this number was told to this set; 1 for a real-time
    /// signal. Never 0.
    std::uint32_t count = 0;
    /// Who sent it: of several, one of the last. 0 when nobody did, as for a timer, the terminal
    /// or the kernel, and when the sender is in another pid namespace.
    pid_t sender_pid = 0;
    uid_t sender_uid = 0;  ///< the sender's real user; 0 when there is none, so look at the code
    /// How it was sent: SI_USER, SI_QUEUE, SI_TKILL, SI_KERNEL, SI_TIMER, CLD_EXITED, …
    int code = 0;
    /// What sigqueue(3), a timer or a message queue has put in; null for others.
    sigval value{};
    /// True: `count` real-time signals of this number found the set's queue full. That they came is
    /// all that is known of them.
    bool overflowed = false;
};

/// `signal 15, 3 times, from 4711 (user 0)`
PROCYARD_SIGNALS_EXPORT std::ostream& operator<<(std::ostream& out, const signal_info& info);

PROCYARD_NAMESPACE_END

#endif
