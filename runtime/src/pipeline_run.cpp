// SPDX-License-Identifier: BSL-1.0
#include "pipeline_run.hpp"

#include <fcntl.h>

#include <algorithm>
#include <utility>
#include <variant>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "child_access.hpp"
#include "child_core.hpp"
#include "fed_target.hpp"
#include "join.hpp"
#include "pipeline_access.hpp"
#include "pipeline_core.hpp"
#include "pipeline_stop_target.hpp"
#include "run_access.hpp"
#include "run_stdio.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using access = run_access;

// A file that several stages write to is emptied once and appended to by all: each for itself would
// write over the others'.
std::vector<sink_description> shared_by_all(std::vector<sink_description> sinks)
{
    for (auto& sink : sinks) {
        auto* const file = std::get_if<file_sink>(&sink);
        if (file == nullptr || file->options.append)
            continue;
        // What goes wrong here goes wrong once more where it is reported.
        const unique_fd emptied(retry_eintr([&] {
            return ::open(file->path.c_str(),
                          O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                          file->options.mode);
        }));
        file->options.append = true;
    }
    return sinks;
}

}  // namespace

pipeline_run::pipeline_run(pipeline what, asio::any_io_executor ex, run_options options,
                           pipeline_run_handler handler)
    : run_shell(std::move(ex), std::move(options)),
      what_(std::move(what)),
      handler_(ex_, std::move(handler)),
      errors_(what_.size())
{
}

bool pipeline_run::prepare()
{
    failure_ = check(what_);
    if (failure_) {
        fail(failure_.code);
        return false;
    }
    auto& first = pipeline_access::stages(what_).front().what;
    auto& last = pipeline_access::stages(what_).back().what;
    detail::connect_input(first, access::std_in(options_));
    types_input_ = input_is_terminal(first);
    const auto sinks = detail::connect_output(last, 1, access::std_out(options_));
    if (!sinks.empty()) {
        output_ = add_output("stdout limit", last.program(), sinks);
        if (!output_)
            return false;
    }
    return add_stage_errors() && can_hear(last.program());
}

bool pipeline_run::add_stage_errors()
{
    auto& stages = pipeline_access::stages(what_);
    auto target = access::std_err(options_);
    if (stages.size() > 1)
        access::sinks(target) = shared_by_all(std::move(access::sinks(target)));
    for (std::size_t i = 0; i < stages.size(); ++i) {
        auto& stage = stages[i].what;
        if (stages[i].is_coroutine)
            continue;
        const auto sinks = detail::connect_output(stage, 2, target);
        if (sinks.empty())
            continue;
        errors_[i] = add_output("stderr limit", stage.program(), sinks);
        if (!errors_[i])
            return false;
    }
    return true;
}

void pipeline_run::launch()
{
    // The coroutines on the user's executor: each has its own strand there, so that several
    // threads can run several of them.
    const auto starter = std::make_shared<pipeline_starter>(
        std::move(what_), pipeline_executors{strand_, ex_}, strand_);
    starter_ = starter;
    starter->start(access::spawn_off_loop(options_),
                   [self = shared_from_this(), this](spawn_failure why, running_pipeline made) {
                       on_started(std::move(why), std::move(made));
                   });
}

void pipeline_run::cancel_launch()
{
    if (const auto starter = starter_.lock())
        starter->cancel();
}

void pipeline_run::on_started(spawn_failure why, running_pipeline made)
{
    if (why) {
        const auto ec = why.code;
        failure_ = std::move(why);
        fail(ec);
        return;
    }
    running_ = std::move(made);
    if (output_)
        run_shell::connect_output(*output_, running_.std_out());
    for (std::size_t i = 0; i < errors_.size(); ++i) {
        const auto& child = running_.children()[i];
        if (child)
            times_.spawn += child.info().duration;
        if (errors_[i])
            run_shell::connect_output(*errors_[i], running_.children()[i].std_err());
    }
    run_shell::connect_input(running_.std_in(), types_input_);
    launched(std::make_shared<fed_target<pipeline_stop_target>>(
        weak_from_this(), pipeline_access::core(running_), strand_));
}

void pipeline_run::wait_end()
{
    const auto all = std::make_shared<join>(strand_);
    pipeline_access::core(running_)->add_ends(*all);
    join::start(all, strand_,
                asio::bind_executor(strand_, [self = shared_from_this(), this](error_code ec) {
                    if (!ec)
                        ended();
                }));
}

void pipeline_run::stopping()
{
    const auto& core = *pipeline_access::core(running_);
    for (std::size_t i = 0; i < running_.size(); ++i)
        ended_by_itself_.push_back(core.ended(i));
}

std::size_t pipeline_run::stage_of(std::optional<std::size_t> output) const noexcept
{
    if (!output)
        return 0;
    if (output == output_)
        return errors_.size() - 1;
    return static_cast<std::size_t>(std::find(errors_.begin(), errors_.end(), output)
                                    - errors_.begin());
}

void pipeline_run::emit(child_event::kind what, std::string_view text,
                        std::optional<std::size_t> output) noexcept
{
    // Events are a process'. For a coroutine speaks the one that feeds it, else the next one.
    const auto& children = running_.children();
    std::size_t speaker = stage_of(output);
    while (speaker > 0 && !children[speaker])
        --speaker;
    while (speaker < children.size() && !children[speaker])
        ++speaker;
    if (speaker < children.size())
        child_access::core(children[speaker])->emit(what, 0, text);
}

void pipeline_run::tell_drained(const pipeline_result& result) noexcept
{
    const auto& children = running_.children();
    for (std::size_t i = 0; i < children.size(); ++i) {
        if (!children[i])
            continue;
        const bool held = result.status.stages[i].std_err.held_by_descendant
            || (i + 1 == children.size() && result.std_out.held_by_descendant);
        child_access::core(children[i])
            ->emit(child_event::kind::drained, 0, held ? "held by a descendant" : "");
    }
}

pipeline_status pipeline_run::take_status()
{
    auto status = pipeline_access::core(running_)->status();
    for (std::size_t i = 0; i < status.stages.size(); ++i) {
        auto& stage = status.stages[i];
        if (!ended_by_itself_.empty() && !ended_by_itself_[i])
            stage.reason = reason_;
        if (errors_[i])
            stage.std_err = take_output(*errors_[i]);
    }
    return status;
}

void pipeline_run::report(error_code ec)
{
    pipeline_result result;
    take_common(result);
    if (running_) {
        result.status = take_status();
        if (output_)
            result.std_out = take_output(*output_);
        tell_drained(result);
        // The children are reaped, their trees stopped or to be left alone: the drop policies have
        // no say.
        for (auto& child : running_.children()) {
            if (child)
                child.detach();
        }
    }
    handler_.complete_now(ec, std::move(result));
}

void start_run(pipeline what, asio::any_io_executor ex, run_options options,
               pipeline_run_handler handler)
{
    std::make_shared<pipeline_run>(std::move(what), std::move(ex), std::move(options),
                                   std::move(handler))
        ->start();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
