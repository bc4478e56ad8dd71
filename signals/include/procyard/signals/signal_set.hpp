// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_SIGNAL_SET_HPP
#define PROCYARD_SIGNALS_SIGNAL_SET_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <initializer_list>
#include <memory>
#include <optional>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/signals/detail/signal_set_core.hpp>
#include <procyard/signals/export.hpp>
#include <procyard/signals/signal_info.hpp>
#include <procyard/signals/signal_options.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Signals that a coroutine can wait for.
///
/// A stalled event loop loses no signal *number*: what comes meanwhile is counted, however often it
/// comes, and told afterwards. Each set hears each of its signals, however many sets there are, in
/// one io_context or several.
///
/// Which is told first: standard and real-time signals take turns. Of the standard ones it is the
/// number whose first signal has waited longest, so none can keep another from being told, and a
/// SIGTERM comes second at worst where one other number is sent without end. Real-time signals come
/// in their order, each with its value.
///
/// With a handler (`signal_mode::sigaction`) the one that was there before is called too, after
/// ours, whatever its kind; the default action does not happen. When the last set lets go of a
/// signal, exactly what was found is put back, SIG_IGN and flags included. If somebody else has
/// installed a handler above ours since, that one is left alone. A wait that begins puts our
/// handler back above it, and calls it as well.
///
/// After a move: empty; may be assigned to and destroyed.
/// @par Thread safety   Distinct objects: safe, also of the same signal. Shared objects: unsafe,
///                      except arm() and disarm(), which any thread may call.
/// @par Lifetime        May be moved and destroyed while waits are pending, which then complete
///                      with operation_aborted.
/// @par Process-wide effects   The signals' dispositions, from the first set to the last one of
///                      each. SA_SIGINFO and SA_ONSTACK; SA_RESTART, unless a handler was there
///                      that had none: whose calls are to be interrupted by it shall not hang. From
///                      the first set on, a hook of pthread_atfork().
/// @par Fork            A signal of a forked copy is never told to the original, nor the other way.
///                      The copy's sets go on, with none of what has come before the fork, once its
///                      context has been told (`notify_fork`; see fork_process()). Copies made by
///                      vfork(2) and clone(2) hear nothing.
/// @par Cost            One descriptor; with a signalfd three. Of a signal by a handler: five
///                      system calls, four of them in the handler, and a look at every set of the
///                      process. A set without a signal costs no wake-up. The memory of a set, 36
///                      KiB with real-time signals, is kept for the next one.
/// @par Limits          1,024 real-time signals wait in a set; of more, only their number is told
///                      (`signal_info::overflowed`). With a signalfd of which one set reads they
///                      wait in the kernel instead (RLIMIT_SIGPENDING). A chained handler that was
///                      installed with SA_RESETHAND is called each time. A handler may be left by
///                      siglongjmp() unless others have been installed above ours.
/// @par Example         @snippet examples/guide/signals.cpp wait
class signal_set {
public:
    using executor_type = asio::any_io_executor;

    /// Of no signals.
    /// @throws boost::system::system_error   no descriptors or no memory for it
    explicit signal_set(const asio::any_io_executor& ex, signal_set_options options = {})
        : executor_(ex),
          core_(std::make_shared<detail::signal_set_core>(ex, options))
    {
    }
    /// Of these.
    /// @throws boost::system::system_error   as add(), and nothing is left then
    signal_set(const asio::any_io_executor& ex, std::initializer_list<int> numbers,
               signal_set_options options = {})
        : signal_set(ex, options)
    {
        for (const int number : numbers)
            add(number);
    }
    signal_set(signal_set&& other) noexcept = default;
    signal_set& operator=(signal_set&& other) noexcept
    {
        signal_set old(std::move(*this));
        executor_ = other.executor_;
        core_ = std::move(other.core_);
        return *this;
    }
    ~signal_set()
    {
        if (core_)
            core_->close();
    }

    /// From now on this signal is heard as well. Of one that is in the set it does nothing.
    /// @par Errors   `signal_errc::not_waitable`; `not_blocked`, `blocked`, `not_deadly`, by the
    ///               options; `taken_over`; EMFILE, ENFILE, ENOMEM. The set is as it was, then.
    void add(int number, error_code& ec) { core_->add(number, ec); }
    /// The same.
    /// @throws boost::system::system_error   which names the signal
    PROCYARD_SIGNALS_EXPORT void add(int number);
    /// Not any more; what has come of it and was not told is forgotten, in the kernel as well
    /// unless another set reads it there. So it is when the set goes.
    void remove(int number) noexcept { core_->remove(number); }
    /// The same for all of them. Pending waits complete with `signal_errc::no_signals`.
    void clear() noexcept { core_->clear(); }
    [[nodiscard]] bool contains(int number) const noexcept { return core_->contains(number); }

    /// Waits for a signal. Any number of waits may be pending; each signal goes to the first.
    /// @par Completion signature   `void(error_code, signal_info)`
    /// @par Errors                 `operation_aborted`; `signal_errc::no_signals`. In
    ///                             a forked copy without descriptors: EMFILE, ENFILE.
    /// @par Cancellation           terminal, partial, total. A cancelled wait has taken nothing:
    ///                             the signal is told to the next one.
    /// @par Lifetime               The object may be moved and destroyed while it is pending.
    /// @par Cost                   One system call for each signal of the set, which asks whose its
    ///                             handler is. No allocation after the first, if the token makes
    ///                             none.
    template <asio::completion_token_for<void(error_code, signal_info)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait(Token&& token = Token{})
    {
        return asio::async_initiate<Token, void(error_code, signal_info)>(
            detail::initiate_signal_wait{}, token, core_);
    }
    /// One signal that has come, without waiting.
    [[nodiscard]] std::optional<signal_info> try_wait() noexcept
    {
        error_code ec;
        signal_info taken;
        core_->take(taken, false, ec);
        return ec ? std::nullopt : std::optional(taken);
    }
    /// Every pending wait completes with operation_aborted.
    void cancel() noexcept { core_->cancel(); }

    // With second_signal::dies_of_it.

    /// The next signal is the first one, again, and the one after it ends the process.
    /// @par Thread safety   Any thread may call it at any time.
    void arm() noexcept { core_->arm(); }
    /// No signal ends the process any more.
    /// @par Thread safety   Any thread may call it at any time.
    void disarm() noexcept { core_->disarm(); }

    /// How its signals get here. `mixed`: some so, some so; `none`: it is empty.
    [[nodiscard]] signal_mechanism mechanism() const noexcept { return core_->mechanism(); }
    /// The same of one of them; `none`: it is not in the set.
    [[nodiscard]] signal_mechanism mechanism(int number) const noexcept
    {
        return core_->mechanism(number);
    }
    [[nodiscard]] signal_statistics statistics() const noexcept { return core_->statistics(); }
    [[nodiscard]] executor_type get_executor() const { return executor_; }

private:
    asio::any_io_executor executor_;
    std::shared_ptr<detail::signal_set_core> core_;
};

PROCYARD_NAMESPACE_END

#endif
