// SPDX-License-Identifier: BSL-1.0
#include "spawner_thread.hpp"

#include <pthread.h>

#include <chrono>
#include <new>

#include <procyard/signals/signal_mask_guard.hpp>

PROCYARD_NAMESPACE_BEGIN
namespace detail {

spawner_thread::spawner_thread()
{
    // A thread starts with the mask of its maker: the host's handlers must not run on a thread it
    // does not know of.
    const auto quiet = signal_mask_guard::all();
    thread_ = std::thread([this] { run(); });
    (void)::pthread_setname_np(thread_.native_handle(), "procyard-spawn");
}

spawner_thread::~spawner_thread()
{
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void spawner_thread::post(std::function<void()> job)
{
    {
        const std::lock_guard lock(mutex_);
        jobs_.push_back(std::move(job));
    }
    changed_.notify_one();
}

namespace {

// False: there was no memory, and it is not over.
bool try_job(const std::function<void()>& job)
{
    try {
        job();
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace

void spawner_thread::run()
{
    constexpr auto pause_without_memory = std::chrono::milliseconds(10);
    for (;;) {
        std::function<void()> job;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
            if (stop_)
                return;
            job = std::move(jobs_.front());
            jobs_.pop_front();
        }
        // Whoever waits for it would wait for ever.
        while (!try_job(job)) {
            std::unique_lock lock(mutex_);
            if (changed_.wait_for(lock, pause_without_memory, [this] { return stop_; }))
                return;
        }
    }
}

}  // namespace detail
PROCYARD_NAMESPACE_END
