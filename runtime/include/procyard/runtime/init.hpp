// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_INIT_HPP
#define PROCYARD_RUNTIME_INIT_HPP

#include <sys/types.h>

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/exit_status.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/stop.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How the first process of a container works.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT init_options {
    // Not an aggregate: GCC 12 destroys one that is made inside a co_await expression twice.
    init_options() = default;

    /// The signals that are passed on to the main child: by default all that somebody may send on
    /// purpose. Not those of a terminal's job control (SIGTSTP, SIGTTIN, SIGTTOU), of this process'
    /// own children and timers (SIGCHLD, SIGALRM), of broken pipes and of faults.
    std::vector<int> forwarded = forwardable();
    /// To the main child and all it has started, and not to it alone.
    bool to_tree = false;
    /// For what the main child has left when it has ended.
    stop_ladder rest = stop_ladder::terminate();
    /// Children that this process has already when it becomes init are reaped as orphans are. For a
    /// program that a shell's `exec` has put into the place of the shell, whose background jobs
    /// they are. Else they are somebody's who will wait for them.
    bool reap_earlier_children = false;
    /// Hears of each orphan that is counted (`init_result::orphans`). If it throws, the main child
    /// and the others are stopped (`rest`), and run_as_init throws that.
    std::function<void(pid_t, const exit_status&)> on_orphan{};

    [[nodiscard]] static std::vector<int> forwardable();
};

/// What came of it.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT init_result {
    init_result() = default;

    /// How the main child ended.
    exit_status status{};
    /// How many orphans were reaped while the main child ran. What it had left is `rest`'s; and not
    /// those that went with a signal to the whole tree (`init_options::to_tree`).
    std::uint64_t orphans = 0;
    /// How many signals were passed on.
    std::uint64_t forwarded = 0;
    /// What it took to stop what the main child had left.
    stop_result rest{};

    /// What to return from main: the main child's exit code, or 128 and the signal that it died of,
    /// as a shell has it. Who wants to die of that signal as well: `die_of_signal`, which gives the
    /// same code in the first process of a container, since that cannot.
    [[nodiscard]] int exit_code() const noexcept { return status.shell_code(); }
};

/// Makes this process an init, for as long as a main child runs: the first process of a container
/// (or any other, which then becomes a subreaper). A program that is no init leaves orphans
/// unreaped there, and signals unanswered.
///
/// - Signals are passed on to the main child. Those that came before it was there are, too.
/// - Whoever has lost its parent comes to this process, and is reaped when it ends. By its own
///   number, and only after a look at whose it is: children that were there before are left to
///   whoever waits for them (`init_options::reap_earlier_children`).
/// - When the main child has ended, what it has left gets SIGTERM and, after a grace, SIGKILL
///   (`init_options::rest`). Then the call returns; and when the first process of a container has
///   ended, the kernel kills what else there is.
///
/// A process that is init does nothing else: it blocks the calling thread, with an event loop of
/// its own, and other threads, which could have children of their own, are refused. That is why
/// there is no `async_run_as_init`: from an orphan it cannot be told any more that it never was a
/// child of the process that gets it.
///
/// The main child leads a process group. If this process' group is in the foreground of the
/// terminal at descriptor 0, that group is, as long as it runs. When a ^Z stops it, this process
/// stops as well, for the shell that has started it, and both go on together; where there is none
/// (the first process of a container, an orphaned process group) it goes on at once. After a
/// SIGTERM, SIGINT or SIGHUP it gets a SIGCONT, without which one that is stopped would not hear.
///
/// What a service manager has said to this process alone is for the main child: it gets the
/// descriptors of socket activation, unless they have been taken here or it is given its own, with
/// its own LISTEN_PID, and no WATCHDOG_PID. Since the manager knows this process, it has to hear
/// the others as well: `NotifyAccess=all`.
/// @par Errors          `spawn_error`: it could not be started; nothing is left of it. EBUSY: this
///                      process has other threads; ENOENT: there is no /proc of this pid namespace;
///                      what `signal_set` says of a signal that cannot be forwarded; EINVAL:
///                      malformed variables of socket activation; EMFILE, ENOMEM. what() says
///                      which.
/// @throws boost::system::system_error; what `init_options::on_orphan` throws, when nobody is left
/// @par Process-wide effects   The dispositions of the forwarded signals and of SIGCHLD, until it
///                             returns. It listens to SIGCHLD, as nothing else in the library
///                             does but a supervisor with a command (see `service`), and calls the
///                             handler that was there, as a `signal_set` does. Where SIGCHLD is
///                             ignored it is not, meanwhile, and children that were there before
///                             are reaped: nobody waits for them.
///                             Unless it is the first process: a child subreaper, for good.
/// @par Limits          A main child that `namespaces` puts into a pid namespace of its own is the
///                      init there; what is orphaned in there comes to it.
/// @par Cost            For each death of an orphan a look at all children of this process.
/// @par Example         @snippet examples/guide/serving.cpp init
[[nodiscard]] PROCYARD_RUNTIME_EXPORT init_result run_as_init(command main,
                                                              init_options options = {});

/// The same with a coroutine, or what else a program does: in a copy of this process (fork), which
/// is the main child and leaves by std::exit with what the coroutine returns. An exception that
/// leaves it ends it as it would end any program (std::terminate): the caller's `catch` is for the
/// original alone. LISTEN_PID and WATCHDOG_PID name it where they have named this process. The copy
/// has an io_context of its own, that runs until the coroutine has returned, no signal handlers of
/// ours, and no orphans.
///
/// Call it before anything is made that a copy must not have twice.
/// @par Errors          As above; EAGAIN, ENOMEM: there is no copy.
/// @throws boost::system::system_error
[[nodiscard]] PROCYARD_RUNTIME_EXPORT init_result
run_as_init(const std::function<asio::awaitable<int>()>& main, init_options options = {});

PROCYARD_NAMESPACE_END

#endif
