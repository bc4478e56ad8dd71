// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_OBSERVER_SLOT_HPP
#define PROCYARD_RUNTIME_SRC_OBSERVER_SLOT_HPP

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/observer.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// Where a context's observer is. Shared by the service and all children, because a child that has
/// ended may outlive the service, and may still be asked to signal its tree.
/// @par Thread safety   Distinct and shared objects: safe.
class observer_slot {
public:
    void set(std::shared_ptr<observer> watcher) noexcept
    {
        {
            const std::lock_guard lock(mutex_);
            watcher_.swap(watcher);
            // Relaxed: a hint for the fast path; the lock orders what watcher_ points to.
            taken_.store(watcher_ != nullptr, std::memory_order_relaxed);
        }
        // The earlier observer dies here, outside the lock.
    }

    /// Null when there is none, for the price of a load.
    [[nodiscard]] std::shared_ptr<observer> get() const noexcept
    {
        if (!is_taken())
            return nullptr;
        const std::lock_guard lock(mutex_);
        return watcher_;
    }

    // Relaxed: see set.
    [[nodiscard]] bool is_taken() const noexcept { return taken_.load(std::memory_order_relaxed); }

private:
    mutable std::mutex mutex_;
    std::shared_ptr<observer> watcher_;
    std::atomic<bool> taken_{false};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
