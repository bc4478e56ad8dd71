// SPDX-License-Identifier: BSL-1.0
// A client of a channel_listener that says what it likes. For tests with INTERNALS ipc.
#ifndef PROCYARD_TESTS_IPC_RAW_CLIENT_HPP
#define PROCYARD_TESTS_IPC_RAW_CLIENT_HPP

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "connection_messages.hpp"
#include "connection_packet.hpp"
#include "raw_peer.hpp"

namespace procyard_test {

/// The one that sends `T`, over a connection of its own.
template <class T>
class raw_client {
public:
    /// `pump` lets the listener work. None: it does so by itself, in another process.
    raw_client(const std::string& path, std::function<void()> pump)
        : pump_(std::move(pump)),
          connection_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0))
    {
        sockaddr_un name{};
        name.sun_family = AF_UNIX;
        std::memcpy(name.sun_path, path.data(), path.size());
        REQUIRE(::connect(connection_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name)
                == 0);
        auto plan = procyard::detail::end_kind<procyard::sender<T>>::plan({});
        request = procyard::detail::to_bytes(procyard::detail::connection_request{
            procyard::detail::side_of(plan), std::uint64_t{1} << 30});
    }

    /// An honest one, until it is changed.
    std::vector<std::byte> request;
    std::vector<int> request_fds;

    void ask() { send_packet(connection_.get(), request, request_fds); }
    /// The next answer; none if the connection has been closed without one.
    std::optional<procyard::detail::connection_answer> hear()
    {
        pollfd waiting{connection_.get(), POLLIN, 0};
        for (int turns = 0; ::poll(&waiting, 1, pump_ ? 0 : -1) == 0; ++turns) {
            REQUIRE_MESSAGE(turns < 1'000'000, "hung");
            pump_();
        }
        procyard::error_code ec;
        std::array<std::byte, procyard::detail::max_connection_bytes> bytes;
        std::array<procyard::unique_fd, 2> sockets;
        const auto got = procyard::detail::receive_packet(connection_.get(), bytes, sockets, ec);
        if (ec)
            return {};
        if (got.descriptors > 0)
            hello_socket = std::move(sockets[0]);
        auto answer = procyard::detail::parse_answer(std::span(bytes).first(got.bytes), ec);
        REQUIRE_FALSE(ec);
        return answer;
    }
    /// Asks, is let in as far as the hello, and has the other end of the ring.
    raw_peer<T> enter(const procyard::channel_options& options)
    {
        ask();
        const auto answer = hear();
        REQUIRE(answer);
        REQUIRE(answer->status == procyard::detail::connection_status::accepted);
        REQUIRE(hello_socket);
        return raw_peer<T>(procyard::detail::ring_role::producer, std::move(hello_socket), options);
    }
    void hang_up() { connection_.reset(); }

    procyard::unique_fd hello_socket;

private:
    std::function<void()> pump_;
    procyard::unique_fd connection_;
};

}  // namespace procyard_test

#endif
