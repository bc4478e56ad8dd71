// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline.hpp>

#include <utility>

#include <procyard/ipc/detail/pending.hpp>

#include "join.hpp"
#include "pipeline_core.hpp"
#include "pipeline_launch.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

void start_wait(const std::shared_ptr<pipeline_core>& core,
                asio::any_completion_handler<void(error_code, pipeline_status)> handler)
{
    auto all = std::make_shared<join>(core->executor);
    core->add_ends(*all);
    pending<void(error_code, pipeline_status)> waiting(core->executor, std::move(handler));
    auto slot = waiting.get_cancellation_slot();
    if (slot.is_connected()) {
        slot.assign([weak = std::weak_ptr(all)](asio::cancellation_type) {
            if (const auto self = weak.lock())
                self->cancel();
        });
    }
    all->start([core, waiting = std::move(waiting)](const error_code& ec) mutable {
        waiting.complete_now(ec, ec ? pipeline_status{} : core->status());
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

pipe_writer& running_pipeline::std_in() noexcept
{
    return children_.front() ? children_.front().std_in() : core_->std_in;
}

pipe_reader& running_pipeline::std_out() noexcept
{
    return children_.back() ? children_.back().std_out() : core_->std_out;
}

void running_pipeline::signal_trees(int number, error_code& ec)
{
    core_->signal_trees(number, ec);
}

running_pipeline spawn(const pipeline& what, asio::any_io_executor executor, spawn_failure& failure)
{
    detail::pipeline_launch launch(what, executor);
    if (!launch.run(failure)) {
        launch.kill();
        return {};
    }
    return {std::move(launch.core), std::move(launch.children)};
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
