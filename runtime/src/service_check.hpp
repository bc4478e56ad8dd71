// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SERVICE_CHECK_HPP
#define PROCYARD_RUNTIME_SRC_SERVICE_CHECK_HPP

#include <string>

#include <procyard/ipc/config.hpp>

#include "service_access.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What is wrong with a service, in words; empty when nothing is.
[[nodiscard]] std::string fault_of(const service_access::description& how);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
