// SPDX-License-Identifier: BSL-1.0
#include "pipeline_starter.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <utility>

#include "child_service.hpp"
#include "pipeline_access.hpp"
#include "pipeline_stop_target.hpp"
#include "plan_builder.hpp"
#include "spawner_thread.hpp"
#include "stop_operation.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

pipeline_starter::pipeline_starter(pipeline what, const pipeline_executors& executors,
                                   asio::any_io_executor strand)
    : strand_(std::move(strand)),
      launch_(std::move(what), executors)
{
}

void pipeline_starter::start(bool off_loop, handler_type done)
{
    done_.swap(done);
    spawner_thread* thread = off_loop ? find_thread() : nullptr;
    if (thread != nullptr) {
        thread->post([self = shared_from_this()] {
            self->launch();
            asio::post(self->strand_, [self] { self->settle(); });
        });
        return;
    }
    if (!failure_)
        launch();
    settle();
}

spawner_thread* pipeline_starter::find_thread()
{
    error_code ec;
    auto* const service = child_service::try_of(strand_, ec);
    auto* const thread = ec ? nullptr : service->try_spawner(ec);
    if (ec) {
        failure_.code = make_spawn_error(spawn_step::clone, ec.value());
        failure_.step = spawn_step::clone;
        failure_.operand = "spawner thread";
    }
    return thread;
}

void pipeline_starter::launch()
{
    try {
        (void)launch_.run(failure_);
    } catch (...) {
        failure_ = make_failure_of_exception(command(""));
    }
}

void pipeline_starter::settle()
{
    if (!failure_ && launch_.abandoned())
        failure_.code = asio::error::operation_aborted;
    if (failure_ && launch_.started_any())
        undo();
    else
        finish();
}

void pipeline_starter::undo()
{
    // The pipes stay open meanwhile, see pipeline_launch.
    launch_.kill();
    auto undone = [self = shared_from_this()](const error_code&, const stop_result&) {
        self->finish();
    };
    std::make_shared<stop_operation>(std::make_shared<pipeline_stop_target>(launch_.core, strand_),
                                     stop_ladder::kill(), strand_, strand_,
                                     asio::bind_executor(strand_, std::move(undone)))
        ->start();
}

void pipeline_starter::finish()
{
    auto made = pipeline_access::make(std::move(launch_.core), std::move(launch_.children));
    handler_type done;
    done.swap(done_);
    if (failure_)
        made = {};
    std::move(done)(std::move(failure_), std::move(made));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
