// SPDX-License-Identifier: BSL-1.0
#include "pipeline_core.hpp"

#include <algorithm>

#include "child_core.hpp"
#include "join.hpp"
#include "stage_task.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

stage_result result_of(const pipeline_core::stage_of& member)
{
    stage_result result;
    result.name = member.name;
    if (member.process) {
        const auto& process = *member.process;
        result.kind = stage_kind::process;
        result.info = process.info;
        if (const auto status = process.status()) {
            result.status = *status;
            result.wall = process.ended_at() - process.info.started;
        }
        return result;
    }
    result.kind = stage_kind::coroutine;
    if (!member.task)
        return result;
    if (const auto end = member.task->end()) {
        result.exception = end->exception;
        result.error = end->error;
        result.wall = end->at - member.task->started();
    }
    return result;
}

}  // namespace

void pipeline_core::add_ends(join& all) const
{
    for (const auto& member : members) {
        if (member.process) {
            all.add([process = member.process](auto handler) {
                process->start_wait(std::move(handler));
            });
        } else if (member.task) {
            all.add([task = member.task](auto handler) { task->start_wait(std::move(handler)); });
        }
    }
}

bool pipeline_core::ended() const
{
    return std::all_of(members.begin(), members.end(), [](const stage_of& m) {
        return m.process ? m.process->status().has_value() : !m.task || m.task->end().has_value();
    });
}

pipeline_status pipeline_core::status() const
{
    pipeline_status status;
    status.stages.reserve(members.size());
    for (const auto& member : members)
        status.stages.push_back(result_of(member));
    return status;
}

void pipeline_core::signal_trees(int number, error_code& ec)
{
    ec = {};
    for (const auto& member : members) {
        error_code one;
        if (member.process)
            member.process->signal_tree(number, one);
        if (one && !ec)
            ec = one;
    }
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
