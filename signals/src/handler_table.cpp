// SPDX-License-Identifier: BSL-1.0
#include "handler_table.hpp"

#include <signal.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <thread>

#include <procyard/ipc/syscall.hpp>
#include <procyard/signals/signal_error.hpp>
#include <procyard/signals/signal_mask_guard.hpp>

#include "signal_listener.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

using plain_handler = void (*)(int);
using info_handler = void (*)(int, siginfo_t*, void*);

// What is called after ours. A handler may read it at any time, so it is written while it is above
// `depth`, which a handler reads first.
struct chained {
    std::atomic<plain_handler> plain{nullptr};
    std::atomic<info_handler> with_info{nullptr};
};

// How often ours may be above somebody else's who is above ours.
constexpr std::size_t most_layers = 4;

// Whether a set has the signal. A handler that finds it unused, and ours on top, takes ours away:
// nobody may begin to use it in the middle of that.
enum class handler_use : std::uint8_t { unused, used, giving_way };

// One signal. The lowest layer is what was there before us; a higher one is what somebody has put
// above ours, and ours has been put above that again. What is no atomic is under the lock.
struct signal_handlers {
    unsigned users = 0;
    std::array<struct sigaction, most_layers> found{};
    std::array<chained, most_layers> below;
    // The highest layer has been put back, and is kept for late handlers.
    std::atomic<bool> is_restored{false};
    std::atomic<std::size_t> depth{0};
    std::atomic<handler_use> use{handler_use::unused};
};

constinit std::array<signal_handlers, last_signal + 1> table{};

// How often ours is active in this thread, of each signal: one above ours that calls ours calls a
// layer lower. Counted only where there are such layers, because a handler that is left by
// siglongjmp() does not count down. Initial-exec: the usual model of a shared library may allocate
// at the first use in a thread.
[[gnu::tls_model(
    "initial-exec")]] constinit thread_local std::array<unsigned char, last_signal + 1> active{};

void on_signal(int number, siginfo_t* info, void* context);

[[nodiscard]] signal_handlers& handlers_of(int number) noexcept
{
    return table[static_cast<std::size_t>(number)];
}

[[nodiscard]] bool is_ours(const struct sigaction& action) noexcept
{
    return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == on_signal;
}

// Neither SIG_DFL nor SIG_IGN.
[[nodiscard]] bool is_handler(const struct sigaction& action) noexcept
{
    return (action.sa_flags & SA_SIGINFO) != 0
        || (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
}

[[nodiscard]] bool ignores(const struct sigaction& action) noexcept
{
    return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_IGN;
}

[[nodiscard]] struct sigaction installed(int number) noexcept
{
    struct sigaction now{};
    (void)::sigaction(number, nullptr, &now);
    return now;
}

[[nodiscard]] struct sigaction ours_above(int number, const struct sigaction& found) noexcept
{
    struct sigaction ours{};
    ours.sa_sigaction = on_signal;
    // What the one below wants to have blocked while it runs.
    ours.sa_mask = found.sa_mask;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    // Whose calls are interrupted by it relies on that: with SA_RESTART they would hang.
    if (!is_handler(found) || (found.sa_flags & SA_RESTART) != 0)
        ours.sa_flags |= SA_RESTART;
    // Of SIGCHLD they decide on what becomes of children, which is not our business.
    ours.sa_flags |= found.sa_flags & (SA_NOCLDSTOP | SA_NOCLDWAIT);
    if (number == SIGCHLD && ignores(found))
        ours.sa_flags |= SA_NOCLDWAIT;
    return ours;
}

// If ours has been left behind and is on top again: nothing of ours is to be seen, so what was
// found is put back, and the signal comes again if that is the default action. False: it is in use.
bool give_way(int number, signal_handlers& handlers, std::size_t layer) noexcept
{
    auto now = handler_use::unused;
    if (!handlers.use.compare_exchange_strong(now, handler_use::giving_way,
                                              std::memory_order_acquire))
        return now == handler_use::giving_way;  // another thread is at it
    if (is_ours(installed(number))) {
        const auto& found = handlers.found[layer];
        (void)::sigaction(number, &found, nullptr);
        if (!is_handler(found) && !ignores(found))
            (void)::raise(number);  // waits until this handler returns
    }
    handlers.use.store(handler_use::unused, std::memory_order_release);
    return true;
}

// Under the lock, so no handler runs in this thread.
void begin_use(signal_handlers& handlers) noexcept
{
    auto now = handler_use::unused;
    // A handler that gives way makes two system calls, and waits for nobody.
    while (!handlers.use.compare_exchange_weak(now, handler_use::used, std::memory_order_acquire)
           && now != handler_use::used) {
        now = handler_use::unused;
        std::this_thread::yield();
    }
}

void call_below(int number, std::size_t layer, siginfo_t* info, void* context)
{
    const auto& next = handlers_of(number).below[layer];
    if (const auto with_info = next.with_info.load(std::memory_order_relaxed))
        with_info(number, info, context);
    else if (const auto plain = next.plain.load(std::memory_order_relaxed))
        plain(number);
}

// How many layers are above ours where nobody uses it. The kernel calls what has been put back, and
// from there ours is called, if at all, so that it must not call it once more. The lowest one was
// there before ours and cannot call it. A handler that has begun in another thread while ours was
// on top, and finds it unused by now, leaves out the highest one as well: it cannot know.
std::size_t layers_gone(const signal_handlers& handlers, std::size_t depth) noexcept
{
    // Relaxed: written before `use`, which has been read.
    return depth > 1 && handlers.is_restored.load(std::memory_order_relaxed) ? 1 : 0;
}

// Runs in any thread, in the middle of anything: nothing but lock-free atomics and system calls.
void on_signal(int number, siginfo_t* info, void* context)
{
    const int saved = errno;
    auto& handlers = handlers_of(number);
    const auto depth = handlers.depth.load(std::memory_order_acquire);
    auto& inside = active[static_cast<std::size_t>(number)];
    const auto before = inside;
    std::size_t nested = depth > 1 ? before : 0;
    // Before anything below is called: that need not return.
    if (nested == 0 && is_own_process()) {
        // Another handler that interrupts this one may be left by siglongjmp(): then this one never
        // goes on, in the middle of a set. Not by sa_mask: what is below runs with the mask that it
        // has asked for.
        const auto quiet = signal_mask_guard::all();
        const auto use = handlers.use.load(std::memory_order_acquire);
        if (use != handler_use::used)
            nested = layers_gone(handlers, depth);
        if (use == handler_use::used || !give_way(number, handlers, depth - 1 - nested))
            deliver(record_of(number, *info));
    }
    errno = saved;
    if (nested >= depth)
        return;
    if (depth > 1)
        inside = static_cast<unsigned char>(nested + 1);
    call_below(number, depth - 1 - nested, info, context);
    if (depth > 1)
        inside = before;
}

// Under the lock. Puts ours above `now`.
void put_above(int number, const struct sigaction& now, error_code& ec) noexcept
{
    auto& handlers = handlers_of(number);
    auto depth = handlers.depth.load(std::memory_order_relaxed);
    if (handlers.is_restored.load(std::memory_order_relaxed))
        --depth;
    // If there is no handler, there is none that could call ours.
    if (!is_handler(now))
        depth = 0;
    if (depth == most_layers) {
        ec = signal_errc::taken_over;
        return;
    }
    handlers.is_restored.store(false, std::memory_order_relaxed);
    auto& below = handlers.below[depth];
    const bool has_info = (now.sa_flags & SA_SIGINFO) != 0;
    below.with_info.store(has_info ? now.sa_sigaction : nullptr, std::memory_order_relaxed);
    below.plain.store(is_handler(now) && !has_info ? now.sa_handler : nullptr,
                      std::memory_order_relaxed);
    handlers.found[depth] = now;
    // Release, pairs with the acquire in on_signal(): what is below is there.
    handlers.depth.store(depth + 1, std::memory_order_release);
    const auto ours = ours_above(number, now);
    // Cannot fail: the number is good, or asking for `now` had failed.
    (void)::sigaction(number, &ours, nullptr);
}

// Under the lock. Somebody has put ours back since nobody uses it: what was above it is gone.
void stay_there(signal_handlers& handlers) noexcept
{
    const auto depth = handlers.depth.load(std::memory_order_relaxed);
    handlers.depth.store(depth - layers_gone(handlers, depth), std::memory_order_release);
    handlers.is_restored.store(false, std::memory_order_relaxed);
}

// Under the lock. Ours is in use, and `now` is there instead of it. SIG_IGN is there for a while
// (std::system(), signal_ignore_guard): whoever has set it puts ours back, and what ours has found
// stays what it is to put back in the end. SIG_DFL is what asio::signal_set leaves behind, whose
// handler may be among the layers: it must not be called any more.
void put_again(int number, const struct sigaction& now, error_code& ec) noexcept
{
    auto& handlers = handlers_of(number);
    if (!ignores(now)) {
        put_above(number, now, ec);
        return;
    }
    const auto depth = handlers.depth.load(std::memory_order_relaxed);
    const auto ours = ours_above(number, handlers.found[depth - 1]);
    (void)::sigaction(number, &ours, nullptr);
}

}  // namespace

void install_handler(int number, error_code& ec) noexcept
{
    ec.clear();
    const registry_lock lock;
    struct sigaction now{};
    if (::sigaction(number, nullptr, &now) == -1) {
        ec = signal_errc::not_waitable;
        return;
    }
    auto& handlers = handlers_of(number);
    begin_use(handlers);
    // Again: one that gave way has changed it.
    now = installed(number);
    if (is_ours(now))
        stay_there(handlers);
    else if (handlers.users > 0)
        put_again(number, now, ec);
    else
        put_above(number, now, ec);
    if (!ec)
        ++handlers.users;
    else if (handlers.users == 0)
        handlers.use.store(handler_use::unused, std::memory_order_release);
}

void remove_handler(int number) noexcept
{
    const registry_lock lock;
    auto& handlers = handlers_of(number);
    if (--handlers.users > 0)
        return;
    const auto depth = handlers.depth.load(std::memory_order_relaxed);
    if (is_ours(installed(number))) {
        (void)::sigaction(number, &handlers.found[depth - 1], nullptr);
        // Its layer stays: a handler that runs in another thread has still to call it.
        handlers.is_restored.store(true, std::memory_order_relaxed);
    }
    // After that: a handler that finds it unused takes itself for left behind.
    handlers.use.store(handler_use::unused, std::memory_order_release);
}

void put_back_handler(int number) noexcept
{
    if (is_ours(installed(number)))
        return;
    const registry_lock lock;
    const auto now = installed(number);
    // With no layer left, ours stays where it is: somebody else does the same as we, and then each
    // calls the other.
    error_code ignored;
    if (!is_ours(now))
        put_again(number, now, ignored);
}

void renew_handlers() noexcept
{
    for (auto& handlers : table) {
        auto halfway = handler_use::giving_way;
        handlers.use.compare_exchange_strong(halfway, handler_use::unused,
                                             std::memory_order_relaxed);
    }
}

}  // namespace detail
PROCYARD_NAMESPACE_END
