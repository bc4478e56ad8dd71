// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_CANCELLATION_HPP
#define PROCYARD_RUNTIME_CANCELLATION_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/deferred.hpp>

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Why something was cancelled.
enum class cancellation_cause : std::uint8_t {
    /// Somebody asked for it.
    requested,
    /// Its time was over.
    deadline,
    /// A signal came; `cancellation_reason::signal` is its number.
    signal,
    /// Something it belongs together with has failed.
    failure,
    /// The program, or the part of it, shuts down.
    shutdown,
    /// Its owner has gone.
    dropped,
};

/// What a cancellation says of itself.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT cancellation_reason {
    cancellation_cause cause = cancellation_cause::requested;
    /// With `cancellation_cause::signal`: 1 to 64. Else 0.
    int signal = 0;
    /// With what Asio is told. Coroutines hear of `terminal` alone, unless they ask for more
    /// (`asio::this_coro::reset_cancellation_state`).
    asio::cancellation_type type = asio::cancellation_type::terminal;

    friend bool operator==(const cancellation_reason&, const cancellation_reason&) = default;
};
/// `requested`, `deadline`, `SIGTERM`, …
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string to_string(const cancellation_reason& reason);

class cancellation_token;

namespace detail {

class cancellation_owner;
class cancellation_state;
struct cancellation_access;

// Hears of one state's end, once: in the thread that cancels, which holds no lock; from there it
// has to hop to where it belongs.
class PROCYARD_RUNTIME_EXPORT cancellation_listener {
public:
    cancellation_listener() = default;
    cancellation_listener(const cancellation_listener&) = delete;
    cancellation_listener& operator=(const cancellation_listener&) = delete;
    virtual ~cancellation_listener();

    virtual void on_cancelled(const cancellation_reason& reason) noexcept = 0;
    // There is nobody left who could cancel.
    virtual void on_abandoned() noexcept { }

private:
    friend class cancellation_state;

    // Where the state has it; guarded by the state's mutex.
    std::list<std::shared_ptr<cancellation_listener>>::iterator place_{};
    bool listed_ = false;
};

// Inside, if it is cancelled or abandoned already. Without a state: abandoned.
PROCYARD_RUNTIME_EXPORT void listen(const std::shared_ptr<cancellation_state>& state,
                                    std::shared_ptr<cancellation_listener> listener);
// True: it has heard nothing and never will. False: it has, or is hearing it now.
PROCYARD_RUNTIME_EXPORT bool unlisten(const std::shared_ptr<cancellation_state>& state,
                                      cancellation_listener& listener) noexcept;

PROCYARD_RUNTIME_EXPORT void
start_cancellation_wait(const std::shared_ptr<cancellation_state>& state, asio::any_io_executor ex,
                        asio::any_completion_handler<void(error_code, cancellation_reason)> done);

}  // namespace detail

/// Where one is told that work is to end: a value to be passed along, asked, and waited for.
///
/// Once cancelled it stays so: who comes late hears at once. Asio's own cancellation slots are
/// neither sticky nor thread-safe; `bind_token` connects an operation's slot with a token, and
/// emits it in the operation's executor. `std::stop_token` alone would not do: it calls back in the
/// thread that stops, where an Asio object must not be touched; destroying its callback may block;
/// it knows neither a reason nor a parent. Both ways lead from one to the other: `stop_token()`
/// here, and a source can be made of a `std::stop_token`.
///
/// A token without a source (default, moved from) is never cancelled.
/// @par Thread safety   Distinct and shared objects: safe, but for assignment and destruction.
/// @par Example         @snippet examples/guide/shutting_down.cpp token
class PROCYARD_RUNTIME_EXPORT cancellation_token {
public:
    cancellation_token() noexcept = default;

    /// Whether it has been cancelled. One acquire load: what the thread that cancelled has done
    /// before can be seen afterwards.
    [[nodiscard]] bool cancelled() const noexcept
    {
        // Acquire, pairs with the exchange in cancellation_state::cancel.
        return state_ != nullptr && word_->load(std::memory_order_acquire) != 0;
    }
    /// Why; empty until it is cancelled.
    [[nodiscard]] std::optional<cancellation_reason> reason() const noexcept;
    /// Whether it can be cancelled, or has been. False when the last source has gone,
    /// but for one made of a `std::stop_token`, which is never known to have gone.
    [[nodiscard]] bool can_be_cancelled() const noexcept;
    /// Throws `boost::system::system_error` with `operation_aborted` once it is cancelled: a place
    /// in a long computation where it may be left.
    void throw_if_cancelled() const;

    /// Waits until it is cancelled. Any number may wait.
    /// @par Completion signature   `void(error_code, cancellation_reason)`
    /// @par Errors                 `operation_aborted`: cancelled by its own slot, or there is no
    ///                             source left that could ever cancel.
    /// @par Cancellation           terminal, partial, total: the wait ends, nothing else happens.
    ///                             From any thread, not at the same time as its start.
    /// @par Thread safety          Any thread may call it at any time.
    /// @par Lifetime               The token need not be kept. A wait that is pending when its
    ///                             context is destroyed is dropped with it.
    /// @par Cost                   Two allocations.
    template <
        asio::completion_token_for<void(error_code, cancellation_reason)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait(asio::any_io_executor ex, Token&& token = Token{}) const
    {
        return asio::async_initiate<Token, void(error_code, cancellation_reason)>(
            [](auto handler, const std::shared_ptr<detail::cancellation_state>& state,
               asio::any_io_executor io) {
                detail::start_cancellation_wait(state, std::move(io), std::move(handler));
            },
            token, state_, std::move(ex));
    }

    /// A `std::stop_token` that is stopped when this is cancelled, for a library that takes one, or
    /// for a `std::stop_callback`: that runs in the thread that cancels.
    [[nodiscard]] std::stop_token stop_token() const;

    /// Of the same source.
    friend bool operator==(const cancellation_token& a, const cancellation_token& b) noexcept
    {
        return a.state_ == b.state_;
    }

private:
    friend class cancellation_source;
    friend struct detail::cancellation_access;
    explicit cancellation_token(std::shared_ptr<detail::cancellation_state> state) noexcept;

    std::shared_ptr<detail::cancellation_state> state_;
    const std::atomic<std::uint64_t>* word_ = nullptr;  // in the state
};

namespace detail {

// The library's view of a token.
struct cancellation_access {
    static const std::shared_ptr<cancellation_state>& state(const cancellation_token& token)
    {
        return token.state_;
    }
};

}  // namespace detail

/// Cancels what holds its tokens: once, from any thread, with a reason.
///
/// Copies share one state. When the last copy goes without having cancelled, nobody is cancelled:
/// operations under its tokens go on, and waits for it end with `operation_aborted` (unless a
/// parent may still cancel).
///
/// A source made with a parent's token is cancelled with the parent, for the parent's reason, and
/// not the other way round. It leaves the parent when it and its tokens have gone, so short-lived
/// children of a long-lived parent cost nothing afterwards.
/// @par Thread safety   Distinct and shared objects: safe, but for assignment and destruction.
/// @par Example         @snippet examples/guide/shutting_down.cpp token
class PROCYARD_RUNTIME_EXPORT cancellation_source {
public:
    cancellation_source();
    /// A child: cancelled with the parent, at once if that is cancelled already.
    explicit cancellation_source(const cancellation_token& parent);
    /// Cancelled when somebody requests the stop.
    explicit cancellation_source(const std::stop_token& parent);

    /// Cancels. True for the call that did: the first one, whose reason stands.
    ///
    /// Whoever listens hears through its own executor, in a later turn; children are cancelled, and
    /// `std::stop_callback`s called, before this returns. `reason.type` must not be `none`.
    /// @par Thread safety   Any thread may call it at any time; not a signal handler.
    /// @par Cost            A post for each listener. Without memory for it the program ends.
    bool request_cancel(const cancellation_reason& reason = {}) noexcept;

    [[nodiscard]] bool cancelled() const noexcept { return token().cancelled(); }
    [[nodiscard]] cancellation_token token() const noexcept;

private:
    std::shared_ptr<detail::cancellation_owner> owner_;
};

PROCYARD_NAMESPACE_END

#endif
