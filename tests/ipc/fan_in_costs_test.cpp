// SPDX-License-Identifier: BSL-1.0
// What a fan-in costs: no system call and no allocation for a message while there are any, and for
// a sleep nothing for the sources that slept already.
#include <procyard/ipc/fan_in.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "allocations.hpp"
#include "channel_fixture.hpp"
#include "limit_guard.hpp"
#include "skip.hpp"
#include "syscall_refusal.hpp"

namespace asio = boost::asio;
using procyard::arrival;
using procyard::channel;
using procyard::error_code;
using procyard::fan_in;
using procyard::sender;
using procyard::source_id;

namespace {

constexpr procyard::channel_options few{.capacity_messages = 8};

struct many {
    many(asio::io_context& ctx, std::size_t count) : from(ctx.get_executor())
    {
        for (std::size_t i = 0; i < count; ++i) {
            channel<std::uint64_t> c(ctx.get_executor(), few);
            ids.push_back(from.add(std::move(c.receiver)));
            senders.push_back(std::move(c.sender));
        }
    }

    fan_in<std::uint64_t> from;
    std::vector<sender<std::uint64_t>> senders;
    std::vector<source_id> ids;
};

bool no_system_calls_from_here()
{
    for (const long number : {SYS_read, SYS_write, SYS_sendto, SYS_sendmsg, SYS_recvfrom,
                              SYS_recvmsg, SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_ctl,
                              SYS_futex, SYS_membarrier, SYS_poll, SYS_ppoll, SYS_close}) {
        if (!procyard_test::die_at({.number = number, .error_number = 0}))
            return false;
    }
    return true;
}

}  // namespace

TEST_SUITE("fan_in costs")
{
    TEST_CASE("no system call for a message while there are any, with idle sources beside")
    {
        const int result = procyard_test::in_fork([] {
            asio::io_context ctx;
            many m(ctx, 32);
            arrival<std::uint64_t> got;
            error_code ec;
            for (auto& s : m.senders) {
                if (!s.try_send(0) || !m.from.try_receive(got, ec))
                    return 1;
            }
            if (!no_system_calls_from_here())
                return 2;
            for (std::uint64_t i = 0; i < 4000; ++i) {
                // Half of them are idle.
                if (!m.senders[i % 16].try_send(i) || !m.from.try_receive(got, ec)
                    || got.message != i)
                    return 3;
                if (i % 100 == 0 && m.from.try_receive(got, ec))
                    return 4;
            }
            ::_exit(0);
            return 5;
        });
        CHECK(result == 0);
    }

    TEST_CASE("no allocation for a message")
    {
        asio::io_context ctx;
        many m(ctx, 4);
        arrival<std::uint64_t> got;
        error_code ec;
        std::size_t before = 0;
        for (std::size_t i = 0; i < 200; ++i) {
            if (i == 100)
                before = procyard_test::allocations();
            (void)m.senders[i % 4].try_send(i);
            (void)m.from.try_receive(got, ec);
            (void)m.from.try_receive(got, ec);
        }
        CHECK(procyard_test::allocations() - before == 0);
    }

    TEST_CASE(
        "a thousand sources: a sleep is said to those alone that had something since the last")
    {
        if (!procyard_test::can_open(5000))
            return procyard_test::skip("not so many descriptors may be open here");
        asio::io_context ctx;
        many m(ctx, 1000);
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (std::uint64_t n = 0; n < 100; ++n) {
                // In a turn after the one in which it goes to sleep.
                asio::post(
                    ctx, [&, n] { asio::post(ctx, [&, n] { CHECK(m.senders[7].try_send(n)); }); });
                CHECK((co_await m.from.async_receive()).message == n);
            }
        });
        CHECK(m.from.statistics(m.ids[7]).sleeps == 100);
        std::uint64_t others = 0;
        for (std::size_t i = 0; i < m.ids.size(); ++i)
            others += i == 7 ? 0 : m.from.statistics(m.ids[i]).sleeps;
        CHECK(others == 999);
    }

    TEST_CASE("a sender that is asleep to the fan-in rings once, whatever number of messages comes")
    {
        asio::io_context ctx;
        many m(ctx, 3);
        procyard_test::outcome<error_code> readable;
        m.from.async_wait_readable(readable.handler());
        ctx.poll();
        procyard_test::fill(m.senders[1]);
        CHECK(m.senders[1].statistics().rung == 1);
        procyard_test::run(ctx);
        CHECK_FALSE(readable.error());
    }

    TEST_CASE("nobody waits, so nothing is outstanding: run() returns")
    {
        asio::io_context ctx;
        many m(ctx, 3);
        procyard_test::outcome<error_code> readable;
        m.from.async_wait_readable(readable.handler());
        ctx.poll();
        CHECK(m.senders[0].try_send(1));
        procyard_test::run(ctx);
        CHECK(readable.done());
        ctx.restart();
        CHECK(ctx.run() == 0);
    }

    TEST_CASE("one descriptor more than its sources, and none left")
    {
        asio::io_context ctx;
        {
            many first(ctx, 1);
        }
        const procyard_test::descriptor_check no_leak;
        const auto before = procyard_test::open_descriptors();
        const fan_in<int> from(ctx.get_executor());
        CHECK(procyard_test::open_descriptors() == before + 1);
    }
}
