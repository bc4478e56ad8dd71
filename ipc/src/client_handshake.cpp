// SPDX-License-Identifier: BSL-1.0
#include "client_handshake.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <unistd.h>

#include <array>
#include <new>
#include <span>
#include <vector>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/detail/channel_core.hpp>
#include <procyard/ipc/detail/channel_end.hpp>
#include <procyard/ipc/socket_error.hpp>

#include "connection_packet.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

client_handshake::client_handshake(const asio::any_io_executor& ex, unique_fd connection,
                                   const unix_peer& peer, std::shared_ptr<const end_plan> plan)
    : executor_(ex),
      plan_(std::move(plan)),
      connection_(std::move(connection)),
      refusal_{.peer = peer},
      watch_(ex),
      timer_(ex)
{
}

client_handshake::~client_handshake()
{
    stop_watching();
}

client_handshake::progress client_handshake::resume(accept_event event,
                                                    connection_status why) noexcept
{
    try {
        return run(event, why);
    } catch (const std::bad_alloc&) {
        refusal_.why = make_error_code(boost::system::errc::not_enough_memory);
    } catch (const boost::system::system_error& e) {
        refusal_.why = e.code();
    }
    (void)fsm_.resume(accept_event::unfit, connection_status::unavailable);
    refuse();
    return progress::over;
}

client_handshake::progress client_handshake::run(accept_event event, connection_status why)
{
    found next{event, why};
    for (;;) {
        switch (fsm_.resume(next.event, next.why)) {
        case accept_action::read_request: next = read_request(); break;
        case accept_action::open_rings: next = open_rings(); break;
        case accept_action::look_for_rings: next = look_for_rings(); break;
        case accept_action::wait: return progress::waiting;
        case accept_action::confirm:
            stop_watching();
            if (confirm())
                return progress::ready;
            refusal_.why = channel_errc::peer_died;
            return progress::over;
        case accept_action::hand_over: return progress::ready;
        case accept_action::refuse: refuse(); return progress::over;
        case accept_action::drop: refusal_.why = channel_errc::peer_died; return progress::over;
        }
    }
}

client_handshake::found client_handshake::fail(const error_code& why, std::string explanation)
{
    refusal_.why = why;
    refusal_.explanation = std::move(explanation);
    return {accept_event::unfit, status_of(why)};
}

client_handshake::found client_handshake::read_request()
{
    error_code ec;
    std::array<std::byte, max_connection_bytes> bytes;
    const auto got = receive_packet(connection_.get(), bytes, {}, ec);
    if (ec == asio::error::would_block) {
        watch(connection_.get());
        return {accept_event::not_yet};
    }
    if (ec == asio::error::eof || ec == boost::system::errc::connection_reset)
        return {accept_event::gone};
    if (ec)
        return fail(ec, {});
    const auto request = parse_request(std::span(bytes).first(got.bytes), ec);
    if (ec)
        return fail(ec, {});
    auto verdict = judge(*plan_, request);
    if (verdict.status == connection_status::accepted && !plan_->is_offered)
        return {accept_event::fits};
    if (verdict.status == connection_status::accepted) {
        stop_watching();
        request_ = applicant(std::move(connection_), request.ticket, request.max_segment_bytes);
        return {accept_event::applies};
    }
    refusal_.why = to_error(verdict.status);
    refusal_.explanation = std::move(verdict.explanation);
    return {accept_event::unfit, verdict.status};
}

std::shared_ptr<channel_core> client_handshake::open_ring(ring_role role,
                                                          const channel_terms& terms,
                                                          unique_fd& others, error_code& ec)
{
    auto sockets = make_hello_sockets(terms, ec);
    if (ec)
        return nullptr;
    others = std::move(sockets.second);
    return open_end(executor_, role, std::move(sockets.first), terms, ec);
}

client_handshake::found client_handshake::open_rings()
{
    connection_answer answer;
    answer.side = side_of(*plan_);
    answer.across_users = refusal_.peer.uid != ::geteuid();
    std::array<unique_fd, 2> others;
    std::vector<int> passed;
    error_code ec;
    const auto add_ring = [&](const std::optional<channel_terms>& terms, ring_role role,
                              std::shared_ptr<channel_core>& core, std::uint64_t& units) {
        if (!terms || ec)
            return;
        auto ours = *terms;
        if (answer.across_users)
            put_across_users(ours);
        answer.across_users = ours.bell == doorbell_kind::socket;
        core = open_ring(role, ours, others[passed.size()], ec);
        units = ours.shape.unit_count;
        passed.push_back(others[passed.size()].get());
    };
    add_ring(plan_->sends, ring_role::producer, cores_.sends, answer.sent_units);
    add_ring(plan_->receives, ring_role::consumer, cores_.receives, answer.received_units);
    if (!ec)
        send_packet(connection_.get(), to_bytes(answer), passed, ec);
    if (ec == boost::system::errc::broken_pipe || ec == boost::system::errc::connection_reset)
        return {accept_event::gone};
    if (!ec)
        return {accept_event::opened};
    auto failed = fail(ec, "a ring for it cannot be made");
    failed.why = connection_status::unavailable;  // it is not to blame
    return failed;
}

client_handshake::found client_handshake::look_for_rings()
{
    stop_watching();  // a core that connects closes what is watched
    for (const auto& core : {cores_.sends, cores_.receives}) {
        if (!core || core->is_connected())
            continue;
        const auto ec = core->blocked();
        if (core->is_connected())
            continue;
        if (ec == asio::error::would_block) {
            watch(core->hello_socket());
            return {accept_event::not_yet};
        }
        return ec == channel_errc::peer_died ? found{accept_event::gone}
                                             : fail(ec, core->explanation());
    }
    return {accept_event::met};
}

void client_handshake::watch(int fd)
{
    if (watched_ == fd)
        return;
    stop_watching();
    watch_.assign(fd);
    watched_ = fd;
}

void client_handshake::stop_watching() noexcept
{
    if (watch_.is_open())
        (void)watch_.release();
    watched_ = -1;
}

bool client_handshake::confirm() noexcept
{
    return send_status(connection_.get(), connection_status::accepted);
}

// Why, if it is not known better: the client is told as much.
void client_handshake::refuse() noexcept
{
    stop_watching();
    cores_ = {};
    if (!refusal_.why)
        refusal_.why = to_error(fsm_.status());
    (void)refuse_client(connection_.get(), fsm_.status(), *plan_);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
