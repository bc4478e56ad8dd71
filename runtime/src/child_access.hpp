// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_CHILD_ACCESS_HPP
#define PROCYARD_RUNTIME_SRC_CHILD_ACCESS_HPP

#include <memory>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/child.hpp>

PROCYARD_NAMESPACE_BEGIN
namespace detail {

class child_core;

// The library's view of a handle.
struct child_access {
    // Empty without a core.
    static child make(std::shared_ptr<child_core> core) noexcept { return child(std::move(core)); }
    static const std::shared_ptr<child_core>& core(const child& c) noexcept { return c.core_; }
};

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
