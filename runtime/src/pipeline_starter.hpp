// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PIPELINE_STARTER_HPP
#define PROCYARD_RUNTIME_SRC_PIPELINE_STARTER_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>

#include <memory>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/pipeline.hpp>
#include <procyard/runtime/spawn_error.hpp>

#include "pipeline_launch.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class spawner_thread;

// A launch that is undone when it fails or is cancelled: what was started is killed and waited for.
//
//   launching --made--> done (a pipeline)
//       \--failed, cancelled--> undoing --(every tree empty, every stage ended)--> done (a failure)
class pipeline_starter : public std::enable_shared_from_this<pipeline_starter> {
public:
    using handler_type = asio::any_completion_handler<void(spawn_failure, running_pipeline)>;

    // `strand`: where this works.
    pipeline_starter(pipeline what, const pipeline_executors& executors,
                     asio::any_io_executor strand);

    // In the strand. `done` is called in the strand, maybe within this call unless `off_loop`,
    // which starts the programs from the context's spawner thread.
    void start(bool off_loop, handler_type done);

    // From any thread: no further stage is started, and the failure is operation_aborted.
    void cancel() noexcept { launch_.abandon(); }

private:
    [[nodiscard]] spawner_thread* find_thread();
    void launch();
    void settle();
    void undo();
    void finish();

    asio::any_io_executor strand_;
    pipeline_launch launch_;
    spawn_failure failure_;
    handler_type done_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
