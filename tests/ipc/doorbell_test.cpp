// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/doorbell.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "procyard_test.hpp"
#include "temporary_directory.hpp"

using procyard::error_code;
using procyard::unique_fd;
using procyard::detail::doorbell;
using procyard::detail::doorbell_button;
using procyard::detail::doorbell_kind;
using procyard::detail::doorbell_state;

namespace {

constexpr doorbell_kind kinds[] = {doorbell_kind::pipe, doorbell_kind::socket};

struct pair {
    doorbell bell;
    doorbell_button button;
    unique_fd given;  // what the peer was sent, kept by one who should not

    explicit pair(doorbell_kind kind)
    {
        unique_fd end;
        error_code ec;
        bell = doorbell::create(kind, end, ec);
        REQUIRE_FALSE(ec);
        given = end.duplicate(ec);
        REQUIRE_FALSE(ec);
        button = doorbell_button::attach(std::move(end), ec);
        REQUIRE_FALSE(ec);
    }
};

bool is_readable(int fd)
{
    pollfd one{fd, POLLIN, 0};
    return ::poll(&one, 1, 0) == 1 && (one.revents & (POLLIN | POLLHUP)) != 0;
}

}  // namespace

TEST_SUITE("doorbell")
{
    TEST_CASE("is readable after it was pressed, until it is answered")
    {
        for (const auto kind : kinds) {
            CAPTURE(static_cast<int>(kind));
            pair p(kind);
            CHECK_FALSE(is_readable(p.bell.native_handle()));
            CHECK(p.bell.answer() == doorbell_state::silent);
            for (int times = 1; times < 4; ++times) {
                for (int i = 0; i < times; ++i)
                    p.button.press();
                CHECK(is_readable(p.bell.native_handle()));
                CHECK(p.bell.answer() == doorbell_state::rung);
                CHECK_FALSE(is_readable(p.bell.native_handle()));
                CHECK(p.bell.answer() == doorbell_state::silent);
            }
        }
    }

    TEST_CASE("is readable when nobody can press it any more, and says so after the last press")
    {
        for (const auto kind : kinds) {
            CAPTURE(static_cast<int>(kind));
            pair p(kind);
            p.button.press();
            p.given.reset();
            p.button = doorbell_button();
            CHECK(is_readable(p.bell.native_handle()));
            CHECK(p.bell.answer() == doorbell_state::rung);
            CHECK(is_readable(p.bell.native_handle()));
            CHECK(p.bell.answer() == doorbell_state::abandoned);
            CHECK(p.bell.answer() == doorbell_state::abandoned);
        }
    }

    TEST_CASE("pressed without end it fills up, and the presser does not wait (cases 21 and 48)")
    {
        for (const auto kind : kinds) {
            CAPTURE(static_cast<int>(kind));
            pair p(kind);
            for (int i = 0; i < 100'000; ++i)
                p.button.press();
            int answers = 0;
            while (p.bell.answer() == doorbell_state::rung)
                ++answers;
            CHECK(answers >= 1);
            CHECK(answers <= 16);  // bounded by what the kernel buffers, not by the presses
            p.button.press();
            CHECK(p.bell.answer() == doorbell_state::rung);
        }
    }

    TEST_CASE("a peer that makes its end a blocking one and fills it up blocks nobody else")
    {
        for (const auto kind : kinds) {
            CAPTURE(static_cast<int>(kind));
            pair p(kind);
            while (::write(p.given.get(), "x", 1) == 1) { }
            REQUIRE(::fcntl(p.given.get(), F_SETFL, 0) == 0);
            p.button.press();
            while (p.bell.answer() == doorbell_state::rung) { }
            CHECK(p.bell.answer() == doorbell_state::silent);
        }
    }

    TEST_CASE("one that nobody listens to any more can be pressed, and raises no SIGPIPE")
    {
        for (const auto kind : kinds) {
            CAPTURE(static_cast<int>(kind));
            pair p(kind);
            struct sigaction fatal{};
            fatal.sa_handler = SIG_DFL;
            struct sigaction before{};
            REQUIRE(::sigaction(SIGPIPE, &fatal, &before) == 0);
            p.bell = doorbell();
            p.given.reset();
            for (int i = 0; i < 10'000; ++i)
                p.button.press();
            REQUIRE(::sigaction(SIGPIPE, &before, nullptr) == 0);
        }
    }

    TEST_CASE("what is neither a pipe nor a Unix socket is refused, and closed")
    {
        const procyard_test::descriptor_check descriptors;
        error_code ec;
        for (const int fd :
             {::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ::eventfd(0, EFD_CLOEXEC),
              ::open("/dev/null", O_RDWR | O_CLOEXEC), ::open("/", O_PATH | O_CLOEXEC)}) {
            CAPTURE(fd);
            REQUIRE(fd >= 0);
            const auto button = doorbell_button::attach(unique_fd(fd), ec);
            CHECK(ec == boost::system::errc::bad_message);
            CHECK_FALSE(button);
            CHECK(::fcntl(fd, F_GETFD) == -1);
        }
        CHECK_FALSE(doorbell_button::attach(unique_fd(), ec));
        CHECK(ec == boost::system::errc::bad_file_descriptor);
    }

    TEST_CASE("files with a pipe's nature, or with its name, are no pipes of a doorbell")
    {
        const procyard_test::temporary_directory directory;
        const procyard_test::descriptor_check descriptors;
        error_code ec;
        unique_fd file(
            ::open((directory.path() / "pipe:[1]").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
        REQUIRE(file);
        CHECK_FALSE(doorbell_button::attach(std::move(file), ec));
        CHECK(ec == boost::system::errc::bad_message);
        const auto fifo = directory.path() / "fifo";
        REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
        CHECK_FALSE(
            doorbell_button::attach(unique_fd(::open(fifo.c_str(), O_RDWR | O_CLOEXEC)), ec));
        CHECK(ec == boost::system::errc::bad_message);
    }
}
