// SPDX-License-Identifier: BSL-1.0
#include "run_operation.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>

#include <utility>

#include <procyard/runtime/spawn.hpp>

#include "child_access.hpp"
#include "child_core.hpp"
#include "child_stop_target.hpp"
#include "fed_target.hpp"
#include "run_access.hpp"
#include "run_stdio.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using access = run_access;

}  // namespace

run_operation::run_operation(command what, asio::any_io_executor ex, run_options options,
                             run_handler handler)
    : run_shell(std::move(ex), std::move(options)),
      what_(std::move(what)),
      handler_(ex_, std::move(handler))
{
}

bool run_operation::prepare()
{
    detail::connect_input(what_, access::std_in(options_));
    const run_output* targets[] = {&access::std_out(options_), &access::std_err(options_)};
    for (const auto which : {out, err}) {
        const int number = static_cast<int>(which) + 1;
        const auto sinks = detail::connect_output(what_, number, *targets[which]);
        if (sinks.empty())
            continue;
        outputs_[which] =
            add_output(which == out ? "stdout limit" : "stderr limit", what_.program(), sinks);
        if (!outputs_[which])
            return false;
    }
    return can_hear(what_.program());
}

void run_operation::launch()
{
    if (!access::spawn_off_loop(options_)) {
        auto made = spawn(what_, strand_, failure_);
        on_spawned(failure_.code, std::move(made));
        return;
    }
    auto spawned = [self = shared_from_this(), this](const error_code& ec, child made) {
        on_spawned(ec, std::move(made));
    };
    async_spawn(what_, strand_, failure_,
                asio::bind_cancellation_slot(spawn_cancel_.slot(),
                                             asio::bind_executor(strand_, std::move(spawned))));
}

void run_operation::on_spawned(error_code ec, child made)
{
    if (ec) {
        fail(ec);
        return;
    }
    child_ = std::move(made);
    times_.spawn = child_.info().duration;
    if (outputs_[out])
        run_shell::connect_output(*outputs_[out], child_.std_out());
    if (outputs_[err])
        run_shell::connect_output(*outputs_[err], child_.std_err());
    run_shell::connect_input(child_.std_in(), input_is_terminal(what_));
    launched(std::make_shared<fed_target<child_stop_target>>(weak_from_this(),
                                                             child_access::core(child_), strand_));
}

void run_operation::wait_end()
{
    child_.async_wait(asio::bind_executor(
        strand_,
        [self = shared_from_this(), this](const error_code& ec, const exit_status& status) {
            if (ec)
                return;
            status_ = status;
            ended();
        }));
}

void run_operation::emit(child_event::kind what, std::string_view text,
                         std::optional<std::size_t> /*output*/) noexcept
{
    child_access::core(child_)->emit(what, 0, text);
}

void run_operation::report(error_code ec)
{
    run_result result;
    take_common(result);
    result.status = status_;
    if (child_) {
        if (outputs_[out])
            result.std_out = take_output(*outputs_[out]);
        if (outputs_[err])
            result.std_err = take_output(*outputs_[err]);
        result.pid = child_.id();
        result.info = child_.info();
        const bool held = result.std_out.held_by_descendant || result.std_err.held_by_descendant;
        emit(child_event::kind::drained, held ? "held by a descendant" : "", std::nullopt);
        // The child is reaped, its tree stopped or to be left alone: the drop policy has no say.
        child_.detach();
    }
    handler_.complete_now(ec, std::move(result));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
