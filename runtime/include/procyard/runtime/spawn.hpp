// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SPAWN_HPP
#define PROCYARD_RUNTIME_SPAWN_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/spawn_error.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Starts a child.
///
/// Blocks the calling thread for the time of one clone and exec (a tenth of a millisecond; file
/// systems that hang make it longer, for which there is `async_spawn`). The cost does not grow with
/// this process' memory, and as a rule not with its open descriptors (`spawn_info::descriptors`).
/// All streams of the child use `executor`.
///
/// The first spawn in a context makes its child service: one epoll descriptor and a few reserved
/// low descriptor numbers.
/// @par Errors          `spawn_error`, or `failure`: which step, which errno, on what. Nothing is
///                      left behind by a failed spawn.
/// @par Thread safety   Any number of threads may spawn, in one context or several.
/// @par Cost            One clone and exec. A program that is busy (ETXTBSY, see
///                      `command::text_busy_retries`) holds the calling thread while it is tried
///                      again: up to 31 ms by default, not at all with `text_busy_retries(0)`.
///                      `async_spawn` waits elsewhere.
/// @par Process-wide effects   While the call lasts, the calling thread's signals are blocked; the
///                             mask is as it was when it returns. With `command::user` or
///                             `command::group` the process is not dumpable meanwhile.
/// @par Example         @snippet examples/01_hello_child.cpp hello
[[nodiscard]] PROCYARD_RUNTIME_EXPORT child spawn(const command& what,
                                                  asio::any_io_executor executor);
/// The same; does not throw `spawn_error`, but fills `failure` and returns an empty child.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT child spawn(const command& what,
                                                  asio::any_io_executor executor,
                                                  spawn_failure& failure);

namespace detail {

PROCYARD_RUNTIME_EXPORT void
start_spawn(command what, asio::any_io_executor executor, spawn_failure* failure,
            asio::any_completion_handler<void(error_code, child)> handler);

}  // namespace detail

/// Starts a child from the context's spawner thread, so that not even a hanging file system holds
/// the event loop.
///
/// The spawner is one thread, named `procyard-spawn`, that is started by the first call in a
/// context (or by the first command with a parent-death signal) and joined when the context is
/// destroyed. It blocks all signals.
/// @par Completion signature   `void(error_code, child)`; the child is empty when `ec` is set.
/// @par Errors                 A code of `spawn_category`; with `failure`, the whole story.
///                             `operation_aborted`.
/// @par Cancellation           terminal, partial, total: a spawn that has not begun does not begin;
///                             a child that was made in the meantime is killed with all it has
///                             started, and they are gone and reaped before the operation
///                             completes (who may not be killed, as of another user, is waited
///                             for). May be emitted in any thread; see `async_run` for when.
/// @par Thread safety          As for `spawn`.
/// @par Lifetime               The arguments are copied or moved; `failure` must outlive the
///                             operation.
/// @par Cost                   That of `spawn`, and two changes of thread. The spawner starts one
///                             program at a time: one that hangs holds up those behind it.
/// @par Example                @snippet examples/guide/spawning.cpp async_spawn
template <asio::completion_token_for<void(error_code, child)> Token = asio::deferred_t>
[[nodiscard]] auto async_spawn(command what, asio::any_io_executor executor,
                               Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, child)>(
        [](auto handler, command moved, asio::any_io_executor io) {
            detail::start_spawn(std::move(moved), std::move(io), nullptr, std::move(handler));
        },
        token, std::move(what), std::move(executor));
}

/// The same; `failure` gets the whole story before the operation completes, and is left empty by a
/// success.
template <asio::completion_token_for<void(error_code, child)> Token = asio::deferred_t>
[[nodiscard]] auto async_spawn(command what, asio::any_io_executor executor, spawn_failure& failure,
                               Token&& token = Token{})
{
    return asio::async_initiate<Token, void(error_code, child)>(
        [](auto handler, command moved, asio::any_io_executor io, spawn_failure* out) {
            detail::start_spawn(std::move(moved), std::move(io), out, std::move(handler));
        },
        token, std::move(what), std::move(executor), &failure);
}

PROCYARD_NAMESPACE_END

#endif
