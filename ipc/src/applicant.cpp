// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/applicant.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/errc.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <new>
#include <span>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/syscall.hpp>

#include "connection_messages.hpp"
#include "connection_packet.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// An end whose other side is open has something in its socket, which is the first that is read by
// whoever opens it.
bool is_ready(int socket) noexcept
{
    std::byte first{};
    const auto look = [&] { return ::recv(socket, &first, 1, MSG_PEEK | MSG_DONTWAIT); };
    return retry_eintr(look) != -1 || errno != EAGAIN;
}

std::uint64_t units_of(const std::optional<channel_terms>& terms) noexcept
{
    return terms ? terms->shape.unit_count : 0;
}

}  // namespace

applicant::applicant(unique_fd connection, std::uint64_t ticket,
                     std::uint64_t max_segment_bytes) noexcept
    : connection_(std::move(connection)),
      ticket_(ticket),
      max_segment_bytes_(max_segment_bytes),
      owner_(::getpid())
{
}

applicant& applicant::operator=(applicant&& other) noexcept
{
    if (this != &other) {
        send_away();
        connection_ = std::move(other.connection_);
        ticket_ = other.ticket_;
        max_segment_bytes_ = other.max_segment_bytes_;
        owner_ = other.owner_;
    }
    return *this;
}

applicant::~applicant()
{
    send_away();
}

void applicant::send_away() noexcept
{
    if (connection_ && owner_ == ::getpid())
        (void)send_status(connection_.get(), connection_status::unavailable);
    connection_.reset();
}

void applicant::refuse() noexcept
{
    if (connection_)
        (void)send_status(connection_.get(), connection_status::refused);
    connection_.reset();
}

void applicant::give(end_offer offer, error_code& ec) noexcept
{
    ec.clear();
    if (!connection_) {
        ec = asio::error::bad_descriptor;
        return;
    }
    try {
        send(offer, ec);
    } catch (const std::bad_alloc&) {
        ec = make_error_code(boost::system::errc::not_enough_memory);
    }
    if (ec == boost::system::errc::broken_pipe || ec == boost::system::errc::connection_reset)
        ec = channel_errc::peer_died;
    if (!ec) {
        connection_.reset();  // what was sent stays for the client
        return;
    }
    if (ec == channel_errc::over_limit)
        (void)send_status(connection_.get(), connection_status::over_limit);
    else
        send_away();
    connection_.reset();
}

// The same packets as of a listener that makes channels, so a client need not know which it is.
void applicant::send(const end_offer& offer, error_code& ec)
{
    std::array<int, 2> passed{};
    for (std::size_t n = 0; n < offer.count; ++n) {
        passed[n] = offer.sockets[n].get();
        if (passed[n] == -1)
            ec = asio::error::bad_descriptor;
        else if (!is_ready(passed[n]))
            ec = asio::error::not_connected;
        if (ec)
            return;
    }
    const auto most = std::max(segment_bytes(offer.plan.sends), segment_bytes(offer.plan.receives));
    if (offer.plan.sort == end_sort::channel && most > max_segment_bytes_) {
        ec = channel_errc::over_limit;
        return;
    }
    connection_answer answer;
    answer.side = side_of(offer.plan);
    answer.sent_units = units_of(offer.plan.sends);
    answer.received_units = units_of(offer.plan.receives);
    answer.across_users = offer.across_users;
    send_packet(connection_.get(), to_bytes(answer), std::span(passed).first(offer.count), ec);
    if (!ec && !send_status(connection_.get(), connection_status::accepted))
        ec = channel_errc::peer_died;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
