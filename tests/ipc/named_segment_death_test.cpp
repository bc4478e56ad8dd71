// SPDX-License-Identifier: BSL-1.0
// Creators that are killed, that race, and that find no room.
#include <procyard/ipc/named_segment.hpp>

#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "forked.hpp"
#include "limit_guard.hpp"
#include "named_fixture.hpp"
#include "procyard_test.hpp"
#include "skip.hpp"
#include "syscall_refusal.hpp"

namespace errc = boost::system::errc;
namespace fs = std::filesystem;
using procyard::error_code;
using procyard::make_errno;
using procyard::named_segment;
using procyard::segment_name;
using procyard_test::descriptor_check;
using procyard_test::each_place;
using procyard_test::forked;
using procyard_test::in_fork;
using procyard_test::leave_behind;
using procyard_test::limit_guard;
using procyard_test::refuse;
using procyard_test::syscall_refusal;

namespace {

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

#ifdef SYS_unlink
constexpr long unlink_number = SYS_unlink;
#else
constexpr long unlink_number = SYS_unlinkat;
#endif

// The system calls of create(), in their order; the last two only over a dead creator's name.
const std::vector<syscall_refusal>& steps_of_create()
{
    static const std::vector<syscall_refusal> steps{
        {.number = SYS_openat,
         .error_number = EMFILE,
         .argument = 2,
         .mask = O_TMPFILE,
         .value = O_TMPFILE},
        {.number = SYS_fchmod, .error_number = EPERM},
        {.number = SYS_fcntl,
         .error_number = ENOLCK,
         .argument = 1,
         .mask = 0xFFFFFFFFU,
         .value = F_OFD_SETLK},
        {.number = SYS_fallocate, .error_number = ENOSPC},
        {.number = SYS_mmap,
         .error_number = ENOMEM,
         .argument = 3,
         .mask = MAP_SHARED | MAP_PRIVATE,
         .value = MAP_SHARED},
        {.number = SYS_linkat, .error_number = EPERM},
        {.number = SYS_pread64, .error_number = EIO},
        {.number = unlink_number, .error_number = EACCES},
    };
    return steps;
}

// Steps that are taken only when there is a name to be cleared.
bool clears_a_name(const syscall_refusal& step)
{
    return step.number == SYS_pread64 || step.number == unlink_number;
}

// Reads until the end: it comes when the last of the others has closed its copy.
void wait_for_end(int fd)
{
    char byte = 0;
    while (procyard::retry_eintr([&] { return ::read(fd, &byte, 1); }) > 0) { }
}

// One of several that want the same segment: counts itself in it, says whether it was the creator
// ("c") or not ("o") or has failed ("x"), and stays until `leave` ends.
int contender(const segment_name& name, int start, int report, int leave)
{
    wait_for_end(start);
    named_segment got;
    error_code ec;
    do {
        got = named_segment::open_or_create(name, page, {}, ec);
        if (ec)
            ::sched_yield();
    } while (ec == errc::resource_unavailable_try_again);  // not published; the alarm is the bound
    if (ec)
        return ::write(report, "x", 1) == 1 ? 1 : 2;
    if (got.is_creator()) {
        new (got.writable_data()) std::atomic<std::uint32_t>(0);
        got.publish();
    }
    reinterpret_cast<std::atomic<std::uint32_t>*>(got.writable_data())->fetch_add(1);
    if (::write(report, got.is_creator() ? "c" : "o", 1) != 1)
        return 2;
    wait_for_end(leave);
    return 0;
}

procyard::raw_pipe open_pipe()
{
    error_code ec;
    auto pipe = procyard::make_raw_pipe(ec);
    REQUIRE_FALSE(ec);
    return pipe;
}

// Several at once want the segment: one creates it, all use it, and the name goes with that one.
void race_for(const segment_name& name)
{
    constexpr std::size_t count = 8;
    auto start = open_pipe();
    auto report = open_pipe();
    auto leave = open_pipe();
    std::vector<std::unique_ptr<forked>> contenders;
    contenders.reserve(count);
    for (std::size_t i = 0; i < count; ++i)
        contenders.push_back(std::make_unique<forked>([&] {
            start.write_end.reset();
            leave.write_end.reset();
            return contender(name, start.read_end.get(), report.write_end.get(),
                             leave.read_end.get());
        }));
    start.write_end.reset();
    report.write_end.reset();
    std::string said(count, ' ');
    for (char& c : said)
        REQUIRE(::read(report.read_end.get(), &c, 1) == 1);
    std::sort(said.begin(), said.end());
    CHECK(said == "c" + std::string(count - 1, 'o'));
    auto seen = named_segment::open(name);
    CHECK(reinterpret_cast<std::atomic<std::uint32_t>*>(seen.writable_data())->load() == count);
    leave.write_end.reset();
    for (const auto& one : contenders)
        CHECK(one->result() == 0);
    CHECK_FALSE(fs::exists(name.path()));
}

}  // namespace

TEST_SUITE("named_segment")
{
    TEST_CASE("a creator killed after it has published: not opened, but replaced")
    {
        each_place([](const segment_name& name) {
            const descriptor_check no_leak;
            leave_behind(name, page);
            error_code ec;
            CHECK_FALSE(named_segment::open(name, {}, ec));
            CHECK(ec == errc::owner_dead);
            CHECK(fs::exists(name.path()));
            auto next = named_segment::create(name, 2 * page);
            CHECK(next.data()[0] == std::byte{0});
            next.publish();
            CHECK(named_segment::open(name).size() == 2 * page);
        });
    }

    TEST_CASE("a creator killed before it has published: the same")
    {
        each_place([](const segment_name& name) {
            leave_behind(name, page, false);
            error_code ec;
            CHECK_FALSE(named_segment::open(name, {}, ec));
            CHECK(ec == errc::owner_dead);
            const auto next = named_segment::open_or_create(name, page);
            CHECK(next.is_creator());
            CHECK(next.data()[0] == std::byte{0});
        });
    }

    TEST_CASE("who has it open learns of the creator's death and keeps the memory")
    {
        each_place([](const segment_name& name) {
            auto ready = open_pipe();
            forked creator([&] {
                auto made = named_segment::create(name, page);
                made.writable_data()[9] = std::byte{9};
                made.publish();
                ready.write_end.reset();
                ::pause();
                return 0;
            });
            ready.write_end.reset();
            wait_for_end(ready.read_end.get());
            const auto opened = named_segment::open(name);
            error_code ec;
            CHECK(opened.creator_alive(ec));
            creator.kill_hard();
            CHECK_FALSE(opened.creator_alive(ec));
            CHECK_FALSE(ec);
            CHECK(opened.data()[9] == std::byte{9});
            const auto next = named_segment::create(name, page);  // takes the name away
            CHECK_FALSE(opened.creator_alive(ec));
            CHECK(opened.data()[9] == std::byte{9});
        });
    }

    TEST_CASE("a creator killed at any step of the making leaves a name free or replaceable")
    {
        for (const bool over_a_dead_one : {false, true}) {
            for (const auto& step : steps_of_create()) {
                if (clears_a_name(step) && !over_a_dead_one)
                    continue;
                each_place([&](const segment_name& name) {
                    CAPTURE(over_a_dead_one);
                    CAPTURE(step.number);
                    if (over_a_dead_one)
                        leave_behind(name, page);
                    forked creator([&] {
                        if (!procyard_test::die_at(step))
                            return 1;
                        error_code ec;
                        (void)named_segment::create(name, page, {}, ec);
                        return 2;
                    });
                    CHECK(creator.result() == -SIGSYS);
                    // The first lock that is taken is then the one for the removal.
                    const bool still_there =
                        over_a_dead_one && (clears_a_name(step) || step.number == SYS_fcntl);
                    CHECK(fs::exists(name.path()) == still_there);
                    CHECK(named_segment::create(name, page));
                });
            }
        }
    }

    TEST_CASE("whichever system call of the making fails, its error is told and nothing is left")
    {
        for (const auto& step : steps_of_create()) {
            each_place([&](const segment_name& name) {
                CAPTURE(step.number);
                if (clears_a_name(step))
                    leave_behind(name, page);
                CHECK(in_fork([&] {
                          const auto before = procyard_test::open_descriptor_list();
                          if (!refuse(step))
                              return 1;
                          error_code ec;
                          if (named_segment::create(name, page, {}, ec))
                              return 2;
                          if (ec != make_errno(step.error_number))
                              return 3;
                          return procyard_test::open_descriptor_list() == before ? 0 : 4;
                      })
                      == 0);
                CHECK(fs::exists(name.path()) == clears_a_name(step));
                fs::remove(name.path());
            });
        }
    }

    TEST_CASE("a file system without O_TMPFILE is refused")
    {
        each_place([](const segment_name& name) {
            for (const int answer : {EOPNOTSUPP, EISDIR}) {
                CHECK(in_fork([&] {
                          if (!refuse({.number = SYS_openat,
                                       .error_number = answer,
                                       .argument = 2,
                                       .mask = O_TMPFILE,
                                       .value = O_TMPFILE}))
                              return 1;
                          error_code ec;
                          (void)named_segment::create(name, page, {}, ec);
                          return ec == errc::operation_not_supported ? 0 : 2;
                      })
                      == 0);
            }
        });
    }

    TEST_CASE("of creators that race exactly one succeeds, on a free name and on a dead one's")
    {
        for (const bool over_a_dead_one : {false, true}) {
            each_place([&](const segment_name& name) {
                for (int round = 0; round < 10; ++round) {
                    CAPTURE(over_a_dead_one);
                    CAPTURE(round);
                    if (over_a_dead_one)
                        leave_behind(name, page);
                    race_for(name);
                }
            });
        }
    }

    TEST_CASE("in a full file system a segment is ENOSPC, and nothing is left in it")
    {
        const procyard_test::temporary_directory directory;
        const int result = in_fork([&] {
            if (::unshare(CLONE_NEWNS) == -1
                || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == -1
                || ::mount("none", directory.path().c_str(), "tmpfs", 0, "size=1m") == -1)
                return 77;
            const auto name = segment_name::file((directory.path() / "full").string());
            error_code ec;
            // What can never fit is not even tried: it would be a full file system for others.
            const int too_large = in_fork([&] {
                if (!procyard_test::die_at({.number = SYS_fallocate, .error_number = 0}))
                    return 1;
                (void)named_segment::create(name, std::size_t{2} << 20U, {}, ec);
                return ec == errc::no_space_on_device ? 0 : 2;
            });
            if (too_large != 0)
                return 10 + too_large;
            // As it is for what comes too late: the other took the room after the look at it.
            const int too_late = in_fork([&] {
                if (!refuse({.number = SYS_fstatfs, .error_number = ENOSYS}))
                    return 1;
                (void)named_segment::create(name, std::size_t{2} << 20U, {}, ec);
                return ec == errc::no_space_on_device ? 0 : 2;
            });
            if (too_late != 0)
                return 20 + too_late;
            if (!fs::is_empty(directory.path()) || fs::space(directory.path()).free < 1'000'000)
                return 2;
            // All but the page of the header.
            const auto made = named_segment::create(name, (std::size_t{1} << 20U) - page, {}, ec);
            return made && fs::space(directory.path()).free == 0 ? 0 : 3;
        });
        if (result == 77)
            return procyard_test::skip("no mount of our own");
        CHECK(result == 0);
    }

    TEST_CASE("above RLIMIT_FSIZE a segment is EFBIG, and no SIGXFSZ ends the process")
    {
        each_place([](const segment_name& name) {
            const descriptor_check no_leak;
            const limit_guard small_files(RLIMIT_FSIZE, 4 * page);
            error_code ec;
            CHECK_FALSE(named_segment::create(name, 4 * page, {}, ec));
            CHECK(ec == errc::file_too_large);
            CHECK(named_segment::create(name, 3 * page, {}, ec));
        });
    }

    TEST_CASE("without a free descriptor nothing is made, opened or replaced, and nothing is left")
    {
        each_place([](const segment_name& name) {
            const descriptor_check no_leak;
            const procyard::unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
            const auto first_free = static_cast<rlim_t>(probe.get()) + 1;
            error_code ec;
            {
                const limit_guard none_free(RLIMIT_NOFILE, first_free);
                CHECK_FALSE(named_segment::create(name, page, {}, ec));
                CHECK(ec == errc::too_many_files_open);
            }
            auto creator = named_segment::create(name, page);
            creator.publish();
            const limit_guard none_free(RLIMIT_NOFILE, first_free + 1);
            CHECK_FALSE(named_segment::open(name, {}, ec));
            CHECK(ec == errc::too_many_files_open);
        });
    }

    TEST_CASE("a hundred creators killed one after the other leave one name, which is replaced")
    {
        each_place([](const segment_name& name) {
            for (int i = 0; i < 100; ++i)
                leave_behind(name, page, i % 2 == 0);
            CHECK(named_segment::create(name, page));
        });
    }
}
