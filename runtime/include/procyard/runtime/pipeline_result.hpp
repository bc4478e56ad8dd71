// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_PIPELINE_RESULT_HPP
#define PROCYARD_RUNTIME_PIPELINE_RESULT_HPP

#include <iosfwd>
#include <optional>
#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/pipeline_status.hpp>
#include <procyard/runtime/run_reason.hpp>
#include <procyard/runtime/run_result.hpp>
#include <procyard/runtime/spawn_error.hpp>
#include <procyard/runtime/stop.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Everything about a run of a pipeline.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT pipeline_result {
    /// What became of each stage, with what it wrote to its standard error.
    pipeline_status status{};
    run_reason reason = run_reason::exited;
    /// The output of the last stage.
    stream_result std_out{};
    /// The input of the first stage.
    input_result input{};
    /// The ladder, if one was needed.
    std::optional<stop_result> stop{};
    run_times times{};
    /// Why there was no pipeline; then nothing else here means anything.
    spawn_failure failure{};

    /// The stages that count by the pipeline's policy succeeded, and nobody had to end it, and the
    /// outputs are complete: all three.
    [[nodiscard]] bool success() const noexcept;
    /// No error for a success; else the first that applies of: spawn failure, reason, the failing
    /// stage's end, incomplete output. See `run_errc`.
    [[nodiscard]] error_code error() const noexcept;
    /// `stage 2 of 3, "sort": exit 2`, `deadline: stage 1 of 2, "yes": killed by SIGTERM`, `all 3
    /// stages succeeded; stdout held open by a descendant`.
    [[nodiscard]] std::string to_string() const;
};

PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const pipeline_result& result);

PROCYARD_NAMESPACE_END

#endif
