// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/unix_peer.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include <doctest/doctest.h>

#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "forked.hpp"
#include "io_feature_off.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::error_code;
using procyard::make_errno;
using procyard::peer_credentials;
using procyard::peer_pidfd;
using procyard::unique_fd;
using procyard::unix_stream;
using procyard::detail::io_features;
using procyard_test::forked;
using procyard_test::io_feature_off;

namespace {

// A process that has connected to us and waits.
struct connected_process {
    connected_process()
        : acceptor(ctx,
                   procyard::unix_abstract_endpoint<unix_stream>("procyard-peer-test-"
                                                                 + std::to_string(::getpid()))),
          peer([this] {
              unix_stream::socket theirs(ctx);
              theirs.connect(acceptor.local_endpoint());
              char byte = 0;
              return ::recv(theirs.native_handle(), &byte, 1, 0) == 0 ? 0 : 1;
          }),
          connection(acceptor.accept())
    {
    }

    asio::io_context ctx;
    unix_stream::acceptor acceptor;
    forked peer;
    unix_stream::socket connection;
};

// Whether the pidfd is that of the process, by its end.
bool is_of(const unique_fd& pidfd, forked& process)
{
    pollfd waiting{pidfd.get(), POLLIN, 0};
    if (::poll(&waiting, 1, 0) != 0)
        return false;
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
    return process.result() == -SIGKILL && ::poll(&waiting, 1, 0) == 1;
}

}  // namespace

TEST_SUITE("peer_credentials")
{
    TEST_CASE("says who has connected")
    {
        connected_process connected;
        error_code ec;
        const auto peer = peer_credentials(connected.connection.native_handle(), ec);
        CHECK_FALSE(ec);
        CHECK(peer.pid == connected.peer.pid());
        CHECK(peer.uid == ::geteuid());
        CHECK(peer.gid == ::getegid());
        connected.connection.close();
        CHECK(connected.peer.result() == 0);
    }

    TEST_CASE("says of a socketpair who made it, whoever has the other end")
    {
        error_code ec;
        auto pair = procyard::make_raw_socket_pair(SOCK_STREAM, ec);
        REQUIRE_FALSE(ec);
        forked child([&] {
            pair.first.reset();
            char byte = 0;
            return ::recv(pair.second.get(), &byte, 1, 0) == 0 ? 0 : 1;
        });
        pair.second.reset();
        CHECK(peer_credentials(pair.first.get(), ec).pid == ::getpid());
        pair.first.reset();
        CHECK(child.result() == 0);
    }

    TEST_CASE("a socket without a peer, of another family, or no socket at all has none")
    {
        asio::io_context ctx;
        error_code ec;
        auto lonely = procyard::open_unix_socket<unix_stream>(ctx.get_executor());
        asio::ip::tcp::socket tcp(ctx, asio::ip::tcp::v4());
        (void)peer_credentials(-1, ec);
        CHECK(ec == make_errno(EBADF));
        for (const int fd : {lonely.native_handle(), tcp.native_handle()}) {
            (void)peer_credentials(fd, ec);
            CHECK(ec == errc::not_connected);
        }
        const auto pipe = procyard::make_raw_pipe(ec);
        (void)peer_credentials(pipe.read_end.get(), ec);
        CHECK(ec == make_errno(ENOTSOCK));
    }
}

TEST_SUITE("peer_pidfd")
{
    TEST_CASE("is close-on-exec and that of the process that has connected")
    {
        connected_process connected;
        error_code ec;
        const auto pidfd = peer_pidfd(connected.connection.native_handle(), ec);
        REQUIRE_FALSE(ec);
        CHECK((::fcntl(pidfd.get(), F_GETFD) & FD_CLOEXEC) != 0);
        CHECK(is_of(pidfd, connected.peer));
    }

    TEST_CASE("where the kernel has no SO_PEERPIDFD, it is found by the number")
    {
        const io_feature_off no_peer_pidfd(&io_features::peer_pidfd);
        connected_process connected;
        error_code ec;
        const auto pidfd = peer_pidfd(connected.connection.native_handle(), ec);
        REQUIRE_FALSE(ec);
        CHECK((::fcntl(pidfd.get(), F_GETFD) & FD_CLOEXEC) != 0);
        CHECK(is_of(pidfd, connected.peer));
    }

    TEST_CASE("of a process that was reaped there is none by the number")
    {
        const io_feature_off no_peer_pidfd(&io_features::peer_pidfd);
        connected_process connected;
        connected.peer.kill_hard();
        error_code ec;
        CHECK_FALSE(peer_pidfd(connected.connection.native_handle(), ec));
        CHECK(ec == errc::no_such_process);
    }

    TEST_CASE("of a process that was reaped it is of nobody else")
    {
        connected_process connected;
        connected.peer.kill_hard();
        error_code ec;
        const auto pidfd = peer_pidfd(connected.connection.native_handle(), ec);
        if (pidfd)  // the kernel keeps one (6.16)
            CHECK(::syscall(SYS_pidfd_send_signal, pidfd.get(), 0, nullptr, 0) == -1);
        else
            CHECK(ec == errc::no_such_process);
    }

    TEST_CASE("a socket without a peer has none")
    {
        asio::io_context ctx;
        unix_stream::socket lonely(ctx, unix_stream());
        error_code ec;
        CHECK_FALSE(peer_pidfd(lonely.native_handle(), ec));
        CHECK(ec == errc::not_connected);
    }
}
