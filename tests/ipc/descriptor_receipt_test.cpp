// SPDX-License-Identifier: BSL-1.0
// Receiving descriptors, also from peers that send what they should not.
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
#include <cstddef>

#include <doctest/doctest.h>

#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/socket_error.hpp>

#include "forked.hpp"
#include "limit_guard.hpp"
#include "passing_fixture.hpp"
#include "procyard_test.hpp"

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76  // Linux 6.5
#endif

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::error_code;
using procyard::max_passed_descriptors;
using procyard::socket_errc;
using procyard::try_receive_descriptors;
using procyard::try_send_descriptors;
using procyard_test::bytes_of;
using procyard_test::copies;
using procyard_test::descriptor_check;
using procyard_test::every_type;
using procyard_test::limit_guard;
using procyard_test::make_pair;
using procyard_test::receipt;
using procyard_test::send;

TEST_SUITE("try_receive_descriptors")
{
    TEST_CASE("more than were asked for are an error, and all of them closed")
    {
        const descriptor_check no_leak;
        for (const int type : every_type) {
            for (const std::size_t asked : {0U, 1U, 2U, 3U, 100U}) {
                for (const std::size_t more : {1U, 2U, 14U, 15U, 150U}) {
                    CAPTURE(type);
                    CAPTURE(asked);
                    CAPTURE(more);
                    const auto pair = make_pair(type);
                    send(pair.first.get(), "many", copies(pair.first, asked + more));
                    const auto before = procyard_test::open_descriptors();
                    receipt got(asked);
                    got.from(pair.second.get());
                    CHECK(got.ec == socket_errc::too_many_received);
                    CHECK(got.ec == errc::bad_message);
                    CHECK(got.text == "many");  // a stream has not lost its place
                    CHECK(got.counts.descriptors == 0);
                    CHECK(procyard_test::open_descriptors() == before);
                }
            }
        }
    }

    TEST_CASE("a hostile peer makes it open only few more than were asked for")
    {
        const descriptor_check no_leak;
        const auto pair = make_pair(SOCK_SEQPACKET);
        const int next = ::fcntl(0, F_DUPFD_CLOEXEC, 0);
        ::close(next);
        send(pair.first.get(), "x", copies(pair.first, max_passed_descriptors));
        // If it needed more than these it would say EMFILE.
        const limit_guard few(RLIMIT_NOFILE, static_cast<rlim_t>(next) + 20);
        CHECK(receipt(1).from(pair.second.get()).ec == socket_errc::too_many_received);
    }

    TEST_CASE("no room for descriptors in this process is EMFILE, and none stays open")
    {
        const descriptor_check no_leak;
        for (const int type : every_type) {
            for (const std::size_t room : {0U, 1U, 3U}) {
                CAPTURE(type);
                CAPTURE(room);
                const auto pair = make_pair(type);
                send(pair.first.get(), "four", copies(pair.first, 4));
                const int next = ::fcntl(0, F_DUPFD_CLOEXEC, 0);
                ::close(next);
                receipt got(4);
                {
                    const limit_guard full(RLIMIT_NOFILE, static_cast<rlim_t>(next) + room);
                    got.from(pair.second.get());
                }
                CHECK(got.ec == errc::too_many_files_open);
                CHECK(got.text == "four");
                CHECK(got.open() == 0);
            }
        }
    }

    TEST_CASE("a message larger than the buffer is an error, and its descriptors closed")
    {
        const descriptor_check no_leak;
        for (const int type : {SOCK_SEQPACKET, SOCK_DGRAM}) {
            const auto pair = make_pair(type);
            send(pair.first.get(), "long message", copies(pair.first, 2));
            receipt got(2);
            got.from(pair.second.get(), 4);
            CHECK(got.ec == socket_errc::message_too_large);
            CHECK(got.ec == errc::message_size);
            CHECK(got.open() == 0);
        }
    }

    TEST_CASE("on a stream they come with their first byte, and nothing sent later with them")
    {
        const descriptor_check no_leak;
        const auto pair = make_pair(SOCK_STREAM);
        send(pair.first.get(), "before ");
        send(pair.first.get(), "with", copies(pair.first, 1));
        send(pair.first.get(), " after");
        receipt got(1);
        got.from(pair.second.get(), 7);
        CHECK(got.text == "before ");
        CHECK(got.open() == 0);
        got.from(pair.second.get(), 2);
        CHECK(got.text == "wi");
        CHECK(got.open() == 1);
        got.from(pair.second.get());
        CHECK(got.text.starts_with("th"));
        CHECK(got.open() == 0);
    }

    TEST_CASE("on a stream those of two messages are never mixed")
    {
        const descriptor_check no_leak;
        const auto pair = make_pair(SOCK_STREAM);
        send(pair.first.get(), "one", copies(pair.first, 1));
        send(pair.first.get(), "two", copies(pair.first, 2));
        receipt got(2);
        CHECK(got.from(pair.second.get()).text == "one");
        CHECK(got.open() == 1);
        CHECK(got.from(pair.second.get()).text == "two");
        CHECK(got.open() == 2);
    }

    TEST_CASE("what it held before is closed")
    {
        const descriptor_check no_leak;
        const auto pair = make_pair(SOCK_STREAM);
        receipt got(1);
        send(pair.first.get(), "x", copies(pair.first, 1));
        got.from(pair.second.get());
        REQUIRE(got.open() == 1);
        CHECK(got.from(pair.second.get()).ec == asio::error::would_block);
        CHECK(got.open() == 0);
    }

    TEST_CASE("credentials and pidfds that come along are passed over and closed")
    {
        const descriptor_check no_leak;
        for (const int type : every_type) {
            CAPTURE(type);
            const auto pair = make_pair(type);
            const int on = 1;
            REQUIRE(::setsockopt(pair.second.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
            // Before 6.5: nothing of the kind comes.
            (void)::setsockopt(pair.second.get(), SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on);
            receipt got(1);
            send(pair.first.get(), "one", copies(pair.first, 1));
            got.from(pair.second.get());
            CHECK_FALSE(got.ec);
            CHECK(got.open() == 1);
            send(pair.first.get(), "two", copies(pair.first, 2));
            got.from(pair.second.get());
            CHECK(got.ec == socket_errc::too_many_received);
            send(pair.first.get(), "none");
            got.from(pair.second.get());
            CHECK_FALSE(got.ec);
            CHECK(got.open() == 0);
        }
    }

    TEST_CASE("the end is eof where there is one, an empty datagram is a message")
    {
        for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
            auto pair = make_pair(type);
            pair.first.reset();
            CHECK(receipt().from(pair.second.get()).ec == asio::error::eof);
        }
        const auto pair = make_pair(SOCK_DGRAM);
        REQUIRE(::send(pair.first.get(), "", 0, MSG_NOSIGNAL) == 0);
        receipt got;
        got.from(pair.second.get());
        CHECK_FALSE(got.ec);
        CHECK(got.counts.bytes == 0);
    }

    TEST_CASE("without room for a byte it takes nothing")
    {
        const auto pair = make_pair(SOCK_STREAM);
        send(pair.first.get(), "x", copies(pair.first, 1));
        CHECK(receipt(1).from(pair.second.get(), 0).ec == socket_errc::no_payload);
        CHECK(receipt(1).from(pair.second.get()).open() == 1);
    }

    TEST_CASE("descriptors of a peer that has died meanwhile still arrive")
    {
        const descriptor_check no_leak;
        auto pair = make_pair(SOCK_STREAM);
        procyard_test::forked peer([&] {
            error_code ec;
            const auto pipe = procyard::make_raw_pipe(ec);
            const std::array fds{pipe.read_end.get()};
            if (::write(pipe.write_end.get(), "will", 4) != 4)
                return 1;
            (void)try_send_descriptors(pair.first.get(), bytes_of("x"), fds, ec);
            ::kill(::getpid(), SIGKILL);
            return 2;
        });
        REQUIRE(peer.result() == -SIGKILL);
        pair.first.reset();
        receipt got(1);
        got.from(pair.second.get());
        REQUIRE(got.open() == 1);
        std::array<char, 8> block{};
        CHECK(::read(got.descriptors[0].get(), block.data(), block.size()) == 4);
    }
}
