// SPDX-License-Identifier: BSL-1.0
// The common contract of asynchronous operations, for those of a broadcast and of a latest value;
// cancellations, tokens, and what messages cost.
#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/latest_value.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <future>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "allocations.hpp"
#include "channel_fixture.hpp"
#include "operation_contract.hpp"
#include "syscall_refusal.hpp"

namespace asio = boost::asio;
using procyard::broadcaster;
using procyard::channel_errc;
using procyard::error_code;
using procyard::latest_reader;
using procyard::latest_value;
using procyard::slow_reader;
using procyard::subscriber;
using procyard_test::allocations;
using procyard_test::outcome;
using procyard_test::run;

namespace {

constexpr procyard::broadcast_options two_numbers{.capacity_messages = 2};
constexpr procyard::broadcast_options few_bytes{.capacity_bytes = 128};
constexpr procyard::subscription_options holding{.when_slow = slow_reader::holds_back};

template <class T>
struct pair_of_ends {
    explicit pair_of_ends(asio::io_context& ctx)
    {
        writer.emplace(ctx.get_executor(),
                       std::is_same_v<T, std::string> ? few_bytes : two_numbers);
        reader.emplace(ctx.get_executor(), writer->subscribe(holding));
    }
    static T message()
    {
        if constexpr (std::is_same_v<T, std::string>)
            return std::string(10, 'x');
        else
            return 7;
    }
    error_code breakage() const { return asio::error::bad_descriptor; }

    std::optional<broadcaster<T>> writer;
    std::optional<subscriber<T>> reader;
};

template <class T>
struct receive : pair_of_ends<T> {
    using pair_of_ends<T>::pair_of_ends;
    template <class Token>
    void start(Token&& token)
    {
        this->reader->async_receive(std::forward<Token>(token));
    }
    void satisfy() { REQUIRE(this->writer->try_send(this->message())); }
    void break_it() { this->reader->close(); }
    void destroy() { this->reader.reset(); }
};

struct wait_readable : pair_of_ends<int> {
    using pair_of_ends<int>::pair_of_ends;
    template <class Token>
    void start(Token&& token)
    {
        reader->async_wait_readable(std::forward<Token>(token));
    }
    void satisfy() { REQUIRE(writer->try_send(message())); }
    void break_it() { reader->close(); }
    void destroy() { reader.reset(); }
};

template <class T>
struct send : pair_of_ends<T> {
    explicit send(asio::io_context& ctx) : pair_of_ends<T>(ctx)
    {
        while (this->writer->try_send(this->message())) { }
    }
    template <class Token>
    void start(Token&& token)
    {
        this->writer->async_send(this->message(), std::forward<Token>(token));
    }
    void satisfy() { REQUIRE(this->reader->try_receive() == this->message()); }
    void break_it() { this->writer->close(); }
    void destroy() { this->writer.reset(); }
};

struct wait_changed {
    explicit wait_changed(asio::io_context& ctx)
        : writer(ctx.get_executor()),
          reader(latest_reader<int>(ctx.get_executor(), writer.subscribe()))
    {
    }
    template <class Token>
    void start(Token&& token)
    {
        reader->async_wait_changed(std::forward<Token>(token));
    }
    void satisfy() { REQUIRE(writer.store(1)); }
    void break_it() { reader->close(); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void destroy() { reader.reset(); }

    latest_value<int> writer;
    std::optional<latest_reader<int>> reader;
};

using async_receive = receive<int>;
using async_receive_string = receive<std::string>;
using async_wait_readable = wait_readable;
using async_send = send<int>;
using async_send_string = send<std::string>;
using async_wait_changed = wait_changed;

const error_code aborted = asio::error::operation_aborted;

static_assert(std::is_nothrow_move_constructible_v<broadcaster<int>>);
static_assert(std::is_nothrow_move_assignable_v<subscriber<int>>);
static_assert(!std::is_copy_constructible_v<broadcaster<int>>);
static_assert(!procyard::broadcast_message<std::string_view>);

// In a copy of this process: from here on it dies of any system call that moves bytes or waits.
bool only_exit_from_here()
{
    for (const long number :
         {SYS_read, SYS_write, SYS_sendto, SYS_sendmsg, SYS_recvfrom, SYS_recvmsg, SYS_epoll_wait,
          SYS_epoll_pwait, SYS_epoll_ctl, SYS_futex, SYS_membarrier, SYS_poll, SYS_close}) {
        if (!procyard_test::die_at({.number = number, .error_number = 0}))
            return false;
    }
    return true;
}

}  // namespace

TEST_SUITE("subscriber"){PROCYARD_OPERATION_CONTRACT(async_receive)
                             PROCYARD_OPERATION_CONTRACT(async_receive_string)
                                 PROCYARD_OPERATION_CONTRACT(async_wait_readable)}

TEST_SUITE("broadcaster"){PROCYARD_OPERATION_CONTRACT(async_send)
                              PROCYARD_OPERATION_CONTRACT(async_send_string)}

TEST_SUITE("latest_reader"){PROCYARD_OPERATION_CONTRACT(async_wait_changed)}

TEST_SUITE("broadcast: cancellation")
{
    TEST_CASE("a cancelled receive has taken nothing, wherever it stands in the line")
    {
        for (std::size_t which = 0; which < 3; ++which) {
            CAPTURE(which);
            asio::io_context ctx;
            broadcaster<int> b(ctx.get_executor());
            subscriber<int> s(ctx.get_executor(), b.subscribe());
            std::deque<asio::cancellation_signal> signals(3);
            std::deque<outcome<error_code, int>> results(3);
            for (std::size_t i = 0; i < 3; ++i)
                s.async_receive(
                    asio::bind_cancellation_slot(signals[i].slot(), results[i].handler()));
            ctx.poll();
            CHECK(b.try_send(1));
            CHECK(b.try_send(2));
            signals[which].emit(asio::cancellation_type::total);
            run(ctx);
            int expected = 1;
            for (std::size_t i = 0; i < 3; ++i) {
                CHECK(results[i].error() == (i == which ? aborted : error_code()));
                if (i != which)
                    CHECK(results[i].result() == expected++);
            }
        }
    }

    TEST_CASE("a cancelled send has sent nothing")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), two_numbers);
        subscriber<int> s(ctx.get_executor(), b.subscribe(holding));
        CHECK(b.try_send(1));
        CHECK(b.try_send(2));
        asio::cancellation_signal signal;
        outcome<error_code> first;
        outcome<error_code> second;
        b.async_send(3, asio::bind_cancellation_slot(signal.slot(), first.handler()));
        b.async_send(4, second.handler());
        ctx.poll();
        signal.emit(asio::cancellation_type::terminal);
        CHECK(s.try_receive() == 1);
        run(ctx);
        CHECK(first.error() == aborted);
        CHECK(second.error() == error_code());
        CHECK(s.try_receive() == 2);
        CHECK(s.try_receive() == 4);
        CHECK(!s.try_receive());
    }

    TEST_CASE("two subscriptions in a race lose nothing (case 25)")
    {
        using namespace asio::experimental::awaitable_operators;
        asio::io_context ctx;
        broadcaster<int> left(ctx.get_executor());
        broadcaster<int> right(ctx.get_executor());
        subscriber<int> l(ctx.get_executor(), left.subscribe());
        subscriber<int> r(ctx.get_executor(), right.subscribe());
        for (int n = 0; n < 50; ++n) {
            CHECK(left.try_send(n));
            CHECK(right.try_send(n));
        }
        std::vector<int> from_left;
        std::vector<int> from_right;
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            while (from_left.size() + from_right.size() < 100) {
                const auto got = co_await (l.async_receive(asio::use_awaitable)
                                           || r.async_receive(asio::use_awaitable));
                if (got.index() == 0)
                    from_left.push_back(std::get<0>(got));
                else
                    from_right.push_back(std::get<1>(got));
            }
        });
        CHECK(from_left.size() == 50);
        CHECK(from_right.size() == 50);
    }
}

TEST_SUITE("broadcast: tokens")
{
    TEST_CASE("use_future, use_awaitable and deferred")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor());
        subscriber<int> s(ctx.get_executor(), b.subscribe());
        auto sent = b.async_send(1, asio::use_future);
        auto got = s.async_receive(asio::use_future);
        run(ctx);
        CHECK_NOTHROW(sent.get());
        CHECK(got.get() == 1);
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            co_await b.async_send(2, asio::use_awaitable);
            co_await s.async_wait_readable(asio::use_awaitable);
            CHECK(co_await s.async_receive() == 2);
        });
    }
}

TEST_SUITE("broadcast: costs")
{
    TEST_CASE("no allocation for a message, waiting or not")
    {
        asio::io_context ctx;
        broadcaster<std::uint64_t> b(ctx.get_executor(), two_numbers);
        subscriber<std::uint64_t> s(ctx.get_executor(), b.subscribe(holding));
        broadcaster<std::string> texts(ctx.get_executor(), {.capacity_bytes = 1024});
        subscriber<std::string> reader(ctx.get_executor(), texts.subscribe());
        const std::string text(100, 'x');
        std::string got(200, 'y');
        std::size_t spent = 1;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                std::size_t before = 0;
                error_code ec;
                for (std::uint64_t i = 0; i < 110; ++i) {
                    if (i == 10)
                        before = allocations();
                    co_await b.async_send(i);
                    CHECK(co_await s.async_receive() == i);
                    (void)texts.try_send(text, ec);
                    (void)reader.try_receive(got, ec);
                }
                spent = allocations() - before;
            },
            asio::detached);
        ctx.run();  // not run_for: see channel_costs_test
        CHECK(spent == 0);
        CHECK(got == text);
    }

    TEST_CASE("no system call for a message where nobody sleeps (case 19)")
    {
        const int result = procyard_test::in_fork([] {
            asio::io_context ctx;
            broadcaster<std::uint64_t> b(ctx.get_executor(), {.capacity_messages = 8});
            subscriber<std::uint64_t> lossy(ctx.get_executor(), b.subscribe());
            subscriber<std::uint64_t> slow(ctx.get_executor(), b.subscribe(holding));
            latest_value<std::uint64_t> value(ctx.get_executor());
            latest_reader<std::uint64_t> reader(ctx.get_executor(), value.subscribe());
            std::uint64_t n = 0;
            error_code ec;
            if (!b.try_send(0) || !slow.try_receive(n, ec) || !value.store(0))
                return 1;
            if (!only_exit_from_here())
                return 2;
            for (std::uint64_t i = 1; i < 1000; ++i) {
                if (!b.try_send(i) || !slow.try_receive(n, ec) || n != i)
                    return 3;
                if (slow.try_receive(n, ec) || ec != asio::error::would_block)
                    return 4;
                if (!value.store(i) || reader.load() != i || reader.version() != i + 1)
                    return 5;
            }
            if (lossy.try_receive(n, ec) || ec != channel_errc::lapped || lossy.lost() != 992)
                return 6;
            ::_exit(0);
            return 7;
        });
        CHECK(result == 0);
    }

    TEST_CASE("a subscriber that sleeps is rung for once, whatever number of messages comes")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 8});
        subscriber<int> s(ctx.get_executor(), b.subscribe());
        outcome<error_code> readable;
        s.async_wait_readable(readable.handler());
        ctx.poll();
        for (int n = 0; n < 5; ++n)
            CHECK(b.try_send(n));
        CHECK(b.statistics().rung == 1);
        run(ctx);
        CHECK(s.statistics().woken == 1);
    }

    TEST_CASE("a writer that waits for one is not woken by another (idle: no wake-ups)")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 4});
        subscriber<int> slow(ctx.get_executor(), b.subscribe(holding));
        subscriber<int> quick(ctx.get_executor(), b.subscribe(holding));
        for (int n = 0; n < 4; ++n)
            CHECK(b.try_send(n));
        CHECK(quick.try_receive() == 0);
        CHECK(quick.try_receive() == 1);
        outcome<error_code> sent;
        b.async_send(4, sent.handler());
        ctx.poll();
        CHECK(quick.try_receive() == 2);
        CHECK(quick.try_receive() == 3);
        ctx.restart();
        ctx.poll();
        CHECK(!sent.done());
        CHECK(quick.statistics().rung == 0);
        CHECK(b.statistics().woken == 0);
        CHECK(slow.try_receive() == 0);
        CHECK(slow.statistics().rung == 1);
        run(ctx);
        CHECK(sent.error() == error_code());
    }

    TEST_CASE("an idle broadcast keeps nothing busy: run() returns")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor());
        const subscriber<int> s(ctx.get_executor(), b.subscribe());
        auto unopened = b.subscribe();
        CHECK(run(ctx) == 0);
    }

    TEST_CASE("a thousand subscriptions come and go and leave nothing")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), two_numbers);
        {
            subscriber<int> first(ctx.get_executor(), b.subscribe());
            first.async_receive([](error_code, int) { });
            ctx.poll();
        }
        run(ctx);
        CHECK(b.readers() == 0);
        const procyard_test::descriptor_check no_leak;
        const auto watched = procyard_test::watched_descriptors();
        for (int i = 0; i < 1000; ++i) {
            auto end = b.subscribe(i % 2 == 0 ? holding : procyard::subscription_options{});
            if (i % 3 == 0)
                continue;
            subscriber<int> s(ctx.get_executor(), std::move(end));
            outcome<error_code, int> got;
            s.async_receive(got.handler());
            ctx.restart();
            ctx.poll();
            if (i % 3 == 1)
                CHECK(b.try_send(i));
            s.close();
            run(ctx);
            CHECK(got.done());
        }
        CHECK(b.readers() == 0);
        CHECK(procyard_test::watched_descriptors() == watched);
    }
}

TEST_SUITE("latest value")
{
    TEST_CASE("load: nothing, then the latest, as often as one likes, also of one that has gone")
    {
        asio::io_context ctx;
        latest_value<int> value(ctx.get_executor());
        latest_reader<int> reader(ctx.get_executor(), value.subscribe());
        CHECK(!reader.load());
        CHECK(reader.version() == 0);
        for (int n = 1; n <= 10; ++n)
            CHECK(value.store(n * 100));
        CHECK(value.version() == 10);
        CHECK(reader.load() == 1000);
        CHECK(reader.load() == 1000);
        CHECK(reader.version() == 10);
        latest_reader<int> late(ctx.get_executor(), value.subscribe());
        CHECK(late.load() == 1000);
        auto later = value.subscribe();
        CHECK(value.store(5));
        value.close();
        CHECK(!value.store(6));
        CHECK(reader.load() == 5);
        CHECK(reader.version() == 11);
        latest_reader<int> last(ctx.get_executor(), std::move(later));
        CHECK(last.load() == 5);
        outcome<error_code> changed;
        last.async_wait_changed(changed.handler());
        run(ctx);
        CHECK(changed.error() == channel_errc::closed);
        CHECK(last.load() == 5);
    }
}
