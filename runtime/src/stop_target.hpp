// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_STOP_TARGET_HPP
#define PROCYARD_RUNTIME_SRC_STOP_TARGET_HPP

#include <boost/asio/any_completion_handler.hpp>

#include <cstddef>
#include <optional>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/exit_status.hpp>
#include <procyard/runtime/stop.hpp>
#include <procyard/runtime/tree.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What a ladder is leaned against: a child with its tree, the children of a pipeline, a test's
// pretence. The waits follow Asio's rules: never complete inside the call, honour the handler's
// cancellation slot.
class stop_target {
public:
    stop_target() = default;
    stop_target(const stop_target&) = delete;
    stop_target& operator=(const stop_target&) = delete;
    virtual ~stop_target() = default;

    virtual void close_stdin() noexcept = 0;
    // One that asks to end and goes to the tree also goes to whoever is found later, until the next
    // one or `ask_no_more`.
    virtual void signal(int number, stop_scope scope, error_code& ec) noexcept = 0;
    virtual void ask_no_more() noexcept = 0;
    virtual void kill_tree(error_code& ec) noexcept = 0;

    [[nodiscard]] virtual tree_mechanism mechanism() const noexcept = 0;
    // The status, when it is known already.
    [[nodiscard]] virtual std::optional<exit_status> status() const = 0;
    // Whether no member is left, looked at now.
    [[nodiscard]] virtual bool tree_empty() = 0;
    virtual void wait_exit(asio::any_completion_handler<void(error_code, exit_status)> handler) = 0;
    // No member is left; the leader may still be a zombie.
    virtual void wait_tree(asio::any_completion_handler<void(error_code)> handler) = 0;

    // Rung `index` of the ladder was taken; for an observer.
    virtual void note_step(std::size_t index, const stop_step& step) noexcept = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
