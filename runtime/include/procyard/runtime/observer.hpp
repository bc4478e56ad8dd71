// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_OBSERVER_HPP
#define PROCYARD_RUNTIME_OBSERVER_HPP

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/exit_status.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/spawn_error.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Something that happened to a child. The strings and what the pointers point to live as long as
/// the call that hands the event out.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct child_event {
    enum class kind : std::uint8_t {
        /// The program runs.
        spawned,
        /// The spawn failed; `failure` says why.
        exec_failed,
        /// A signal (`number`) was sent to the child, or to its tree (`text` is `tree`). Not when
        /// there was nobody left to get it.
        signal_sent,
        /// A stop ladder took its step `number`.
        ladder_step,
        /// A limit of a run was reached; `text` names it. In a pipeline the process is the stage
        /// whose output it was; for a deadline, and where a coroutine wrote, one of the others.
        limit_hit,
        /// It has ended and is not reaped yet: /proc still knows what it has used. (Where the
        /// kernel reaps by itself, because the host ignores SIGCHLD, it is too late for that.)
        exited,
        /// The status was read; `status`.
        reaped,
        /// The outputs of a run reached their end, or were cut off (`text`). In a pipeline once for
        /// each process.
        drained,
    };

    kind what;
    std::chrono::steady_clock::time_point when;
    pid_t pid = 0;
    std::string_view program;
    int number = 0;
    std::string_view text;
    const exit_status* status = nullptr;
    const spawn_failure* failure = nullptr;
};
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(child_event::kind what) noexcept;
/// One line for a log.
PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const child_event& event);

/// Is told what happens to the children of a context.
///
/// Events come from the thread in which they happen, while the library holds no lock; an observer
/// may call back into the library. It must not throw.
/// @par Thread safety   When several threads run the context, use its children or spawn, `on_event`
///                      is called in several threads at once, for one child too: a signal that one
///                      thread sends may be told beside the exit that another one sees. It must be
///                      able to bear that. For one child `exited` always comes before `reaped`;
///                      with one thread, all events come in the order in which they happened.
/// @par Lifetime        Shared with the context, until another one is set or the context goes.
/// @par Cost            On the path of what happened: an observer that blocks holds the loop.
/// @par Example         @snippet examples/guide/observing.cpp observer
class PROCYARD_RUNTIME_EXPORT observer {
public:
    virtual ~observer() = default;
    virtual void on_event(const child_event& event) noexcept = 0;
};

/// Sets the observer of all children of the executor's context; null takes it away. Without one, an
/// event costs a load and a compare.
/// @par Thread safety   Safe at any time; an event that is being handed out may still reach the
///                      earlier observer.
/// @par Example         @snippet examples/guide/observing.cpp observer
PROCYARD_RUNTIME_EXPORT void set_observer(const asio::any_io_executor& executor,
                                          std::shared_ptr<observer> watcher);

/// Writes a line for each living child of the executor's context: pid, program, age, state of the
/// process, tree, waiters, and whether it stands before a full output pipe or an empty input pipe.
/// For debugging; reads /proc.
/// @par Thread safety   Looks at the children's streams: not while another thread uses them.
/// @par Cost            A file of /proc and a few system calls for each child.
/// @par Example         @snippet examples/guide/observing.cpp dump
PROCYARD_RUNTIME_EXPORT void dump(const asio::any_io_executor& executor, std::ostream& out);

PROCYARD_NAMESPACE_END

#endif
