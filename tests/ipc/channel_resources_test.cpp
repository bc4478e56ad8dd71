// SPDX-License-Identifier: BSL-1.0
// Channels where there is little memory, and where there are many of them.
// PROCYARD_CHANNELS in the environment says how many; CONTRIBUTING.md has a number.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "host_state.hpp"
#include "limit_guard.hpp"
#include "mapped_segments.hpp"
#include "skip.hpp"
#include "syscall_refusal.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::channel;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard_test::descriptor_check;
using procyard_test::in_fork;
using procyard_test::limit_guard;
using procyard_test::mapped_segments;
using procyard_test::outcome;
using procyard_test::refuse;
using procyard_test::run;
using procyard_test::syscall_refusal;

namespace {

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
constexpr std::size_t mebibyte = std::size_t{1} << 20U;

std::size_t address_space()
{
    std::ifstream file("/proc/self/statm");
    std::size_t pages = 0;
    file >> pages;
    return pages * page;
}

// A sender of a large ring, then its receiver, with so much address space more than there is. How
// far that went: 0 no sender, 1 no receiver, 2 they have not met, 3 all; or what was wrong.
int open_within(std::size_t spare_bytes)
{
    constexpr int wrong = 100;
    asio::io_context ctx;
    {
        const channel<int> first(ctx.get_executor());
    }
    auto ends = make_channel<std::uint64_t>({.capacity_bytes = 64 * mebibyte});
    const auto before = procyard_test::open_descriptors();
    std::optional<sender<std::uint64_t>> s;
    std::optional<receiver<std::uint64_t>> r;
    int reached = 0;
    error_code ec;
    {
        const limit_guard tight(RLIMIT_AS, address_space() + spare_bytes);
        s.emplace(ctx.get_executor(), std::move(ends.sender), ec);
        if (!ec) {
            reached = 1;
            r.emplace(ctx.get_executor(), std::move(ends.receiver), ec);
        }
        if (reached == 1 && !ec) {
            reached = 2;
            std::uint64_t n = 0;
            CHECK_FALSE(r->try_receive(n, ec));
            if (r->is_connected())
                reached = 3;
        }
        if (reached < 3 && ec != errc::not_enough_memory)
            return wrong + reached;
    }
    if (reached == 2 && (!s->try_send(7) || r->try_receive() != std::uint64_t{7}))
        return wrong + 10;  // what was missing is there again
    s.reset();
    r.reset();
    ends = {};
    if (mapped_segments().mappings != 0 || procyard_test::open_descriptors() != before - 2)
        return wrong + 20;
    return reached;
}

// Opens both ends in a copy of this process, under a kernel that refuses. 0: the error is that one,
// and nothing is left.
int open_under(const syscall_refusal& what)
{
    return in_fork([&] {
        asio::io_context ctx;
        {
            const channel<int> first(ctx.get_executor());
        }
        const auto before = procyard_test::open_descriptor_list();
        if (!refuse(what))
            return 1;
        {
            auto ends = make_channel<int>();
            error_code ec;
            const sender<int> s(ctx.get_executor(), std::move(ends.sender), ec);
            if (s.is_open() || ec != procyard::make_errno(what.error_number))
                return 2;
            const receiver<int> r(ctx.get_executor(), std::move(ends.receiver), ec);
            if (r.is_open() || ec != procyard::make_errno(what.error_number))
                return 3;
        }
        return procyard_test::open_descriptor_list() == before && mapped_segments().mappings == 0
            ? 0
            : 4;
    });
}

std::size_t many()
{
    const auto* const asked = std::getenv("PROCYARD_MANY_CHANNELS");
    return asked == nullptr ? 1000 : std::strtoull(asked, nullptr, 10);
}

// So many that a user's pipes, of a page for each bell, leave at least so many of the pages that
// they may have: else other programs of this user, such as the tests that run beside this one, get
// smaller pipes than they ask for.
std::size_t as_many_as_leave_pipes(std::size_t pages)
{
    std::ifstream self("/proc/self/status");
    const std::string status{std::istreambuf_iterator<char>(self), {}};
    constexpr auto unlimited =
        std::uint64_t{1} << CAP_SYS_RESOURCE | std::uint64_t{1} << CAP_SYS_ADMIN;
    std::ifstream file("/proc/sys/fs/pipe-user-pages-soft");
    std::size_t most = 0;
    file >> most;
    if (most == 0 || (procyard_test::status_mask(status, "CapEff") & unlimited) != 0)
        return SIZE_MAX;
    return (std::max(most, pages) - pages) / 2;
}

// So many, or as many as there may be descriptors and mappings for: four of each.
std::size_t as_many_as(std::size_t wished)
{
    rlimit now{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &now) == 0);
    constexpr std::size_t others = 100;
    auto count = wished;
    if (!procyard_test::can_open(4 * count + others))
        count = (std::max<std::size_t>(now.rlim_max, others) - others) / 4;
    std::ifstream file("/proc/sys/vm/max_map_count");
    std::size_t mappings = 0;
    file >> mappings;
    constexpr std::size_t of_the_program = 4000;
    count = std::min(count, (std::max(mappings, of_the_program) - of_the_program) / 4);
    count = std::min(count, as_many_as_leave_pipes(4000));
    return procyard_test::can_open(4 * count + others) ? count : 0;
}

// Opens so many in this process: each has a message, then all wait, and nothing is to be done.
// Empty, or what was not so.
std::string use_many(std::size_t count)
{
    const auto saw = [](const char* what, std::size_t number) {
        return std::string(what) + ": " + std::to_string(number);
    };
    asio::io_context ctx;
    std::vector<std::unique_ptr<channel<std::uint64_t>>> all;
    std::vector<outcome<error_code, std::uint64_t>> received(count);
    for (std::size_t i = 0; i < count; ++i) {
        all.push_back(std::make_unique<channel<std::uint64_t>>(
            ctx.get_executor(), procyard::channel_options{.capacity_messages = 8}));
        all[i]->receiver.async_receive(received[i].handler());
    }
    ctx.poll();
    for (std::size_t i = 0; i < count; ++i)
        if (!all[i]->sender.try_send(i))
            return saw("no room", i);
    run(ctx);
    for (std::size_t i = 0; i < count; ++i)
        if (received[i].error() || received[i].result() != i)
            return saw("not received", i);

    // What they cost: four mappings of two segments, of which one has a page more.
    const auto cost = mapped_segments();
    if (cost.mappings != 4 * count)
        return saw("mappings", cost.mappings);
    if (cost.bytes != 6 * page * count)
        return saw("mapped bytes", cost.bytes);
    if (const auto open = procyard_test::open_descriptors(); open > 4 * count + 32)
        return saw("descriptors", open);

    // Idle: everybody waits, and nobody is woken.
    const auto woken = [&] {
        std::uint64_t sum = 0;
        for (const auto& each : all)
            sum += each->receiver.statistics().woken;
        return sum;
    };
    std::vector<outcome<error_code>> readable(count);
    for (std::size_t i = 0; i < count; ++i)
        all[i]->receiver.async_wait_readable(readable[i].handler());
    ctx.restart();
    while (ctx.poll() > 0) { }
    const auto before = woken();
    for (int i = 0; i < 1000; ++i)
        if (ctx.poll_one() != 0)
            return saw("handlers that ran, at the look", static_cast<std::size_t>(i));
    if (woken() != before)
        return saw("woken", woken() - before);
    if (std::any_of(readable.begin(), readable.end(), [](auto& each) { return each.done(); }))
        return "readable without a message";
    all.clear();
    run(ctx);
    return {};
}

}  // namespace

TEST_SUITE("channel: little memory (cases 54, 55)")
{
    TEST_CASE("address space for a part of it: ENOMEM, nothing is left, and later it works")
    {
        std::array<int, 4> seen{};
        for (std::size_t spare = 0; seen[3] == 0; spare += 8 * mebibyte) {
            CAPTURE(spare);
            REQUIRE(spare < 1024 * mebibyte);
            const int reached = in_fork([&] { return open_within(spare); });
            REQUIRE_MESSAGE(reached < 4, reached);
            ++seen[static_cast<std::size_t>(reached)];
        }
        CHECK(seen[0] > 0);
        CHECK(seen[2] > 0);
    }

    TEST_CASE("no memory for the segment, or no descriptor: that error, and nothing is left")
    {
        for (const auto& what :
             {syscall_refusal{.number = SYS_memfd_create, .error_number = ENOMEM},
              syscall_refusal{.number = SYS_memfd_create, .error_number = ENFILE},
              syscall_refusal{.number = SYS_fallocate, .error_number = ENOSPC},
              syscall_refusal{.number = SYS_fallocate, .error_number = ENOMEM},
              syscall_refusal{.number = SYS_pipe2, .error_number = ENFILE},
              syscall_refusal{.number = SYS_sendmsg, .error_number = ETOOMANYREFS}}) {
            CAPTURE(what.number);
            CAPTURE(what.error_number);
            CHECK(open_under(what) == 0);
        }
    }

    TEST_CASE("no descriptor for the event loop: the operation says so, and the end goes on")
    {
        asio::io_context ctx;
        asio::io_context elsewhere;  // makes its reactor when somebody waits
        auto ends = make_channel<std::uint64_t>({.capacity_messages = 4});
        sender<std::uint64_t> s(ctx.get_executor(), std::move(ends.sender));
        receiver<std::uint64_t> r(elsewhere.get_executor(), std::move(ends.receiver));
        std::uint64_t sent = 0;
        while (s.try_send(sent))
            ++sent;
        for (std::uint64_t n = 0; n < sent; ++n)
            CHECK(r.try_receive() == n);
        std::array<outcome<error_code, std::uint64_t>, 2> without;
        {
            const limit_guard none(RLIMIT_NOFILE, 0);
            for (auto& each : without)
                r.async_receive(each.handler());
            run(elsewhere);
        }
        for (auto& each : without)
            CHECK(each.error() == errc::too_many_files_open);
        CHECK(r.is_open());
        // Its peer is neither told that it has gone, nor rings for who does not sleep.
        for (std::uint64_t n = 0; n < sent; ++n)
            CHECK(s.try_send(n));
        CHECK(s.statistics().rung == 0);
        outcome<error_code> more;
        s.async_send(sent, more.handler());
        ctx.poll();
        CHECK_FALSE(more.done());
        outcome<error_code, std::uint64_t> got;
        r.async_receive(got.handler());
        elsewhere.restart();
        run(elsewhere);
        CHECK(got.result() == 0);
        run(ctx);
        CHECK(!more.error());
    }
}

TEST_SUITE("channel: many of them")
{
    TEST_CASE("a thousand in one process: a message each, then nothing to do (case 28)")
    {
        const auto count = many();
        if (!procyard_test::can_open(4 * count + 100))
            return procyard_test::skip("not so many descriptors may be open here");
        const descriptor_check no_leak;
        CHECK(use_many(count) == "");
    }

    TEST_CASE("ten thousand on one io_context, or as many as a process may have here (case 28)")
    {
        // In a copy, which has limits of its own.
        const int result = in_fork([] {
            const auto count = as_many_as(10'000);
            if (count < 1000)
                return 77;
            const auto wrong = use_many(count);
            if (!wrong.empty())
                std::fprintf(stderr, "of %zu channels %s\n", count, wrong.c_str());
            return wrong.empty() ? 0 : 1;
        });
        if (result == 77)
            return procyard_test::skip("not so many descriptors may be open here");
        CHECK(result == 0);
    }

    TEST_CASE("no descriptor of theirs goes through an exec")
    {
        const auto kept = [] {
            std::vector<int> found;
            for (int fd = 0; fd < 1000; ++fd) {
                const int flags = ::fcntl(fd, F_GETFD);
                if (flags != -1 && (flags & FD_CLOEXEC) == 0)
                    found.push_back(fd);
            }
            return found;
        };
        const auto before = kept();
        asio::io_context ctx;
        const auto unopened = make_channel<int>();
        const channel<int> c(ctx.get_executor());
        auto half = make_channel<int>();
        const sender<int> s(ctx.get_executor(), std::move(half.sender));
        const channel<int> across(ctx.get_executor(), {.across_users = true});
        CHECK(kept() == before);
    }
}
