// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_FORWARD_SIGNALS_HPP
#define PROCYARD_RUNTIME_FORWARD_SIGNALS_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <concepts>
#include <cstdint>
#include <functional>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/signals/signal_info.hpp>
#include <procyard/signals/signal_set.hpp>

PROCYARD_NAMESPACE_BEGIN

class child;

/// Where signals can be forwarded to: a function that passes one on, and says whether it could.
template <class T>
concept signal_target = std::copy_constructible<T>
    && requires(T& target, const signal_info& info, error_code& ec) { target(info, ec); };

/// To the child alone. The child must outlive the target's use, and not be moved meanwhile.
class PROCYARD_RUNTIME_EXPORT to_child {
public:
    explicit to_child(child& to) noexcept : to_(&to) { }
    void operator()(const signal_info& info, error_code& ec) const;

private:
    child* to_;
};

/// To the child and all that it has started. Lifetime as to_child.
class PROCYARD_RUNTIME_EXPORT to_tree {
public:
    explicit to_tree(child& to) noexcept : to_(&to) { }
    void operator()(const signal_info& info, error_code& ec) const;

private:
    child* to_;
};

/// To a child that has a terminal of its own (`command::terminal`), what belongs to ours.
///
/// SIGWINCH gives it the size of our window, as the kernel then tells it. SIGTSTP suspends its
/// tree, and then this process, as a ^Z that somebody has typed at our terminal means: with a
/// SIGSTOP after the SIGTSTP, which the kernel ignores in the leader of a session, so a handler of
/// SIGTSTP may not have run when it stops. SIGCONT lets the tree go on, with the size that the
/// window has by now. All others go to the tree. Lifetime as to_child.
/// @par Process-wide effects   A SIGTSTP stops this process (SIGSTOP).
class PROCYARD_RUNTIME_EXPORT to_terminal {
public:
    /// `terminal` is ours, of which the size is taken. It stays the caller's.
    explicit to_terminal(child& to, int terminal = 0) noexcept : to_(&to), terminal_(terminal) { }
    void operator()(const signal_info& info, error_code& ec) const;

private:
    void resize(error_code& ec) const;

    child* to_;
    int terminal_;
};

namespace detail {

PROCYARD_RUNTIME_EXPORT void
start_forwarding(signal_set set, std::function<void(const signal_info&, error_code&)> target,
                 asio::any_completion_handler<void(error_code, std::uint64_t)> handler);

}  // namespace detail

/// Passes the signals of a set on, until it is cancelled or the target fails.
///
/// A child that has ended takes signals and does nothing with them, so the usual form is a race
/// with the child's end. A count is no message: of a number that has come several times since the
/// last one, one signal is passed on.
/// @par Completion signature   `void(error_code, std::uint64_t)`: why it has ended, and how many
///                             signals have been passed on. There is no success.
/// @par Errors                 `operation_aborted`; `signal_errc::no_signals`; what the target
///                             says, as EPERM of a child that has changed its user.
/// @par Cancellation           terminal, partial, total. What was passed on was passed on, and so
///                             is what the set has heard by then (at most 2,048 of it, and up to
///                             the first that the target refuses): it counts in the result. One
///                             that comes later goes to whoever else has a set of it, or to its
///                             disposition.
/// @par Lifetime               The set belongs to the operation. What the target refers to must
///                             live until the handler is called.
/// @par Cost                   A few allocations at the start; that of a wait for each signal.
/// @par Example                @snippet examples/guide/signals.cpp forward
template <signal_target Target,
          asio::completion_token_for<void(error_code, std::uint64_t)> Token = asio::deferred_t>
[[nodiscard]] auto async_forward_signals(signal_set set, Target target, Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, std::uint64_t)>(
        [](auto handler, signal_set from, Target to) {
            detail::start_forwarding(std::move(from), std::move(to), std::move(handler));
        },
        token, std::move(set), std::move(target));
}

PROCYARD_NAMESPACE_END

#endif
