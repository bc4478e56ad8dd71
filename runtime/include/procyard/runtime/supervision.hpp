// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SUPERVISION_HPP
#define PROCYARD_RUNTIME_SUPERVISION_HPP

#include <chrono>
#include <cstdint>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Whether a supervised service is started again when it has ended by itself.
enum class restart_kind : std::uint8_t {
    /// Always.
    permanent,
    /// When it has failed: any end but the one that counts as success.
    transient,
    /// Never; nor with its siblings when they are restarted together.
    temporary,
};

/// Who is restarted when a service has failed.
enum class restart_strategy : std::uint8_t {
    /// That service alone.
    one_for_one,
    /// All: the others are stopped first, and all are started again.
    one_for_all,
    /// It and those that were added after it.
    rest_for_one,
};

/// What becomes of the commands of a supervisor whose process dies before it has stopped them, by
/// SIGKILL say.
enum class orphan_policy : std::uint8_t {
    /// The kernel kills them in the same moment (`command::parent_death_signal`, unless the command
    /// has one of its own, or is a program that changes its user). What they have started lives on;
    /// with a state directory until a supervisor starts with it again.
    kill,
    /// They live on; with a state directory until a supervisor starts with it again.
    leave,
};

/// Where a supervised service stands.
///
/// ```
/// configured -> waiting -> starting -> ready <-> unready
///                  ^          |          |          |
///                  |          +----------+----------+--> stopping -> killing
///                  |          v          v          v        |          |
///               backoff <----- (it has ended, and shall run again) <----+
///                             (it has ended) -> exited | failed -> removed
/// ```
enum class service_state : std::uint8_t {
    /// Known, and never asked to run.
    configured,
    /// Shall run, and waits for what it depends on.
    waiting,
    /// Started, and not ready yet.
    starting,
    /// Serves.
    ready,
    /// Lives, has been ready, and says that it is not now.
    unready,
    /// Was asked to stop.
    stopping,
    /// Was killed, and is not gone yet.
    killing,
    /// Has ended as it may.
    exited,
    /// Has ended, and is started again after a delay.
    backoff,
    /// Has ended badly, or cannot start, and is not started again.
    failed,
    /// Is not supervised any more; nothing of it lives.
    removed,
};

/// Why a service has changed its state.
enum class service_cause : std::uint8_t {
    /// The program that owns the supervisor has asked for it.
    asked,
    /// All it depends on is ready.
    dependencies_ready,
    /// What it depends on has failed for good, and it cannot start.
    dependency_failed,
    /// It has said that it is ready.
    became_ready,
    /// It has said that it is not ready any more.
    lost_readiness,
    /// It has ended with success.
    ended,
    /// It has ended, and that was no success; or it could not be started.
    crashed,
    /// It was not ready in its time.
    start_timeout,
    /// Its health was asked for, and the answer was a bad one too often; or, for want of memory,
    /// nobody could watch it.
    unhealthy,
    /// It gave no sign of life in the time of its watchdog, or has given itself up.
    watchdog,
    /// A sibling has failed, and the strategy restarts both.
    sibling_failed,
    /// There were more restarts than the intensity allows.
    too_many_restarts,
    /// It did not stop in the grace it had.
    grace_over,
    /// The time in which everything has to stop is over.
    budget_over,
    /// The delay before its next start has passed.
    delay_over,
    /// Another incarnation of it serves.
    replaced,
};

[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(restart_kind kind) noexcept;
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(restart_strategy what) noexcept;
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(service_state state) noexcept;
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(service_cause cause) noexcept;

/// How many restarts are too many: more than `restarts` within `window`. The supervisor then stops
/// everything and fails itself, so that whoever supervises it hears of it.
///
/// The default is that of OTP's supervisors.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct restart_intensity {
    unsigned restarts = 1;
    std::chrono::nanoseconds window = std::chrono::seconds(5);
};

/// How long to wait before a service that has ended is started again: `first`, then `factor` times
/// as long for each further end, at most `cap`; each delay is longer or shorter by up to the part
/// `jitter` of it, so that services that failed together do not return together. A service that
/// was ready for `stable_after` begins with `first` again.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct restart_backoff {
    std::chrono::nanoseconds first = std::chrono::milliseconds(100);
    double factor = 2.0;
    std::chrono::nanoseconds cap = std::chrono::seconds(30);
    double jitter = 0.1;
    std::chrono::nanoseconds stable_after = std::chrono::seconds(60);
};

PROCYARD_NAMESPACE_END

#endif
