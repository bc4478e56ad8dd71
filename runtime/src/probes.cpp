// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/probes.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <signal.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <memory>

#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_socket.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/spawn_error.hpp>
#include <procyard/runtime/stop.hpp>

#include "command_access.hpp"
#include "probe_connection.hpp"
#include "service_command.hpp"
#include "spawn_whole_tree.hpp"
#include "stop_budget.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using asio::generic::stream_protocol;

// Not Asio's open(), whose sockets are inherited by what another thread starts at that moment.
bool make(probe_socket& socket, const stream_protocol::endpoint& where)
{
    const int family = where.protocol().family();
    unique_fd made(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    error_code ec;
    if (made)
        socket.assign(stream_protocol(family, 0), made.get(), ec);
    if (!made || ec)
        return false;
    (void)made.release();  // the socket's now
    return true;
}

bool has_failed(probe_socket& socket)
{
    int error = 0;
    socklen_t size = sizeof error;
    return ::getsockopt(socket.native_handle(), SOL_SOCKET, SO_ERROR, &error, &size) != 0
        || error != 0;
}

// TCP lets a socket connect to itself, where nobody listens on a port that the kernel has just
// given to it as its own.
bool is_its_own_peer(const probe_socket& socket)
{
    error_code ec;
    const auto here = socket.local_endpoint(ec);
    const auto there = ec ? here : socket.remote_endpoint(ec);
    return ec || (here.protocol().family() != AF_UNIX && here == there);
}

// Not Asio's async_connect: it takes EAGAIN, which of a Unix socket means that the queue is full
// and nothing is under way, for a connection that will come, and then for one that has.
asio::awaitable<bool> connect(probe_socket* socket, const stream_protocol::endpoint* where)
{
    if (!make(*socket, *where))
        co_return false;
    const auto size = static_cast<socklen_t>(where->size());
    const bool is_there = ::connect(socket->native_handle(), where->data(), size) == 0;
    if (!is_there) {
        if (errno != EINPROGRESS)
            co_return false;
        const auto [ec] = co_await socket->async_wait(probe_socket::wait_write,
                                                      asio::as_tuple(asio::use_awaitable));
        if (ec || has_failed(*socket))
            co_return false;
    }
    co_return !is_its_own_peer(*socket);
}

asio::awaitable<bool> takes_connections(std::shared_ptr<const probe_places> where)
{
    probe_socket socket(co_await asio::this_coro::executor);
    co_return co_await connect_to_any(&socket, where.get());
}

service_probe connecting_probe(probe_places where)
{
    return [places = std::make_shared<const probe_places>(std::move(where))] {
        return or_false(takes_connections(places));
    };
}

// Nobody reads or writes the other end of a pipe.
void close_streams(command& what)
{
    const auto* const standard = command_access::standard(what);
    const auto is_free = [&](int number) {
        using enum stdio_access::kind;
        const auto found = stdio_access::what(standard[number]);
        return found == inherit || found == pipe;
    };
    if (is_free(0))
        what.std_in(stdio::null());
    if (is_free(1))
        what.std_out(stdio::null());
    if (is_free(2))
        what.std_err(stdio::null());
}

// Cancelled, it ends when the command has gone: no wait after that one is to be cut short, but none
// is for the command's own end, either.
asio::awaitable<bool> succeeds(command what)
{
    const auto ex = co_await asio::this_coro::executor;
    co_await asio::this_coro::throw_if_cancelled(false);
    spawn_failure failure;
    auto [ec, running] = co_await async_spawn_whole_tree(std::move(what), ex, failure,
                                                         asio::as_tuple(asio::use_awaitable));
    if (ec)
        co_return false;
    bool good = false;
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() == asio::cancellation_type::none) {
        const auto [unknown, status] =
            co_await running.async_wait(asio::as_tuple(asio::use_awaitable));
        good = !unknown && status.success();
    }
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    (void)co_await running.async_stop(stop_ladder::kill(), asio::as_tuple(asio::use_awaitable));
    co_return good;
}

}  // namespace

asio::awaitable<bool> or_false(asio::awaitable<bool> question)
{
    try {
        co_return co_await std::move(question);
    } catch (const boost::system::system_error&) {
        co_return false;
    }
}

probe_places loopback(std::uint16_t port)
{
    using asio::ip::tcp;
    return {tcp::endpoint(asio::ip::address_v4::loopback(), port),
            tcp::endpoint(asio::ip::address_v6::loopback(), port)};
}

probe_places unix_place(std::string_view path)
{
    return {unix_path_endpoint<unix_stream>(path)};
}

asio::awaitable<bool> connect_to_any(probe_socket* socket, const probe_places* where)
{
    for (const auto& one : *where) {
        if (co_await connect(socket, &one))
            co_return true;
        error_code ignored;
        (void)socket->close(ignored);
    }
    co_return false;
}

}  // namespace detail

service_probe tcp_probe(std::uint16_t port)
{
    return detail::connecting_probe(detail::loopback(port));
}

service_probe tcp_probe(const asio::ip::tcp::endpoint& where)
{
    return detail::connecting_probe({where});
}

service_probe unix_probe(std::string_view path)
{
    return detail::connecting_probe(detail::unix_place(path));
}

service_probe command_probe(command what)
{
    detail::close_streams(what);
    detail::forget_our_own(what);
    detail::tell_grace(what, std::chrono::nanoseconds::max());  // nor our own time to stop
    if (detail::command_access::parent_death_signal(what) == 0)
        what.parent_death_signal(SIGKILL);
    return [what = std::move(what)] { return detail::or_false(detail::succeeds(what)); };
}

PROCYARD_NAMESPACE_END
