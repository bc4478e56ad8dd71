// SPDX-License-Identifier: BSL-1.0
#include "pipeline_stop_target.hpp"

#include <signal.h>

#include <algorithm>
#include <utility>

#include "child_stop_target.hpp"
#include "join.hpp"
#include "stage_task.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

pipeline_stop_target::pipeline_stop_target(std::shared_ptr<pipeline_core> core,
                                           asio::any_io_executor strand)
    : core_(std::move(core)),
      strand_(std::move(strand))
{
    for (const auto& member : core_->members) {
        if (member.process)
            processes_.push_back(std::make_shared<child_stop_target>(member.process, strand_));
    }
}

pipeline_stop_target::~pipeline_stop_target() = default;

void pipeline_stop_target::close_stdin() noexcept
{
    const auto& first = core_->members.front();
    if (first.process)
        processes_.front()->close_stdin();
    else
        core_->std_in.close();
}

void pipeline_stop_target::signal(int number, stop_scope scope, error_code& ec) noexcept
{
    ec = first_error(processes_, [&](const auto& process, error_code& one) {
        process->signal(number, scope, one);
    });
    if (number != SIGCONT && number != SIGSTOP)
        core_->cancel_tasks();
}

void pipeline_stop_target::ask_no_more() noexcept
{
    for (const auto& process : processes_)
        process->ask_no_more();
}

void pipeline_stop_target::kill_tree(error_code& ec) noexcept
{
    ec = first_error(processes_,
                     [](const auto& process, error_code& one) { process->kill_tree(one); });
    core_->cancel_tasks();
}

tree_mechanism pipeline_stop_target::mechanism() const noexcept
{
    auto weakest = processes_.empty() ? tree_mechanism::none : tree_mechanism::cgroup;
    for (const auto& process : processes_)
        weakest = std::max(weakest, process->mechanism());
    return weakest;
}

std::optional<exit_status> pipeline_stop_target::status() const
{
    if (!core_->ended())
        return std::nullopt;
    return processes_.empty() ? exit_status::unknown() : processes_.back()->status();
}

bool pipeline_stop_target::tree_empty()
{
    return core_->tasks_ended()
        && std::all_of(processes_.begin(), processes_.end(),
                       [](const auto& process) { return process->tree_empty(); });
}

void pipeline_stop_target::wait_exit(
    asio::any_completion_handler<void(error_code, exit_status)> handler)
{
    auto all = std::make_shared<join>(core_->executor);
    core_->add_ends(*all);
    // Not `this`: the wait may outlive its cancellation by a turn.
    const auto last = processes_.empty() ? nullptr : processes_.back();
    join::start(all, strand_, std::move(handler), [last] {
        return last ? last->status().value_or(exit_status::unknown()) : exit_status::unknown();
    });
}

void pipeline_stop_target::wait_tree(asio::any_completion_handler<void(error_code)> handler)
{
    auto all = std::make_shared<join>(strand_);
    for (const auto& process : processes_)
        all->add([process](auto part) { process->wait_tree(std::move(part)); });
    core_->add_tasks(*all);
    join::start(all, strand_, std::move(handler));
}

void pipeline_stop_target::note_step(std::size_t index, const stop_step& step) noexcept
{
    for (const auto& process : processes_)
        process->note_step(index, step);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
