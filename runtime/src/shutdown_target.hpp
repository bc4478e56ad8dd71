// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SHUTDOWN_TARGET_HPP
#define PROCYARD_RUNTIME_SRC_SHUTDOWN_TARGET_HPP

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/shutdown.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class child_core;
class pool_core;
class supervisor_core;

// What did not stop, for the report.
struct shutdown_remains {
    struct one {
        shutdown_leftover::kind what;
        std::string part;  // of the target; empty: itself
    };
    std::vector<one> left{};
    std::chrono::nanoseconds took{};
    std::string failure{};  // what is wrong with it apart from that; empty: nothing
};

// What a shutdown stops in its phase stop_children, one after the other.
class shutdown_target {
public:
    shutdown_target() = default;
    shutdown_target(const shutdown_target&) = delete;
    shutdown_target& operator=(const shutdown_target&) = delete;
    virtual ~shutdown_target() = default;

    [[nodiscard]] virtual shutdown_leftover::kind kind() const noexcept = 0;
    // There is nothing to be stopped any more. From any thread.
    [[nodiscard]] virtual bool has_ended() const noexcept = 0;
    // Within the step's time. No cancellation reaches it: it ends when its target has, and the
    // target has to outlive it.
    [[nodiscard]] virtual asio::awaitable<shutdown_remains> stop(shutdown_step step) = 0;
    // Its time is over: now.
    virtual void kill() noexcept = 0;
};

// What they are for may go before: then there is nothing to be stopped.
[[nodiscard]] std::shared_ptr<shutdown_target>
make_child_target(const std::shared_ptr<child_core>& child);
[[nodiscard]] std::shared_ptr<shutdown_target>
make_supervisor_target(const std::shared_ptr<supervisor_core>& core);
[[nodiscard]] std::shared_ptr<shutdown_target>
make_pool_target(const std::shared_ptr<pool_core>& core);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
