// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_STAGE_MONITOR_HPP
#define PROCYARD_EXAMPLES_DEMO_STAGE_MONITOR_HPP

#include <sys/types.h>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/runtime/observer.hpp>
#include <procyard/runtime/stage.hpp>

namespace demo {

/// What a process has read and written so far, those of its children that it has waited for
/// included.
struct process_io {
    std::uint64_t bytes_read = 0;
    std::uint64_t bytes_written = 0;
};

/// From /proc; empty where the kernel does not count, or the process is gone.
std::optional<process_io> io_of(pid_t pid);

/// Watches the processes of a pipeline: which of them still run, and how much each has moved. The
/// programs talk to each other through the kernel alone, so only the kernel knows.
///
/// Belongs to the thread of the event loop, as the events do.
class stage_monitor final : public procyard::observer {
public:
    void on_event(const procyard::child_event& event) noexcept override;

    /// A coroutine stage that is counted as long as it runs.
    static procyard::stage::function counted(std::shared_ptr<stage_monitor> monitor,
                                             procyard::stage::function body);

    /// How many stages are at work.
    [[nodiscard]] std::size_t running() const noexcept;
    /// Of the running or ended process of this program.
    [[nodiscard]] std::optional<process_io> io(std::string_view program) const;

private:
    static boost::asio::awaitable<void> run_counted(std::shared_ptr<stage_monitor> monitor,
                                                    procyard::stage::function body,
                                                    procyard::pipe_reader in,
                                                    procyard::pipe_writer out);

    struct watched {
        pid_t pid = 0;
        std::string program{};
        bool running = true;
        std::optional<process_io> total{};
    };

    std::vector<watched> processes_;
    std::size_t coroutines_ = 0;
};

}  // namespace demo

#endif
