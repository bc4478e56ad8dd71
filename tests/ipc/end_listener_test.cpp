// SPDX-License-Identifier: BSL-1.0
// What a program gives to processes that ask for it by a name: subscriptions, readers of a latest
// value, consumers, and ends of channels, new ones and those that a dead client has left.
#include <procyard/ipc/end_listener.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/errc.hpp>

#include <signal.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/channel_connect.hpp>
#include <procyard/ipc/channel_listener.hpp>
#include <procyard/ipc/latest_value.hpp>
#include <procyard/ipc/work_queue.hpp>

#include "channel_fixture.hpp"
#include "forked.hpp"
#include "listener_fixture.hpp"
#include "operation_contract.hpp"
#include "other_users.hpp"
#include "shared_array.hpp"

namespace asio = boost::asio;
using namespace procyard;
using procyard_test::connecting;
using procyard_test::descriptor_check;
using procyard_test::forked;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::run_both;
using procyard_test::run_coroutine;
using procyard_test::run_until;
using procyard_test::shared_array;
using procyard_test::socket_place;

namespace {

using namespace std::chrono_literals;
using number = std::uint64_t;

// One that gives what the program makes.
template <class End>
struct offering : procyard_test::recorded_listener<end_listener<End>, end_request<End>> {
    using base = procyard_test::recorded_listener<end_listener<End>, end_request<End>>;
    using base::base;

    // Lets a client ask; its request.
    end_request<End> hear(connecting<End>& client, channel_connect_options options = {})
    {
        client.start(this->where.path, std::move(options));
        this->accept();
        run_both(this->ctx, client.ctx, [&] { return this->accepted.done(); });
        REQUIRE_FALSE(this->accepted.error());
        auto request = std::move(this->accepted.result());
        this->accepted = {};
        return request;
    }
};

// What both sides say of a client that asks for something else.
template <class Offered, class Wanted>
procyard_test::rejection mismatch(channel_listen_options ours = {})
{
    return procyard_test::reject_by<offering<Offered>, Wanted>(std::move(ours));
}

// The exit code of a process that has seen what it should.
int judge(bool is_good)
{
    return is_good ? 0 : 1;
}

template <class End, class Make>
asio::awaitable<void> give_to(end_listener<End>& listener, int clients, Make make)
{
    while (clients-- > 0) {
        auto client = co_await listener.async_accept(asio::use_awaitable);
        client.give(make());
    }
}

// The next client is in this process and asks at once; it is never answered.
struct async_accept {
    explicit async_accept(asio::io_context& ctx)
        : listener(std::in_place, ctx.get_executor(), where.path, procyard_test::patient())
    {
    }
    template <class Token>
    void start(Token&& token)
    {
        listener->async_accept(std::forward<Token>(token));
    }
    void satisfy()
    {
        client.start(where.path);
        client.ctx.poll();
    }
    void break_it() { listener->close(); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void destroy() { listener.reset(); }

    socket_place where;
    std::optional<end_listener<subscriber<number>>> listener;
    connecting<subscriber<number>> client;
};

}  // namespace

TEST_SUITE("end_listener: async_accept"){PROCYARD_OPERATION_CONTRACT(async_accept)}

TEST_SUITE("end_listener: what is given")
{
    TEST_CASE("each client, in a process of its own, gets a subscription of its own")
    {
        const descriptor_check no_leak;
        offering<subscriber<number>> server;
        broadcaster<number> numbers(server.ctx.get_executor(), {.capacity_messages = 16});
        const auto subscribe = [&] {
            return numbers.subscribe({.when_slow = slow_reader::holds_back});
        };
        const auto client = [&]() -> int {
            connecting<subscriber<number>> there;
            there.start(server.where.path);
            if (there.told())
                return 2;
            number expected = 0;
            for (; expected < 1000; ++expected) {
                outcome<error_code, number> got;
                there.end().async_receive(got.handler());
                run(there.ctx);
                if (got.error() || got.result() != expected)
                    return 3;
            }
            return judge(there.end().lost() == 0);
        };
        forked one(client);
        forked two(client);
        run_coroutine(server.ctx, [&]() -> asio::awaitable<void> {
            co_await give_to(server.listener, 2, subscribe);
            for (number n = 0; n < 1000; ++n)
                co_await numbers.async_send(n, asio::use_awaitable);
        });
        CHECK(one.result() == 0);
        CHECK(two.result() == 0);
        CHECK(server.listener.statistics().accepted == 2);
        CHECK(numbers.readers() == 0);
    }

    TEST_CASE("a latest value is read by another process")
    {
        const descriptor_check no_leak;
        offering<latest_reader<number>> server;
        latest_value<number> value(server.ctx.get_executor());
        value.store(41);
        forked reader([&]() -> int {
            connecting<latest_reader<number>> there;
            there.start(server.where.path);
            if (there.told())
                return 2;
            auto& end = there.end();
            while (end.load() != number{42}) {
                outcome<error_code> changed;
                end.async_wait_changed(changed.handler());
                run(there.ctx);
                if (changed.error())
                    return 3;
            }
            return judge(end.version() == 2);
        });
        run_coroutine(server.ctx, [&] {
            return give_to(server.listener, 1, [&] { return value.subscribe(); });
        });
        value.store(42);
        CHECK(reader.result() == 0);
    }

    TEST_CASE("consumers in two processes, of whom one is killed, deal with each item once")
    {
        constexpr number items = 100;
        const descriptor_check no_leak;
        const shared_array<std::uint32_t> done(items);
        const shared_array<std::uint32_t> is_dying(1);
        offering<work_source<number>> server;
        work_queue<number> queue(server.ctx.get_executor(), {.capacity = items});
        error_code ec;
        for (number n = 0; n < items; ++n)
            REQUIRE(queue.try_push(n, ec));
        const auto consume = [&](number die_at) -> int {
            connecting<work_source<number>> there;
            there.start(server.where.path);
            if (there.told())
                return 2;
            for (number taken = 0;; ++taken) {
                outcome<error_code, leased<number>> item;
                there.end().async_take(item.handler());
                run(there.ctx);
                if (item.error())
                    return judge(item.error() == channel_errc::closed);
                if (taken == die_at) {
                    is_dying[0] = 1;
                    ::raise(SIGKILL);
                }
                ++done[item.result().value()];
                (void)item.result().acknowledge();
            }
        };
        forked mortal([&] { return consume(7); });
        const auto give = [&] {
            return give_to(server.listener, 1, [&] { return queue.consumer(); });
        };
        bool is_given = false;
        asio::co_spawn(server.ctx, give, [&](const std::exception_ptr&) { is_given = true; });
        // Its death is heard, so this does not wait for nothing.
        run_until(server.ctx, [&] { return is_given && is_dying[0] != 0; });
        CHECK(mortal.result() == -SIGKILL);
        forked other([&] { return consume(items + 1); });
        run_coroutine(server.ctx, [&]() -> asio::awaitable<void> {
            co_await give();
            co_await queue.async_drain(asio::use_awaitable);
            queue.close();
        });
        run(server.ctx);
        CHECK(other.result() == 0);
        for (number n = 0; n < items; ++n)
            CHECK(done[n] == 1);
    }

    TEST_CASE("ends of channels: a client need not know that they are no listener's own")
    {
        const descriptor_check no_leak;
        {
            offering<receiver<number>> server;
            connecting<receiver<number>> client;
            auto request = server.hear(client);
            auto ends = make_channel<number>({.capacity_messages = 2});
            sender<number> out(server.ctx.get_executor(), std::move(ends.sender));
            CHECK(procyard_test::fill(out, number{5}) == 2);
            request.give(std::move(ends.receiver));
            CHECK_FALSE(request);
            REQUIRE_FALSE(client.told());
            CHECK(client.end().is_connected());
            CHECK(procyard_test::drain(client.end()) == 2);
        }
        {
            offering<duplex<number, std::string>> server;
            connecting<duplex<number, std::string>> client;
            auto request = server.hear(client);
            auto sides = make_duplex<std::string, number>({.capacity_bytes = 512});
            auto here = std::move(sides.here).open(server.ctx.get_executor());
            request.give(std::move(sides.there));
            REQUIRE_FALSE(client.told());
            CHECK(client.end().sender.try_send(6));
            CHECK(here.receiver.try_receive() == 6);
            CHECK(here.sender.try_send("seven"));
            CHECK(client.end().receiver.try_receive() == "seven");
        }
    }
}

TEST_SUITE("end_listener: other users")
{
    TEST_CASE("that are allowed have what is made for them, and both sides wake each other")
    {
        if (!procyard_test::is_root())
            return;
        const descriptor_check no_leak;
        const procyard_test::open_place where;
        asio::io_context ctx;
        end_listener<subscriber<number>> listener(
            ctx.get_executor(), where.path,
            procyard_test::patient(
                {.socket = {.permissions = 0666}, .allowed = {.uids = {procyard_test::one_user}}}));
        broadcaster<number> numbers(ctx.get_executor(), {.capacity_messages = 2});
        forked client([&]() -> int {
            connecting<subscriber<number>> there;
            if (procyard_test::become(procyard_test::one_user) != 0)
                return 119;
            there.start(where.path);
            if (there.told())
                return 2;
            for (number expected = 0; expected < 100; ++expected) {
                outcome<error_code, number> got;
                there.end().async_receive(got.handler());
                run(there.ctx);
                if (got.error() || got.result() != expected)
                    return 3;
            }
            return 0;
        });
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            auto request = co_await listener.async_accept(asio::use_awaitable);
            const bool is_another = request.peer().uid != ::geteuid();
            CHECK(is_another);
            request.give(numbers.subscribe(
                {.when_slow = slow_reader::holds_back, .across_users = is_another}));
            for (number n = 0; n < 100; ++n)
                co_await numbers.async_send(n, asio::use_awaitable);
        });
        CHECK(client.result() == 0);
    }
}

TEST_SUITE("end_listener: clients that are sent away")
{
    TEST_CASE("another type: both sides say so, and name both")
    {
        const auto [here, there] = mismatch<subscriber<number>, subscriber<std::string>>();
        CHECK(here.why == channel_errc::other_type);
        CHECK(there.code == channel_errc::other_type);
        CHECK(here.explanation == "here u64, 8 bytes; there str: the names differ");
        CHECK(there.explanation == "here str; there u64, 8 bytes: the names differ");
    }

    TEST_CASE("another kind of end: both are named")
    {
        const auto [here, there] = mismatch<subscriber<number>, receiver<number>>();
        CHECK(here.why == channel_errc::other_direction);
        CHECK(there.code == channel_errc::other_direction);
        CHECK(here.explanation == "here a broadcast, there a receiver");
        CHECK(there.explanation == "here a receiver, there a broadcast");
        CHECK(mismatch<latest_reader<number>, subscriber<number>>().here.explanation
              == "here a latest value, there a subscriber");
        CHECK(mismatch<receiver<number>, work_source<number>>().here.explanation
              == "here a sender, there a work_source");
        CHECK(mismatch<work_source<number>, latest_reader<number>>().there.explanation
              == "here a latest_reader, there a work queue");
    }

    TEST_CASE("and so by a listener that makes channels")
    {
        const auto [here, there] = procyard_test::reject<sender<number>, subscriber<number>>();
        CHECK(here.why == channel_errc::other_direction);
        CHECK(here.explanation == "here a sender, there a subscriber");
        CHECK(there.explanation == "here a subscriber, there a sender");
    }

    TEST_CASE("who is not allowed")
    {
        const auto [here, there] = mismatch<subscriber<number>, subscriber<number>>(
            {.allowed = {.predicate = [](const unix_peer&) { return false; }}});
        CHECK(here.why == channel_errc::refused);
        CHECK(there.code == channel_errc::refused);
    }

    TEST_CASE("one that says nothing is cut off by the deadline; one that has asked is not")
    {
        const descriptor_check no_leak;
        offering<subscriber<number>> server({.deadline = 1ms});
        broadcaster<number> numbers(server.ctx.get_executor());
        connecting<subscriber<number>> client;
        auto request = server.hear(client);
        unix_seqpacket::socket silent(server.ctx);
        silent.connect(unix_path_endpoint<unix_seqpacket>(server.where.path));
        server.listener.async_accept(server.accepted.handler());
        run_until(server.ctx, [&] { return !server.refusals.empty(); });
        CHECK(server.refusals.back().why == channel_errc::too_slow);
        request.give(numbers.subscribe());
        CHECK_FALSE(client.told());
        CHECK(client.end().is_open());
    }

    TEST_CASE("by the program: refused, or not answered")
    {
        const descriptor_check no_leak;
        for (const bool is_refused : {false, true}) {
            offering<subscriber<number>> server;
            connecting<subscriber<number>> client;
            {
                auto request = server.hear(client, {.ticket = 4711});
                CHECK(request.ticket() == 4711);
                CHECK(request.peer().pid == ::getpid());
                if (is_refused)
                    request.refuse();
            }
            CHECK(client.told()
                  == (is_refused ? channel_errc::refused : channel_errc::unavailable));
        }
    }

    TEST_CASE("those that have asked and that nobody accepts hear that the listener closes")
    {
        const descriptor_check no_leak;
        offering<subscriber<number>> server;
        connecting<subscriber<number>> first;
        auto request = server.hear(first);
        connecting<subscriber<number>> second;
        second.start(server.where.path);
        second.ctx.poll();
        asio::io_context elsewhere;  // where the accept has its turn after it has closed
        server.listener.async_accept(asio::bind_executor(elsewhere, server.accepted.handler()));
        run_both(server.ctx, second.ctx, [&] { return server.listener.statistics().ready == 1; });
        server.listener.close();
        run(elsewhere);
        CHECK(server.accepted.error() == asio::error::operation_aborted);
        CHECK(second.told() == channel_errc::unavailable);
        broadcaster<number> numbers(server.ctx.get_executor());
        request.give(numbers.subscribe());  // it has been accepted before
        CHECK_FALSE(first.told());
    }

    TEST_CASE("a copy of the process that destroys a request tells nobody")
    {
        const descriptor_check no_leak;
        offering<subscriber<number>> server;
        broadcaster<number> numbers(server.ctx.get_executor());
        connecting<subscriber<number>> client;
        auto request = server.hear(client);
        CHECK(procyard_test::in_fork([&] {
                  request = {};
                  return 0;
              })
              == 0);
        request.give(numbers.subscribe());
        CHECK_FALSE(client.told());
    }
}

TEST_SUITE("end_listener: what cannot be given")
{
    TEST_CASE("to a client that has gone: peer_died, and the end has nobody")
    {
        const descriptor_check no_leak;
        offering<subscriber<number>> server;
        broadcaster<number> numbers(server.ctx.get_executor());
        end_request<subscriber<number>> request;
        {
            connecting<subscriber<number>> client;
            request = server.hear(client);
        }
        error_code ec;
        request.give(numbers.subscribe(), ec);
        CHECK(ec == channel_errc::peer_died);
        CHECK_FALSE(request);
        CHECK(numbers.readers() == 0);
        request.give(numbers.subscribe(), ec);
        CHECK(ec == asio::error::bad_descriptor);
        CHECK(numbers.readers() == 0);
    }

    TEST_CASE("no end, or one whose other side is not open: the client hears unavailable")
    {
        const descriptor_check no_leak;
        for (const bool is_there : {false, true}) {
            offering<receiver<number>> server;
            connecting<receiver<number>> client;
            auto request = server.hear(client);
            unopened_channel<number> ends;
            if (is_there)
                ends = make_channel<number>();
            error_code ec;
            request.give(std::move(ends.receiver), ec);
            CHECK(ec == (is_there ? asio::error::not_connected : asio::error::bad_descriptor));
            CHECK(client.told() == channel_errc::unavailable);
        }
    }

    TEST_CASE("more memory than the client allows: both hear over_limit")
    {
        const descriptor_check no_leak;
        offering<receiver<number>> server;
        connecting<receiver<number>> client;
        auto request = server.hear(client, {.channel = {.max_peer_bytes = 8192}});
        auto ends = make_channel<number>({.capacity_messages = 4096});
        const sender<number> out(server.ctx.get_executor(), std::move(ends.sender));
        error_code ec;
        request.give(std::move(ends.receiver), ec);
        CHECK(ec == channel_errc::over_limit);
        CHECK(client.told() == channel_errc::over_limit);

        offering<subscriber<number>> other;
        connecting<subscriber<number>> reader;
        auto second = other.hear(reader, {.channel = {.max_peer_bytes = 8192}});
        broadcaster<number> numbers(other.ctx.get_executor(), {.capacity_bytes = 1U << 20U});
        second.give(numbers.subscribe());
        CHECK(reader.told() == channel_errc::over_limit);
        CHECK_FALSE(reader.failure.explanation.empty());
        CHECK(numbers.readers() == 0);
    }
}
