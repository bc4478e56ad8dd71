// SPDX-License-Identifier: BSL-1.0
// A client that comes again after its death goes on with its old channel: the program knows it by
// its ticket, and gives it what resume() makes.
#include <procyard/ipc/end_listener.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <signal.h>

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/channel_connect.hpp>

#include "forked.hpp"
#include "listener_fixture.hpp"
#include "shared_array.hpp"

namespace asio = boost::asio;
using namespace procyard;
using procyard_test::connecting;
using procyard_test::descriptor_check;
using procyard_test::forked;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::run_both;
using procyard_test::run_until;
using procyard_test::shared_array;
using procyard_test::socket_place;

namespace {

using number = std::uint64_t;

// Has a channel for each ticket, whose other end `End` is the client's.
template <class Ours, class End>
struct keeper {
    explicit keeper(channel_options channel = {})
        : options(channel),
          listener(ctx.get_executor(), where.path, procyard_test::patient())
    {
    }

    // Answers whoever asks next, and says with which error.
    error_code serve(asio::io_context& client)
    {
        outcome<error_code, end_request<End>> asked;
        listener.async_accept(asked.handler());
        run_both(ctx, client, [&] { return asked.done(); });
        return answer(asked);
    }
    error_code serve()
    {
        outcome<error_code, end_request<End>> asked;
        listener.async_accept(asked.handler());
        run_until(ctx, [&] { return asked.done(); });
        return answer(asked);
    }

    channel_options options;
    socket_place where;
    asio::io_context ctx;
    end_listener<End> listener;
    std::map<number, Ours> ends;

private:
    error_code answer(outcome<error_code, end_request<End>>& asked)
    {
        REQUIRE_FALSE(asked.error());
        auto client = std::move(asked.result());
        const auto [known, is_new] = ends.try_emplace(client.ticket());
        unopened<End> end;
        error_code ec;
        if (is_new) {
            end = make(known->second);
        } else {
            end = known->second.resume(ec);
        }
        if (ec)
            client.refuse();
        else
            client.give(std::move(end), ec);
        return ec;
    }
    unopened<receiver<number>> make(sender<number>& ours)
    {
        auto made = make_channel<number>(options);
        ours = sender<number>(ctx.get_executor(), std::move(made.sender));
        return std::move(made.receiver);
    }
    unopened<sender<number>> make(receiver<number>& ours)
    {
        auto made = make_channel<number>(options);
        ours = receiver<number>(ctx.get_executor(), std::move(made.receiver));
        return std::move(made.sender);
    }
};

using giving = keeper<sender<number>, receiver<number>>;
using taking = keeper<receiver<number>, sender<number>>;

// A client of that ticket, which is in.
template <class Keeper, class End>
void enter(Keeper& server, connecting<End>& client, number ticket)
{
    client.start(server.where.path, {.ticket = ticket});
    const auto ec = server.serve(client.ctx);
    REQUIRE_MESSAGE(!ec, ec.message());
    run(client.ctx);
    REQUIRE_MESSAGE(!client.error(), client.error().message());
}

}  // namespace

TEST_SUITE("end_listener: who comes again")
{
    TEST_CASE("receives from the first message on that its predecessor had not, and it alone")
    {
        const descriptor_check no_leak;
        giving server({.capacity_messages = 8});
        {
            connecting<receiver<number>> first;
            enter(server, first, 1);
            for (number n = 0; n < 5; ++n)
                CHECK(server.ends[1].try_send(n));
            CHECK(first.end().try_receive() == 0);
            CHECK(first.end().try_receive() == 1);
        }
        connecting<receiver<number>> other;
        enter(server, other, 2);
        CHECK_FALSE(other.end().try_receive());
        connecting<receiver<number>> again;
        enter(server, again, 1);
        CHECK(server.ends[1].try_send(5));
        for (number n = 2; n <= 5; ++n)
            CHECK(again.end().try_receive() == n);
        CHECK_FALSE(again.end().try_receive());
        CHECK(server.ends.size() == 2);
    }

    TEST_CASE("sends on to the receiver that its predecessor had")
    {
        const descriptor_check no_leak;
        taking server({.capacity_messages = 8});
        {
            connecting<sender<number>> first;
            enter(server, first, 1);
            CHECK(first.end().try_send(1));
            CHECK(first.end().try_send(2));
        }
        connecting<sender<number>> again;
        again.start(server.where.path, {.ticket = 1});
        // What the first had sent is received before.
        CHECK(server.serve(again.ctx) == channel_errc::not_ended);
        run(again.ctx);
        CHECK(again.error() == channel_errc::refused);
        CHECK(server.ends[1].try_receive() == 1);
        CHECK(server.ends[1].try_receive() == 2);
        connecting<sender<number>> third;
        enter(server, third, 1);
        CHECK(third.end().try_send(3));
        CHECK(server.ends[1].try_receive() == 3);
    }

    TEST_CASE("while its predecessor lives: that is the program's to tell, here by refused")
    {
        const descriptor_check no_leak;
        giving server;
        connecting<receiver<number>> first;
        enter(server, first, 1);
        connecting<receiver<number>> twin;
        twin.start(server.where.path, {.ticket = 1});
        CHECK(server.serve(twin.ctx) == channel_errc::not_ended);
        run(twin.ctx);
        CHECK(twin.error() == channel_errc::refused);
        CHECK(server.ends[1].try_send(7));
        CHECK(first.end().try_receive() == 7);
    }

    TEST_CASE("one that dies before it has got its end: the next gets the same")
    {
        const descriptor_check no_leak;
        giving server;
        {
            connecting<receiver<number>> first;
            enter(server, first, 1);
            CHECK(server.ends[1].try_send(1));
        }
        for (const bool has_been_sent : {false, true}) {
            auto hasty = std::make_unique<connecting<receiver<number>>>();
            hasty->start(server.where.path, {.ticket = 1});
            hasty->ctx.poll();
            if (!has_been_sent)
                hasty.reset();
            CHECK(server.serve() == (has_been_sent ? error_code() : channel_errc::peer_died));
        }
        connecting<receiver<number>> patient;
        enter(server, patient, 1);
        CHECK(patient.end().try_receive() == 1);
    }

    TEST_CASE("twenty processes killed in a row: none is lost, and none comes twice")
    {
        constexpr number messages = 4000;
        const descriptor_check no_leak;
        const shared_array<std::uint32_t> received(messages);
        giving server({.capacity_messages = 64});
        const auto client = [&](number die_after) -> int {
            connecting<receiver<number>> there;
            there.start(server.where.path, {.ticket = 9});
            run(there.ctx);
            if (there.error())
                return 2;
            for (number taken = 0;; ++taken) {
                outcome<error_code, number> got;
                there.end().async_receive(got.handler());
                run(there.ctx);
                if (got.error())
                    return got.error() == channel_errc::closed ? 0 : 3;
                ++received[got.result()];
                if (taken == die_after)
                    ::raise(SIGKILL);
            }
        };
        number sent = 0;
        const auto send_some = [&] {
            while (sent < messages && server.ends[9].try_send(sent))
                ++sent;
        };
        for (number life = 0; life < 20; ++life) {
            forked mortal([&] { return client(50 + life); });
            const auto ec = server.serve();
            REQUIRE_MESSAGE(!ec, ec.message());
            outcome<error_code, error_code> ended;
            server.ends[9].async_wait_closed(ended.handler());
            run_until(server.ctx, [&] {
                send_some();
                if (!ended.done())
                    asio::post(server.ctx, [] { });
                return ended.done();
            });
            CHECK(ended.result() == channel_errc::peer_died);
            CHECK(mortal.result() == -SIGKILL);
        }
        forked last([&] { return client(messages); });
        REQUIRE_FALSE(server.serve());
        while (sent < messages) {
            outcome<error_code> readable;
            server.ends[9].async_wait_writable(readable.handler());
            run_until(server.ctx, [&] { return readable.done(); });
            send_some();
        }
        server.ends[9].close();
        CHECK(last.result() == 0);
        number twice = 0;
        for (number n = 0; n < messages; ++n) {
            CHECK_MESSAGE(received[n] >= 1, n);
            twice += received[n] > 1 ? 1 : 0;
        }
        CHECK(twice == 0);  // each was released before it was counted
    }
}
