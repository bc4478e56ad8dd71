// SPDX-License-Identifier: BSL-1.0
#include "pipeline_launch.hpp"

#include <boost/asio/error.hpp>

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include <procyard/ipc/syscall.hpp>
#include <procyard/runtime/spawn.hpp>

#include "child_access.hpp"
#include "child_core.hpp"
#include "child_service.hpp"
#include "command_access.hpp"
#include "connections.hpp"
#include "pipeline_access.hpp"
#include "plan_builder.hpp"
#include "stage_task.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// As for a child's output (connections.cpp): fewer switches between the two sides.
constexpr std::size_t enlarged_bytes = std::size_t{1} << 20;

// The child's side of connection `number`, as made for a command that is not spawned.
stage_task::connection take_connection(const command& what, const spawn_plan& plan, int number,
                                       error_code& ec)
{
    ec = {};
    int source = -1;
    for (const auto& move : plan.moves) {
        if (move.target == number)
            source = move.source;
    }
    // A coroutine inherits nothing.
    unique_fd taken(source == -1 ? ::open("/dev/null", O_RDWR | O_CLOEXEC)
                                 : ::fcntl(source, F_DUPFD_CLOEXEC, 3));
    if (!taken)
        ec = last_error();
    const auto& asked = command_access::standard(what)[number];
    return {std::move(taken), stdio_access::what(asked) == stdio_access::kind::borrowed};
}

}  // namespace

pipeline_launch::pipeline_launch(pipeline what, const pipeline_executors& executors)
    : core(std::make_shared<pipeline_core>(executors.processes)),
      children(what.size()),
      what_(std::move(what)),
      coroutine_executor_(executors.coroutines),
      enlarged_(what_.size()),
      coroutine_ends_(what_.size())
{
    core->members.resize(what_.size());
    core->policy = pipeline_access::policy(what_);
}

bool pipeline_launch::run(spawn_failure& failure)
{
    failure = check(what_);
    if (failure)
        return false;
    error_code ec;
    service_ = child_service::try_of(core->executor, ec);
    if (ec) {
        failure = make_failure(pipeline_access::stages(what_).front().what, spawn_step::clone,
                               ec.value(), "child service");
        return false;
    }
    for (std::size_t i = what_.size(); i-- > 0;) {
        if (abandoned()) {
            failure.code = asio::error::operation_aborted;
            return false;
        }
        failure = connect(i);
        if (failure) {
            failure.stage = i;
            return false;
        }
    }
    failure = begin_coroutines();
    if (!failure)
        core->count_bytes();
    return !failure;
}

// Makes the pipe before the stage and starts the stage on it; its writing end waits for the stage
// before. So no more than two pipes are in this process' hands at any time, and each end goes to
// exactly one child.
spawn_failure pipeline_launch::connect(std::size_t index)
{
    const auto& part = pipeline_access::stages(what_)[index];
    core->members[index].name = part.what.program();
    raw_pipe before;
    if (index > 0) {
        const auto capacity_bytes = pipeline_access::pipe_capacity(what_);
        error_code ec;
        before = make_raw_pipe(ec, {.capacity_bytes = capacity_bytes});
        if (ec)
            return make_failure(part.what, spawn_step::pipe, ec.value(),
                                capacity_bytes == 0 ? "0" : capacity_operand(0, capacity_bytes));
        if (capacity_bytes == 0)
            enlarge(index, before.read_end.get());
    }
    auto failure = part.is_coroutine ? prepare_coroutine(index, std::move(before.read_end))
                                     : start_process(index, std::move(before.read_end));
    to_next_ = std::move(before.write_end);
    return failure;
}

// Counted on the account of the process at one of its sides, which gives it back when it goes.
// Between two coroutines a larger pipe would spare no switch.
void pipeline_launch::enlarge(std::size_t index, int pipe)
{
    const auto& stages = pipeline_access::stages(what_);
    const std::size_t account = stages[index].is_coroutine ? index - 1 : index;
    if (stages[account].is_coroutine || !service_->may_enlarge_pipe())
        return;
    error_code refused;
    if (set_pipe_capacity(pipe, enlarged_bytes, refused) >= enlarged_bytes)
        ++enlarged_[account];
}

spawn_failure pipeline_launch::start_process(std::size_t index, unique_fd in)
{
    command& what = pipeline_access::stages(what_)[index].what;
    if (in)
        what.std_in(stdio::descriptor(std::move(in)));
    if (to_next_) {
        held_.push_back(stdio::descriptor(std::move(to_next_)));
        what.std_out(held_.back());
    }
    spawn_failure failure;
    children[index] = spawn(what, core->executor, failure);
    if (failure)
        return failure;
    // Only the child has them from now on.
    what.std_in(stdio::inherit()).std_out(stdio::inherit());
    held_.clear();
    const auto& process = child_access::core(children[index]);
    core->members[index].process = process;
    if (enlarged_[index] != 0) {
        process->enlarged_pipes += enlarged_[index];
        process->pipe_budget = service_->count_enlarged_pipes(enlarged_[index]);
    }
    return {};
}

spawn_failure pipeline_launch::prepare_coroutine(std::size_t index, unique_fd in)
{
    const auto& what = pipeline_access::stages(what_)[index].what;
    auto& ends = coroutine_ends_[index];
    ends.in.fd = std::move(in);
    ends.out.fd = std::move(to_next_);
    if (ends.in.fd && ends.out.fd)
        return {};
    // At an end of the pipeline: connected as a child would be.
    connections made;
    spawn_plan plan;
    if (auto failure = made.open(what, false, plan))
        return failure;
    error_code ec;
    if (!ends.in.fd)
        ends.in = take_connection(what, plan, 0, ec);
    if (!ends.out.fd && !ec)
        ends.out = take_connection(what, plan, 1, ec);
    if (made.parent_ends[0] && !ec)
        core->std_in.assign(std::move(made.parent_ends[0]), ec);
    if (made.parent_ends[1] && !ec)
        core->std_out.assign(std::move(made.parent_ends[1]), ec);
    return ec ? make_failure(what, spawn_step::pipe, ec.value()) : spawn_failure{};
}

spawn_failure pipeline_launch::begin_coroutines()
{
    auto& stages = pipeline_access::stages(what_);
    for (std::size_t i = 0; i < stages.size(); ++i) {
        if (!stages[i].is_coroutine)
            continue;
        auto task = std::make_shared<stage_task>(coroutine_executor_);
        auto& ends = coroutine_ends_[i];
        error_code ec;
        task->start(std::move(stages[i].body), std::move(ends.in), std::move(ends.out), ec);
        if (ec) {
            auto failure = make_failure(stages[i].what, spawn_step::pipe, ec.value());
            failure.stage = i;
            return failure;
        }
        core->members[i].task = std::move(task);
    }
    return {};
}

bool pipeline_launch::started_any() const noexcept
{
    for (const auto& member : core->members) {
        if (member.process || member.task)
            return true;
    }
    return false;
}

void pipeline_launch::kill() noexcept
{
    core->cancel_tasks();
    error_code ignored;  // a program that may not be signalled is dropped below, and reaped
    core->signal_tree(SIGKILL, ignored);
    for (auto& one : children) {
        if (one)
            one.on_drop(drop_policy::kill_tree());
    }
}

}  // namespace detail

PROCYARD_NAMESPACE_END
