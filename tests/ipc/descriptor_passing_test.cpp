// SPDX-License-Identifier: BSL-1.0
// Sending descriptors through Unix sockets.
#include <procyard/ipc/descriptor_passing.hpp>

#include <boost/asio/error.hpp>
#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include <doctest/doctest.h>

#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/socket_error.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "forked.hpp"
#include "host_state.hpp"
#include "limit_guard.hpp"
#include "passing_fixture.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::error_code;
using procyard::make_errno;
using procyard::max_passed_descriptors;
using procyard::socket_errc;
using procyard::try_send_descriptors;
using procyard_test::bytes_of;
using procyard_test::copies;
using procyard_test::descriptor_check;
using procyard_test::every_type;
using procyard_test::limit_guard;
using procyard_test::make_pair;
using procyard_test::receipt;
using procyard_test::same_file;
using procyard_test::send;

TEST_SUITE("try_send_descriptors")
{
    TEST_CASE("descriptors arrive with their bytes, in order, close-on-exec")
    {
        const descriptor_check no_leak;
        for (const int type : every_type) {
            CAPTURE(type);
            const auto pair = make_pair(type);
            error_code ec;
            const auto pipe = procyard::make_raw_pipe(ec);
            const std::array fds{pipe.read_end.get(), pipe.write_end.get()};
            send(pair.first.get(), "two", fds);
            receipt got(2);
            got.from(pair.second.get());
            REQUIRE_FALSE(got.ec);
            CHECK(got.text == "two");
            REQUIRE(got.counts.descriptors == 2);
            CHECK(same_file(got.descriptors[0].get(), fds[0]));
            CHECK(same_file(got.descriptors[1].get(), fds[1]));
            CHECK((::fcntl(got.descriptors[0].get(), F_GETFL) & O_ACCMODE) == O_RDONLY);
            CHECK((::fcntl(got.descriptors[1].get(), F_GETFL) & O_ACCMODE) == O_WRONLY);
            for (const auto& fd : got.descriptors)
                CHECK((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
        }
    }

    TEST_CASE("goes both ways at once")
    {
        const descriptor_check no_leak;
        const auto pair = make_pair(SOCK_STREAM);
        const std::array first{pair.first.get()};
        const std::array second{pair.second.get()};
        send(pair.first.get(), "a", first);
        send(pair.second.get(), "b", second);
        CHECK(receipt(1).from(pair.second.get()).counts.descriptors == 1);
        CHECK(receipt(1).from(pair.first.get()).counts.descriptors == 1);
    }

    TEST_CASE("as many as a message can carry, and not one more")
    {
        const descriptor_check no_leak;
        for (const int type : every_type) {
            CAPTURE(type);
            const auto pair = make_pair(type);
            send(pair.first.get(), "x", copies(pair.first, max_passed_descriptors));
            CHECK(receipt().from(pair.second.get()).open() == max_passed_descriptors);
            error_code ec;
            CHECK(try_send_descriptors(pair.first.get(), bytes_of("x"),
                                       copies(pair.first, max_passed_descriptors + 1), ec)
                  == 0);
            CHECK(ec == socket_errc::too_many_to_send);
            CHECK(ec == errc::invalid_argument);
            CHECK(receipt().from(pair.second.get()).ec == asio::error::would_block);
        }
    }

    TEST_CASE("descriptors without a byte are refused, bytes without descriptors are sent")
    {
        const descriptor_check no_leak;
        for (const int type : every_type) {
            const auto pair = make_pair(type);
            error_code ec;
            (void)try_send_descriptors(pair.first.get(), {}, copies(pair.first, 1), ec);
            CHECK(ec == socket_errc::no_payload);
            send(pair.first.get(), "plain");
            receipt got;
            got.from(pair.second.get());
            CHECK(got.text == "plain");
            CHECK(got.open() == 0);
        }
    }

    TEST_CASE("a descriptor that is not open is told, and nothing is sent")
    {
        const auto pair = make_pair(SOCK_STREAM);
        error_code ec;
        const std::array fds{pair.first.get(), 1'000'000};
        CHECK(try_send_descriptors(pair.first.get(), bytes_of("x"), fds, ec) == 0);
        CHECK(ec == make_errno(EBADF));
        CHECK(receipt().from(pair.second.get()).ec == asio::error::would_block);
    }

    TEST_CASE("a full socket is would_block, a dead one EPIPE without a signal")
    {
        const procyard_test::disposition deadly(SIGPIPE, SIG_DFL);
        auto pair = make_pair(SOCK_STREAM);
        error_code ec;
        const std::string block(4096, 'x');
        while (!ec)
            (void)try_send_descriptors(pair.first.get(), bytes_of(block), {}, ec);
        CHECK(ec == asio::error::would_block);
        pair.second.reset();
        (void)try_send_descriptors(pair.first.get(), bytes_of("x"), copies(pair.first, 1), ec);
        CHECK(ec == errc::broken_pipe);
    }

    TEST_CASE("too many under way are told as such, and none is lost")
    {
        // In a process of its own, whose user may not have more: root may.
        const int result = procyard_test::in_fork([] {
            error_code ec;
            if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0))
                return 1;
            const limit_guard few(RLIMIT_NOFILE, 64);
            auto pair = procyard::make_raw_socket_pair(SOCK_SEQPACKET, ec);
            for (int i = 0; i < 100 && !ec; ++i)
                (void)try_send_descriptors(pair.first.get(), bytes_of("x"), copies(pair.first, 2),
                                           ec);
            if (ec != make_errno(ETOOMANYREFS))
                return 2;
            return receipt(2).from(pair.second.get()).open() == 2 ? 0 : 3;
        });
        CHECK(result == 0);
    }

    TEST_CASE("what is no Unix socket is refused")
    {
        error_code ec;
        const auto pipe = procyard::make_raw_pipe(ec);
        (void)try_send_descriptors(pipe.write_end.get(), bytes_of("x"), {}, ec);
        CHECK(ec == make_errno(ENOTSOCK));
        CHECK(receipt().from(pipe.read_end.get()).ec == make_errno(ENOTSOCK));
        CHECK(receipt().from(-1).ec == make_errno(EBADF));
    }
}
