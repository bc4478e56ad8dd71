// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SERVICE_MANAGER_HPP
#define PROCYARD_RUNTIME_SERVICE_MANAGER_HPP

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What becomes of the variables that a service manager has put into the environment, once they
/// have been read.
enum class manager_variables : std::uint8_t {
    /// They stay, and the children of this process inherit them: one that speaks the protocol
    /// speaks for this process then.
    keep,
    /// They are taken out, also if they are malformed. For all but programs that start the real
    /// service.
    remove,
};

/// What a service manager (systemd, a Procyard `supervisor`) tells a service of itself.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT service_manager {
    // Not an aggregate: GCC 12 destroys one that is made inside a co_await expression twice.
    service_manager() = default;

    /// Where it listens: a path, or a name in the abstract name space after a `@`. Empty: there is
    /// no manager.
    std::string socket{};
    /// It expects a sign of life at least this often; empty: it expects none of this process.
    std::optional<std::chrono::microseconds> watchdog{};

    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, as sd_notify(3) and
    /// sd_watchdog_enabled(3) do. A watchdog that is meant for another process is none.
    /// @par Errors          `invalid_argument`: a variable is malformed; what() has it, and why.
    ///                      `address_family_not_supported`: a `vsock:` address.
    /// @par Thread safety   Safe if nobody reads or changes the environment meanwhile; with
    ///                      `manager_variables::keep` others may read it.
    /// @throws boost::system::system_error
    [[nodiscard]] static service_manager from_environment(manager_variables then);
};

PROCYARD_NAMESPACE_END

#endif
