// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_RUN_OPERATION_HPP
#define PROCYARD_RUNTIME_SRC_RUN_OPERATION_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/run.hpp>

#include "run_shell.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// async_run of one child.
class run_operation final : public run_shell {
public:
    run_operation(command what, asio::any_io_executor ex, run_options options, run_handler handler);

    void start() { run_shell::start(handler_.get_cancellation_slot()); }

private:
    enum stream : std::size_t { out, err };

    bool prepare() override;
    void launch() override;
    void cancel_launch() override { spawn_cancel_.emit(asio::cancellation_type::terminal); }
    void wait_end() override;
    void stopped() override { status_ = stop_->status; }
    void emit(child_event::kind what, std::string_view text,
              std::optional<std::size_t> output) noexcept override;
    void report(error_code ec) override;

    void on_spawned(error_code ec, child made);

    command what_;
    pending<void(error_code, run_result)> handler_;
    child child_;
    exit_status status_;
    std::optional<std::size_t> outputs_[2];
    asio::cancellation_signal spawn_cancel_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
