// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SPAWNER_THREAD_HPP
#define PROCYARD_RUNTIME_SRC_SPAWNER_THREAD_HPP

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// The one thread the library starts, and only for `async_spawn` and commands with a parent-death
/// signal: it spawns, so that a slow exec holds no event loop, and lives as long as the context, so
/// that what the kernel ties to the spawning thread holds.
class spawner_thread {
public:
    spawner_thread();
    spawner_thread(const spawner_thread&) = delete;
    spawner_thread& operator=(const spawner_thread&) = delete;
    /// Lets the job under way end, destroys the others unrun, and joins.
    ~spawner_thread();

    /// One that throws std::bad_alloc is called again, until it does not.
    void post(std::function<void()> job);

    /// Whether the caller is a job (or an observer one calls): it must not wait for another job.
    [[nodiscard]] bool is_current() const noexcept
    {
        return thread_.get_id() == std::this_thread::get_id();
    }

private:
    void run();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> jobs_;
    bool stop_ = false;
    std::thread thread_;  // last: it uses all the others
};

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
