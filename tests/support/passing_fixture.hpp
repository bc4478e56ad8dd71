// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_PASSING_FIXTURE_HPP
#define PROCYARD_TESTS_SUPPORT_PASSING_FIXTURE_HPP

// For tests of descriptors that go through Unix sockets.

#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_socket.hpp>

namespace procyard_test {

inline procyard::raw_socket_pair make_pair(int type)
{
    procyard::error_code ec;
    auto pair = procyard::make_raw_socket_pair(type, ec);
    REQUIRE_FALSE(ec);
    return pair;
}

inline std::span<const std::byte> bytes_of(std::string_view text)
{
    return std::as_bytes(std::span(text.data(), text.size()));
}

inline void send(int socket, std::string_view text, std::span<const int> descriptors = {})
{
    procyard::error_code ec;
    REQUIRE(procyard::try_send_descriptors(socket, bytes_of(text), descriptors, ec) == text.size());
    REQUIRE_FALSE(ec);
}

/// What a call has received.
struct receipt {
    explicit receipt(std::size_t max_count = procyard::max_passed_descriptors)
        : descriptors(max_count)
    {
    }

    receipt& from(int socket, std::size_t size_bytes = 64)
    {
        std::vector<char> block(size_bytes);
        counts = procyard::try_receive_descriptors(socket, std::as_writable_bytes(std::span(block)),
                                                   descriptors, ec);
        text.assign(block.data(), counts.bytes);
        return *this;
    }
    [[nodiscard]] std::size_t open() const
    {
        return static_cast<std::size_t>(
            std::count_if(descriptors.begin(), descriptors.end(),
                          [](const procyard::unique_fd& fd) { return static_cast<bool>(fd); }));
    }

    procyard::error_code ec{};
    procyard::received_counts counts{};
    std::string text{};
    std::vector<procyard::unique_fd> descriptors;
};

inline bool same_file(int a, int b)
{
    struct stat first;
    struct stat second;
    REQUIRE(::fstat(a, &first) == 0);
    REQUIRE(::fstat(b, &second) == 0);
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/// The same open file, so many times.
inline std::vector<int> copies(const procyard::unique_fd& fd, std::size_t count)
{
    return std::vector<int>(count, fd.get());
}

inline constexpr std::array every_type{SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};

}  // namespace procyard_test

#endif
