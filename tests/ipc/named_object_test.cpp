// SPDX-License-Identifier: BSL-1.0
// The file behind a named segment: what counts as one, and who may take its name away.
#include "named_object.hpp"

#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include <doctest/doctest.h>

#include <procyard/ipc/named_segment.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "forked.hpp"
#include "named_fixture.hpp"
#include "procyard_test.hpp"
#include "syscall_refusal.hpp"

namespace detail = procyard::detail;
namespace errc = boost::system::errc;
namespace fs = std::filesystem;
using procyard::error_code;
using procyard::make_errno;
using procyard::named_segment;
using procyard::segment_errc;
using procyard::segment_name;
using procyard::unique_fd;
using procyard_test::each_place;
using procyard_test::leave_behind;

namespace {

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

unique_fd open_file(const std::string& path)
{
    unique_fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    REQUIRE(fd);
    return fd;
}

unique_fd named_object(const std::string& path)
{
    error_code ec;
    auto fd = detail::make_object(path, 2 * page, 0600, ec);
    REQUIRE_FALSE(ec);
    REQUIRE_FALSE(detail::name_object(fd.get(), path));
    return fd;
}

detail::named_fields read_fields(int fd)
{
    detail::named_fields fields{};
    REQUIRE(::pread(fd, &fields, sizeof fields, 0) == sizeof fields);
    return fields;
}

void write_fields(int fd, const detail::named_fields& fields)
{
    REQUIRE(::pwrite(fd, &fields, sizeof fields, 0) == sizeof fields);
}

// As somebody does who is about to remove the name of a dead creator.
void lock_for_removal(int fd)
{
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_start = 1;
    lock.l_len = 1;
    REQUIRE(::fcntl(fd, F_OFD_SETLK, &lock) == 0);
}

}  // namespace

TEST_SUITE("named_object")
{
    TEST_CASE("a header with anything wrong in it is not one of ours, and is left alone")
    {
        each_place([](const segment_name& name) {
            leave_behind(name, page);
            const auto file = open_file(name.path());
            const auto good = read_fields(file.get());
            CHECK(good.magic == detail::named_magic);
            CHECK(good.header_bytes == page);
            CHECK(good.size_bytes == page);
            const auto refused = [&](auto change) {
                auto fields = good;
                change(fields);
                write_fields(file.get(), fields);
                detail::named_fields seen{};
                error_code ec;
                CHECK_FALSE(detail::open_object(name.path(), true, ::geteuid(), seen, ec));
                CHECK(ec == segment_errc::not_a_segment);
                CHECK(detail::clear_name(name.path()) == segment_errc::not_a_segment);
                CHECK(fs::exists(name.path()));
                CHECK(read_fields(file.get()).magic == fields.magic);
            };
            refused([](auto& fields) { fields.magic ^= 1U; });
            refused([](auto& fields) { fields.magic = 0; });
            for (const std::uint32_t version : {0U, detail::named_version + 1, ~0U})
                refused([&](auto& fields) { fields.version = version; });
            for (const std::uint32_t bytes : {0U, 24U, 4095U, 4097U, 3U << 12U, ~0U})
                refused([&](auto& fields) { fields.header_bytes = bytes; });
            for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{page - 1},
                                              std::uint64_t{page + 1}, ~std::uint64_t{0}})
                refused([&](auto& fields) { fields.size_bytes = bytes; });
            // What adds up to the size of the file is still not right for that.
            for (const std::uint32_t bytes : {0U, 24U, 32U, ~0U})
                refused([&](auto& fields) {
                    fields.header_bytes = bytes;
                    fields.size_bytes = 2 * page - std::uint64_t{bytes};
                });
            refused([](auto& fields) {
                fields.header_bytes = static_cast<std::uint32_t>(2 * page);
                fields.size_bytes = 0;
            });
            write_fields(file.get(), good);
            CHECK_FALSE(detail::clear_name(name.path()));
            CHECK_FALSE(fs::exists(name.path()));
        });
    }

    TEST_CASE("an object has its memory and its lock before it has a name")
    {
        each_place([](const segment_name& name) {
            error_code ec;
            const auto fd = detail::make_object(name.path(), 4 * page, 0640, ec);
            REQUIRE_FALSE(ec);
            struct stat status{};
            REQUIRE(::fstat(fd.get(), &status) == 0);
            CHECK(status.st_nlink == 0);
            CHECK(static_cast<std::size_t>(status.st_size) == 4 * page);
            CHECK(static_cast<std::size_t>(status.st_blocks) * 512 >= 4 * page);
            CHECK((status.st_mode & 07777U) == 0640);
            CHECK((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
            CHECK_FALSE(fs::exists(name.path()));
            REQUIRE_FALSE(detail::name_object(fd.get(), name.path()));
            CHECK(detail::object_is_alive(open_file(name.path()).get(), ec));
            CHECK_FALSE(detail::remove_name(fd.get(), name.path()));
        });
    }

    TEST_CASE("a name is not given twice")
    {
        each_place([](const segment_name& name) {
            const auto first = named_object(name.path());
            error_code ec;
            const auto second = detail::make_object(name.path(), page, 0600, ec);
            CHECK(detail::name_object(second.get(), name.path()) == errc::file_exists);
            CHECK_FALSE(detail::remove_name(first.get(), name.path()));
            CHECK_FALSE(detail::name_object(second.get(), name.path()));
            CHECK_FALSE(detail::remove_name(second.get(), name.path()));
        });
    }

    TEST_CASE("without /proc a name is given by the descriptor, where the kernel lets us")
    {
        each_place([](const segment_name& name) {
            const int result = procyard_test::in_fork([&] {
                if (!procyard_test::refuse({.number = SYS_linkat,
                                            .error_number = ENOENT,
                                            .argument = 4,
                                            .mask = AT_SYMLINK_FOLLOW,
                                            .value = AT_SYMLINK_FOLLOW}))
                    return 1;
                error_code ec;
                const auto made = named_segment::create(name, page, {}, ec);
                // Before 6.10 it takes a capability (CAP_DAC_READ_SEARCH), which even root may
                // lack: in a container, for one.
                if (ec)
                    return ec == errc::no_such_file_or_directory ? 0 : 2;
                return fs::exists(name.path()) ? 0 : 3;
            });
            CHECK(result == 0);
        });
    }

    TEST_CASE("a name that has passed to another object is not removed")
    {
        each_place([](const segment_name& name) {
            const auto first = named_object(name.path());
            REQUIRE(fs::remove(name.path()));
            CHECK(detail::remove_name(first.get(), name.path()) == errc::no_such_file_or_directory);
            const auto second = named_object(name.path());
            CHECK(detail::remove_name(first.get(), name.path()) == errc::no_such_file_or_directory);
            CHECK(fs::exists(name.path()));
            CHECK_FALSE(detail::remove_name(second.get(), name.path()));
        });
    }

    TEST_CASE("while one removes a dead creator's name, others neither do so nor take it for alive")
    {
        each_place([](const segment_name& name) {
            leave_behind(name, page);
            auto remover = open_file(name.path());
            lock_for_removal(remover.get());
            CHECK(detail::clear_name(name.path()) == make_errno(EAGAIN));
            error_code ec;
            CHECK_FALSE(named_segment::create(name, page, {}, ec));  // and does not try for ever
            CHECK(ec == errc::device_or_resource_busy);
            CHECK_FALSE(named_segment::open_or_create(name, page, {}, ec));
            CHECK(ec == errc::device_or_resource_busy);
            CHECK_FALSE(named_segment::open(name, {}, ec));
            CHECK(ec == errc::owner_dead);
            CHECK(fs::exists(name.path()));
            remover.reset();  // as when it is killed
            CHECK(named_segment::create(name, page, {}, ec));
        });
    }

    TEST_CASE("who removes a dead creator's name slowly is waited for")
    {
        each_place([](const segment_name& name) {
            leave_behind(name, page);
            CHECK(procyard_test::in_fork([&] {
                      // Comes to its end in the middle of our making: the signal takes its lock.
                      static int slow_remover = -1;
                      slow_remover = open_file(name.path()).release();
                      lock_for_removal(slow_remover);
                      struct sigaction ends{};
                      ends.sa_handler = [](int) { ::close(slow_remover); };
                      const itimerval soon{{0, 0}, {0, 20'000}};
                      if (::sigaction(SIGALRM, &ends, nullptr) == -1
                          || ::setitimer(ITIMER_REAL, &soon, nullptr) == -1)
                          return 1;
                      error_code ec;
                      return named_segment::create(name, page, {}, ec) ? 0 : 2;
                  })
                  == 0);
        });
    }

    TEST_CASE("a live creator's name is not cleared, a free one needs no clearing")
    {
        each_place([](const segment_name& name) {
            CHECK_FALSE(detail::clear_name(name.path()));
            auto creator = named_segment::create(name, page);
            CHECK(detail::clear_name(name.path()) == errc::file_exists);
            CHECK(fs::exists(name.path()));
        });
    }
}
