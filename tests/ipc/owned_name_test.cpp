// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/owned_name.hpp>

#include <boost/system/errc.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/fifo.hpp>

#include "forked.hpp"
#include "temporary_directory.hpp"

namespace errc = boost::system::errc;
namespace fs = std::filesystem;
using procyard::error_code;
using procyard::make_fifo;
using procyard::owned_name;
using procyard_test::temporary_directory;

TEST_SUITE("owned_name")
{
    TEST_CASE("goes once, wherever it was moved to")
    {
        const temporary_directory directory;
        const auto path = (directory.path() / "f").native();
        owned_name first = make_fifo(path);
        owned_name second(std::move(first));
        CHECK_FALSE(first);  // NOLINT: what a moved-from one says
        CHECK(first.path().empty());
        CHECK(fs::exists(path));
        second = make_fifo(path + "2");
        CHECK_FALSE(fs::exists(path));
        CHECK(fs::exists(path + "2"));
        second = {};
        CHECK_FALSE(fs::exists(path + "2"));
    }

    TEST_CASE("can be removed early, once, or left")
    {
        const temporary_directory directory;
        const auto path = (directory.path() / "f").native();
        auto name = make_fifo(path);
        error_code ec;
        name.remove(ec);
        CHECK_FALSE(ec);
        CHECK_FALSE(fs::exists(path));
        name.remove(ec);
        CHECK(ec == errc::no_such_file_or_directory);
        name = make_fifo(path);
        name.keep();
        CHECK_FALSE(name);
        CHECK(fs::exists(path));
    }

    TEST_CASE("another file of that name stays, even one that was made at once")
    {
        const temporary_directory directory;
        const auto path = (directory.path() / "f").native();
        {
            const auto name = make_fifo(path);
            REQUIRE(::unlink(path.c_str()) == 0);
            REQUIRE(::mkfifo(path.c_str(), 0600) == 0);  // would have the inode's number again
        }
        CHECK(fs::exists(path));
    }

    TEST_CASE("a child of fork() owns none")
    {
        const temporary_directory directory;
        const auto path = (directory.path() / "f").native();
        std::optional<owned_name> name(make_fifo(path));
        const int result = procyard_test::in_fork([&] {
            error_code ec;
            name->remove(ec);
            name.reset();
            return ec == errc::operation_not_permitted && fs::exists(path) ? 0 : 1;
        });
        CHECK(result == 0);
        CHECK(fs::exists(path));
    }
}
