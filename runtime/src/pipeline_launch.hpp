// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PIPELINE_LAUNCH_HPP
#define PROCYARD_RUNTIME_SRC_PIPELINE_LAUNCH_HPP

#include <boost/asio/any_io_executor.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/pipeline.hpp>
#include <procyard/runtime/spawn_error.hpp>
#include <procyard/runtime/stdio.hpp>

#include "pipeline_core.hpp"
#include "stage_task.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class child_service;

// The executors of what a pipeline is made of.
struct pipeline_executors {
    asio::any_io_executor processes;
    // Each coroutine gets a strand of its own on it.
    asio::any_io_executor coroutines;
};

// Checks a pipeline and starts its stages, from the last to the first: so a consumer that
// cannot be started is found before anybody has produced anything, and what has to be rolled back
// then are programs that wait for their first input. Coroutines begin when all processes are there.
//
//   connect --all made--> begin --> whole
//        \--one failed--> partial
//
//   whole:   core and children are complete.
//   partial: core and children hold what was started, with the pipes open: whoever closed them
//            before the kill would show a consumer an end of input that is none.
class pipeline_launch {
public:
    pipeline_launch(pipeline what, const pipeline_executors& executors);

    // False with `failure` set.
    [[nodiscard]] bool run(spawn_failure& failure);
    [[nodiscard]] bool started_any() const noexcept;

    // From any thread: no further stage is started; run() fails with operation_aborted, if it has
    // not ended yet.
    void abandon() noexcept { abandoned_.store(true, std::memory_order_relaxed); }
    // Relaxed, both: nothing but the flag is published.
    [[nodiscard]] bool abandoned() const noexcept
    {
        return abandoned_.load(std::memory_order_relaxed);
    }

    // After a failure: SIGKILL to every tree that was started, whatever its drop policy. Reaping is
    // the event loop's.
    void kill() noexcept;

    std::shared_ptr<pipeline_core> core;
    // One per stage, empty for a coroutine (and for what was not started).
    std::vector<child> children;

private:
    // A coroutine's ends until it begins.
    struct connections_of_coroutine {
        stage_task::connection in{};
        stage_task::connection out{};
    };

    spawn_failure connect(std::size_t index);
    spawn_failure start_process(std::size_t index, unique_fd in);
    spawn_failure prepare_coroutine(std::size_t index, unique_fd in);
    spawn_failure begin_coroutines();
    void enlarge(std::size_t index, int pipe);

    pipeline what_;
    asio::any_io_executor coroutine_executor_;
    std::atomic<bool> abandoned_{false};
    child_service* service_ = nullptr;
    unique_fd to_next_;        // the writing end of the pipe to the stage that was started last
    std::vector<stdio> held_;  // the same, of a stage that could not be started
    std::vector<unsigned> enlarged_;  // pipes on each stage's account
    std::vector<connections_of_coroutine> coroutine_ends_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
