// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_SIGNAL_MASK_GUARD_HPP
#define PROCYARD_SIGNALS_SIGNAL_MASK_GUARD_HPP

#include <signal.h>

#include <initializer_list>

#include <procyard/ipc/config.hpp>
#include <procyard/signals/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Blocks signals in the calling thread for as long as it lives, then restores exactly the mask
/// it found.
///
/// Construct and destroy it in the same thread, in stack order.
/// @par Thread safety   It changes the calling thread's mask and nothing else of the process.
/// @par Cost            One `pthread_sigmask` at each end.
/// @par Example         `signal_mask_guard quiet({SIGTERM, SIGINT});`
class PROCYARD_SIGNALS_EXPORT signal_mask_guard {
public:
    /// Blocks the given signals in addition to those blocked already.
    explicit signal_mask_guard(std::initializer_list<int> signals) noexcept;
    /// Blocks the given set in addition to the signals blocked already.
    explicit signal_mask_guard(const sigset_t& signals) noexcept;

    /// Blocks every signal that can be blocked.
    [[nodiscard]] static signal_mask_guard all() noexcept;

    signal_mask_guard(const signal_mask_guard&) = delete;
    signal_mask_guard& operator=(const signal_mask_guard&) = delete;
    ~signal_mask_guard();

    /// The mask that was found and will be restored.
    [[nodiscard]] const sigset_t& previous() const noexcept { return previous_; }

private:
    sigset_t previous_;
};

PROCYARD_NAMESPACE_END

#endif
