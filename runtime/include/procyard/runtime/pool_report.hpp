// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_POOL_REPORT_HPP
#define PROCYARD_RUNTIME_POOL_REPORT_HPP

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/pool_error.hpp>
#include <procyard/runtime/supervisor.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What became of a task, beyond its result.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT pool_task_report {
    /// Only once it is over.
    pool_outcome outcome = pool_outcome::done;
    /// How often it was sent to a worker as one that could have been begun before.
    unsigned attempts = 0;
    /// The workers that have died while they ran it, or before they had begun it as the next one,
    /// in order: how, what they have used, the end of what they had to say.
    std::vector<std::shared_ptr<const death_report>> deaths{};
    /// Of `task_failed`: what the handler has thrown. Of `bad_message`: what was wrong.
    std::string text{};
    /// From its submission until it ran, as far as the pool knows: until its last worker had room
    /// to begin it.
    std::chrono::nanoseconds wait_time{};
    /// From then until the pool has heard of its end.
    std::chrono::nanoseconds run_time{};

    /// `poisoned after 3 attempts, waited 1.2 ms, ran 6 ms; the last worker: killed by SIGSEGV
    /// after 2 ms`
    [[nodiscard]] std::string to_string() const;
};

PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const pool_task_report& what);

PROCYARD_NAMESPACE_END

#endif
