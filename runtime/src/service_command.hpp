// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SERVICE_COMMAND_HPP
#define PROCYARD_RUNTIME_SRC_SERVICE_COMMAND_HPP

#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/command.hpp>

#include "service_access.hpp"
#include "service_runner.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Whether it says something of itself by a NOTIFY_SOCKET that is listened to.
[[nodiscard]] bool is_listened_to(const service_access::description& how);

// Ours are not its own: a WATCHDOG_PID of ours would keep it from feeding its watchdog.
void forget_our_own(command& what);

// What is spawned for a service: its command, with the streams that it leaves to us, without what
// our own supervisor has given us, and with what it gets instead. It borrows the descriptors:
// the listeners of the description, and what is stored now.
[[nodiscard]] command command_of(const runner_setup& setup, const std::string& notify_address);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
