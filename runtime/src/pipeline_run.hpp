// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PIPELINE_RUN_HPP
#define PROCYARD_RUNTIME_SRC_PIPELINE_RUN_HPP

#include <boost/asio/any_io_executor.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/runtime/pipeline.hpp>
#include <procyard/runtime/run.hpp>

#include "pipeline_starter.hpp"
#include "run_shell.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// async_run of a pipeline.
class pipeline_run final : public run_shell {
public:
    pipeline_run(pipeline what, asio::any_io_executor ex, run_options options,
                 pipeline_run_handler handler);

    void start() { run_shell::start(handler_.get_cancellation_slot()); }

private:
    bool prepare() override;
    void launch() override;
    void cancel_launch() override;
    void wait_end() override;
    void stopping() override;
    void emit(child_event::kind what, std::string_view text,
              std::optional<std::size_t> output) noexcept override;
    [[nodiscard]] std::size_t stage_of(std::optional<std::size_t> output) const noexcept;
    void tell_drained(const pipeline_result& result) noexcept;
    void report(error_code ec) override;

    [[nodiscard]] bool add_stage_errors();
    void on_started(spawn_failure why, running_pipeline made);
    [[nodiscard]] pipeline_status take_status();

    pipeline what_;
    pending<void(error_code, pipeline_result)> handler_;
    std::weak_ptr<pipeline_starter> starter_;
    running_pipeline running_;
    bool types_input_ = false;
    std::optional<std::size_t> output_;
    std::vector<std::optional<std::size_t>> errors_;  // one per stage
    std::vector<bool> ended_by_itself_;               // one per stage, once a ladder has begun
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
