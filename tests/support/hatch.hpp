// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_HATCH_HPP
#define PROCYARD_TESTS_SUPPORT_HATCH_HPP

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <span>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_socket.hpp>

namespace procyard_test {

/// By which a copy of this process, made while there is one, hands out descriptors of its own.
class hatch {
public:
    hatch()
    {
        procyard::error_code ec;
        ends_ = procyard::make_raw_socket_pair(SOCK_SEQPACKET, ec);
        REQUIRE_FALSE(ec);
    }

    /// In the copy. False: it is not handed out.
    [[nodiscard]] bool hand_out(int fd) const
    {
        procyard::error_code ec;
        (void)procyard::try_send_descriptors(ends_.first.get(), std::as_bytes(std::span("x", 1)),
                                             std::array{fd}, ec);
        return !ec;
    }
    /// The next one. @pre it has been handed out
    [[nodiscard]] procyard::unique_fd take() const
    {
        procyard::error_code ec;
        std::array<std::byte, 1> data{};
        std::array<procyard::unique_fd, 1> fds;
        (void)procyard::try_receive_descriptors(ends_.second.get(), data, fds, ec);
        REQUIRE_FALSE(ec);
        return std::move(fds[0]);
    }

private:
    procyard::raw_socket_pair ends_;
};

}  // namespace procyard_test

#endif
