// SPDX-License-Identifier: BSL-1.0
// A listener and its clients, within one process: each kind of end, names, one client after the
// other and all at once.
#include <procyard/ipc/channel_listener.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/errc.hpp>
#include <boost/system/system_error.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/channel_connect.hpp>
#include <procyard/ipc/socket_error.hpp>

#include "channel_fixture.hpp"
#include "listener_fixture.hpp"
#include "operation_contract.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::accepted_end;
using procyard::async_connect;
using procyard::channel_address;
using procyard::channel_errc;
using procyard::channel_listener;
using procyard::duplex;
using procyard::error_code;
using procyard::receiver;
using procyard::sender;
using procyard::socket_errc;
using procyard_test::connecting;
using procyard_test::descriptor_check;
using procyard_test::listening;
using procyard_test::meet;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::run_both;
using procyard_test::run_until;
using procyard_test::socket_place;

namespace {

// The client is another thread's: what it waits for keeps nothing here busy.
struct async_accept {
    explicit async_accept(asio::io_context& ctx)
        : listener(std::in_place, ctx.get_executor(), where.path, procyard_test::patient())
    {
    }
    async_accept(const async_accept&) = delete;
    async_accept& operator=(const async_accept&) = delete;
    ~async_accept()
    {
        listener.reset();
        if (client.joinable())
            client.join();
    }
    template <class Token>
    void start(Token&& token)
    {
        listener->async_accept(std::forward<Token>(token));
    }
    void satisfy()
    {
        client = std::thread([path = where.path] {
            connecting<sender<int>> there;
            there.start(path);
            there.ctx.run_for(procyard_test::deadlock_guard);
        });
    }
    void break_it() { listener->close(); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void destroy() { listener.reset(); }

    socket_place where;
    std::optional<channel_listener<receiver<int>>> listener;
    std::thread client;
};

error_code listen(const channel_address& address, procyard::channel_listen_options options = {})
{
    asio::io_context ctx;
    error_code ec;
    channel_listener<receiver<int>> listener(ctx.get_executor());
    listener.listen(address, std::move(options), ec);
    CHECK(listener.is_open() == !ec);
    return ec;
}

}  // namespace

TEST_SUITE("channel_listener: operations")
{
    PROCYARD_OPERATION_CONTRACT(async_accept)

    TEST_CASE("a second accept at once is refused, and the first goes on")
    {
        listening<receiver<int>> server;
        server.accept();
        outcome<error_code, accepted_end<receiver<int>>> second;
        server.listener.async_accept(second.handler());
        run_until(server.ctx, [&] { return second.done(); });
        CHECK(second.error() == asio::error::already_started);
        connecting<sender<int>> client;
        client.start(server.where.path);
        run_both(server.ctx, client.ctx, [&] { return server.accepted.done(); });
        CHECK_FALSE(server.accepted.error());
    }

    TEST_CASE("cancelled when an end is ready: that stays for the next")
    {
        for (const bool by_type : {false, true}) {
            CAPTURE(by_type);
            listening<receiver<int>> server;
            connecting<sender<int>> client;
            asio::cancellation_signal signal;
            server.listener.async_accept(
                asio::bind_cancellation_slot(signal.slot(), server.accepted.handler()));
            client.start(server.where.path);
            // Turn by turn, so that it is cancelled between the handshake and its own.
            asio::io_context idle;
            run_both(client.ctx, idle, [&] {
                server.ctx.restart();
                server.ctx.poll_one();
                REQUIRE_FALSE(server.accepted.done());
                return server.listener.statistics().ready == 1;
            });
            signal.emit(by_type ? asio::cancellation_type::total
                                : asio::cancellation_type::terminal);
            run(server.ctx);
            CHECK(server.accepted.error() == asio::error::operation_aborted);
            CHECK(server.listener.statistics().ready == 1);
            server.accept();
            run(server.ctx);
            REQUIRE_FALSE(server.accepted.error());
            CHECK(server.accepted.result().end.is_connected());
            CHECK(server.listener.statistics().ready == 0);
        }
    }

    TEST_CASE("in a coroutine that has the listener: it goes down with the context")
    {
        const descriptor_check no_leak;
        const socket_place where;
        auto ctx = std::make_unique<asio::io_context>();
        asio::co_spawn(
            *ctx,
            [](channel_listener<receiver<int>> listener) -> asio::awaitable<void> {
                (void)co_await listener.async_accept(asio::use_awaitable);
            }(channel_listener<receiver<int>>(ctx->get_executor(), where.path)),
            [](const std::exception_ptr&) {});
        ctx->poll();
        CHECK(where.exists());
        ctx.reset();
        CHECK_FALSE(where.exists());
    }
}

TEST_SUITE("channel_listener: ends")
{
    TEST_CASE("the clients send")
    {
        const descriptor_check no_leak;
        listening<receiver<std::string>> server;
        connecting<sender<std::string>> client;
        meet(server, client);
        auto& [end, peer] = server.accepted.result();
        CHECK(peer.pid == ::getpid());
        CHECK(peer.uid == ::geteuid());
        CHECK(end.is_connected());
        CHECK(client.end().is_connected());
        CHECK(client.end().try_send("to whom it may concern"));
        CHECK(end.try_receive() == "to whom it may concern");
        client.end().close();
        std::string text;
        error_code ec;
        CHECK_FALSE(end.try_receive(text, ec));
        CHECK(ec == channel_errc::closed);
    }

    TEST_CASE("the clients receive")
    {
        const descriptor_check no_leak;
        listening<sender<int>> server;
        connecting<receiver<int>> client;
        meet(server, client);
        CHECK(server.accepted.result().end.try_send(7));
        CHECK(client.end().try_receive() == 7);
    }

    TEST_CASE("both: a duplex of two types, each with its own ring")
    {
        const descriptor_check no_leak;
        listening<duplex<int, std::string>> server;
        connecting<duplex<std::string, int>> client;
        meet(server, client);
        auto& ours = server.accepted.result().end;
        CHECK(client.end().sender.try_send("three"));
        CHECK(ours.receiver.try_receive() == "three");
        CHECK(ours.sender.try_send(3));
        CHECK(client.end().receiver.try_receive() == 3);
        ours.sender.close();
        CHECK(client.end().sender.try_send("and on"));
        CHECK(ours.receiver.try_receive() == "and on");
    }

    TEST_CASE("messages that are sent before anybody accepts are there")
    {
        listening<receiver<int>> server;
        connecting<sender<int>> first;
        meet(server, first);
        connecting<sender<int>> second;
        second.start(server.where.path);
        outcome<error_code, accepted_end<receiver<int>>> next;
        asio::cancellation_signal signal;
        server.listener.async_accept(asio::bind_cancellation_slot(signal.slot(), next.handler()));
        run_both(server.ctx, second.ctx, [&] {
            if (server.listener.statistics().ready == 1)
                signal.emit(asio::cancellation_type::total);
            return second.connected.done() && next.done();
        });
        // Either way the handshake is complete, and the client can send.
        REQUIRE_FALSE(second.error());
        CHECK(second.end().try_send(5));
        if (next.error()) {
            server.accept();
            run(server.ctx);
            CHECK(server.accepted.result().end.try_receive() == 5);
        } else {
            CHECK(next.result().end.try_receive() == 5);
        }
    }

    TEST_CASE("the clients take over the capacity, whatever they would have had")
    {
        listening<receiver<int>> server({.channel = {.capacity_messages = 4}});
        connecting<sender<int>> client;
        meet(server, client, {.channel = {.capacity_messages = 4096}});
        CHECK(procyard_test::fill(client.end()) == 4);
        CHECK(procyard_test::drain(server.accepted.result().end) == 4);
        listening<sender<int>> sending({.channel = {.capacity_messages = 8}});
        connecting<receiver<int>> receiving;
        meet(sending, receiving);
        CHECK(procyard_test::fill(sending.accepted.result().end) == 8);
        CHECK(procyard_test::drain(receiving.end()) == 8);
    }

    TEST_CASE("either side resumes its end when the other has gone, and the next peer fits")
    {
        listening<duplex<int, std::string>> server(
            {.channel = {.capacity_bytes = 1024, .across_users = true}});
        connecting<duplex<std::string, int>> client;
        meet(server, client);
        auto& accepted = server.accepted.result().end;
        CHECK(accepted.sender.try_send(4));
        CHECK(client.end().sender.try_send("five"));
        accepted.receiver.close();
        client.end().receiver.close();
        const auto& ex = client.ctx.get_executor();
        receiver<std::string> next_there(ex, client.end().sender.resume());
        receiver<int> next_here(ex, accepted.sender.resume());
        CHECK(next_there.try_receive() == "five");
        CHECK(next_here.try_receive() == 4);
        CHECK(client.end().sender.try_send("six"));
        CHECK(accepted.sender.try_send(7));
        CHECK(next_there.try_receive() == "six");
        CHECK(next_here.try_receive() == 7);
    }

    TEST_CASE("a hundred clients at once, each with a channel of its own")
    {
        const descriptor_check no_leak;
        listening<receiver<int>> server({.channel = {.capacity_messages = 2}});
        std::vector<std::unique_ptr<connecting<sender<int>>>> clients;
        std::vector<receiver<int>> ends;
        asio::io_context idle;
        for (int i = 0; i < 100; ++i) {
            clients.push_back(std::make_unique<connecting<sender<int>>>());
            clients.back()->start(server.where.path);
        }
        while (ends.size() < clients.size()) {
            server.accepted = {};
            server.accept();
            run_both(server.ctx, idle, [&] {
                for (const auto& each : clients) {
                    each->ctx.restart();
                    each->ctx.poll();
                }
                return server.accepted.done();
            });
            REQUIRE_FALSE(server.accepted.error());
            ends.push_back(std::move(server.accepted.result().end));
        }
        std::vector<int> seen(clients.size());
        for (std::size_t i = 0; i < clients.size(); ++i) {
            run(clients[i]->ctx);
            REQUIRE_FALSE(clients[i]->error());
            CHECK(clients[i]->end().try_send(static_cast<int>(i)));
        }
        for (auto& end : ends)
            ++seen[static_cast<std::size_t>(end.try_receive().value())];
        CHECK(seen == std::vector<int>(clients.size(), 1));
        CHECK(server.listener.statistics().accepted == clients.size());
        CHECK(server.refusals.empty());
    }
}

TEST_SUITE("channel_listener: the name")
{
    TEST_CASE("an abstract one")
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        const auto name =
            channel_address::abstract_name("procyard-listener-" + std::to_string(::getpid()));
        channel_listener<sender<int>> listener(ctx.get_executor(), name);
        CHECK(listener.path().empty());
        CHECK(listen(name) == errc::address_in_use);
        outcome<error_code, accepted_end<sender<int>>> accepted;
        listener.async_accept(accepted.handler());
        connecting<receiver<int>> client;
        client.start(name);
        run_both(ctx, client.ctx, [&] { return accepted.done() && client.connected.done(); });
        CHECK(accepted.result().end.try_send(1));
        CHECK(client.end().try_receive() == 1);
    }

    TEST_CASE("a path: for its user alone unless told, and gone with the listener")
    {
        const socket_place where;
        const auto mode = [&] {
            struct stat status{};
            REQUIRE(::lstat(where.path.c_str(), &status) == 0);
            return status.st_mode & 07777;
        };
        asio::io_context ctx;
        {
            const channel_listener<sender<int>> listener(ctx.get_executor(), where.path);
            CHECK(listener.path() == where.path);
            CHECK(mode() == 0600);
            CHECK(listen(where.path) == errc::address_in_use);
        }
        CHECK_FALSE(where.exists());
        const channel_listener<sender<int>> open(ctx.get_executor(), where.path,
                                                 {.socket = {.permissions = 0666}});
        CHECK(mode() == 0666);
    }

    TEST_CASE("that a dead owner has left is replaced, a file is not")
    {
        const socket_place where;
        where.leave_socket<procyard::unix_seqpacket>();
        CHECK_FALSE(listen(where.path));
        const auto file = where.directory.write("file", "precious").native();
        CHECK(listen(file) == socket_errc::not_a_socket);
        CHECK(where.directory.read("file") == "precious");
    }

    TEST_CASE("that cannot be is told before anything happens, as is a ring that cannot be")
    {
        const descriptor_check no_leak;
        CHECK(listen("") == socket_errc::bad_name);
        CHECK(listen(std::string(200, 'x')) == socket_errc::name_too_long);
        CHECK(listen(channel_address::abstract_name("")) == socket_errc::bad_name);
        CHECK(listen("/nonexistent/there") == errc::no_such_file_or_directory);
        const socket_place where;
        CHECK(listen(where.path, {.channel = {.capacity_messages = ~std::size_t{0}}})
              == channel_errc::bad_shape);
        CHECK(listen(where.path, {.channel = {.name = "not good!"}}) == channel_errc::bad_option);
        CHECK(listen(where.path, {.channel = {.full = static_cast<procyard::when_full>(4)}})
              == channel_errc::bad_option);
        CHECK_FALSE(where.exists());
        asio::io_context ctx;
        CHECK_THROWS_WITH_AS(channel_listener<sender<int>>(ctx.get_executor(), "/nonexistent/x"),
                             doctest::Contains("/nonexistent/x"), boost::system::system_error);
    }

    TEST_CASE("a listener is moved, closed, and listens again elsewhere")
    {
        const descriptor_check no_leak;
        const socket_place one;
        const socket_place two;
        asio::io_context ctx;
        channel_listener<receiver<int>> first(ctx.get_executor(), one.path);
        channel_listener<receiver<int>> second(std::move(first));
        CHECK_FALSE(first.is_open());  // NOLINT: what a moved-from one says
        outcome<error_code, accepted_end<receiver<int>>> accepted;
        second.async_accept(accepted.handler());
        error_code ec;
        second.listen(two.path, {}, ec);
        CHECK_FALSE(ec);
        CHECK_FALSE(one.exists());
        outcome<error_code, accepted_end<receiver<int>>> again;
        second.async_accept(again.handler());
        connecting<sender<int>> client;
        client.start(two.path);
        run_both(ctx, client.ctx, [&] { return again.done() && client.connected.done(); });
        CHECK(accepted.error() == asio::error::operation_aborted);
        CHECK_FALSE(again.error());
        CHECK_FALSE(client.error());
    }
}

TEST_SUITE("channel_listener: its end")
{
    TEST_CASE("clients under way are told, and an end that nobody has accepted is closed")
    {
        const descriptor_check no_leak;
        listening<receiver<int>> server;
        connecting<sender<int>> waiting;
        connecting<sender<int>> ready;
        asio::cancellation_signal signal;
        server.listener.async_accept(
            asio::bind_cancellation_slot(signal.slot(), server.accepted.handler()));
        ready.start(server.where.path);
        run_both(server.ctx, ready.ctx, [&] {
            if (server.listener.statistics().ready == 1)
                signal.emit(asio::cancellation_type::total);
            return ready.connected.done();
        });
        REQUIRE_FALSE(ready.error());
        waiting.start(server.where.path);
        waiting.ctx.poll();
        server.accepted = {};
        server.listener.close();
        run_both(server.ctx, waiting.ctx, [&] { return waiting.connected.done(); });
        CHECK(waiting.error() == asio::error::connection_reset);
        error_code ec;
        CHECK_FALSE(ready.end().try_send(1, ec));
        CHECK(ec == channel_errc::closed);
    }

    TEST_CASE("clients in the middle of a handshake hear unavailable")
    {
        const descriptor_check no_leak;
        listening<receiver<int>> server;
        connecting<sender<int>> client;
        server.accept();
        client.start(server.where.path);
        client.ctx.poll();  // has asked
        server.ctx.poll();  // has answered, and waits for the client's ring
        CHECK(server.listener.statistics().pending == 1);
        server.listener.close();
        CHECK(server.listener.statistics().lost == 1);
        run(client.ctx);
        CHECK(client.error() == channel_errc::unavailable);
        run(server.ctx);
        CHECK(server.accepted.error() == asio::error::operation_aborted);
    }
}
