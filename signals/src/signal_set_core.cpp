// SPDX-License-Identifier: BSL-1.0
#include <procyard/signals/detail/signal_set_core.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#include <procyard/ipc/syscall.hpp>
#include <procyard/signals/signal_error.hpp>
#include <procyard/signals/signal_set.hpp>

#include "handler_table.hpp"
#include "signal_listener.hpp"
#include "signal_mailbox.hpp"
#include "thread_masks.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

bool is_waitable(int number) noexcept
{
    // Between the two ranges are those of the C library.
    if (number < 1 || number > SIGRTMAX || (number >= first_realtime && number < SIGRTMIN))
        return false;
    switch (number) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL: return false;
    default: return true;
    }
}

bool is_deadly(int number) noexcept
{
    switch (number) {
    case SIGCHLD:
    case SIGCONT:
    case SIGURG:
    case SIGWINCH:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU: return false;
    default: return true;
    }
}

signal_record record_of_read(const signalfd_siginfo& read) noexcept
{
    siginfo_t info{};
    info.si_code = read.ssi_code;
    info.si_pid = static_cast<pid_t>(read.ssi_pid);
    info.si_uid = static_cast<uid_t>(read.ssi_uid);
    auto record = record_of(static_cast<int>(read.ssi_signo), info);
    if (record.code == SI_QUEUE || record.code == SI_TIMER || record.code == SI_MESGQ
        || record.code == SI_ASYNCIO)
        record.value = reinterpret_cast<void*>(static_cast<std::uintptr_t>(read.ssi_ptr));
    return record;
}

}  // namespace

signal_set_core::signal_set_core(const asio::any_io_executor& ex, signal_set_options options)
    : queue_(std::make_shared<operation_queue>(ex)),
      options_(options),
      made_in_(::getpid()),
      listener_(&acquire_listener())
{
    arm();
    queue_->watch(listener_->watched());
}

signal_set_core::~signal_set_core()
{
    close();
}

signal_mechanism signal_set_core::choose(int number, error_code& ec) const noexcept
{
    const bool dies = options_.second == second_signal::dies_of_it;
    if (options_.mode == signal_mode::sigaction && !dies)
        return signal_mechanism::sigaction;
    const bool is_blocked = (mask_of_all_threads() & signal_bit(number)) != 0;
    if (dies && is_blocked)
        ec = signal_errc::blocked;
    else if (options_.mode == signal_mode::signalfd && !is_blocked)
        ec = signal_errc::not_blocked;
    return is_blocked ? signal_mechanism::signalfd : signal_mechanism::sigaction;
}

void signal_set_core::add(int number, error_code& ec)
{
    ec.clear();
    if (!is_waitable(number))
        ec = signal_errc::not_waitable;
    else if (options_.second == second_signal::dies_of_it && !is_deadly(number))
        ec = signal_errc::not_deadly;
    if (ec || contains(number))
        return;
    const auto mechanism = choose(number, ec);
    if (ec)
        return;
    try {
        if (number >= first_realtime)
            listener_->mail.make_queue();
    } catch (const std::bad_alloc&) {
        ec = make_errno(ENOMEM);
        return;
    }
    listen(number, mechanism, ec);
}

void signal_set_core::listen(int number, signal_mechanism mechanism, error_code& ec) noexcept
{
    const auto bit = signal_bit(number);
    // Before the handler is there: it would keep the default action from happening, and tell
    // nobody.
    listener_->hears.fetch_or(bit, std::memory_order_release);
    if (mechanism == signal_mechanism::sigaction) {
        install_handler(number, ec);
        handled_ |= bit;
    } else {
        set_read_signals(*listener_, read_ | bit, ec);
        read_ |= bit;
        if (!ec && read_ == bit) {  // the first one: there is something else to watch
            queue_->unwatch();
            queue_->watch(listener_->watched());
        }
    }
    if (ec) {
        listener_->hears.fetch_and(~bit, std::memory_order_relaxed);
        handled_ &= ~bit;
        read_ &= ~bit;
    }
}

void signal_set_core::stop_listening(int number) noexcept
{
    const auto bit = signal_bit(number);
    if ((handled_ & bit) != 0)
        remove_handler(number);
    // After that: until then nobody else is there to hear it.
    listener_->hears.fetch_and(~bit, std::memory_order_relaxed);
    handled_ &= ~bit;
    if ((read_ & bit) != 0) {
        read_ &= ~bit;
        error_code ignored;  // the descriptor is there
        set_read_signals(*listener_, read_, ignored);
    }
    listener_->mail.forget(number);
}

void signal_set_core::remove(int number) noexcept
{
    if (!contains(number))
        return;
    stop_listening(number);
    if (handled_ == 0 && read_ == 0)
        queue_->wake();  // nothing is left to wait for
}

void signal_set_core::clear() noexcept
{
    for (int number = 1; number <= last_signal; ++number)
        remove(number);
}

void signal_set_core::close() noexcept
{
    if (listener_ == nullptr)
        return;
    queue_->abort_all();
    queue_->unwatch();
    for (int number = 1; number <= last_signal; ++number) {
        if (contains(number))
            stop_listening(number);
    }
    if (made_in_ != ::getpid() && has_waited_)
        leave_to_queue();
    release_listener(*listener_);
    listener_ = nullptr;
}

// In a forked copy of the process the queue keeps what it watches, because the reactor may be the
// original's. It closes it when it goes.
void signal_set_core::leave_to_queue() noexcept
{
    auto& watched = listener_->watch_fd.load(std::memory_order_relaxed) != -1 ? listener_->watch_fd
                                                                              : listener_->wake_fd;
    watched.store(-1, std::memory_order_relaxed);
}

void signal_set_core::put_handlers_back() noexcept
{
    for (int number = 1; handled_ >> (number - 1) != 0; ++number) {
        if ((handled_ & signal_bit(number)) != 0)
            put_back_handler(number);
        if (number == last_signal)
            return;
    }
}

// All standard signals that are pending, so that the kernel, which begins with the lowest number,
// has no say in whose turn it is; and one real-time signal, because there is more room for those in
// the kernel than here.
void signal_set_core::read_signals() noexcept
{
    const int fd = listener_->read_fd.load(std::memory_order_relaxed);
    std::uint64_t seen = 0;
    for (;;) {
        signalfd_siginfo info;
        if (retry_eintr([&] { return ::read(fd, &info, sizeof info); })
            != static_cast<ssize_t>(sizeof info))
            return;
        const auto record = record_of_read(info);
        // Nobody else gets it, so whoever reads tells all.
        deliver(record, listener_);
        const auto bit = signal_bit(record.number);
        if (record.number >= first_realtime || (seen & bit) != 0)
            return;
        seen |= bit;
    }
}

void signal_set_core::take(signal_info& taken, error_code& ec) noexcept
{
    ec.clear();
    if (const int broken = listener_->broken.load(std::memory_order_relaxed); broken != 0)
        ec = make_errno(broken);
    else if (handled_ == 0 && read_ == 0)
        ec = signal_errc::no_signals;
    if (ec)
        return;
    if (!listener_->mail.take(taken)) {
        listener_->answer();
        if (read_ != 0)
            read_signals();
        if (!listener_->mail.take(taken)) {
            has_waited_ = true;
            ec = asio::error::would_block;
            return;
        }
    }
    ++told_;
    signals_ += taken.count;
}

void signal_set_core::arm() noexcept
{
    if (options_.second == second_signal::dies_of_it)
        listener_->second.store(escalation::armed, std::memory_order_relaxed);
}

void signal_set_core::disarm() noexcept
{
    listener_->second.store(escalation::off, std::memory_order_relaxed);
}

bool signal_set_core::contains(int number) const noexcept
{
    return number >= 1 && number <= last_signal && ((handled_ | read_) & signal_bit(number)) != 0;
}

signal_mechanism signal_set_core::mechanism() const noexcept
{
    if (handled_ != 0)
        return read_ != 0 ? signal_mechanism::mixed : signal_mechanism::sigaction;
    return read_ != 0 ? signal_mechanism::signalfd : signal_mechanism::none;
}

signal_mechanism signal_set_core::mechanism(int number) const noexcept
{
    if (!contains(number))
        return signal_mechanism::none;
    return (handled_ & signal_bit(number)) != 0 ? signal_mechanism::sigaction
                                                : signal_mechanism::signalfd;
}

signal_statistics signal_set_core::statistics() const noexcept
{
    return {told_, signals_, listener_->mail.overflowed()};
}

}  // namespace detail

void signal_set::add(int number)
{
    error_code ec;
    core_->add(number, ec);
    if (ec)
        throw boost::system::system_error(ec, "signal_set: signal " + std::to_string(number));
}

PROCYARD_NAMESPACE_END
