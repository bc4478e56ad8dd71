// SPDX-License-Identifier: BSL-1.0
// The other side of sd_notify(3), as far as a test has to see what was said.
#ifndef PROCYARD_TESTS_SUPPORT_FAKE_MANAGER_HPP
#define PROCYARD_TESTS_SUPPORT_FAKE_MANAGER_HPP

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/unique_fd.hpp>

namespace procyard_test {

class fake_manager {
public:
    struct message {
        std::string text;
        std::vector<procyard::unique_fd> descriptors;
    };

    /// With a path: there; else with an abstract name of the kernel's choice.
    explicit fake_manager(const std::string& path = {}) { bind(path); }

    /// For NOTIFY_SOCKET.
    [[nodiscard]] const std::string& address() const noexcept { return address_; }

    /// The next message; empty when there is none.
    [[nodiscard]] std::optional<message> receive()
    {
        std::array<char, 8192> data{};
        std::array<procyard::unique_fd, 16> room;
        procyard::error_code ec;
        const auto got = procyard::try_receive_descriptors(
            socket_.get(), std::as_writable_bytes(std::span(data)), room, ec);
        if (ec)
            return std::nullopt;
        message one;
        one.text.assign(data.data(), got.bytes);
        for (std::size_t i = 0; i < got.descriptors; ++i)
            one.descriptors.push_back(std::move(room.at(i)));
        return one;
    }
    /// The next message's text; "nothing" when there is none.
    [[nodiscard]] std::string text()
    {
        const auto one = receive();
        return one ? one->text : "nothing";
    }
    /// How many there are.
    std::size_t drain()
    {
        std::size_t count = 0;
        while (receive())
            ++count;
        return count;
    }
    /// It has gone; whoever is connected to it is refused.
    void close() noexcept { socket_.reset(); }
    /// A new one, perhaps of the same path.
    void bind(const std::string& path)
    {
        socket_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        REQUIRE(path.size() < sizeof to.sun_path);
        std::memcpy(to.sun_path, path.data(), path.size());
        socklen_t size = path.empty() ? sizeof(sa_family_t) : sizeof to;
        REQUIRE(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&to), size) == 0);
        size = sizeof to;
        REQUIRE(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&to), &size) == 0);
        address_ = path;
        if (path.empty()) {
            address_.assign(to.sun_path, size - offsetof(sockaddr_un, sun_path));
            address_.at(0) = '@';
        }
    }

private:
    procyard::unique_fd socket_;
    std::string address_;
};

}  // namespace procyard_test

#endif
