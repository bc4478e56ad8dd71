// SPDX-License-Identifier: BSL-1.0
// Segments on a machine that refuses: limits, an old kernel, signals at a bad time. Whatever fails,
// nothing is left behind.
#include <procyard/ipc/segment.hpp>

#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "forked.hpp"
#include "limit_guard.hpp"
#include "procyard_test.hpp"
#include "syscall_refusal.hpp"

namespace errc = boost::system::errc;
using procyard::error_code;
using procyard::huge_page_policy;
using procyard::make_errno;
using procyard::segment;
using procyard::unique_fd;
using procyard_test::descriptor_check;
using procyard_test::in_fork;
using procyard_test::limit_guard;
using procyard_test::refuse;
using procyard_test::syscall_refusal;

namespace {

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
constexpr std::size_t mebibyte = std::size_t{1} << 20U;

volatile sig_atomic_t handled = 0;

void count_it(int)
{
    handled = handled + 1;
}

// What the host does with a signal, for the duration of a test.
class disposition {
public:
    disposition(int number, void (*handler)(int)) : number_(number)
    {
        handled = 0;
        struct sigaction action{};
        action.sa_handler = handler;
        REQUIRE(::sigaction(number_, &action, &before_) == 0);
    }
    disposition(const disposition&) = delete;
    disposition& operator=(const disposition&) = delete;
    ~disposition() { ::sigaction(number_, &before_, nullptr); }

private:
    int number_;
    struct sigaction before_{};
};

bool is_blocked_or_waits(int number)
{
    sigset_t mask;
    sigset_t waiting;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    ::sigpending(&waiting);
    return ::sigismember(&mask, number) == 1 || ::sigismember(&waiting, number) == 1;
}

// Mappings of this process: the lines of /proc/self/maps that speak of a memfd of ours.
std::size_t mapped_segments()
{
    std::ifstream maps("/proc/self/maps");
    std::size_t count = 0;
    for (std::string line; std::getline(maps, line);)
        count += line.find("/memfd:procyard") != line.npos ? 1U : 0U;
    return count;
}

std::size_t address_space()
{
    std::ifstream file("/proc/self/statm");
    std::size_t pages = 0;
    file >> pages;
    return pages * page;
}

// Lowers RLIMIT_NOFILE so that no descriptor can be opened.
rlim_t first_free_descriptor()
{
    const unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    REQUIRE(probe);
    return static_cast<rlim_t>(probe.get());
}

// In a copy of its own: create, under a kernel that refuses, fails with `expected` and leaves
// nothing. 0 when so.
int create_under(const syscall_refusal& what, error_code expected)
{
    return in_fork([&] {
        const auto before = procyard_test::open_descriptor_list();
        if (!refuse(what))
            return 1;
        error_code ec;
        const auto s = segment::create(4 * page, {}, ec);
        if (s || ec != expected)
            return 2;
        return procyard_test::open_descriptor_list() == before && mapped_segments() == 0 ? 0 : 3;
    });
}

int attach_under(const syscall_refusal& what, error_code expected)
{
    return in_fork([&] {
        auto owner = segment::create(4 * page);
        owner.seal_for_peer();
        error_code ec;
        auto fd = owner.duplicate(ec);
        owner = segment();
        auto before = procyard_test::open_descriptor_list();
        if (!refuse(what))
            return 1;
        const auto s = segment::attach(std::move(fd), 4 * page, ec);
        if (s || ec != expected)
            return 2;
        return procyard_test::open_descriptor_list().size() == before.size() - 1
                && mapped_segments() == 0
            ? 0
            : 3;
    });
}

}  // namespace

TEST_SUITE("segment")
{
    TEST_CASE("whichever system call of the making fails, its error is told and nothing is left")
    {
        const std::vector<syscall_refusal> steps{
            {.number = SYS_memfd_create, .error_number = EMFILE},
            {.number = SYS_memfd_create, .error_number = ENFILE},
            {.number = SYS_memfd_create, .error_number = ENOMEM},
            {.number = SYS_memfd_create, .error_number = EACCES},  // vm.memfd_noexec
            {.number = SYS_memfd_create, .error_number = ENOSYS},
            {.number = SYS_fstatfs, .error_number = EPERM},
            {.number = SYS_fallocate, .error_number = ENOSPC},
            {.number = SYS_fallocate, .error_number = ENOMEM},
            {.number = SYS_mmap,
             .error_number = ENOMEM,
             .argument = 3,
             .mask = MAP_SHARED | MAP_PRIVATE,
             .value = MAP_SHARED},
        };
        for (const auto& step : steps) {
            CAPTURE(step.number);
            CAPTURE(step.error_number);
            CHECK(create_under(step, make_errno(step.error_number)) == 0);
        }
    }

    TEST_CASE("whichever system call of the attaching fails, its error is told and nothing is left")
    {
        const std::vector<syscall_refusal> steps{
            {.number = SYS_fcntl,
             .error_number = EPERM,
             .argument = 1,
             .mask = 0xFFFFFFFFU,
             .value = F_GET_SEALS},
            {.number = SYS_fstatfs, .error_number = EPERM},
            {.number = SYS_mmap,
             .error_number = ENOMEM,
             .argument = 3,
             .mask = MAP_SHARED | MAP_PRIVATE,
             .value = MAP_SHARED},
        };
        for (const auto& step : steps) {
            CAPTURE(step.number);
            CHECK(attach_under(step, make_errno(step.error_number)) == 0);
        }
    }

    TEST_CASE("without a free descriptor there is no segment and no copy, and nothing is left")
    {
        const descriptor_check no_leak;
        auto s = segment::create(page);
        s.seal_for_peer();
        error_code ec;
        {
            const limit_guard none_free(RLIMIT_NOFILE, first_free_descriptor());
            CHECK_FALSE(segment::create(page, {}, ec));
            CHECK(ec == errc::too_many_files_open);
            CHECK_FALSE(segment::create(page, {.huge_pages = huge_page_policy::if_available}, ec));
            CHECK(ec == errc::too_many_files_open);
            CHECK_FALSE(segment::create(page, {.huge_pages = huge_page_policy::required}, ec));
            CHECK(ec == errc::too_many_files_open);
            CHECK_FALSE(s.duplicate(ec));
            CHECK(ec == errc::too_many_files_open);
        }
        CHECK(mapped_segments() == 1);
    }

    TEST_CASE("to attach takes no further descriptor")
    {
        auto s = segment::create(page);
        s.seal_for_peer();
        error_code ec;
        auto fd = s.duplicate(ec);
        const limit_guard none_free(RLIMIT_NOFILE, first_free_descriptor());
        CHECK(segment::attach(std::move(fd), page, ec));
        CHECK_FALSE(ec);
    }

    TEST_CASE("without address space neither side gets a mapping, and nothing is left")
    {
        // In a copy: the limit would also hold for what doctest allocates.
        const int result = in_fork([] {
            constexpr std::size_t size = 64 * mebibyte;
            auto owner = segment::create(size);
            owner.seal_for_peer();
            error_code ec;
            auto fd = owner.duplicate(ec);
            owner = segment();
            const auto before = procyard_test::open_descriptors();
            const limit_guard tight(RLIMIT_AS, address_space() + size / 2);
            if (segment::create(size, {}, ec) || ec != errc::not_enough_memory)
                return 2;
            if (procyard_test::open_descriptors() != before)
                return 3;
            if (segment::attach(std::move(fd), size, ec) || ec != errc::not_enough_memory)
                return 4;
            if (procyard_test::open_descriptors() != before - 1 || mapped_segments() != 0)
                return 5;
            return segment::create(page, {}, ec) ? 0 : 6;
        });
        CHECK(result == 0);
    }

    TEST_CASE("above RLIMIT_FSIZE a segment is EFBIG, and no SIGXFSZ reaches the host")
    {
        const descriptor_check no_leak;
        const limit_guard small_files(RLIMIT_FSIZE, 2 * mebibyte);
        for (auto* const handler : {SIG_DFL, SIG_IGN, &count_it}) {
            const disposition host(SIGXFSZ, handler);
            error_code ec;
            CHECK(segment::create(2 * mebibyte, {}, ec));
            CHECK_FALSE(ec);
            for (const std::size_t size : {2 * mebibyte + 1, 64 * mebibyte}) {
                CHECK_FALSE(segment::create(size, {}, ec));
                CHECK(ec == errc::file_too_large);
            }
            CHECK(handled == 0);
            CHECK_FALSE(is_blocked_or_waits(SIGXFSZ));
        }
        CHECK(mapped_segments() == 0);
    }

    TEST_CASE("a SIGXFSZ that waited before stays for the host")
    {
        const disposition host(SIGXFSZ, &count_it);
        sigset_t only;
        ::sigemptyset(&only);
        ::sigaddset(&only, SIGXFSZ);
        ::pthread_sigmask(SIG_BLOCK, &only, nullptr);
        ::raise(SIGXFSZ);
        {
            const limit_guard small_files(RLIMIT_FSIZE, page);
            error_code ec;
            CHECK_FALSE(segment::create(2 * page, {}, ec));
            CHECK(ec == errc::file_too_large);
        }
        CHECK(handled == 0);
        ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
        CHECK(handled == 1);
    }

    TEST_CASE("signals that come all the time delay the making, but do not prevent it")
    {
        const disposition host(SIGALRM, &count_it);  // without SA_RESTART
        constexpr suseconds_t often = 200;           // far less than the allocation takes
        const itimerval timer{{0, often}, {0, often}};
        REQUIRE(::setitimer(ITIMER_REAL, &timer, nullptr) == 0);
        error_code ec;
        const auto s = segment::create(64 * mebibyte, {}, ec);
        const itimerval none{};
        ::setitimer(ITIMER_REAL, &none, nullptr);
        CHECK_FALSE(ec);
        CHECK(s.size() == 64 * mebibyte);
        CHECK(handled > 0);
    }

    TEST_CASE("an allocation that is interrupted is tried again in smaller steps")
    {
        // A kernel that a signal interrupts whenever it is to allocate more than a page at once.
        const int result = in_fork([] {
            for (std::uint32_t size = 16 * mebibyte; size > page; size /= 2) {
                if (!refuse({.number = SYS_fallocate,
                             .error_number = EINTR,
                             .argument = 3,
                             .mask = size,
                             .value = size}))
                    return 1;
            }
            error_code ec;
            const auto s = segment::create(100 * page, {}, ec);
            struct stat status{};
            if (ec || s.size() != 100 * page || ::fstat(s.native_handle(), &status) == -1)
                return 2;
            return static_cast<std::size_t>(status.st_blocks) * 512 >= s.size() ? 0 : 3;
        });
        CHECK(result == 0);
    }

    TEST_CASE("a thousand segments made, attached and dropped leave nothing")
    {
        const descriptor_check no_leak;
        for (int i = 0; i < 1000; ++i) {
            auto s = segment::create(2 * page);
            s.seal_for_peer();
            error_code ec;
            const auto peer = segment::attach(s.duplicate(ec), s.size(), ec);
            REQUIRE_FALSE(ec);
        }
        CHECK(mapped_segments() == 0);
    }
}
