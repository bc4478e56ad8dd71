// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DUPLEX_HPP
#define PROCYARD_IPC_DUPLEX_HPP

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

/// One side of two channels, one for each direction, which come together: the end of its own kind
/// that a channel_listener and async_connect() can make of one connection. The other side of a
/// `duplex<Out, In>` is a `duplex<In, Out>`.
///
/// The two are independent from then on, and can be moved out. To a child pass two ends.
/// @par Thread safety   As those of sender and receiver.
/// @par Example         `auto server = co_await async_connect<duplex<question, answer>>(ex, path);`
template <encodable_message Out, decodable_message In>
struct duplex {
    procyard::sender<Out> sender{};
    procyard::receiver<In> receiver{};
};

PROCYARD_NAMESPACE_END

#endif
