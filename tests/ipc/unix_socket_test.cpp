// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/unix_socket.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/write.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>
#include <type_traits>

#include <doctest/doctest.h>

#include <procyard/ipc/socket_error.hpp>
#include <procyard/ipc/syscall.hpp>

#include "limit_guard.hpp"
#include "procyard_test.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::error_code;
using procyard::make_errno;
using procyard::make_raw_socket_pair;
using procyard::make_socket_pair;
using procyard::open_unix_socket;
using procyard::socket_errc;
using procyard::unix_abstract_endpoint;
using procyard::unix_datagram;
using procyard::unix_path_endpoint;
using procyard::unix_seqpacket;
using procyard::unix_stream;
using procyard_test::descriptor_check;
using procyard_test::limit_guard;
using procyard_test::outcome;
using procyard_test::run;

namespace {

bool is_cloexec(int fd)
{
    return (::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

std::string fresh_abstract_name()
{
    static int count = 0;
    return "procyard-test-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
}

template <class Socket>
std::string receive(Socket& socket)
{
    std::array<char, 64> block{};
    asio::socket_base::message_flags flags{};
    if constexpr (std::is_same_v<Socket, unix_seqpacket::socket>)
        return {block.data(), socket.receive(asio::buffer(block), flags)};
    else
        return {block.data(), socket.receive(asio::buffer(block))};
}

}  // namespace

TEST_SUITE("unix_path_endpoint")
{
    TEST_CASE("a path of 107 bytes is one, a longer one is refused by name")
    {
        error_code ec;
        const std::string longest(107, 'p');
        CHECK(unix_path_endpoint<unix_stream>(longest, ec).path() == longest);
        CHECK_FALSE(ec);
        const std::string longer(108, 'p');
        CHECK(unix_path_endpoint<unix_stream>(longer, ec).path().empty());
        CHECK(ec == socket_errc::name_too_long);
        CHECK(ec == errc::filename_too_long);
        CHECK_THROWS_WITH_AS((void)unix_path_endpoint<unix_stream>(longer),
                             doctest::Contains(longer.c_str()), boost::system::system_error);
    }

    TEST_CASE("an empty path and one with a NUL are none")
    {
        error_code ec;
        for (const std::string_view path :
             {std::string_view(), std::string_view("a\0b", 3), std::string_view("\0a", 2)}) {
            (void)unix_path_endpoint<unix_datagram>(path, ec);
            CHECK(ec == socket_errc::bad_name);
            CHECK(ec == errc::invalid_argument);
        }
    }

    TEST_CASE("nobody listens at a path that nobody has")
    {
        const procyard_test::temporary_directory directory;
        asio::io_context ctx;
        auto socket = open_unix_socket<unix_stream>(ctx.get_executor());
        outcome<error_code> got;
        socket.async_connect(unix_path_endpoint<unix_stream>((directory.path() / "none").native()),
                             got.handler());
        run(ctx);
        CHECK(got.error() == errc::no_such_file_or_directory);
    }
}

TEST_SUITE("unix_abstract_endpoint")
{
    TEST_CASE("a name that is bound can be connected to, and is free when the socket is gone")
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        const auto name = unix_abstract_endpoint<unix_stream>(fresh_abstract_name());
        for (int round = 0; round < 2; ++round) {
            unix_stream::acceptor acceptor(ctx, name);
            unix_stream::socket here(ctx);
            here.connect(name);
            auto there = acceptor.accept();
            asio::write(here, asio::buffer("hi", 2));
            CHECK(receive(there) == "hi");
            CHECK(acceptor.local_endpoint() == name);
        }
    }

    TEST_CASE("a name of 106 bytes is one, of none or of more is not")
    {
        error_code ec;
        CHECK(unix_abstract_endpoint<unix_stream>(std::string(106, 'n'), ec).path().size() == 107);
        CHECK_FALSE(ec);
        (void)unix_abstract_endpoint<unix_stream>(std::string(107, 'n'), ec);
        CHECK(ec == socket_errc::name_too_long);
        (void)unix_abstract_endpoint<unix_stream>("", ec);
        CHECK(ec == socket_errc::bad_name);
    }

    TEST_CASE("a socket that is bound to no name gets one that is free")
    {
        asio::io_context ctx;
        unix_datagram::socket receiver(ctx, unix_datagram::endpoint());
        const auto name = receiver.local_endpoint();
        REQUIRE(name.path().size() > 1);
        CHECK(name.path().front() == '\0');
        auto sender = open_unix_socket<unix_datagram>(ctx.get_executor());
        sender.connect(name);
        sender.send(asio::buffer("hi", 2));
        CHECK(receive(receiver) == "hi");
    }
}

TEST_SUITE("open_unix_socket")
{
    TEST_CASE("the socket is close-on-exec, and stays so when it is connected")
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        const auto name = unix_abstract_endpoint<unix_seqpacket>(fresh_abstract_name());
        unix_seqpacket::acceptor acceptor(ctx, name);
        auto socket = open_unix_socket<unix_seqpacket>(ctx.get_executor());
        CHECK(is_cloexec(socket.native_handle()));
        outcome<error_code> got;
        socket.async_connect(name, got.handler());
        run(ctx);
        CHECK_FALSE(got.error());
        CHECK(is_cloexec(socket.native_handle()));
    }

    TEST_CASE("without a free descriptor it says so and is closed")
    {
        asio::io_context ctx;
        const unix_stream::socket first(ctx);  // makes the reactor
        error_code ec;
        const limit_guard full(RLIMIT_NOFILE, 0);
        CHECK_FALSE(open_unix_socket<unix_stream>(ctx.get_executor(), ec).is_open());
        CHECK(ec == errc::too_many_files_open);
        CHECK_THROWS_AS((void)open_unix_socket<unix_stream>(ctx.get_executor()),
                        boost::system::system_error);
    }
}

TEST_SUITE("unix_seqpacket")
{
    TEST_CASE("keeps what was written in one piece, over a listening socket")
    {
        asio::io_context ctx;
        const auto name = unix_abstract_endpoint<unix_seqpacket>(fresh_abstract_name());
        unix_seqpacket::acceptor acceptor(ctx, name);
        unix_seqpacket::socket here(ctx);
        here.connect(name);
        auto there = acceptor.accept();
        here.send(asio::buffer("one", 3), 0);
        here.send(asio::buffer("three", 5), 0);
        CHECK(receive(there) == "one");
        CHECK(receive(there) == "three");
    }

    TEST_CASE("all of Asio's operations work on it")
    {
        asio::io_context ctx;
        auto [here, there] = make_socket_pair<unix_seqpacket>(ctx.get_executor());
        std::array<char, 16> block{};
        asio::socket_base::message_flags flags{};
        outcome<error_code, std::size_t> received;
        outcome<error_code, std::size_t> sent;
        there.async_receive(asio::buffer(block), flags, received.handler());
        here.async_send(asio::buffer("packet", 6), 0, sent.handler());
        run(ctx);
        CHECK(sent.result() == 6);
        CHECK(std::string(block.data(), received.result()) == "packet");
    }
}

TEST_SUITE("make_socket_pair")
{
    TEST_CASE_TEMPLATE("both ends are connected, both ways, and close-on-exec", Protocol,
                       unix_stream, unix_seqpacket, unix_datagram)
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        auto [first, second] = make_socket_pair<Protocol>(ctx.get_executor());
        for (auto* socket : {&first, &second})
            CHECK(is_cloexec(socket->native_handle()));
        REQUIRE(::send(first.native_handle(), "to", 2, MSG_NOSIGNAL) == 2);
        REQUIRE(::send(second.native_handle(), "fro", 3, MSG_NOSIGNAL) == 3);
        CHECK(receive(second) == "to");
        CHECK(receive(first) == "fro");
    }

    TEST_CASE("without room for two descriptors there is none")
    {
        asio::io_context ctx;
        const unix_stream::socket first(ctx);  // makes the reactor
        error_code ec;
        const descriptor_check no_leak;
        const int next = ::fcntl(0, F_DUPFD_CLOEXEC, 0);
        ::close(next);
        {
            const limit_guard room_for_one(RLIMIT_NOFILE, static_cast<rlim_t>(next) + 1);
            const auto pair = make_socket_pair<unix_stream>(ctx.get_executor(), ec);
            CHECK(ec == errc::too_many_files_open);
            CHECK_FALSE(pair.first.is_open());
            CHECK_FALSE(pair.second.is_open());
        }
    }
}

TEST_SUITE("make_raw_socket_pair")
{
    TEST_CASE("both ends are blocking and close-on-exec")
    {
        const descriptor_check no_leak;
        error_code ec;
        const auto pair = make_raw_socket_pair(SOCK_SEQPACKET, ec);
        REQUIRE_FALSE(ec);
        for (const int fd : {pair.first.get(), pair.second.get()}) {
            CHECK(is_cloexec(fd));
            CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
        }
    }

    TEST_CASE("a type that Unix sockets do not have is refused")
    {
        error_code ec;
        const auto pair = make_raw_socket_pair(SOCK_RDM, ec);
        CHECK(ec == make_errno(ESOCKTNOSUPPORT));
        CHECK_FALSE(pair.first);
        CHECK_FALSE(pair.second);
    }
}
