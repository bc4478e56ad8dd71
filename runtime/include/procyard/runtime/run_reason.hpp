// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_RUN_REASON_HPP
#define PROCYARD_RUNTIME_RUN_REASON_HPP

#include <cstdint>
#include <iosfwd>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Why a run came to its end. The first cause counts: a child that exits with 0 while it is being
/// stopped for a deadline was not a success.
enum class run_reason : std::uint8_t {
    /// The child ended by itself, well or badly; see the status.
    exited,
    /// `run_options::deadline` was over.
    deadline,
    /// No output for `run_options::idle_deadline`.
    idle,
    /// A capture limit was hit that stops the child.
    output_limit,
    /// The operation was cancelled.
    cancelled,
    /// A consumer of the output failed, and the policy was to stop then.
    sink_failed,
    /// The source of the input failed; the child would have taken the rest for the whole.
    input_failed,
};

/// What becomes of the descendants of a child that ended by itself. A run that ends for any other
/// reason stops the whole tree.
enum class descendant_policy : std::uint8_t {
    /// They live on, as they would under a shell. The default: a program that starts a daemon and
    /// exits has done its work, and nobody asked for the daemon's end. One that holds an output
    /// pipe delays the result by no more than the drain grace, and the result says so.
    leave,
    /// The ladder stops them.
    stop,
    /// The run lasts until the last of them has ended (or a deadline or a cancellation stops them).
    wait,
};

/// `exited`, `deadline`, `idle`, `output limit`, `cancelled`, `sink failed`, `input failed`.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(run_reason reason) noexcept;
PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, run_reason reason);

PROCYARD_NAMESPACE_END

#endif
