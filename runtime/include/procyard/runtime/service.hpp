// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SERVICE_HPP
#define PROCYARD_RUNTIME_SERVICE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/service_log.hpp>
#include <procyard/runtime/stop.hpp>
#include <procyard/runtime/supervision.hpp>

PROCYARD_NAMESPACE_BEGIN

class service;

namespace detail {
struct service_access;
class supervisor_core;
}  // namespace detail

/// What a service that is a coroutine says to its supervisor.
/// @par Thread safety   Any thread may call it at any time.
/// @par Lifetime        May be kept; after the end of its incarnation it does nothing. Its context
///                      must outlive its use.
class PROCYARD_RUNTIME_EXPORT service_context {
public:
    /// For `readiness::told()`: those that depend on the service may start.
    void ready() const;
    /// Not now. It is not stopped for it, but nobody starts that depends on it.
    void unready() const;
    /// For `service::watchdog`: it makes progress. Call it from where the work is done, so that one
    /// that is stuck does not call it.
    void alive() const;
    /// Its start, or its stop, is not over, and may take so long from now: for
    /// `service::may_extend`. To be called again before that has passed.
    void extend(std::chrono::nanoseconds time) const;

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    /// 1 for the first start, one more for each further one.
    [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
    /// The supervisor's, where the coroutine runs.
    [[nodiscard]] const asio::any_io_executor& get_executor() const noexcept { return executor_; }

private:
    friend struct detail::service_access;

    service_context(std::weak_ptr<detail::supervisor_core> core, std::size_t number,
                    std::uint64_t generation, std::string name, asio::any_io_executor ex);

    std::weak_ptr<detail::supervisor_core> core_;
    std::size_t number_;
    std::uint64_t generation_;
    std::string name_;
    asio::any_io_executor executor_;
};

/// A coroutine as a service: it is stopped by cancellation (terminal), has ended when it has
/// returned, and has failed when it throws. After a cancellation any end is a good one.
using service_body = std::function<asio::awaitable<void>(service_context)>;

/// Asks from outside whether a service can do its work: true, or false, or an exception (as false).
/// Cancelled when it takes longer than its time. Ready-made ones: probes.hpp.
using service_probe = std::function<asio::awaitable<bool>()>;

/// When a service counts as ready, so that those that depend on it may start. That a process was
/// spawned says nothing about it.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
class PROCYARD_RUNTIME_EXPORT readiness {
public:
    /// As soon as it runs.
    [[nodiscard]] static readiness started();
    /// When it says so. A command: `READY=1` to the socket named by `NOTIFY_SOCKET`, as
    /// sd_notify(3) does; taken from processes of the service alone. A coroutine:
    /// `service_context::ready`.
    [[nodiscard]] static readiness told();
    /// When it has written a newline to this descriptor, or more up to one; it is a pipe, which the
    /// child has under this number. As s6 does it.
    [[nodiscard]] static readiness newline_on(int descriptor);
    /// When a line of its standard output or error contains `text`.
    [[nodiscard]] static readiness line_with(std::string text);
    /// When `ask` has answered with true: asked again `interval` after it has answered with false.
    [[nodiscard]] static readiness
    probe(service_probe ask, std::chrono::nanoseconds interval = std::chrono::milliseconds(100),
          std::chrono::nanoseconds most = std::chrono::seconds(1));

private:
    friend struct detail::service_access;
    enum class kind : std::uint8_t { started, told, newline, line, probe };

    explicit readiness(kind what) : kind_(what) { }

    kind kind_;
    int descriptor_ = -1;
    std::string text_{};
    service_probe ask_{};
    std::chrono::nanoseconds interval_{};
    std::chrono::nanoseconds most_{};
};

/// What a supervisor keeps up: a command, a coroutine, or a group of services under a supervisor of
/// their own. A value; each call changes it and returns it.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
/// @par Example         @snippet examples/18_supervisor.cpp services
class PROCYARD_RUNTIME_EXPORT service {
public:
    /// A program. It gets no standard input. Its outputs are read to their ends, whatever becomes
    /// of what was read, so that it never stands before a full pipe; those that the command sends
    /// elsewhere than `stdio::inherit()` stay as they are. With `tree_mode::automatic` what it has
    /// started is held together by a cgroup, or where none is to be had by a subreaper, so that no
    /// daemon survives a stop or a restart; another `command::tree` stands.
    /// @par Thread safety          It is spawned on the context's spawner thread: an `observer` of
    ///                             the context hears of that there, while the loop goes on.
    /// @par Process-wide effects   Without a cgroup: `tree_mode::subreaper`, from its first start,
    ///                             for good. While it lives, and the process is a subreaper, its
    ///                             supervisor listens to SIGCHLD by a `signal_set`, which calls the
    ///                             handler that was there; not where the host ignores SIGCHLD.
    service(std::string name, command what);
    /// A coroutine, on the supervisor's executor.
    service(std::string name, service_body body);
    /// Services with a supervisor of their own: ready when all are, and failed when the supervisor
    /// has given up. To the one that has it they are "name/member" (no name has a slash of its
    /// own), each the same service however often the group is started.
    service(std::string name, restart_strategy strategy, std::vector<service> members,
            restart_intensity intensity = {});

    /// Default: permanent.
    service& restart(restart_kind kind);
    service& backoff(const restart_backoff& delays);
    /// It starts when these are ready, and is stopped before they are. Names of services of the
    /// same supervisor that were added before.
    service& depends_on(std::vector<std::string> names);
    /// Runs once: transient, and ready for those that depend on it when it has ended with success.
    service& one_shot();
    /// Default: `readiness::started()`.
    service& ready_when(readiness what);
    /// Not ready after so long: stopped, and that is a failure. Default: for ever.
    service& start_timeout(std::chrono::nanoseconds most);
    /// How long it may take to stop before it is killed with all that it has started. Default: 5 s.
    service& stop_grace(std::chrono::nanoseconds grace);
    /// The first signal of a stop. Default: SIGTERM.
    service& stop_signal(int number);
    /// How much more than its `start_timeout` and its `stop_grace` it may take. Each time it says
    /// for how long from now it wants to be left alone: a command by `EXTEND_TIMEOUT_USEC`, a
    /// coroutine by `service_context::extend`. The budget of the supervisor's own stop stands.
    /// Default: nothing.
    service& may_extend(std::chrono::nanoseconds most);
    /// From the time on at which it was ready first, a command says `WATCHDOG=1` to its
    /// `NOTIFY_SOCKET` (it finds the time in `WATCHDOG_USEC`), and a coroutine calls
    /// `service_context::alive`, at least once in `most`. One that does not is killed, a command by
    /// SIGABRT first, and has failed, by `service_cause::watchdog`. A command may take another time
    /// by `WATCHDOG_USEC`, and give itself up by `WATCHDOG=trigger`. Before it is ready
    /// `start_timeout` is for it. A `one_shot` counts from its start.
    service& watchdog(std::chrono::nanoseconds most);
    /// Asked every `interval`, while the service is ready: after `failures` answers in a row that
    /// were false, threw or took longer than `most` it is stopped, and has failed.
    service& health(service_probe ask, std::chrono::nanoseconds interval, unsigned failures = 3,
                    std::chrono::nanoseconds most = std::chrono::seconds(1));
    /// Gets its output, line by line. Without one it is read and forgotten.
    service& log(service_log sink);
    /// Gets its output at its own pace, from a queue that has so much room.
    /// @par Example   @snippet examples/guide/supervising.cpp slow
    service& log(service_log_task sink, log_options options = {});
    /// How much of the end of its standard error a death report keeps. Default: 4 KiB.
    service& error_tail(std::size_t bytes);
    /// A socket that listens, or another descriptor, which each incarnation of a command finds as
    /// its descriptors 3, 4, … in the order of these calls, by the protocol of sd_listen_fds(3).
    /// The supervisor holds it, so that nobody is turned away while one incarnation takes the place
    /// of the other; both have the same open file, its flags included. `name` is 1 to 255 printable
    /// characters of ASCII but `:`.
    /// @par Example   @snippet examples/guide/supervising.cpp listen
    service& listen(std::string name, unique_fd descriptor);
    /// How many descriptors a command may leave with the supervisor (`FDSTORE=1`, `FDNAME`,
    /// `FDSTOREREMOVE=1`), which its later incarnations find behind those of `listen`. They are
    /// closed when it does not run and shall not, and one that hangs up is (unless `FDPOLL=0`).
    /// More are refused, and closed, and so is an open file that is there already. Default: 0.
    service& keep_descriptors(std::size_t most);

    [[nodiscard]] const std::string& name() const noexcept;

private:
    friend struct detail::service_access;
    struct description;

    std::shared_ptr<const description> what_;
    description& change();
};

PROCYARD_NAMESPACE_END

#endif
