// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_CHANNEL_PROBE_HPP
#define PROCYARD_RUNTIME_CHANNEL_PROBE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <functional>
#include <utility>

#include <procyard/ipc/channel_address.hpp>
#include <procyard/ipc/channel_connect.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/connectable_end.hpp>
#include <procyard/ipc/duplex.hpp>
#include <procyard/runtime/probes.hpp>
#include <procyard/runtime/service.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

template <connectable_end End>
asio::awaitable<bool> channel_opens(channel_address where, channel_connect_options options)
{
    const asio::any_io_executor ex = co_await asio::this_coro::executor;
    auto [ec, end] = co_await async_connect<End>(ex, std::move(where), std::move(options),
                                                 asio::as_tuple(asio::use_awaitable));
    co_return !ec;
}

template <class Question, class Answer>
asio::awaitable<bool> channel_answers(channel_address where, Question question,
                                      std::function<bool(const Answer&)> is_good,
                                      channel_connect_options options)
{
    const asio::any_io_executor ex = co_await asio::this_coro::executor;
    auto [ec, end] = co_await async_connect<duplex<Question, Answer>>(
        ex, std::move(where), std::move(options), asio::as_tuple(asio::use_awaitable));
    if (ec)
        co_return false;
    const auto [unsent] =
        co_await end.sender.async_send(question, asio::as_tuple(asio::use_awaitable));
    if (unsent)
        co_return false;
    auto [unheard, answer] =
        co_await end.receiver.async_receive(asio::as_tuple(asio::use_awaitable));
    co_return !unheard && is_good(answer);
}

}  // namespace detail

/// Whether a channel_listener gives out a channel: `channel_probe<sender<job>>("/run/jobs")`, of
/// the opposite end to the listener's.
///
/// The handshake is done by the program's own loop, while it accepts, so one that is stuck is not
/// healthy. The channel is closed at once: whoever accepts gets an end whose peer has gone.
/// @par Thread safety   As tcp_probe.
/// @par Cost            A connection for each question, and the memory of its rings.
template <connectable_end End>
[[nodiscard]] service_probe channel_probe(channel_address where,
                                          channel_connect_options options = {})
{
    return [where = std::move(where), options = std::move(options)] {
        return detail::or_false(detail::channel_opens<End>(where, options));
    };
}

/// Whether a question is answered well by whoever listens for a `duplex<Answer, Question>`:
/// connects, sends the question, and gives the first answer to `is_good`.
/// @par Thread safety   As tcp_probe, if the copies of `is_good` are.
/// @par Cost            As above.
/// @par Example
/// @code
/// channel_probe<int, int>("/run/adder", 41, [](int answer) { return answer == 42; })
/// @endcode
template <encodable_message Question, decodable_message Answer>
[[nodiscard]] service_probe channel_probe(channel_address where, Question question,
                                          std::function<bool(const Answer&)> is_good,
                                          channel_connect_options options = {})
{
    return [where = std::move(where), question = std::move(question), is_good = std::move(is_good),
            options = std::move(options)] {
        return detail::or_false(
            detail::channel_answers<Question, Answer>(where, question, is_good, options));
    };
}

PROCYARD_NAMESPACE_END

#endif
