// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/shutdown.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>

#include <procyard/runtime/supervisor.hpp>

#include "child_access.hpp"
#include "nanoseconds.hpp"
#include "shutdown_core.hpp"
#include "shutdown_target.hpp"
#include "stop_budget.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace {

// Null: there is none.
std::optional<std::chrono::nanoseconds> read_nanoseconds(const char* variable)
{
    const char* const text = std::getenv(variable);
    return text == nullptr ? std::nullopt : detail::parse_nanoseconds(text);
}

}  // namespace

namespace detail {

void start_shutdown_wait(const std::shared_ptr<shutdown_core>& core,
                         asio::any_completion_handler<void(error_code, shutdown_report)> handler)
{
    core->start_wait(std::move(handler));
}

}  // namespace detail

shutdown_options& shutdown_options::weight(shutdown_phase phase, unsigned parts)
{
    weights.at(static_cast<std::size_t>(phase)) = parts;
    return *this;
}

shutdown_options& shutdown_options::heed_parent()
{
    if (const auto given = read_nanoseconds(stop_budget_variable))
        budget = std::min(budget, *given);
    // libstdc++'s and libc++'s steady clocks are CLOCK_MONOTONIC.
    if (const auto until = read_nanoseconds(stop_deadline_variable))
        latest = std::min(latest, timer_clock::time_point(*until));
    return *this;
}

shutdown_coordinator::shutdown_coordinator(asio::any_io_executor ex, shutdown_options options)
    : core_(std::make_shared<detail::shutdown_core>(std::move(ex), std::move(options)))
{
}

shutdown_coordinator::~shutdown_coordinator()
{
    core_->drop();
}

shutdown_coordinator::executor_type shutdown_coordinator::get_executor() const noexcept
{
    return core_->executor();
}

void shutdown_coordinator::add_handler(shutdown_phase phase, task_name name,
                                       detail::shutdown_function handler, int order)
{
    core_->add(phase, std::move(name), std::move(handler), order);
}

void shutdown_coordinator::add_child(task_name name, const child& stopped)
{
    core_->add_target(std::move(name),
                      detail::make_child_target(detail::child_access::core(stopped)));
}

void shutdown_coordinator::add_supervisor(task_name name, const supervisor& stopped)
{
    core_->add_target(std::move(name), detail::make_supervisor_target(stopped.core_));
}

void shutdown_coordinator::add_pool_core(task_name name,
                                         const std::shared_ptr<detail::pool_core>& core)
{
    core_->add_target(std::move(name), detail::make_pool_target(core));
}

void shutdown_coordinator::add_part(task_name name, shutdown_coordinator& part,
                                    shutdown_phase phase)
{
    core_->add_part(std::move(name), part.core_, phase);
}

void shutdown_coordinator::add_reload(task_name name, detail::shutdown_function handler)
{
    core_->add_reload(std::move(name), std::move(handler));
}

shutdown_work shutdown_coordinator::hold(task_name name)
{
    return shutdown_work(core_->hold(std::move(name)));
}

task_group& shutdown_coordinator::tasks() noexcept
{
    return core_->tasks();
}

cancellation_token shutdown_coordinator::token(shutdown_phase phase) const noexcept
{
    return core_->token(phase);
}

bool shutdown_coordinator::requested() const noexcept
{
    return core_->requested();
}

void shutdown_coordinator::hand_down(command& what) const
{
    detail::set_stop_budget(what, core_->child_budget(), core_->child_deadline());
}

bool shutdown_coordinator::request(const shutdown_request& wanted)
{
    return core_->request(wanted, timer_clock::time_point::max());
}

void shutdown_coordinator::on_signals(std::initializer_list<int> numbers, signal_set_options how)
{
    core_->heed(numbers, how, false);
}

void shutdown_coordinator::reload_on(int signal_number, signal_set_options how)
{
    core_->heed({signal_number}, how, true);
}

void shutdown_coordinator::request_reload()
{
    core_->request_reload();
}

PROCYARD_NAMESPACE_END
