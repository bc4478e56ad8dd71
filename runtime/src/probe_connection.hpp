// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_PROBE_CONNECTION_HPP
#define PROCYARD_RUNTIME_SRC_PROBE_CONNECTION_HPP

#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>

#include <cstdint>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

using probe_socket = asio::generic::stream_protocol::socket;
// Where a server may be, the first choice first.
using probe_places = std::vector<asio::generic::stream_protocol::endpoint>;

[[nodiscard]] probe_places loopback(std::uint16_t port);
// throws boost::system::system_error: no path of a socket
[[nodiscard]] probe_places unix_place(std::string_view path);

// Connects the socket, which is closed, to the first place that takes it.
[[nodiscard]] asio::awaitable<bool> connect_to_any(probe_socket* socket, const probe_places* where);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
