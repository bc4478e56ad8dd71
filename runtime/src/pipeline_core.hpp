// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PIPELINE_CORE_HPP
#define PROCYARD_RUNTIME_SRC_PIPELINE_CORE_HPP

#include <boost/asio/any_io_executor.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/pipeline_status.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

class child_core;
class join;
class stage_task;

// Does something to each, whatever becomes of one; the first error.
template <class Range, class Act>
[[nodiscard]] error_code first_error(const Range& range, Act act)
{
    error_code first;
    for (const auto& each : range) {
        error_code one;
        act(each, one);
        if (!first)
            first = one;
    }
    return first;
}

// What the handle, the waits and a stop share about one running pipeline. Knows the stages and owns
// none of the processes: dropping a child is the handle's to do.
class pipeline_core {
public:
    // A process or a task; neither while, and if, it could not be started.
    struct stage_of {
        std::string name{};
        std::shared_ptr<child_core> process{};
        std::shared_ptr<stage_task> task{};
    };

    explicit pipeline_core(const asio::any_io_executor& ex) : executor(ex), std_in(ex), std_out(ex)
    {
    }
    // The launch has made everything: counts what goes through the ends that are ours.
    void count_bytes();

    // Set by the launch, constant afterwards.
    asio::any_io_executor executor;
    std::vector<stage_of> members;
    pipefail policy = pipefail::forgive_broken_pipe;

    // This process' ends of the first and last stage, when that is a coroutine and not a child.
    pipe_writer std_in;
    pipe_reader std_out;

    // The process at an end of the pipeline is connected to this process.
    std::shared_ptr<std::atomic<std::uint64_t>> bytes_in;
    std::shared_ptr<std::atomic<std::uint64_t>> bytes_out;

    // A wait for the end of each stage, and of each coroutine.
    void add_ends(join& all) const;
    void add_tasks(join& all) const;
    // Every stage has ended.
    [[nodiscard]] bool ended() const;
    [[nodiscard]] bool ended(std::size_t index) const;
    [[nodiscard]] bool tasks_ended() const;
    // What is known about the ends: all of it once they have.
    [[nodiscard]] pipeline_status status() const;

    // To every process' tree; the first error. Coroutines hear nothing.
    void signal_tree(int number, error_code& ec);
    void cancel_tasks();

private:
    [[nodiscard]] stage_result result_of(std::size_t index) const;
    [[nodiscard]] std::optional<std::uint64_t> bytes_into(std::size_t index) const;
    [[nodiscard]] std::optional<std::uint64_t> bytes_out_of(std::size_t index) const;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
