// SPDX-License-Identifier: BSL-1.0
// Names that are refused, and that what they belong to stays as it was.
#include <procyard/ipc/named_segment.hpp>

#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>

#include <doctest/doctest.h>

#include <procyard/ipc/unique_fd.hpp>

#include "forked.hpp"
#include "named_fixture.hpp"
#include "procyard_test.hpp"
#include "skip.hpp"
#include "syscall_refusal.hpp"
#include "temporary_directory.hpp"

namespace errc = boost::system::errc;
namespace fs = std::filesystem;
using procyard::error_code;
using procyard::named_segment;
using procyard::segment_errc;
using procyard::segment_name;
using procyard_test::descriptor_check;
using procyard_test::each_place;

namespace {

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

error_code failure_to_create(const segment_name& name, std::size_t size_bytes = 1)
{
    const descriptor_check no_leak;
    error_code ec;
    CHECK_FALSE(named_segment::create(name, size_bytes, {}, ec));
    return ec;
}

error_code failure_to_open(const segment_name& name)
{
    const descriptor_check no_leak;
    error_code ec;
    CHECK_FALSE(named_segment::open(name, {}, ec));
    return ec;
}

}  // namespace

TEST_SUITE("named_segment")
{
    TEST_CASE("names that cannot exist are refused")
    {
        using namespace std::string_literals;
        for (const auto& name : {""s, "."s, ".."s, "a/b"s, "/a"s, "a\0b"s, std::string(256, 'x')}) {
            CAPTURE(name);
            CHECK(failure_to_create(segment_name::shared_memory(name)) == segment_errc::bad_name);
            CHECK(failure_to_open(segment_name::shared_memory(name)) == segment_errc::bad_name);
            error_code ec;
            (void)named_segment::open_or_create(segment_name::shared_memory(name), page, {}, ec);
            CHECK(ec == segment_errc::bad_name);
        }
        for (const auto& path : {""s, "/tmp/"s, "/tmp/."s, "/tmp/.."s, "/tmp/a\0b"s,
                                 "/tmp/" + std::string(256, 'x')}) {
            CAPTURE(path);
            CHECK(failure_to_create(segment_name::file(path)) == segment_errc::bad_name);
        }
        CHECK(failure_to_create(segment_name::file("/nowhere at all/x"))
              == errc::no_such_file_or_directory);
        CHECK(segment_name::shared_memory(std::string(255, 'x')).path().size() == 9 + 255);
    }

    TEST_CASE("no size and sizes that overflow are refused")
    {
        each_place([](const segment_name& name) {
            CHECK(failure_to_create(name, 0) == segment_errc::zero_size);
            constexpr auto most = std::numeric_limits<std::size_t>::max();
            for (const std::size_t size : {most, most / 2, most / 2 - page})
                CHECK(failure_to_create(name, size) == segment_errc::too_large);
            CHECK_FALSE(fs::exists(name.path()));
            error_code ec;
            (void)named_segment::open_or_create(name, 0, {}, ec);
            CHECK(ec == segment_errc::zero_size);
        });
    }

    TEST_CASE("what is not a segment is refused, and stays as it was")
    {
        const procyard_test::temporary_directory directory;
        const auto check = [](const fs::path& path) {
            const auto name = segment_name::file(path.string());
            CAPTURE(path);
            CHECK(failure_to_create(name) == segment_errc::not_a_segment);
            CHECK(failure_to_open(name) == segment_errc::not_a_segment);
            error_code ec;
            (void)named_segment::open_or_create(name, page, {}, ec);
            CHECK(ec == segment_errc::not_a_segment);
        };
        for (const auto& text : {std::string(), std::string("dear diary"), std::string(8192, '\0'),
                                 std::string("procyard") + std::string(16, '\xff')}) {
            check(directory.write("file", text));
            CHECK(directory.read("file") == text);
        }
        check(directory.path());
        fs::create_symlink(directory.path() / "file", directory.path() / "link");
        check(directory.path() / "link");
        fs::create_symlink("/nowhere", directory.path() / "dangling");
        check(directory.path() / "dangling");
        CHECK(fs::is_symlink(directory.path() / "dangling"));
        REQUIRE(::mkfifo((directory.path() / "fifo").c_str(), 0600) == 0);
        check(directory.path() / "fifo");
        check("/dev/null");
        const procyard::unique_fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const auto path = directory.path() / "socket";
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        check(path);
    }

    TEST_CASE("a segment that was cut short or grown is refused, also when its creator is dead")
    {
        each_place([](const segment_name& name) {
            procyard_test::leave_behind(name, page);
            for (const std::size_t size :
                 {std::size_t{0}, std::size_t{8}, page, page + 1, 3 * page}) {
                CAPTURE(size);
                fs::resize_file(name.path(), size);
                CHECK(failure_to_create(name) == segment_errc::not_a_segment);
                CHECK(failure_to_open(name) == segment_errc::not_a_segment);
                CHECK(fs::file_size(name.path()) == size);
            }
            fs::remove(name.path());
        });
    }

    TEST_CASE("another user's segment is neither opened nor replaced, unless that user is named")
    {
        if (::geteuid() != 0)
            return procyard_test::skip("only root can give a file away");
        each_place([](const segment_name& name) {
            constexpr uid_t nobody = 65534;
            auto creator = named_segment::create(name, page);
            creator.publish();
            REQUIRE(::chown(name.path().c_str(), nobody, nobody) == 0);
            CHECK(failure_to_open(name) == segment_errc::foreign_owner);
            CHECK(failure_to_create(name) == segment_errc::foreign_owner);
            CHECK(named_segment::open(name, {.owner = nobody}));
            CHECK(procyard_test::in_fork([&] {
                      // Another failure is not taken for that.
                      if (!procyard_test::refuse({.number = SYS_openat,
                                                  .error_number = EMFILE,
                                                  .argument = 2,
                                                  .mask = O_NOFOLLOW,
                                                  .value = O_NOFOLLOW}))
                          return 1;
                      error_code ec;
                      (void)named_segment::open(name, {}, ec);
                      return ec == errc::too_many_files_open ? 0 : 2;
                  })
                  == 0);
            CHECK(procyard_test::in_fork([&] {
                      constexpr uid_t third = 65533;
                      if (::setresgid(third, third, third) == -1
                          || ::setresuid(third, third, third) == -1)
                          return 1;
                      error_code ec;
                      (void)named_segment::create(name, page, {}, ec);
                      if (ec != segment_errc::foreign_owner)
                          return 2;
                      (void)named_segment::open(name, {.owner = nobody}, ec);
                      return ec == errc::permission_denied ? 0 : 3;
                  })
                  == 0);
            CHECK(fs::exists(name.path()));
            REQUIRE(::chown(name.path().c_str(), ::geteuid(), ::getegid()) == 0);
        });
    }
}
