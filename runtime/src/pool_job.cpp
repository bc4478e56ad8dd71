// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pool_job.hpp>

#include <boost/asio/error.hpp>

#include <utility>

#include "worker_core.hpp"

PROCYARD_NAMESPACE_BEGIN

std::uint64_t pool_job::number() const noexcept
{
    return task_->number;
}

unsigned pool_job::attempt() const noexcept
{
    return task_->attempt;
}

std::size_t pool_job::slot() const noexcept
{
    return task_->core != nullptr ? task_->core->slot() : 0;
}

std::optional<std::chrono::steady_clock::time_point> pool_job::deadline() const noexcept
{
    if (task_->run_limit.count() == 0)
        return std::nullopt;
    return task_->deadline;
}

const trace_context& pool_job::trace() const noexcept
{
    return task_->trace;
}

bool pool_job::is_stream() const noexcept
{
    return task_->is_stream;
}

pool_job::executor_type pool_job::get_executor() const
{
    return task_->executor;
}

bool pool_job::cancelled() const
{
    return task_->core == nullptr || task_->core->look_whether_cancelled(*task_);
}

void pool_job::heartbeat() const noexcept
{
    if (task_->core != nullptr)
        task_->core->beat();
}

void pool_job::count(std::size_t counter, std::uint64_t n) const noexcept
{
    if (task_->core != nullptr)
        task_->core->count(counter, n);
}

namespace detail {

void start_yield(const std::shared_ptr<worker_task>& task, const type_description& type,
                 const answer_writer& item, asio::any_completion_handler<void(error_code)> handler)
{
    pending<void(error_code)> waiting(task->executor, std::move(handler));
    if (task->core == nullptr)
        waiting.complete(asio::error::operation_aborted);
    else
        task->core->yield(task, type, item, std::move(waiting));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
