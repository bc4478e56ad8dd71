// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_MANAGER_TEXT_HPP
#define PROCYARD_RUNTIME_SRC_MANAGER_TEXT_HPP

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/service_manager.hpp>

// What a service manager says in the environment, as text: nothing here looks at the environment,
// at a process or at a descriptor. Errors are thrown as boost::system::system_error, whose what()
// has the variable, its value, and what is wrong with it.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

inline constexpr const char* notify_socket_variable = "NOTIFY_SOCKET";
inline constexpr const char* watchdog_time_variable = "WATCHDOG_USEC";
inline constexpr const char* watchdog_pid_variable = "WATCHDOG_PID";
inline constexpr const char* listen_count_variable = "LISTEN_FDS";
inline constexpr const char* listen_pid_variable = "LISTEN_PID";
inline constexpr const char* listen_names_variable = "LISTEN_FDNAMES";

/// The number of the first descriptor of socket activation.
inline constexpr int first_activation_descriptor = 3;

[[nodiscard]] inline bool is_activation_variable(std::string_view name) noexcept
{
    return name == listen_count_variable || name == listen_pid_variable
        || name == listen_names_variable;
}

// Variables that are not there are null.

[[nodiscard]] service_manager parse_manager(const char* socket, const char* watchdog_time,
                                            const char* watchdog_pid, pid_t self);

/// The names of the descriptors of socket activation, "unknown" for those without one; none when
/// they are for another process.
[[nodiscard]] std::vector<std::string> parse_activation(const char* count, const char* pid,
                                                        const char* names, pid_t self);

/// Whether `name` may be one of LISTEN_FDNAMES, and so of FDNAME.
[[nodiscard]] bool is_descriptor_name(std::string_view name) noexcept;

/// Throws what is wrong with a variable: `LISTEN_FDS="-1": not a number of descriptors`.
[[noreturn]] void refuse_variable(const char* name, std::string_view value, std::string_view why,
                                  int error_number);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
