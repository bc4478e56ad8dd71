// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SPAWN_ERROR_HPP
#define PROCYARD_RUNTIME_SPAWN_ERROR_HPP

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// The steps of a spawn, in the order in which they are taken. Each option of a `command` has a
/// step of its own, so the same names say which step failed, which option may fail
/// (`command::optional`) and which did not apply (`spawn_info`).
enum class spawn_step : std::uint8_t {
    none,
    // Looked at before anything is created.
    program,
    arguments,
    environment,
    options,
    lookup,
    // Made by the parent.
    pipe,
    open_file,
    terminal,
    guardian,
    tree,
    clone,
    // Done by the child, between clone and exec.
    signals,
    session,
    process_group,
    cgroup,
    descriptors,
    controlling_terminal,
    namespaces,
    umask,
    nice,
    scheduler,
    cpu_affinity,
    limit,
    working_directory,
    capabilities,
    supplementary_groups,
    group,
    user,
    no_new_privileges,
    parent_death_signal,
    exec,
};

/// `working directory`, `exec`, …: the step's name as error messages print it.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string_view to_string(spawn_step step) noexcept;

/// The category of the given step: its values are errno values, its messages begin with the step's
/// name, and its codes compare equal to the same `boost::system::errc` conditions as the plain
/// errno does.
///
/// One category per step keeps an error_code the 16 bytes it is, and keeps the step with it through
/// any handler.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT const boost::system::error_category&
spawn_category(spawn_step step) noexcept;

/// An error_code that says which step failed and with which errno.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT error_code make_spawn_error(spawn_step step,
                                                                  int error_number) noexcept;

/// The step an error_code came from; `none` when it is not a spawn error.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT spawn_step step_of(const error_code& ec) noexcept;

/// Why a spawn failed: which step, with which errno, on what.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT spawn_failure {
    /// False (zero) when nothing failed.
    error_code code;
    spawn_step step = spawn_step::none;
    /// As given to the command.
    std::string program;
    /// What the step was applied to: a path, a variable's name, a descriptor's number; may be
    /// empty.
    std::string operand;
    /// In a pipeline: which stage, from 0. None when the pipeline itself was at fault.
    std::optional<std::size_t> stage{};

    [[nodiscard]] explicit operator bool() const noexcept { return code.failed(); }
    /// `spawn "frob": working directory "/nope": No such file or directory`; in a pipeline
    /// `stage 2: spawn "frob": …`, counted from 1.
    [[nodiscard]] std::string to_string() const;
};

PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const spawn_failure& failure);

/// What the throwing functions throw when a child could not be started.
/// @par Thread safety   Distinct objects: safe. Shared objects: safe to read.
class PROCYARD_RUNTIME_EXPORT spawn_error : public boost::system::system_error {
public:
    explicit spawn_error(spawn_failure failure);

    [[nodiscard]] const spawn_failure& failure() const noexcept { return failure_; }
    [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

private:
    spawn_failure failure_;
    std::string text_;
};

PROCYARD_NAMESPACE_END

#endif
