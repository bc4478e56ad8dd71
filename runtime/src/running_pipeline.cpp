// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <utility>

#include <procyard/ipc/detail/pending.hpp>

#include "join.hpp"
#include "pipeline_access.hpp"
#include "pipeline_core.hpp"
#include "pipeline_launch.hpp"
#include "pipeline_starter.hpp"
#include "pipeline_stop_target.hpp"
#include "stop_operation.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

void start_wait(const std::shared_ptr<pipeline_core>& core,
                asio::any_completion_handler<void(error_code, pipeline_status)> handler)
{
    auto all = std::make_shared<join>(core->executor);
    core->add_ends(*all);
    join::start(all, core->executor, std::move(handler), [core] { return core->status(); });
}

void start_stop(const std::shared_ptr<pipeline_core>& core, stop_ladder ladder,
                asio::any_completion_handler<void(error_code, stop_result)> handler)
{
    start_stop(std::make_shared<pipeline_stop_target>(core, asio::make_strand(core->executor)),
               core->executor, std::move(ladder), std::move(handler));
}

void start_spawn(pipeline what, asio::any_io_executor executor, spawn_failure* failure,
                 asio::any_completion_handler<void(error_code, running_pipeline)> handler)
{
    const asio::any_io_executor strand = asio::make_strand(executor);
    const auto starter = std::make_shared<pipeline_starter>(
        std::move(what), pipeline_executors{executor, executor}, strand);
    pending<void(error_code, running_pipeline)> waiting(executor, std::move(handler));
    auto slot = waiting.get_cancellation_slot();
    if (slot.is_connected()) {
        slot.assign([weak = std::weak_ptr(starter)](asio::cancellation_type) {
            if (const auto self = weak.lock())
                self->cancel();
        });
    }
    auto done = [waiting = std::move(waiting), failure](spawn_failure why,
                                                        running_pipeline made) mutable {
        const auto ec = why.code;
        if (failure != nullptr)
            *failure = std::move(why);
        waiting.complete(ec, std::move(made));
    };
    asio::post(strand, [starter, done = pipeline_starter::handler_type(std::move(done))]() mutable {
        starter->start(true, std::move(done));
    });
}

}  // namespace detail

running_pipeline& running_pipeline::operator=(running_pipeline&& other) noexcept
{
    running_pipeline old(std::move(*this));
    core_ = std::move(other.core_);
    children_ = std::move(other.children_);
    return *this;
}

running_pipeline::~running_pipeline()
{
    if (!core_)
        return;
    core_->std_in.close();
    core_->std_out.close();
    core_->cancel_tasks();
}

running_pipeline::executor_type running_pipeline::get_executor() const noexcept
{
    return core_->executor;
}

pipe_writer& running_pipeline::std_in()
{
    return children_.front() ? children_.front().std_in() : core_->std_in;
}

pipe_reader& running_pipeline::std_out()
{
    return children_.back() ? children_.back().std_out() : core_->std_out;
}

void running_pipeline::signal_tree(int number, error_code& ec)
{
    core_->signal_tree(number, ec);
}

running_pipeline spawn(const pipeline& what, asio::any_io_executor executor, spawn_failure& failure)
{
    detail::pipeline_launch launch(what, {executor, executor});
    if (!launch.run(failure)) {
        launch.kill();
        return {};
    }
    return detail::pipeline_access::make(std::move(launch.core), std::move(launch.children));
}

running_pipeline spawn(const pipeline& what, asio::any_io_executor executor)
{
    spawn_failure failure;
    auto result = spawn(what, std::move(executor), failure);
    if (failure)
        throw spawn_error(std::move(failure));
    return result;
}

PROCYARD_NAMESPACE_END
