// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PIPELINE_STOP_TARGET_HPP
#define PROCYARD_RUNTIME_SRC_PIPELINE_STOP_TARGET_HPP

#include <boost/asio/any_io_executor.hpp>

#include <memory>
#include <vector>

#include <procyard/ipc/config.hpp>

#include "pipeline_core.hpp"
#include "stop_target.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class child_stop_target;

// All stages of a pipeline, as one ladder sees them: every rung goes to every tree. What asks a
// process to end, or makes it, cancels a coroutine. Empty when every tree is and every coroutine
// has ended.
class pipeline_stop_target : public stop_target {
public:
    // `strand` is the one of the operation that uses this.
    pipeline_stop_target(std::shared_ptr<pipeline_core> core, asio::any_io_executor strand);
    ~pipeline_stop_target() override;

    void close_stdin() noexcept override;
    void signal(int number, stop_scope scope, error_code& ec) noexcept override;
    void ask_no_more() noexcept override;
    void kill_tree(error_code& ec) noexcept override;
    // The weakest of them.
    [[nodiscard]] tree_mechanism mechanism() const noexcept override;
    // That of the last process, once all stages have ended; unknown when there is none.
    [[nodiscard]] std::optional<exit_status> status() const override;
    [[nodiscard]] bool tree_empty() override;
    void wait_exit(asio::any_completion_handler<void(error_code, exit_status)> handler) override;
    void wait_tree(asio::any_completion_handler<void(error_code)> handler) override;
    void note_step(std::size_t index, const stop_step& step) noexcept override;

private:
    std::shared_ptr<pipeline_core> core_;
    asio::any_io_executor strand_;
    std::vector<std::shared_ptr<child_stop_target>> processes_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
