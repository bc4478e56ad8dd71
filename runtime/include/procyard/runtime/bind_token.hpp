// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_BIND_TOKEN_HPP
#define PROCYARD_RUNTIME_BIND_TOKEN_HPP

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <atomic>
#include <memory>
#include <type_traits>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/cancellation.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// One operation under a token: the signal behind its slot, which is touched in its executor alone.
template <class Executor>
class bound_operation final : public cancellation_listener,
                              public std::enable_shared_from_this<bound_operation<Executor>> {
public:
    bound_operation(std::shared_ptr<cancellation_state> state, Executor ex)
        : state_(std::move(state)),
          ex_(std::move(ex))
    {
    }

    asio::cancellation_slot slot() noexcept { return signal_.slot(); }

    // After the initiation. It may have completed by now, in another thread.
    void attach()
    {
        if (!state_)
            return;
        listen(state_, this->shared_from_this());
        // Sequentially consistent, as in finish(): one of the two sees the other, and takes it out.
        if (over_.load())
            unlisten(state_, *this);
    }

    // It completes, or is destroyed without.
    void finish() noexcept
    {
        over_.store(true);
        unlisten(state_, *this);
    }

    // In the executor. What is over must not hear of it: an operation's reaction may point into an
    // object that is no more.
    void emit(asio::cancellation_type type)
    {
        if (!over_.load(std::memory_order_relaxed))  // relaxed: written in this executor
            signal_.emit(type);
    }

    void on_cancelled(const cancellation_reason& reason) noexcept override
    {
        asio::post(ex_,
                   [self = this->shared_from_this(), type = reason.type] { self->emit(type); });
    }

private:
    std::shared_ptr<cancellation_state> state_;
    Executor ex_;
    asio::cancellation_signal signal_;
    std::atomic<bool> over_{false};
};

// In the operation's handler: says when it is over, however it goes.
template <class Executor>
class bound_guard {
public:
    explicit bound_guard(std::shared_ptr<bound_operation<Executor>> operation) noexcept
        : operation_(std::move(operation))
    {
    }
    bound_guard(bound_guard&&) noexcept = default;
    bound_guard& operator=(bound_guard&&) = delete;
    ~bound_guard() { finish(); }

    void finish() noexcept
    {
        if (const auto operation = std::exchange(operation_, nullptr))
            operation->finish();
    }

private:
    std::shared_ptr<bound_operation<Executor>> operation_;
};

// Starts an operation whose handler's slot is connected with the token as well.
template <class Initiation, class Handler, class... Args>
void initiate_bound(Initiation&& initiation, std::shared_ptr<cancellation_state> state,
                    Handler&& given, Args&&... args)
{
    auto handler = std::forward<Handler>(given);
    const auto ex = asio::get_associated_executor(handler);
    using executor = std::remove_const_t<decltype(ex)>;
    static_assert(!std::is_same_v<executor, asio::system_executor>,
                  "bind_token needs a handler with an executor, in which it can cancel the "
                  "operation: a coroutine's, or asio::bind_executor(executor, handler)");

    const auto operation = std::make_shared<bound_operation<executor>>(std::move(state), ex);
    auto outer = asio::get_associated_cancellation_slot(handler);
    if (outer.is_connected()) {
        outer.assign([weak = std::weak_ptr(operation)](asio::cancellation_type type) {
            if (const auto pending = weak.lock())
                pending->emit(type);
        });
    }
    const auto allocator = asio::get_associated_allocator(handler);
    auto wrapped = [guard = bound_guard<executor>(operation),
                    handler = std::move(handler)](auto&&... results) mutable {
        guard.finish();
        std::move(handler)(std::forward<decltype(results)>(results)...);
    };
    std::forward<Initiation>(initiation)(
        asio::bind_executor(
            ex,
            asio::bind_allocator(
                allocator, asio::bind_cancellation_slot(operation->slot(), std::move(wrapped)))),
        std::forward<Args>(args)...);
    // Not earlier: its slot may be emitted only when it has one.
    operation->attach();
}

// A completion token, and whom the operation is to heed.
// Not an aggregate: GCC 12 destroys one that is made inside a co_await expression twice.
template <class Token>
struct bound_token {
    template <class T>
    bound_token(T&& inner, std::shared_ptr<cancellation_state> heeded)
        : token(std::forward<T>(inner)),
          state(std::move(heeded))
    {
    }

    Token token;
    std::shared_ptr<cancellation_state> state;
};

}  // namespace detail

/// Runs an operation under a token: `co_await timer.async_wait(bind_token(token, use_awaitable))`.
///
/// When the token is cancelled, from whatever thread, the operation's cancellation slot is emitted
/// with `cancellation_reason::type`, in the executor of the operation's handler. It completes as it
/// does when it is cancelled: as a rule with `operation_aborted`. If the token is cancelled
/// already, the operation starts and is cancelled in its first turn; one that need not wait, as an
/// accept with a full backlog, succeeds before that. So a loop has to ask `token.cancelled()`. What
/// the handler's own slot says counts as before.
///
/// The handler's executor must be where the operation may be touched, never in two threads at once:
/// the coroutine's own, a strand, or that of a context that one thread runs. A handler without an
/// executor is refused by the compiler.
/// @par Completion signature   The operation's.
/// @par Errors                 The operation's.
/// @par Cancellation           The operation's, by its own slot and by the token.
/// @par Thread safety          The token may be cancelled by any thread at any time, but not while
///                             the context is being destroyed.
/// @par Lifetime               The token is copied. After its completion the operation hears of
///                             nothing more.
/// @par Cost                   Two allocations per operation; a post when it is cancelled.
/// @par Example                @snippet examples/guide/shutting_down.cpp bound
template <class Token = asio::deferred_t>
[[nodiscard]] auto bind_token(const cancellation_token& token, Token&& completion = Token{})
{
    return detail::bound_token<std::decay_t<Token>>(std::forward<Token>(completion),
                                                    detail::cancellation_access::state(token));
}

/// Runs a coroutine under a token: `co_await run_under(token, serve(socket))`.
///
/// It runs in the executor of the coroutine that awaits it, and is cancelled by the token as well
/// as by what cancels that one. Between two operations it hears as a coroutine of Asio's does: the
/// next `co_await` throws `operation_aborted`.
/// @par Errors         What the coroutine throws.
/// @par Cancellation   What the coroutine does about it; of type terminal, unless it asks for more.
/// @par Cost           That of `asio::co_spawn` and `bind_token`.
/// @par Example        @snippet examples/guide/shutting_down.cpp bound
template <class T>
[[nodiscard]] asio::awaitable<T> run_under(cancellation_token token, asio::awaitable<T> coroutine)
{
    const auto ex = co_await asio::this_coro::executor;
    co_return co_await asio::co_spawn(ex, std::move(coroutine),
                                      bind_token(token, asio::use_awaitable));
}

PROCYARD_NAMESPACE_END

namespace boost::asio {

template <class Token, class... Signatures>
struct async_result<procyard::detail::bound_token<Token>, Signatures...> {
    template <class Initiation>
    struct bound_initiation {
        Initiation initiation;

        template <class Handler, class... Args>
        void operator()(Handler&& handler,
                        std::shared_ptr<procyard::detail::cancellation_state> state,
                        Args&&... args) &&
        {
            procyard::detail::initiate_bound(std::move(initiation), std::move(state),
                                             std::forward<Handler>(handler),
                                             std::forward<Args>(args)...);
        }
        template <class Handler, class... Args>
        void operator()(Handler&& handler,
                        std::shared_ptr<procyard::detail::cancellation_state> state,
                        Args&&... args) const&
        {
            procyard::detail::initiate_bound(initiation, std::move(state),
                                             std::forward<Handler>(handler),
                                             std::forward<Args>(args)...);
        }
    };

    template <class Initiation, class Bound, class... Args>
    static auto initiate(Initiation&& initiation, Bound&& bound, Args&&... args)
        -> decltype(async_initiate<Token, Signatures...>(
            std::declval<bound_initiation<std::decay_t<Initiation>>>(), bound.token,
            std::move(bound.state), std::forward<Args>(args)...))
    {
        return async_initiate<Token, Signatures...>(
            bound_initiation<std::decay_t<Initiation>>{std::forward<Initiation>(initiation)},
            bound.token, std::move(bound.state), std::forward<Args>(args)...);
    }
};

}  // namespace boost::asio

#endif
