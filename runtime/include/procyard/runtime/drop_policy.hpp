// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_DROP_POLICY_HPP
#define PROCYARD_RUNTIME_DROP_POLICY_HPP

#include <chrono>
#include <cstdint>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What becomes of a running child when its `child` object is destroyed or overwritten. Nothing of
/// it ever blocks: the signals are sent at once, and what must be waited for is waited for by the
/// event loop.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
class drop_policy {
public:
    /// SIGKILL to the whole tree (the default).
    [[nodiscard]] static drop_policy kill_tree() noexcept
    {
        return drop_policy(kind::kill_tree, {});
    }

    /// SIGTERM to the whole tree, and SIGKILL when `grace` is over and the tree is not empty. The
    /// event loop must run meanwhile; a context destroyed earlier kills.
    [[nodiscard]] static drop_policy
    terminate_then_kill(std::chrono::nanoseconds grace = std::chrono::seconds(5)) noexcept
    {
        return drop_policy(kind::terminate_then_kill, grace);
    }

    /// The child lives on. It is reaped if the event loop runs when it ends, but keeps no loop
    /// running.
    [[nodiscard]] static drop_policy detach() noexcept { return drop_policy(kind::detach, {}); }

    enum class kind : std::uint8_t { kill_tree, terminate_then_kill, detach };
    [[nodiscard]] kind what() const noexcept { return kind_; }
    [[nodiscard]] std::chrono::nanoseconds grace() const noexcept { return grace_; }

private:
    drop_policy(kind k, std::chrono::nanoseconds grace) noexcept : kind_(k), grace_(grace) { }

    kind kind_;
    std::chrono::nanoseconds grace_;
};

PROCYARD_NAMESPACE_END

#endif
