// SPDX-License-Identifier: BSL-1.0
#include "connection_packet.hpp"

#include <boost/system/errc.hpp>

#include <sys/socket.h>

#include <new>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/socket_error.hpp>

#include "descriptor_receipt.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

void send_answer(int socket, const connection_answer& answer, error_code& ec) noexcept
{
    try {
        send_packet(socket, to_bytes(answer), {}, ec);
    } catch (const std::bad_alloc&) {
        ec = make_error_code(boost::system::errc::not_enough_memory);
    }
}

received_counts get_packet(int socket, std::span<std::byte> bytes, std::span<unique_fd> descriptors,
                           int flags, error_code& ec) noexcept
{
    auto got = receive_descriptors(socket, bytes, descriptors, flags, ec);
    // The peer has gone and has not read ours. The kernel tells that first, and once; what the peer
    // had sent comes after.
    if (ec == boost::system::errc::connection_reset)
        got = receive_descriptors(socket, bytes, descriptors, flags, ec);
    if (ec.category() == socket_category())
        ec = channel_errc::bad_hello;
    return got;
}

}  // namespace

received_counts receive_packet(int socket, std::span<std::byte> bytes,
                               std::span<unique_fd> descriptors, error_code& ec) noexcept
{
    return get_packet(socket, bytes, descriptors, 0, ec);
}

received_counts peek_packet(int socket, std::span<std::byte> bytes,
                            std::span<unique_fd> descriptors, error_code& ec) noexcept
{
    return get_packet(socket, bytes, descriptors, MSG_PEEK, ec);
}

void send_packet(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors,
                 error_code& ec) noexcept
{
    (void)try_send_descriptors(socket, bytes, descriptors, ec);
}

bool send_status(int socket, connection_status status) noexcept
{
    error_code ec;
    connection_answer answer;
    answer.status = status;
    send_answer(socket, answer, ec);
    return !ec;
}

void refuse_client(int socket, connection_status status, const end_plan& plan) noexcept
{
    // That it is gone, or has not read what it was sent before, is its own business.
    error_code ignored;
    connection_answer answer;
    answer.status = status;
    const bool explains =
        status == connection_status::other_type || status == connection_status::other_direction;
    try {
        if (explains)
            answer.side = side_of(plan);
    } catch (const std::bad_alloc&) {
        answer.side = {};
    }
    send_answer(socket, answer, ignored);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
