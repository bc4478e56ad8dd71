// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_SRC_SIGNAL_LISTENER_HPP
#define PROCYARD_SIGNALS_SRC_SIGNAL_LISTENER_HPP

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <mutex>

#include <procyard/ipc/config.hpp>
#include <procyard/signals/signal_mask_guard.hpp>

#include "signal_mailbox.hpp"

// Who listens to signals, in this process. Handlers walk through the list at any moment, in any
// thread, so nothing of it is ever freed: a listener that nobody needs any more is used again.

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// What a second signal does, see second_signal.
enum class escalation : std::uint8_t {
    off,
    armed,  ///< the next one is the first
    asked,  ///< the next one ends the process
};

/// A set, as a handler sees it.
///
///   free --acquire_listener()--> in use --the last user leaves--> closing --closed--> free
///
/// Users are the set that owns it and each handler that looks at it just now. So no handler writes
/// to a descriptor that has been closed, and nobody ever waits for a handler: who leaves last
/// closes, and that may be one.
struct signal_listener {
    std::atomic<std::uint32_t> users{0};
    std::atomic<std::uint64_t> hears{0};  ///< bit n-1: signal n
    std::atomic<escalation> second{escalation::off};
    std::atomic<bool> has_rung{false};  ///< wake_fd has been written, and nobody has looked since
    signal_mailbox mail;

    // Descriptors, changed by the owner only, and by whoever leaves last.
    std::atomic<int> wake_fd{-1};   ///< an eventfd
    std::atomic<int> read_fd{-1};   ///< a signalfd; -1: nothing is read
    std::atomic<int> watch_fd{-1};  ///< an epoll set of both; -1: wake_fd alone is watched
    std::atomic<int> broken{0};     ///< in a forked copy: the errno that left it without

    // Under the registry's lock.
    bool is_owned = false;
    std::uint64_t reads = 0;  ///< bit n-1: signal n comes by read_fd
    signal_listener* next = nullptr;

    /// False: nobody uses it, or nobody will any more.
    [[nodiscard]] bool enter() noexcept;
    void leave() noexcept;

    /// What a handler does. Async-signal-safe.
    void post(const signal_record& record, bool wakes) noexcept;
    void wake() noexcept;
    /// Whatever has rung, looks are taken now.
    void answer() noexcept;
    /// The descriptor that becomes readable when there is something to take.
    [[nodiscard]] int watched() const noexcept;
    void close_all() noexcept;
};

/// Held while the list, or what is installed, is changed, and over a fork(). Blocks all signals of
/// this thread meanwhile, so that no handler, ours or another, runs in the middle.
/// The first one installs the hook of pthread_atfork().
class registry_lock {
public:
    registry_lock() noexcept;
    registry_lock(const registry_lock&) = delete;
    registry_lock& operator=(const registry_lock&) = delete;
    ~registry_lock();

private:
    signal_mask_guard quiet_ = signal_mask_guard::all();
};

/// A listener to nothing, as yet, which the caller owns.
/// @throws boost::system::system_error, std::bad_alloc
[[nodiscard]] signal_listener& acquire_listener();
void release_listener(signal_listener& listener) noexcept;

/// To every listener that hears this number. Async-signal-safe. `but_not` is not woken.
void deliver(const signal_record& record, const signal_listener* but_not = nullptr) noexcept;

/// Whether this is the process whose listeners these are, and not a copy by vfork or clone.
[[nodiscard]] bool is_own_process() noexcept;

/// `numbers` come by read_fd from now on, and no others. Makes it and watch_fd, if need be.
void set_read_signals(signal_listener& listener, std::uint64_t numbers, error_code& ec) noexcept;

/// Whether any listener gets this number by its read_fd.
[[nodiscard]] bool is_read(int number) noexcept;

[[nodiscard]] sigset_t sigset_of(std::uint64_t numbers) noexcept;

/// Ends the process by this signal's default action. Async-signal-safe.
[[noreturn]] void die_of(int number) noexcept;

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
