// SPDX-License-Identifier: BSL-1.0
#include "signal_listener.hpp"

#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <new>
#include <utility>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "handler_table.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

constexpr std::uint32_t closing = ~std::uint32_t{0};

constinit std::mutex registry_mutex;
constinit std::atomic<signal_listener*> first_listener{nullptr};
// Asked by each handler, and compared with getpid(2), which is a system call. A hook of
// pthread_atfork alone would not do: vfork and clone call none, and a child of vfork would put what
// it gets into its parent's memory.
constinit std::atomic<pid_t> own_process{0};

void close_descriptor(std::atomic<int>& fd) noexcept
{
    // Relaxed: whoever comes here is alone.
    if (const int number = fd.exchange(-1, std::memory_order_relaxed); number != -1)
        (void)::close(number);
}

unique_fd make_eventfd() noexcept
{
    return unique_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

unique_fd make_signalfd(std::uint64_t numbers) noexcept
{
    const auto set = sigset_of(numbers);
    return unique_fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

// Two descriptors as one, since an operation waits for one. As two waits in the reactor, the one
// would have to be cancelled, and waited for, whenever the other one ends.
unique_fd make_watch(const signal_listener& listener) noexcept
{
    unique_fd made(::epoll_create1(EPOLL_CLOEXEC));
    for (const auto* const fd : {&listener.wake_fd, &listener.read_fd}) {
        epoll_event event{};
        event.events = EPOLLIN;
        const int number = fd->load(std::memory_order_relaxed);
        if (made && ::epoll_ctl(made.get(), EPOLL_CTL_ADD, number, &event) == -1)
            made.reset();  // leaves errno alone
    }
    return made;
}

// Over fork(). From before it until the copy is in order no handler runs in this thread, which is
// the only one that the copy has: a signal that the copy gets meanwhile waits. Guarded by the
// mutex.
constinit sigset_t mask_before_fork{};

void before_fork() noexcept
{
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    (void)::pthread_sigmask(SIG_SETMASK, &all, &before);
    registry_mutex.lock();
    mask_before_fork = before;
}

void after_fork() noexcept
{
    const auto before = mask_before_fork;
    registry_mutex.unlock();
    (void)::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// On the same number, so that whoever knows it finds the new one.
bool replace(std::atomic<int>& fd, unique_fd made) noexcept
{
    return made && ::dup3(made.get(), fd.load(std::memory_order_relaxed), O_CLOEXEC) != -1;
}

// In a copy of the process: what it has inherited are the original's. It must not even read them,
// or the original might miss a wake-up.
bool replace_descriptors(signal_listener& listener) noexcept
{
    if (!replace(listener.wake_fd, make_eventfd()))
        return false;
    if (listener.read_fd.load(std::memory_order_relaxed) == -1)
        return true;
    return replace(listener.read_fd, make_signalfd(listener.reads))
        && replace(listener.watch_fd, make_watch(listener));
}

void renew(signal_listener& listener) noexcept
{
    // Relaxed, all of it: this is the only thread.
    constexpr auto relaxed = std::memory_order_relaxed;
    listener.mail.reset();
    listener.has_rung.store(false, relaxed);
    if (listener.second.load(relaxed) == escalation::asked)
        listener.second.store(escalation::armed, relaxed);
    // Handlers in other threads have stayed with the original, in the middle of whatever.
    listener.users.store(listener.is_owned ? 1 : 0, relaxed);
    if (!listener.is_owned)
        listener.close_all();
    else if (!replace_descriptors(listener))
        listener.broken.store(errno, relaxed);
}

void after_fork_in_copy() noexcept
{
    own_process.store(::getpid(), std::memory_order_relaxed);
    for (auto* at = first_listener.load(std::memory_order_relaxed); at != nullptr; at = at->next)
        renew(*at);
    renew_handlers();
    after_fork();
}

// Under the lock.
void install_fork_hook() noexcept
{
    static constinit bool is_installed = false;
    if (is_installed)
        return;
    own_process.store(::getpid(), std::memory_order_relaxed);
    // Without memory for it: then copies hear nothing. The next one tries again.
    is_installed = ::pthread_atfork(before_fork, after_fork, after_fork_in_copy) == 0;
}

}  // namespace

bool signal_listener::enter() noexcept
{
    auto now = users.load(std::memory_order_relaxed);
    while (now != 0 && now != closing) {
        if (users.compare_exchange_weak(now, now + 1, std::memory_order_acquire,
                                        std::memory_order_relaxed))
            return true;
    }
    return false;
}

void signal_listener::leave() noexcept
{
    auto now = users.load(std::memory_order_relaxed);
    while (!users.compare_exchange_weak(now, now == 1 ? closing : now - 1,
                                        std::memory_order_acq_rel, std::memory_order_relaxed)) { }
    if (now != 1)
        return;
    close_all();
    users.store(0, std::memory_order_release);
}

void signal_listener::close_all() noexcept
{
    close_descriptor(watch_fd);
    close_descriptor(read_fd);
    close_descriptor(wake_fd);
}

void signal_listener::post(const signal_record& record, bool wakes) noexcept
{
    auto now = second.load(std::memory_order_relaxed);
    if (now == escalation::armed)
        second.compare_exchange_strong(now, escalation::asked, std::memory_order_relaxed);
    // What it was before this one.
    if (now == escalation::asked)
        die_of(record.number);
    mail.post(record);
    if (wakes)
        wake();
}

void signal_listener::wake() noexcept
{
    if (has_rung.exchange(true, std::memory_order_acq_rel)
        || broken.load(std::memory_order_relaxed) != 0)
        return;
    const std::uint64_t one = 1;
    // EAGAIN: at its maximum, so it is readable.
    (void)retry_eintr(
        [&] { return ::write(wake_fd.load(std::memory_order_relaxed), &one, sizeof one); });
}

// First the bell and then the word: the other way round, one that is pressed in between would be
// silenced, and nobody would press it again. One that has set the word and not yet pressed will
// wake for nothing, once.
void signal_listener::answer() noexcept
{
    std::uint64_t count = 0;
    (void)retry_eintr(
        [&] { return ::read(wake_fd.load(std::memory_order_relaxed), &count, sizeof count); });
    (void)has_rung.exchange(false, std::memory_order_acq_rel);
}

int signal_listener::watched() const noexcept
{
    const int both = watch_fd.load(std::memory_order_relaxed);
    return both != -1 ? both : wake_fd.load(std::memory_order_relaxed);
}

registry_lock::registry_lock() noexcept
{
    registry_mutex.lock();
    install_fork_hook();
}

registry_lock::~registry_lock()
{
    registry_mutex.unlock();
}

signal_listener& acquire_listener()
{
    auto wake_fd = make_eventfd();
    if (!wake_fd)
        throw boost::system::system_error(last_error(), "signal_set: eventfd");
    auto made = std::make_unique<signal_listener>();  // no memory is taken under the lock
    const registry_lock lock;
    auto* found = first_listener.load(std::memory_order_relaxed);
    // Acquire, pairs with the release in leave(): its descriptors have been closed.
    while (found != nullptr && found->users.load(std::memory_order_acquire) != 0)
        found = found->next;
    const bool is_new = found == nullptr;
    if (is_new)
        found = made.release();
    found->mail.reset();
    found->has_rung.store(false, std::memory_order_relaxed);
    found->second.store(escalation::off, std::memory_order_relaxed);
    found->broken.store(0, std::memory_order_relaxed);
    found->reads = 0;
    found->is_owned = true;
    found->wake_fd.store(wake_fd.release(), std::memory_order_relaxed);
    found->users.store(1, std::memory_order_release);
    if (is_new) {
        found->next = first_listener.load(std::memory_order_relaxed);
        first_listener.store(found, std::memory_order_release);
    }
    return *found;
}

void release_listener(signal_listener& listener) noexcept
{
    const registry_lock lock;
    listener.hears.store(0, std::memory_order_relaxed);
    listener.is_owned = false;
    listener.leave();
}

void deliver(const signal_record& record, const signal_listener* but_not) noexcept
{
    const auto bit = signal_bit(record.number);
    for (auto* at = first_listener.load(std::memory_order_acquire); at != nullptr; at = at->next) {
        if ((at->hears.load(std::memory_order_relaxed) & bit) == 0 || !at->enter())
            continue;
        // Once more: it may have become another set's in between.
        if ((at->hears.load(std::memory_order_acquire) & bit) != 0)
            at->post(record, at != but_not);
        at->leave();
    }
}

bool is_own_process() noexcept
{
    return own_process.load(std::memory_order_relaxed) == ::getpid();
}

void set_read_signals(signal_listener& listener, std::uint64_t numbers, error_code& ec) noexcept
{
    ec.clear();
    const registry_lock lock;
    const auto before = std::exchange(listener.reads, numbers);
    const int existing = listener.read_fd.load(std::memory_order_relaxed);
    if (existing != -1) {
        const auto set = sigset_of(numbers);
        (void)::signalfd(existing, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return;
    }
    auto read_fd = make_signalfd(numbers);
    listener.read_fd.store(read_fd.get(), std::memory_order_relaxed);
    auto watch_fd = read_fd ? make_watch(listener) : unique_fd();
    if (!watch_fd) {
        ec = last_error();
        listener.read_fd.store(-1, std::memory_order_relaxed);
        listener.reads = before;
        return;
    }
    (void)read_fd.release();
    listener.watch_fd.store(watch_fd.release(), std::memory_order_relaxed);
}

bool is_read(int number) noexcept
{
    const registry_lock lock;
    const auto* at = first_listener.load(std::memory_order_relaxed);
    while (at != nullptr && !(at->is_owned && (at->reads & signal_bit(number)) != 0))
        at = at->next;
    return at != nullptr;
}

sigset_t sigset_of(std::uint64_t numbers) noexcept
{
    sigset_t set;
    ::sigemptyset(&set);
    for (int number = 1; number <= last_signal; ++number) {
        if ((numbers & signal_bit(number)) != 0)
            ::sigaddset(&set, number);
    }
    return set;
}

void die_of(int number) noexcept
{
    struct sigaction by_default{};
    by_default.sa_handler = SIG_DFL;
    (void)::sigaction(number, &by_default, nullptr);
    const auto set = sigset_of(signal_bit(number));
    (void)::raise(number);  // waits, if this is its own handler, which blocks it
    (void)::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    // The first process of a pid namespace: the kernel keeps its own signals from it.
    ::_exit(128 + number);
}

}  // namespace detail
PROCYARD_NAMESPACE_END
