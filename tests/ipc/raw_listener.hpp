// SPDX-License-Identifier: BSL-1.0
// Whom async_connect() takes for a channel_listener: it answers what it likes, or nothing. For
// tests with INTERNALS ipc.
#ifndef PROCYARD_TESTS_IPC_RAW_LISTENER_HPP
#define PROCYARD_TESTS_IPC_RAW_LISTENER_HPP

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/unix_socket.hpp>

#include "connection_messages.hpp"
#include "procyard_test.hpp"
#include "raw_peer.hpp"

namespace procyard_test {

/// Changes what is said.
template <class Value>
void put_at(std::vector<std::byte>& bytes, std::size_t at, Value value)
{
    std::memcpy(bytes.data() + at, &value, sizeof value);
}

/// An answer that says nothing else.
inline std::vector<std::byte> answer_of(procyard::detail::connection_status status)
{
    procyard::detail::connection_answer answer;
    answer.status = status;
    return procyard::detail::to_bytes(answer);
}

/// The one that sends `T`; clients receive.
template <class T>
class raw_listener {
public:
    explicit raw_listener(const std::string& path, const procyard::channel_options& options = {})
        : socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0))
    {
        sockaddr_un name{};
        name.sun_family = AF_UNIX;
        std::memcpy(name.sun_path, path.data(), path.size());
        REQUIRE(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0);
        REQUIRE(::listen(socket_.get(), 8) == 0);
        const auto plan = procyard::detail::end_kind<procyard::sender<T>>::plan(options);
        procyard::detail::connection_answer honest;
        honest.side = procyard::detail::side_of(plan);
        honest.sent_units = plan.sends->shape.unit_count;
        answer = procyard::detail::to_bytes(honest);
        confirmation = procyard::detail::to_bytes(procyard::detail::connection_answer{});
        procyard::error_code ec;
        auto sockets = procyard::make_raw_socket_pair(SOCK_SEQPACKET, ec);
        REQUIRE_FALSE(ec);
        ring_.emplace(procyard::detail::ring_role::producer, std::move(sockets.first), options);
        offered = std::move(sockets.second);
        answer_fds = {offered.get()};
    }

    /// Honest ones, until they are changed.
    std::vector<std::byte> answer;
    std::vector<int> answer_fds;
    std::vector<std::byte> confirmation;
    std::vector<int> confirmation_fds;

    /// The other end of the ring, which greets when it is told to.
    [[nodiscard]] raw_peer<T>& ring() { return *ring_; }
    /// The next client.
    void accept()
    {
        wait_for(socket_.get());
        connection_.reset(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        REQUIRE(connection_);
    }
    /// Takes what it has asked.
    void read_request()
    {
        wait_for(connection_.get());
        std::array<std::byte, procyard::detail::max_connection_bytes> bytes;
        REQUIRE(::recv(connection_.get(), bytes.data(), bytes.size(), 0) > 0);
    }
    void say(std::span<const std::byte> bytes, std::span<const int> fds = {})
    {
        send_packet(connection_.get(), bytes, fds);
    }
    void reply() { say(answer, answer_fds); }
    void confirm() { say(confirmation, confirmation_fds); }
    /// As often as there is room for.
    std::size_t flood()
    {
        std::size_t sent = 0;
        while (::send(connection_.get(), answer.data(), answer.size(), MSG_NOSIGNAL) > 0)
            ++sent;
        return sent;
    }
    void hang_up() { connection_.reset(); }
    void let_go_of_ring() { ring_.reset(); }

    procyard::unique_fd offered;  // the socket in which the ring lies

private:
    static void wait_for(int fd)
    {
        pollfd waiting{fd, POLLIN, 0};
        REQUIRE_MESSAGE(::poll(&waiting, 1, deadlock_guard / std::chrono::milliseconds(1)) == 1,
                        "nobody comes, or says anything");
    }

    procyard::unique_fd socket_;
    procyard::unique_fd connection_;
    std::optional<raw_peer<T>> ring_;
};

}  // namespace procyard_test

#endif
