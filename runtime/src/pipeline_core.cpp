// SPDX-License-Identifier: BSL-1.0
#include "pipeline_core.hpp"

#include <algorithm>

#include "child_core.hpp"
#include "join.hpp"
#include "stage_task.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

void pipeline_core::count_bytes()
{
    const auto count = [](auto& end, auto& total) {
        if (!end || !end->is_open())
            return;
        total = std::make_shared<std::atomic<std::uint64_t>>(0);
        end->count_bytes_into(total);
    };
    if (const auto& first = members.front().process)
        count(first->std_in, bytes_in);
    if (const auto& last = members.back().process)
        count(last->std_out, bytes_out);
}

std::optional<std::uint64_t> pipeline_core::bytes_into(std::size_t index) const
{
    if (members[index].task)
        return members[index].task->bytes_in();
    if (index > 0)
        return members[index - 1].task ? std::optional(members[index - 1].task->bytes_out())
                                       : std::nullopt;
    return bytes_in ? std::optional(bytes_in->load()) : std::nullopt;
}

std::optional<std::uint64_t> pipeline_core::bytes_out_of(std::size_t index) const
{
    if (members[index].task)
        return members[index].task->bytes_out();
    if (index + 1 < members.size())
        return members[index + 1].task ? std::optional(members[index + 1].task->bytes_in())
                                       : std::nullopt;
    return bytes_out ? std::optional(bytes_out->load()) : std::nullopt;
}

stage_result pipeline_core::result_of(std::size_t index) const
{
    const auto& [name, process, task] = members[index];
    stage_result result;
    result.name = name;
    result.bytes_in = bytes_into(index);
    result.bytes_out = bytes_out_of(index);
    if (process) {
        result.kind = stage_kind::process;
        result.info = process->info;
        if (const auto status = process->status()) {
            result.status = *status;
            result.wall = process->ended_at() - process->info.started;
        }
    } else {
        result.kind = stage_kind::coroutine;
        if (const auto end = task ? task->end() : std::nullopt) {
            result.exception = end->exception;
            result.error = end->error;
            result.wall = end->at - task->started();
        }
    }
    return result;
}

void pipeline_core::add_ends(join& all) const
{
    for (const auto& member : members) {
        if (member.process)
            all.add(
                [process = member.process](auto part) { process->start_wait(std::move(part)); });
    }
    add_tasks(all);
}

void pipeline_core::add_tasks(join& all) const
{
    for (const auto& member : members) {
        if (member.task)
            all.add([task = member.task](auto part) { task->start_wait(std::move(part)); });
    }
}

bool pipeline_core::ended(std::size_t index) const
{
    const auto& [name, process, task] = members[index];
    return process ? process->status().has_value() : !task || task->end().has_value();
}

bool pipeline_core::ended() const
{
    for (std::size_t i = 0; i < members.size(); ++i) {
        if (!ended(i))
            return false;
    }
    return true;
}

bool pipeline_core::tasks_ended() const
{
    return std::all_of(members.begin(), members.end(), [](const stage_of& stage) {
        return !stage.task || stage.task->end().has_value();
    });
}

pipeline_status pipeline_core::status() const
{
    pipeline_status status;
    status.policy = policy;
    status.stages.reserve(members.size());
    for (std::size_t i = 0; i < members.size(); ++i)
        status.stages.push_back(result_of(i));
    return status;
}

void pipeline_core::signal_tree(int number, error_code& ec)
{
    ec = first_error(members, [&](const auto& member, error_code& one) {
        if (member.process)
            member.process->signal_tree(number, one);
    });
}

void pipeline_core::cancel_tasks()
{
    for (const auto& member : members) {
        if (member.task)
            member.task->cancel();
    }
}

}  // namespace detail

PROCYARD_NAMESPACE_END
