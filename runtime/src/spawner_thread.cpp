// SPDX-License-Identifier: BSL-1.0
#include "spawner_thread.hpp"

#include <pthread.h>

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

void spawner_thread::run()
{
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
        job();
    }
}

}  // namespace detail
PROCYARD_NAMESPACE_END
