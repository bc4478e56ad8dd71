// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_CHILD_STOP_TARGET_HPP
#define PROCYARD_RUNTIME_SRC_CHILD_STOP_TARGET_HPP

#include <boost/asio/any_io_executor.hpp>

#include <memory>

#include <procyard/ipc/config.hpp>

#include "stop_target.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class child_core;

// One child and its tree, as a ladder sees them.
class child_stop_target : public stop_target {
public:
    // `strand` is the one of the operation that uses this.
    child_stop_target(std::shared_ptr<child_core> core, asio::any_io_executor strand);
    ~child_stop_target() override;

    void close_stdin() noexcept override;
    void signal(int number, stop_scope scope, error_code& ec) noexcept override;
    void ask_no_more() noexcept override;
    void kill_tree(error_code& ec) noexcept override;
    [[nodiscard]] tree_mechanism mechanism() const noexcept override;
    [[nodiscard]] std::optional<exit_status> status() const override;
    [[nodiscard]] bool tree_empty() override;
    void wait_exit(asio::any_completion_handler<void(error_code, exit_status)> handler) override;
    void wait_tree(asio::any_completion_handler<void(error_code)> handler) override;
    void note_step(std::size_t index, const stop_step& step) noexcept override;

private:
    std::shared_ptr<child_core> core_;
    asio::any_io_executor strand_;
    bool asks_ = false;  // the tree was asked to end, and is to be asked no more some day
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
