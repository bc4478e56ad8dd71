// SPDX-License-Identifier: BSL-1.0
// Names that a listener does not get.
#include <procyard/ipc/unix_listener.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include <doctest/doctest.h>

#include <procyard/ipc/socket_error.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "forked.hpp"
#include "procyard_test.hpp"
#include "socket_place.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
namespace fs = std::filesystem;
using procyard::error_code;
using procyard::socket_errc;
using procyard::unix_datagram;
using procyard::unix_listener;
using procyard::unix_path_endpoint;
using procyard::unix_seqpacket;
using procyard_test::descriptor_check;
using procyard_test::socket_place;

TEST_SUITE("unix_listener")
{
    TEST_CASE("the socket of a living owner is left alone, whether it listens or not")
    {
        const socket_place where;
        asio::io_context ctx;
        const auto refused = [&] {
            unix_listener<> late(ctx.get_executor());
            CHECK(where.listen(late) == errc::address_in_use);
            CHECK_FALSE(late.is_open());
            CHECK(late.path().empty());
            CHECK(where.exists());
        };
        {
            const unix_listener<> listening(ctx.get_executor(), where.path, {.backlog = 0});
            refused();
            CHECK(where.connect(ctx) == error_code());  // its queue was not touched
            refused();
        }
        {
            const unix_seqpacket::socket bound(ctx, unix_path_endpoint<unix_seqpacket>(where.path));
            refused();
        }
        fs::remove(where.path);
        {
            unix_datagram::socket bound(ctx, unix_path_endpoint<unix_datagram>(where.path));
            refused();
            bound.connect(bound.local_endpoint());  // takes datagrams from nobody else
            refused();
        }
        CHECK(where.exists());
    }

    TEST_CASE("what is no socket is left alone")
    {
        const descriptor_check no_leak;
        const socket_place where;
        asio::io_context ctx;
        unix_listener<> listener(ctx.get_executor());
        const auto refused = [&] {
            CHECK(where.listen(listener) == socket_errc::not_a_socket);
            CHECK(where.listen(listener) == errc::file_exists);
            CHECK(where.exists());
            fs::remove(where.path);
        };
        where.directory.write("s", "precious");
        refused();
        fs::create_directory(where.path);
        refused();
        REQUIRE(::mkfifo(where.path.c_str(), 0600) == 0);
        refused();
        fs::create_symlink("nowhere", where.path);
        refused();

        const socket_place other;
        other.leave_socket();
        fs::create_symlink(other.path, where.path);
        refused();
        CHECK(other.exists());
    }

    TEST_CASE("a path that cannot be is refused by name, before anything has happened")
    {
        const descriptor_check no_leak;
        const socket_place where;
        asio::io_context ctx;
        unix_listener<> listener(ctx.get_executor());
        error_code ec;
        const auto longer = where.path + std::string(108, 'x');
        listener.listen(longer, {}, ec);
        CHECK(ec == socket_errc::name_too_long);
        CHECK_THROWS_WITH_AS(unix_listener<>(ctx.get_executor(), longer),
                             doctest::Contains(longer.c_str()), boost::system::system_error);
        listener.listen("", {}, ec);
        CHECK(ec == socket_errc::bad_name);
        listener.listen(where.path + "/deeper", {}, ec);
        CHECK(ec == errc::no_such_file_or_directory);
        CHECK(fs::is_empty(where.directory.path()));
    }

    TEST_CASE("a directory that may not be written to is told, to who is not root")
    {
        const socket_place where;
        where.leave_socket();
        const int result = procyard_test::in_fork([&] {
            asio::io_context ctx;
            fs::permissions(where.directory.path(), fs::perms(0555));
            fs::permissions(where.path, fs::perms(0666));
            if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0))
                return 1;
            unix_listener<> listener(ctx.get_executor());
            if (where.listen(listener) != errc::permission_denied)
                return 2;  // to take the stale one over
            error_code ec;
            listener.listen(where.path + "2", {}, ec);
            return ec == errc::permission_denied ? 0 : 3;
        });
        CHECK(result == 0);
        CHECK(where.exists());
    }

    TEST_CASE("an owner that may not be asked is not taken for dead")
    {
        const socket_place where;
        where.leave_socket();
        const int result = procyard_test::in_fork([&] {
            asio::io_context ctx;
            fs::permissions(where.directory.path(), fs::perms(0777));
            fs::permissions(where.path, fs::perms(0600));
            if (::geteuid() != 0)
                fs::permissions(where.path, fs::perms(0));
            else if (::setgid(65534) != 0 || ::setuid(65534) != 0)
                return 1;
            unix_listener<> listener(ctx.get_executor());
            return where.listen(listener) == errc::permission_denied ? 0 : 2;
        });
        CHECK(result == 0);
        CHECK(where.exists());
    }

    TEST_CASE("somebody who keeps the directory locked keeps no free name from being taken")
    {
        const socket_place where;
        asio::io_context ctx;
        const procyard::unique_fd lock(
            ::open(where.directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        REQUIRE(::flock(lock.get(), LOCK_SH) == 0);
        {
            const unix_listener<> listener(ctx.get_executor(), where.path);
            CHECK(where.connect(ctx) == error_code());
        }
        where.leave_socket();
        unix_listener<> listener(ctx.get_executor());
        CHECK(where.listen(listener) == errc::device_or_resource_busy);
        CHECK(where.exists());
        REQUIRE(::flock(lock.get(), LOCK_UN) == 0);
        CHECK(where.listen(listener) == error_code());
        // It keeps no lock of its own.
        CHECK(::flock(lock.get(), LOCK_EX | LOCK_NB) == 0);
    }
}
