// SPDX-License-Identifier: BSL-1.0
#include <procyard/signals/detail/signal_set_core.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <ctime>
#include <new>

#include <procyard/ipc/syscall.hpp>
#include <procyard/signals/signal_error.hpp>
#include <procyard/signals/signal_set.hpp>

#include "handler_table.hpp"
#include "signal_listener.hpp"
#include "signal_mailbox.hpp"
#include "thread_masks.hpp"
#include "waitable.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

signal_record record_of_read(const signalfd_siginfo& read) noexcept
{
    siginfo_t info{};
    info.si_code = read.ssi_code;
    info.si_pid = static_cast<pid_t>(read.ssi_pid);
    info.si_uid = static_cast<uid_t>(read.ssi_uid);
    auto record = record_of(static_cast<int>(read.ssi_signo), info);
    if (record.code == SI_QUEUE || record.code == SI_TIMER || record.code == SI_MESGQ
        || record.code == SI_ASYNCIO)
        // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel gives the pointer as a number.
        record.value = reinterpret_cast<void*>(static_cast<std::uintptr_t>(read.ssi_ptr));
    return record;
}

// What waits there because nobody has read it: it would be told to the next set that reads this
// number, however much later. Sets that have a handler hear of it.
void take_from_kernel(int number) noexcept
{
    const auto set = sigset_of(signal_bit(number));
    const timespec at_once{};
    siginfo_t info{};
    constexpr int most = 1 << 20;  // a sender without end must not keep it from ending
    for (int more = most; more > 0; --more) {
        if (retry_eintr([&] { return ::sigtimedwait(&set, &info, &at_once); }) == -1)
            return;
        deliver(record_of(number, info));
    }
}

}  // namespace

signal_set_core::signal_set_core(const asio::any_io_executor& ex, signal_set_options options)
    : queue_(std::make_shared<operation_queue>(ex)),
      options_(options),
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
        if (!is_read(number))
            take_from_kernel(number);
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
    release_listener(*listener_);
    listener_ = nullptr;
    // In a forked copy whose reactor may be the original's, what is closed leaves it: see
    // reactor_watch.
    queue_->unwatch();
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
// has no say in whose turn it is. Real-time signals come after those; there is more room for them
// in the kernel than here, so no more than a batch of them is taken.
void signal_set_core::read_signals() noexcept
{
    constexpr std::size_t batch = 8;
    const int fd = listener_->read_fd.load(std::memory_order_relaxed);
    std::array<signalfd_siginfo, batch> infos;
    for (int more = 4; more > 0; --more) {  // there are 31 standard signals
        const auto bytes = retry_eintr([&] { return ::read(fd, infos.data(), sizeof infos); });
        const auto count = bytes > 0 ? static_cast<std::size_t>(bytes) / sizeof infos[0] : 0;
        // Nobody else gets them, so whoever reads tells all.
        for (std::size_t i = 0; i < count; ++i)
            deliver(record_of_read(infos[i]), listener_);
        if (count < batch || infos[count - 1].ssi_signo >= first_realtime)
            return;
    }
}

// A handler that has set has_rung and not yet pressed does so when that has been answered, and
// wakes for nothing. Only then the bell is read without being asked to: it is a system call.
bool signal_set_core::take_what_came(signal_info& taken, bool was_woken) noexcept
{
    if (listener_->mail.take(taken))
        return true;
    if (listener_->has_rung.load(std::memory_order_acquire))
        listener_->answer();
    if (read_ != 0)
        read_signals();
    if (listener_->mail.take(taken))
        return true;
    if (!was_woken)
        return false;
    listener_->answer();
    return listener_->mail.take(taken);
}

void signal_set_core::take(signal_info& taken, bool was_woken, error_code& ec) noexcept
{
    ec.clear();
    if (const int broken = listener_->broken.load(std::memory_order_relaxed); broken != 0)
        ec = make_errno(broken);
    else if (handled_ == 0 && read_ == 0)
        ec = signal_errc::no_signals;
    else if (!take_what_came(taken, was_woken))
        ec = asio::error::would_block;
    if (ec)
        return;
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
