// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/unix_listener.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <optional>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/unix_socket.hpp>

#include "host_state.hpp"
#include "limit_guard.hpp"
#include "operation_contract.hpp"
#include "procyard_test.hpp"
#include "socket_place.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
namespace fs = std::filesystem;
using procyard::error_code;
using procyard::unix_datagram;
using procyard::unix_listener;
using procyard::unix_path_endpoint;
using procyard::unix_seqpacket;
using procyard::unix_stream;
using procyard_test::descriptor_check;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::socket_place;
using procyard_test::temporary_directory;

namespace {

mode_t mode_of(const fs::path& path)
{
    struct stat status;
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    return status.st_mode & 07777;
}

struct umask_guard {
    explicit umask_guard(mode_t mask) : before(::umask(mask)) { }
    ~umask_guard() { ::umask(before); }
    mode_t before;
};

struct async_accept {
    explicit async_accept(asio::io_context& ctx)
        : listener(std::in_place, ctx.get_executor(), where.path),
          client(ctx)
    {
    }
    template <class Token>
    void start(Token&& token)
    {
        listener->async_accept(std::forward<Token>(token));
    }
    void satisfy() { client.connect(unix_path_endpoint<unix_stream>(where.path)); }
    void break_it() { listener->close(); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void destroy() { listener.reset(); }

    socket_place where;
    std::optional<unix_listener<>> listener;
    unix_stream::socket client;
};

}  // namespace

TEST_SUITE("unix_listener")
{
    PROCYARD_OPERATION_CONTRACT(async_accept)

    TEST_CASE_TEMPLATE("accepts connections by its name, close-on-exec, and goes with the name",
                       Protocol, unix_stream, unix_seqpacket)
    {
        const descriptor_check no_leak;
        const socket_place where;
        asio::io_context ctx;
        {
            unix_listener<Protocol> listener(ctx.get_executor(), where.path);
            CHECK(listener.path() == where.path);
            typename Protocol::socket client(ctx);
            client.connect(unix_path_endpoint<Protocol>(where.path));
            outcome<error_code, typename Protocol::socket> got;
            listener.async_accept(got.handler());
            run(ctx);
            REQUIRE_FALSE(got.error());
            for (const int fd : {got.result().native_handle(), listener.acceptor().native_handle()})
                CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
            REQUIRE(::send(client.native_handle(), "hi", 2, 0) == 2);
            std::array<char, 8> block{};
            CHECK(::recv(got.result().native_handle(), block.data(), block.size(), 0) == 2);
        }
        CHECK_FALSE(where.exists());
    }

    TEST_CASE("an accept goes on while the listener is moved")
    {
        const socket_place where;
        asio::io_context ctx;
        unix_listener<> first(ctx.get_executor(), where.path);
        outcome<error_code, unix_stream::socket> got;
        first.async_accept(got.handler());
        unix_listener<> second(std::move(first));
        CHECK_FALSE(first.is_open());  // NOLINT: what a moved-from one says
        CHECK(where.connect(ctx) == error_code());
        run(ctx);
        CHECK_FALSE(got.error());
        CHECK(got.result().is_open());
        first = std::move(second);
        CHECK(first.path() == where.path);
        CHECK(where.connect(ctx) == error_code());
    }

    TEST_CASE("without a free descriptor an accept fails, and the connection waits on")
    {
        const socket_place where;
        asio::io_context ctx;
        unix_listener<> listener(ctx.get_executor(), where.path);
        unix_stream::socket client(ctx);
        client.connect(unix_path_endpoint<unix_stream>(where.path));
        outcome<error_code, unix_stream::socket> got;
        listener.async_accept(got.handler());
        {
            const procyard_test::limit_guard full(RLIMIT_NOFILE, 0);
            run(ctx);
        }
        CHECK(got.error() == errc::too_many_files_open);
        listener.async_accept(got.handler());
        run(ctx);
        CHECK_FALSE(got.error());
    }

    TEST_CASE("the permissions are those that were asked for, whatever the umask")
    {
        const socket_place where;
        asio::io_context ctx;
        for (const mode_t mask : {0U, 022U, 077U, 0777U}) {
            const umask_guard guard(mask);
            for (const mode_t permissions : {0600U, 0660U, 0666U, 0777U, 0200U}) {
                const unix_listener<> listener(ctx.get_executor(), where.path,
                                               {.permissions = permissions});
                CHECK(mode_of(where.path) == permissions);
            }
            const auto bound =
                procyard::bind_unix_datagram(ctx.get_executor(), where.path, {.permissions = 0622});
            CHECK(mode_of(where.path) == 0622);
        }
    }

    TEST_CASE("a socket that a dead owner has left is replaced, of whatever type")
    {
        const descriptor_check no_leak;
        const socket_place where;
        asio::io_context ctx;
        const auto replace = [&] {
            REQUIRE(where.exists());
            {
                const unix_listener<> listener(ctx.get_executor(), where.path);
                CHECK(where.connect(ctx) == error_code());
            }
            CHECK_FALSE(where.exists());
        };
        where.leave_socket<unix_stream>();
        replace();
        where.leave_socket<unix_seqpacket>();
        replace();
        where.leave_socket<unix_datagram>();
        replace();
    }

    TEST_CASE("a path of just 107 bytes is one like others")
    {
        const temporary_directory directory;
        auto path = directory.path().native() + "/";
        path.resize(107, 'p');
        asio::io_context ctx;
        {
            const unix_listener<> listener(ctx.get_executor(), path);
            unix_stream::socket client(ctx);
            CHECK_NOTHROW(client.connect(unix_path_endpoint<unix_stream>(path)));
        }
        CHECK(fs::is_empty(directory.path()));
    }

    TEST_CASE("the name of another file by then is not removed")
    {
        const socket_place where;
        asio::io_context ctx;
        {
            unix_listener<> listener(ctx.get_executor(), where.path);
            fs::remove(where.path);
            where.directory.write("s", "somebody else's");
            error_code ec;
            listener.name().remove(ec);
            CHECK(ec == errc::no_such_file_or_directory);
        }
        CHECK(where.directory.read("s") == "somebody else's");
    }

    TEST_CASE("a relative path is found again in another directory")
    {
        const socket_place where;
        asio::io_context ctx;
        {
            std::optional<procyard_test::current_directory> there(where.directory.path());
            const unix_listener<> listener(ctx.get_executor(), "s");
            there.reset();
            CHECK(listener.path() == where.path);
            CHECK(where.connect(ctx) == error_code());
        }
        CHECK_FALSE(where.exists());
    }
}

TEST_SUITE("bind_unix_datagram")
{
    TEST_CASE("receives by its name, and answers who has one")
    {
        const descriptor_check no_leak;
        const socket_place where;
        const socket_place other;
        asio::io_context ctx;
        {
            auto server = procyard::bind_unix_datagram(ctx.get_executor(), where.path);
            auto client = procyard::bind_unix_datagram(ctx.get_executor(), other.path);
            CHECK((::fcntl(server.socket.native_handle(), F_GETFD) & FD_CLOEXEC) != 0);
            client.socket.send_to(asio::buffer("ask", 3),
                                  unix_path_endpoint<unix_datagram>(where.path));
            std::array<char, 8> block{};
            unix_datagram::endpoint sender;
            CHECK(server.socket.receive_from(asio::buffer(block), sender) == 3);
            CHECK(sender.path() == other.path);
            server.socket.send_to(asio::buffer("yes!", 4), sender);
            CHECK(client.socket.receive(asio::buffer(block)) == 4);
            const auto bind_again = [&] {
                return procyard::bind_unix_datagram(ctx.get_executor(), where.path);
            };
            CHECK_THROWS_WITH_AS((void)bind_again(), doctest::Contains(where.path.c_str()),
                                 boost::system::system_error);
        }
        CHECK_FALSE(where.exists());
        CHECK_FALSE(other.exists());
    }

    TEST_CASE("takes the name of a dead owner and of no living one")
    {
        const socket_place where;
        asio::io_context ctx;
        where.leave_socket<unix_stream>();
        error_code ec;
        const auto first = procyard::bind_unix_datagram(ctx.get_executor(), where.path, {}, ec);
        CHECK_FALSE(ec);
        const auto second = procyard::bind_unix_datagram(ctx.get_executor(), where.path, {}, ec);
        CHECK(ec == errc::address_in_use);
        CHECK_FALSE(second.socket.is_open());
        CHECK_FALSE(second.name);
    }
}
