// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/unique_fd.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

using procyard::unique_fd;

namespace {

bool is_open(int fd)
{
    return ::fcntl(fd, F_GETFD) != -1;
}

unique_fd open_null()
{
    return unique_fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
}

}  // namespace

TEST_SUITE("unique_fd")
{
    TEST_CASE("closes what it owns, and only that")
    {
        int number = -1;
        {
            const auto fd = open_null();
            REQUIRE(fd);
            number = fd.get();
            CHECK(is_open(number));
        }
        CHECK_FALSE(is_open(number));
    }

    TEST_CASE("a moved-from object owns nothing and can be used again")
    {
        auto a = open_null();
        const int number = a.get();
        unique_fd b(std::move(a));
        CHECK_FALSE(a);
        CHECK(a.get() == -1);
        CHECK(b.get() == number);
        a = std::move(b);
        CHECK(a.get() == number);
    }

    TEST_CASE("release gives the number up without closing it")
    {
        auto a = open_null();
        const int number = a.release();
        CHECK_FALSE(a);
        CHECK(is_open(number));
        const unique_fd again(number);
    }

    TEST_CASE("reset leaves errno alone")
    {
        auto a = open_null();
        errno = ENOENT;
        a.reset();
        CHECK(errno == ENOENT);
    }

    TEST_CASE("a duplicate is close-on-exec and starts at the number asked for")
    {
        const auto a = open_null();
        procyard::error_code ec;
        const auto b = a.duplicate(ec, 100);
        REQUIRE_FALSE(ec);
        CHECK(b.get() >= 100);
        CHECK((::fcntl(b.get(), F_GETFD) & FD_CLOEXEC) != 0);
    }

    TEST_CASE("duplicating nothing is EBADF")
    {
        procyard::error_code ec;
        const auto b = unique_fd{}.duplicate(ec);
        CHECK_FALSE(b);
        CHECK(ec == boost::system::errc::bad_file_descriptor);
    }
}
