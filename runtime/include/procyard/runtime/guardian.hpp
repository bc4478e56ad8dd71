// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_GUARDIAN_HPP
#define PROCYARD_RUNTIME_GUARDIAN_HPP

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>

#include <memory>
#include <optional>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

class command;

namespace detail {
class guardian_core;
struct guardian_access;
}  // namespace detail

/// A process beside this one that outlives it for a moment: when this process dies, however that
/// happens, kill -9 included, it kills what the commands that are `command::guarded_by` it have
/// started and left, removes their cgroups, and ends.
///
/// Without one nothing can: a process runs no instruction after SIGKILL, and the kernel sends a
/// signal to its children, not to theirs. A guardian is for programs whose services or workers
/// start processes of their own and that nobody else clears up after (a systemd unit does, and so
/// does the end of a container). One is enough for all supervisors, pools and children of a
/// process.
///
/// Whom it finds: who carries its mark in the environment, in whatever group or session; everybody
/// in the cgroups of the commands; and their trees, groups and sessions, as long as this process
/// holds the `child`. So without a cgroup it does not find a program that has cleared its
/// environment and left both group and session, or whose `child` has ended and was dropped.
///
/// It is this program, started once more (/proc/self/exe), and `run_if_guardian()` in main() is all
/// that it does. A session of its own keeps it from the terminal's signals, and it heeds none that
/// can be ignored; its streams are /dev/null. It ends without doing anything when the last copy of
/// this object, the last command and the last child that name it are gone. If it is killed itself,
/// the next start of something that it guards starts another one, which knows what the first did;
/// what dies together with it, before that, is not cleared up. It stays while somebody lives whom
/// it may not kill: a program of another user's.
///
/// One that is guarded may be a host with a guardian itself: that one comes first, and has ten
/// seconds.
///
/// What is guarded dies with this process, `drop_policy::detach` and `orphan_policy::leave` or not.
/// For a process that forks to become a daemon, the parent's end is the end: make it in the daemon.
/// A copy of this process by fork spawns nothing that is guarded (`guardian: No child processes`).
///
/// @par Errors          Its constructors throw `spawn_error` when it cannot be started, and
///                      `boost::system::system_error`, and `std::runtime_error` that says so when
///                      the program ends, or ten seconds pass, before it calls run_if_guardian(),
///                      when it is not a child of this process (a script around it, another pid
///                      namespace), or finds no /proc of its pid namespace.
/// @par Thread safety   Distinct objects: safe, copies included. Shared objects: unsafe.
/// @par Lifetime        A handle: copies are the same guardian. Its process is a child of the
///                      context that it was started in, and goes with that; the next start of
///                      something that it guards starts another one, in the context of that.
/// @par Cost            The constructor waits until the other process has come as far as
///                      run_if_guardian(): an exec, some milliseconds, ten seconds at most. So does
///                      a guarded spawn that has to start it again, in the thread that spawns. The
///                      process takes a few megabytes, and nothing while nothing happens (without
///                      pidfds it looks every 20 ms); a guarded spawn costs some system calls more,
///                      and no message.
/// @par Example         @snippet examples/guide/guarding.cpp guardian
class PROCYARD_RUNTIME_EXPORT guardian {
public:
    /// Starts it. `ex` must be that of an io_context, whose loop reaps it at its end. Not for a
    /// set-user-id program, which does not believe its environment: give it another one.
    explicit guardian(const asio::any_io_executor& ex);
    /// The same, of another program: one that is smaller, or may be started again where this one
    /// may not. What the command says of its session, streams and descriptors 3 and 4 is the
    /// guardian's.
    guardian(const asio::any_io_executor& ex, const command& program);

    /// Of the process that guards now, or did last.
    [[nodiscard]] pid_t id() const;

private:
    friend struct detail::guardian_access;

    std::shared_ptr<detail::guardian_core> core_;
};

/// In a process that was started to be a guardian: is one, and says what main() has to return. Else
/// empty, and nothing happens.
///
/// Put it at the beginning of main(), before threads are started and other arguments are looked at.
/// Without it a guardian is this program a second time: so the first thing that one has to do is to
/// make no guardian of its own, and that throws.
/// @par Process-wide effects   In a guardian: all signals are blocked, and the environment variable
///                             by which it knows is removed.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::optional<int> run_if_guardian();

PROCYARD_NAMESPACE_END

#endif
