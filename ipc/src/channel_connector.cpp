// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/channel_connector.hpp>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/detail/channel_core.hpp>
#include <procyard/ipc/detail/channel_end.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "connection_messages.hpp"
#include "connection_packet.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

namespace errc = boost::system::errc;

// Until the next attempt, when the listener's queue is full.
constexpr std::chrono::milliseconds pause_before_retry{10};

// Not Asio's async_connect: it takes EAGAIN, which of a Unix socket means that the queue is full
// and nothing is under way, for a connection that will come, and then for one that has.
unique_fd connect_now(const channel_address& address, error_code& ec)
{
    const auto endpoint = address.is_abstract()
        ? unix_abstract_endpoint<unix_seqpacket>(address.name(), ec)
        : unix_path_endpoint<unix_seqpacket>(address.name(), ec);
    if (ec)
        return {};
    unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto connect = [&] {
        return ::connect(fd.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size()));
    };
    if (!fd || retry_eintr(connect) == -1) {
        ec = errno == EAGAIN ? error_code(asio::error::would_block) : last_error();
        return {};
    }
    return fd;
}

std::string describe(const unix_peer& peer)
{
    return "process " + std::to_string(peer.pid) + " of user " + std::to_string(peer.uid);
}

std::string explain(connection_status status, const unix_peer& listener,
                    const channel_connect_options& options, std::string of_types)
{
    switch (status) {
    case connection_status::refused:
        return "the listener, " + describe(listener) + ", does not allow this process";
    case connection_status::over_limit:
        return "the listener's ring takes more than the "
            + std::to_string(options.channel.max_peer_bytes) + " bytes that are allowed here";
    default: return of_types;
    }
}

}  // namespace

struct channel_connector::turn {
    std::shared_ptr<channel_connector> self;

    void operator()(const error_code& = {}) { go_on(std::move(self)); }
};

channel_connector::channel_connector(const asio::any_io_executor& ex,
                                     asio::any_completion_executor where, channel_address address,
                                     channel_connect_options options, end_plan plan,
                                     connect_failure* failure)
    : executor_(ex),
      where_(std::move(where)),
      address_(std::move(address)),
      options_(std::move(options)),
      plan_(plan),
      failure_(failure),
      pause_(ex)
{
}

channel_connector::~channel_connector()
{
    watch_.leave();
    connection_.reset();
}

void channel_connector::start(asio::cancellation_slot slot)
{
    if (slot.is_connected())
        slot.assign([self = weak_from_this()](asio::cancellation_type type) {
            const auto alive = self.lock();
            if (alive && type != asio::cancellation_type::none)
                alive->cancel();
        });
    asio::post(executor_, asio::bind_executor(where_, turn{shared_from_this()}));
}

// Whatever it waits for ends; its next turn says the rest.
void channel_connector::cancel() noexcept
{
    aborted_ = true;
    pause_.cancel();
    if (watch_.is_entered()) {
        error_code ignored;
        watch_->cancel(ignored);
    }
}

void channel_connector::go_on(std::shared_ptr<channel_connector> self)
{
    auto& connector = *self;
    auto ended = connector.try_step();
    if (!ended)
        return;
    connector.watch_.leave();
    connector.connection_.reset();
    auto cores = std::exchange(connector.cores_, {});
    const auto ec = ended->code;
    if (ec)
        cores = {};  // closed before the handler runs
    ended->peer = connector.peer_;
    if (connector.failure_ != nullptr)
        *connector.failure_ = std::move(*ended);
    connector.complete(std::move(self), ec, std::move(cores));
}

channel_connector::ending channel_connector::try_step() noexcept
{
    try {
        return aborted_ ? connect_failure{.code = asio::error::operation_aborted} : step();
    } catch (const std::bad_alloc&) {
        return connect_failure{.code = make_error_code(errc::not_enough_memory)};
    } catch (const boost::system::system_error& e) {
        return connect_failure{.code = e.code()};  // the first of an io_context makes its reactor
    }
}

channel_connector::ending channel_connector::step()
{
    switch (state_) {
    case state::knocking: return knock();
    case state::asking: return hear_answer();
    case state::entering: return hear_confirmation();
    }
    PROCYARD_ASSERT(false && "channel_connector: a state that does not exist");
    return connect_failure{.code = asio::error::fault};
}

channel_connector::ending channel_connector::wait_for_packet()
{
    if (const auto ec = watch_.enter(executor_, connection_.get()))
        return connect_failure{.code = ec};
    watch_->async_wait(asio::posix::descriptor_base::wait_read,
                       asio::bind_executor(where_, turn{shared_from_this()}));
    return {};
}

channel_connector::ending channel_connector::knock()
{
    if (const auto bad = check_options(options_.channel))
        return connect_failure{.code = bad};
    error_code ec;
    connection_ = connect_now(address_, ec);
    if (ec == asio::error::would_block) {
        pause_.expires_after(pause_before_retry);
        pause_.async_wait(asio::bind_executor(where_, turn{shared_from_this()}));
        return {};
    }
    if (!ec)
        peer_ = peer_credentials(connection_.get(), ec);
    if (ec)
        return connect_failure{.code = ec};
    if (!options_.allowed.allows(peer_))
        return connect_failure{channel_errc::refused,
                               "the listener is " + describe(peer_) + ", which is not allowed"};
    return ask();
}

channel_connector::ending channel_connector::ask()
{
    error_code ec;
    state_ = state::asking;
    send_packet(connection_.get(),
                to_bytes(connection_request{side_of(plan_), options_.channel.max_peer_bytes,
                                            options_.ticket}),
                {}, ec);
    // Who sends us away need not wait for the request; why comes with the answer.
    if (ec && ec != errc::broken_pipe && ec != errc::connection_reset)
        return connect_failure{.code = ec};
    return hear_answer();
}

channel_connector::ending channel_connector::hear_answer()
{
    error_code ec;
    std::array<std::byte, max_connection_bytes> bytes;
    std::array<unique_fd, 2> sockets;
    const auto got = receive_packet(connection_.get(), bytes, sockets, ec);
    if (ec == asio::error::would_block)
        return wait_for_packet();
    if (ec == asio::error::eof)
        ec = asio::error::connection_reset;
    connection_answer answer;
    if (!ec)
        answer = parse_answer(std::span(bytes).first(got.bytes), ec);
    if (ec)
        return connect_failure{.code = ec};
    auto verdict = judge(plan_, answer);
    if (verdict.status != connection_status::accepted)
        return connect_failure{
            to_error(verdict.status),
            explain(verdict.status, peer_, options_, std::move(verdict.explanation))};
    return enter(answer, std::span(sockets).first(got.descriptors));
}

channel_connector::ending channel_connector::enter(const connection_answer& answer,
                                                   std::span<unique_fd> sockets)
{
    if (plan_.sort != end_sort::channel)
        return open_given(answer, sockets);
    error_code ec;
    adopt(answer, plan_, ec);
    if (ec)
        return connect_failure{ec, explain(status_of(ec), peer_, options_, {})};
    // In the order of the listener's plan: what it sends by comes first.
    std::size_t taken = 0;
    std::string explanation;
    const auto add_ring = [&](const std::optional<channel_terms>& terms, ring_role role,
                              std::shared_ptr<channel_core>& core) {
        if (!terms || ec)
            return;
        if (taken == sockets.size()) {
            ec = channel_errc::bad_hello;
            return;
        }
        core = open_end(executor_, role, std::move(sockets[taken++]), *terms, ec);
        if (ec)
            return;
        // An honest listener's hello is there before its answer is, so whoever is not connected now
        // lacks something himself. One that has let go of the ring since then says why, if it can.
        auto why = core->is_connected() ? core->failure() : core->blocked();
        if (why == asio::error::would_block)
            why = channel_errc::bad_hello;
        if (why != channel_errc::peer_died && why != channel_errc::closed)
            ec = why;
        explanation = core->explanation();
    };
    add_ring(plan_.receives, ring_role::consumer, cores_.receives);
    add_ring(plan_.sends, ring_role::producer, cores_.sends);
    if (!ec && taken != sockets.size())
        ec = channel_errc::bad_hello;
    if (ec)
        return connect_failure{ec, std::move(explanation)};
    state_ = state::entering;
    return hear_confirmation();
}

channel_connector::ending channel_connector::open_given(const connection_answer& answer,
                                                        std::span<unique_fd> sockets)
{
    if (sockets.size() != 1)
        return connect_failure{.code = channel_errc::bad_hello};
    auto own = options_.channel;
    own.across_users = own.across_users || answer.across_users;
    error_code ec;
    std::string explanation;
    make_end(executor_, std::move(sockets.front()), own, ec, explanation);
    if (ec)
        return connect_failure{ec, std::move(explanation)};
    state_ = state::entering;
    return hear_confirmation();
}

channel_connector::ending channel_connector::hear_confirmation()
{
    error_code ec;
    std::array<std::byte, max_connection_bytes> bytes;
    const auto got = receive_packet(connection_.get(), bytes, {}, ec);
    if (ec == asio::error::would_block)
        return wait_for_packet();
    if (ec == asio::error::eof)
        ec = asio::error::connection_reset;
    connection_answer answer;
    if (!ec)
        answer = parse_answer(std::span(bytes).first(got.bytes), ec);
    if (!ec)
        ec = to_error(answer.status);
    return connect_failure{.code = ec};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
