// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/fifo.hpp>

#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include "forked.hpp"
#include "limit_guard.hpp"
#include "procyard_test.hpp"
#include "skip.hpp"
#include "temporary_directory.hpp"

namespace errc = boost::system::errc;
namespace fs = std::filesystem;
using procyard::error_code;
using procyard::existing_fifo;
using procyard::make_fifo;
using procyard::owned_name;
using procyard_test::descriptor_check;
using procyard_test::forked;
using procyard_test::temporary_directory;

namespace {

// A directory with a FIFO in it.
struct place {
    place() { REQUIRE(::mkfifo(path.c_str(), 0600) == 0); }

    temporary_directory directory;
    std::string path = (directory.path() / "f").native();
};

mode_t mode_of(const std::string& path)
{
    struct stat status;
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    return status.st_mode & 07777;
}

}  // namespace

TEST_SUITE("make_fifo")
{
    TEST_CASE("makes one with the permissions that were asked for, and it goes with the name")
    {
        const descriptor_check no_leak;
        const temporary_directory directory;
        const auto path = (directory.path() / "f").native();
        for (const mode_t mask : {0U, 022U, 0777U}) {
            const mode_t before = ::umask(mask);
            {
                const owned_name name = make_fifo(path, {.permissions = 0662});
                CHECK(name);
                CHECK(name.path() == path);
                CHECK(fs::is_fifo(path));
                CHECK(mode_of(path) == 0662);
            }
            ::umask(before);
            CHECK_FALSE(fs::exists(path));
        }
    }

    TEST_CASE("one that is there already is refused, or adopted if that was asked for")
    {
        const place where;
        error_code ec;
        CHECK_FALSE(make_fifo(where.path, {}, ec));
        CHECK(ec == errc::file_exists);
        CHECK_THROWS_WITH_AS((void)make_fifo(where.path), doctest::Contains(where.path.c_str()),
                             boost::system::system_error);
        {
            const auto name =
                make_fifo(where.path, {.permissions = 0640, .existing = existing_fifo::adopt}, ec);
            CHECK_FALSE(ec);
            CHECK(mode_of(where.path) == 0640);
        }
        CHECK_FALSE(fs::exists(where.path));
    }

    TEST_CASE("what a killed owner has left can be adopted")
    {
        const temporary_directory directory;
        const auto path = (directory.path() / "f").native();
        forked owner([&] {
            const auto name = make_fifo(path);
            ::kill(::getpid(), SIGKILL);
            return 0;
        });
        REQUIRE(owner.result() == -SIGKILL);
        REQUIRE(fs::is_fifo(path));
        CHECK(make_fifo(path, {.existing = existing_fifo::adopt}));
        CHECK_FALSE(fs::exists(path));
    }

    TEST_CASE("what is no FIFO is left alone")
    {
        const descriptor_check no_leak;
        const place where;
        error_code ec;
        const auto refused = [&](const std::string& path) {
            for (const auto existing : {existing_fifo::refuse, existing_fifo::adopt}) {
                CHECK_FALSE(make_fifo(path, {.existing = existing}, ec));
                CHECK(ec == errc::file_exists);
                CHECK(fs::exists(fs::symlink_status(path)));
            }
        };
        refused(where.directory.write("file", "precious"));
        refused(where.directory.path());
        const auto link = where.directory.path() / "link";
        fs::create_symlink(where.path, link);  // not followed
        refused(link);
        CHECK(where.directory.read("file") == "precious");
    }

    TEST_CASE("that of another user is not adopted")
    {
        if (::geteuid() != 0)
            return procyard_test::skip("only root can make a FIFO of another user");
        const place where;
        REQUIRE(::chown(where.path.c_str(), 65534, 65534) == 0);
        error_code ec;
        CHECK_FALSE(make_fifo(where.path, {.existing = existing_fifo::adopt}, ec));
        CHECK(ec == errc::permission_denied);
        CHECK(mode_of(where.path) == 0600);
    }

    TEST_CASE("a path that cannot be is told")
    {
        const temporary_directory directory;
        error_code ec;
        (void)make_fifo((directory.path() / "none" / "f").native(), {}, ec);
        CHECK(ec == errc::no_such_file_or_directory);
        (void)make_fifo((directory.path() / std::string(300, 'f')).native(), {}, ec);
        CHECK(ec == errc::filename_too_long);
        (void)make_fifo(std::string_view("a\0b", 3), {}, ec);
        CHECK(ec == errc::invalid_argument);
    }

    TEST_CASE("without a free descriptor there is none")
    {
        const temporary_directory directory;
        const auto path = (directory.path() / "f").native();
        error_code ec;
        {
            const procyard_test::limit_guard full(RLIMIT_NOFILE, 0);
            CHECK_FALSE(make_fifo(path, {}, ec));
        }
        CHECK(ec == errc::too_many_files_open);
        CHECK_FALSE(fs::exists(path));
    }
}
