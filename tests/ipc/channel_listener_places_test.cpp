// SPDX-License-Identifier: BSL-1.0
// A listener and clients in other processes: of the same user and of others, alive and killed.
#include <procyard/ipc/channel_listener.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/channel_connect.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/syscall.hpp>

#include "channel_fixture.hpp"
#include "forked.hpp"
#include "listener_fixture.hpp"
#include "other_users.hpp"
#include "raw_client.hpp"
#include "raw_peer.hpp"

namespace asio = boost::asio;
using procyard::accepted_end;
using procyard::allowed_peers;
using procyard::async_connect;
using procyard::channel_address;
using procyard::channel_connect_options;
using procyard::channel_errc;
using procyard::channel_listen_options;
using procyard::channel_listener;
using procyard::duplex;
using procyard::error_code;
using procyard::receiver;
using procyard::sender;
using procyard_test::another_user;
using procyard_test::become;
using procyard_test::connecting;
using procyard_test::descriptor_check;
using procyard_test::forked;
using procyard_test::is_root;
using procyard_test::listening;
using procyard_test::one_user;
using procyard_test::open_place;
using procyard_test::outcome;
using procyard_test::patient;
using procyard_test::raw_client;
using procyard_test::raw_peer;
using procyard_test::run_both;
using procyard_test::run_coroutine;
using procyard_test::run_until;
using procyard_test::socket_place;

namespace {

using server_end = duplex<std::uint64_t, std::string>;
using client_end = duplex<std::string, std::uint64_t>;

// Answers with the length of each text until the client is done.
asio::awaitable<void> serve(server_end end)
{
    for (;;) {
        error_code ec;
        auto text =
            co_await end.receiver.async_receive(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::closed)
            co_return;
        if (ec)
            throw boost::system::system_error(ec);
        co_await end.sender.async_send(text.size(), asio::use_awaitable);
    }
}

asio::awaitable<int> ask(channel_address where, channel_connect_options options, int rounds)
{
    const auto ex = co_await asio::this_coro::executor;
    auto end = co_await async_connect<client_end>(ex, where, options, asio::use_awaitable);
    int wrong = 0;
    for (int i = 0; i < rounds; ++i) {
        std::string text(static_cast<std::size_t>(i) % 300, 'x');
        const auto length = text.size();
        co_await end.sender.async_send(std::move(text), asio::use_awaitable);
        wrong += co_await end.receiver.async_receive(asio::use_awaitable) == length ? 0 : 1;
    }
    co_return wrong;
}

// A client's process: how many answers were wrong, or 100 plus the error's number.
int client_main(const channel_address& where, const channel_connect_options& options, int rounds)
{
    asio::io_context ctx;
    int result = 120;
    asio::co_spawn(ctx, ask(where, options, rounds), [&](const std::exception_ptr& e, int wrong) {
        try {
            if (e)
                std::rethrow_exception(e);
            result = wrong;
        } catch (const boost::system::system_error& error) {
            result = 100 + error.code().value();
        }
    });
    ctx.run();
    return result;
}

int client_error(channel_errc e)
{
    return 100 + static_cast<int>(e);
}

// The last that a client does in its handshake: it has connected, and said nothing; has asked; has
// been answered, and has the other end of a ring; has said how its own end of that is made, and
// waits to hear that this was heard.
enum class step : std::uint8_t { connected, asked, answered, greeted };

// Says when it is there, waits until it may go on, and dies.
int die_after(step last, const std::string& path, int there, int go_on)
{
    raw_client<int> client(path, nullptr);
    std::optional<raw_peer<int>> peer;
    if (last == step::asked)
        client.ask();
    if (last >= step::answered)
        peer.emplace(client.enter({}));
    char byte = 0;
    if (::write(there, &byte, 1) != 1 || ::read(go_on, &byte, 1) != 0)
        return 1;
    // The listener does not listen now: the greeting and the death are all that it finds then.
    if (last == step::greeted)
        peer->greet();
    ::raise(SIGKILL);
    return 2;
}

// Accepts so many and serves them; who they were.
asio::awaitable<void> accept_some(channel_listener<server_end>& listener, int count,
                                  std::vector<procyard::unix_peer>& peers)
{
    const auto ex = co_await asio::this_coro::executor;
    for (int i = 0; i < count; ++i) {
        auto [end, peer] = co_await listener.async_accept(asio::use_awaitable);
        peers.push_back(peer);
        asio::co_spawn(ex, serve(std::move(end)), [](const std::exception_ptr& e) {
            if (e)
                std::rethrow_exception(e);
        });
    }
}

}  // namespace

TEST_SUITE("channel_listener: processes")
{
    TEST_CASE("several at once, each asks and is answered")
    {
        const descriptor_check no_leak;
        const socket_place where;
        asio::io_context ctx;
        channel_listener<server_end> listener(ctx.get_executor(), where.path, patient());
        std::vector<std::unique_ptr<forked>> clients;
        for (int i = 0; i < 5; ++i)
            clients.push_back(
                std::make_unique<forked>([&] { return client_main(where.path, {}, 500); }));
        std::vector<procyard::unix_peer> peers;
        run_coroutine(ctx, [&] { return accept_some(listener, 5, peers); });
        for (const auto& peer : peers)
            CHECK(std::any_of(clients.begin(), clients.end(),
                              [&](const auto& each) { return each->pid() == peer.pid; }));
        for (const auto& each : clients)
            CHECK(each->result() == 0);
    }

    TEST_CASE("one that is killed is peer_died, and does not concern the others")
    {
        const descriptor_check no_leak;
        listening<receiver<int>> server;
        server.accept();
        forked client([&] {
            connecting<sender<int>> there;
            there.start(server.where.path);
            procyard_test::run(there.ctx);
            (void)there.end().try_send(1);
            ::raise(SIGKILL);
            return 0;
        });
        run_until(server.ctx, [&] { return server.accepted.done(); });
        REQUIRE_FALSE(server.accepted.error());
        CHECK(server.accepted.result().peer.pid == client.pid());
        auto end = std::move(server.accepted.result().end);
        CHECK(client.result() == -SIGKILL);
        outcome<error_code, int> received;
        end.async_receive(received.handler());
        procyard_test::run(server.ctx);
        CHECK(received.result() == 1);
        end.async_receive(received.handler());
        procyard_test::run(server.ctx);
        CHECK(received.error() == channel_errc::peer_died);
    }

    TEST_CASE(
        "a copy of the listener's process may destroy what it has of it: nobody hears of that")
    {
        const descriptor_check no_leak;
        const socket_place where;
        asio::io_context ctx;
        std::optional<channel_listener<receiver<int>>> listener(std::in_place, ctx.get_executor(),
                                                                where.path);
        outcome<error_code, accepted_end<receiver<int>>> accepted;
        listener->async_accept(accepted.handler());
        connecting<sender<int>> client;
        client.start(where.path);
        client.ctx.poll();  // has asked
        ctx.poll();         // has answered, and waits for the client's ring
        REQUIRE(listener->statistics().pending == 1);
        const auto watched = procyard_test::watched_descriptors();
        CHECK(procyard_test::in_fork([&] {
                  listener->close();
                  const bool is_open = listener->is_open();
                  listener.reset();
                  return is_open ? 1 : 0;
              })
              == 0);
        CHECK(procyard_test::watched_descriptors() == watched);
        CHECK(where.exists());
        run_both(ctx, client.ctx, [&] { return accepted.done() && client.connected.done(); });
        CHECK_FALSE(accepted.error());
        CHECK_FALSE(client.error());
    }

    TEST_CASE("one that is killed in the middle of its handshake is lost")
    {
        for (const auto at : {step::connected, step::asked, step::answered, step::greeted}) {
            CAPTURE(static_cast<int>(at));
            const descriptor_check no_leak;
            listening<receiver<int>> server;
            server.accept();
            error_code ec;
            auto told = procyard::make_raw_pipe(ec);
            auto go = procyard::make_raw_pipe(ec);
            forked client([&] {
                go.write_end.reset();
                return die_after(at, server.where.path, told.write_end.get(), go.read_end.get());
            });
            told.write_end.reset();
            pollfd has_come{told.read_end.get(), POLLIN, 0};
            asio::io_context nobody;
            // From then on it has done what it does before it dies, but for a greeting.
            run_both(server.ctx, nobody, [&] { return ::poll(&has_come, 1, 0) == 1; });
            CHECK(server.listener.statistics().lost == 0);
            go.write_end.reset();
            CHECK(client.result() == -SIGKILL);
            const auto& refusal = server.next_refusal();
            CHECK_MESSAGE(refusal.why == channel_errc::peer_died, refusal.why.message());
            CHECK(refusal.peer.pid != ::getpid());
            CHECK(server.listener.statistics().lost == 1);
            CHECK(server.listener.statistics().pending == 0);
            CHECK_FALSE(server.accepted.done());
            connecting<sender<int>> next;
            next.start(server.where.path);
            run_both(server.ctx, next.ctx,
                     [&] { return next.connected.done() && server.accepted.done(); });
            CHECK_FALSE(next.error());
            CHECK_FALSE(server.accepted.error());
        }
    }

    TEST_CASE("a listener that is killed: its clients hear it, and its name can be taken")
    {
        const descriptor_check no_leak;
        const socket_place where;
        error_code ec;
        auto ready = procyard::make_raw_pipe(ec);
        forked server([&] {
            asio::io_context ctx;
            channel_listener<sender<int>> listener(ctx.get_executor(), where.path, patient());
            outcome<error_code, accepted_end<sender<int>>> accepted;
            listener.async_accept(accepted.handler());
            ready.write_end.reset();
            run_until(ctx, [&] { return accepted.done(); });
            (void)accepted.result().end.try_send(3);
            ::raise(SIGKILL);
            return 0;
        });
        ready.write_end.reset();
        char byte = 0;
        REQUIRE(::read(ready.read_end.get(), &byte, 1) == 0);
        connecting<receiver<int>> client;
        client.start(where.path);
        run_until(client.ctx, [&] { return client.connected.done(); });
        REQUIRE_FALSE(client.error());
        CHECK(server.result() == -SIGKILL);
        outcome<error_code, int> received;
        client.end().async_receive(received.handler());
        procyard_test::run(client.ctx);
        CHECK(received.result() == 3);
        client.end().async_receive(received.handler());
        procyard_test::run(client.ctx);
        CHECK(received.error() == channel_errc::peer_died);
        CHECK(where.exists());
        asio::io_context ctx;
        const channel_listener<sender<int>> heir(ctx.get_executor(), where.path);
    }
}

TEST_SUITE("channel_listener: other users")
{
    TEST_CASE("are refused unless they are allowed")
    {
        if (!is_root())
            return;
        const descriptor_check no_leak;
        const open_place where;
        asio::io_context ctx;
        channel_listener<server_end> listener(ctx.get_executor(), where.path,
                                              patient({.socket = {.permissions = 0666}}));
        std::vector<procyard::unix_peer> peers;
        forked stranger(
            [&] { return become(one_user) != 0 ? 119 : client_main(where.path, {}, 1); });
        forked known([&] { return client_main(where.path, {}, 1); });
        run_coroutine(ctx, [&] { return accept_some(listener, 1, peers); });
        CHECK(known.result() == 0);
        outcome<error_code, accepted_end<server_end>> accepted;
        listener.async_accept(accepted.handler());
        run_until(ctx, [&] {
            if (listener.statistics().refused == 1)
                listener.close();
            return accepted.done();
        });
        CHECK(stranger.result() == client_error(channel_errc::refused));
        CHECK(peers.size() == 1);
    }

    TEST_CASE("may not even connect where the file system says so")
    {
        if (!is_root())
            return;
        const open_place where;
        asio::io_context ctx;
        const channel_listener<server_end> listener(ctx.get_executor(), where.path, patient());
        forked stranger(
            [&] { return become(one_user) != 0 ? 119 : client_main(where.path, {}, 1); });
        CHECK(stranger.result() == 100 + EACCES);
    }

    TEST_CASE("that are allowed have a channel that wakes both sides")
    {
        if (!is_root())
            return;
        const descriptor_check no_leak;
        const open_place where;
        asio::io_context ctx;
        channel_listener<server_end> listener(
            ctx.get_executor(), where.path,
            patient({.socket = {.permissions = 0666}, .allowed = {.uids = {one_user}}}));
        forked client(
            [&] { return become(one_user) != 0 ? 119 : client_main(where.path, {}, 200); });
        std::vector<procyard::unix_peer> peers;
        run_coroutine(ctx, [&] { return accept_some(listener, 1, peers); });
        CHECK(client.result() == 0);
        CHECK(peers[0].uid == one_user);
        CHECK(peers[0].gid == one_user);
    }

    TEST_CASE("when one has gone, its channel can be resumed by another of them")
    {
        if (!is_root())
            return;
        const descriptor_check no_leak;
        const open_place where;
        asio::io_context ctx;
        channel_listener<receiver<int>> listener(
            ctx.get_executor(), where.path,
            {.socket = {.permissions = 0666}, .allowed = {.uids = {one_user}}});
        outcome<error_code, accepted_end<receiver<int>>> accepted;
        listener.async_accept(accepted.handler());
        forked client([&] {
            connecting<sender<int>> there;
            if (become(one_user) != 0)
                return 119;
            there.start(where.path);
            procyard_test::run(there.ctx);
            return there.error().value();
        });
        run_until(ctx, [&] { return accepted.done(); });
        CHECK(client.result() == 0);
        auto next = accepted.result().end.resume();
        CHECK(next.options().across_users);
        forked heir([&] {
            asio::io_context there;
            if (become(another_user) != 0)
                return 119;
            sender<int> s(there.get_executor(), std::move(next));
            return s.try_send(8) && s.is_connected() ? 0 : 1;
        });
        CHECK(heir.result() == 0);
        CHECK(accepted.result().end.try_receive() == 8);
    }

    TEST_CASE("two of whom neither is root")
    {
        if (!is_root())
            return;
        const descriptor_check no_leak;
        const open_place where;
        error_code ec;
        auto ready = procyard::make_raw_pipe(ec);
        forked server([&] {
            if (become(one_user) != 0)
                return 119;
            asio::io_context ctx;
            channel_listener<server_end> listener(
                ctx.get_executor(), where.path,
                patient({.socket = {.permissions = 0666}, .allowed = {.gids = {another_user}}}));
            ready.write_end.reset();
            std::vector<procyard::unix_peer> peers;
            asio::co_spawn(ctx, accept_some(listener, 1, peers), [](const std::exception_ptr& e) {
                if (e)
                    std::rethrow_exception(e);
            });
            ctx.run();
            return peers.size() == 1 ? 0 : 1;
        });
        ready.write_end.reset();
        char byte = 0;
        REQUIRE(::read(ready.read_end.get(), &byte, 1) == 0);
        // By default a client does not talk to the listener of just anybody either.
        CHECK(forked([&] {
                  return become(another_user) != 0 ? 119 : client_main(where.path, {}, 1);
              }).result()
              == client_error(channel_errc::refused));
        CHECK(forked([&] {
                  return become(another_user) != 0
                      ? 119
                      : client_main(where.path, {.allowed = {.uids = {one_user}}}, 200);
              }).result()
              == 0);
        CHECK(server.result() == 0);
    }
}
