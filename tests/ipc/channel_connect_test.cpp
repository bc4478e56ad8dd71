// SPDX-License-Identifier: BSL-1.0
// Connecting to a listener: all that can be wrong with either side, and what each is told.
#include <procyard/ipc/channel_connect.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/channel_listener.hpp>
#include <procyard/ipc/socket_error.hpp>

#include "channel_fixture.hpp"
#include "limit_guard.hpp"
#include "listener_fixture.hpp"
#include "operation_contract.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::accepted_end;
using procyard::allowed_peers;
using procyard::async_connect;
using procyard::channel_address;
using procyard::channel_errc;
using procyard::channel_listener;
using procyard::duplex;
using procyard::error_code;
using procyard::receiver;
using procyard::sender;
using procyard::socket_errc;
using procyard::unique_fd;
using procyard::unix_peer;
using procyard_test::connecting;
using procyard_test::descriptor_check;
using procyard_test::listening;
using procyard_test::outcome;
using procyard_test::reject;
using procyard_test::run;
using procyard_test::run_both;
using procyard_test::socket_place;

namespace here {
struct quote {
    std::uint64_t time = 0;
    double price = 0;
};
struct order {
    std::uint32_t number = 0;
};
}  // namespace here

namespace there {
struct quote {
    std::uint64_t time = 0;
    float price = 0;
    float size = 0;
};
struct order {
    std::uint32_t number = 0;
};
}  // namespace there

template <>
inline constexpr unsigned procyard::schema_version<there::order> = 2;

namespace {

bool says(const std::string& text, const std::string& word)
{
    return text.find(word) != std::string::npos;
}

// The listener is another thread's, which accepts when it is told to.
struct connection_attempt {
    explicit connection_attempt(asio::io_context& ctx)
        : context(ctx),
          listener(std::in_place, server.get_executor(), where.path, procyard_test::patient())
    {
    }
    connection_attempt(const connection_attempt&) = delete;
    connection_attempt& operator=(const connection_attempt&) = delete;
    ~connection_attempt()
    {
        if (thread.joinable())
            thread.join();
    }
    template <class Token>
    void start(Token&& token)
    {
        async_connect<sender<int>>(context.get_executor(), where.path, std::forward<Token>(token));
    }
    void satisfy()
    {
        thread = std::thread([this] {
            listener->async_accept(accepted.handler());
            server.run_for(procyard_test::deadlock_guard);
        });
    }
    void break_it() { listener.reset(); }
    error_code breakage() const { return procyard::make_errno(ENOENT); }

    socket_place where;
    asio::io_context& context;
    asio::io_context server;
    std::optional<channel_listener<receiver<int>>> listener;
    outcome<error_code, accepted_end<receiver<int>>> accepted;
    std::thread thread;
};

error_code connect_error(const channel_address& address,
                         const procyard::channel_connect_options& options = {})
{
    const descriptor_check no_leak;
    connecting<sender<int>> client;
    client.start(address, options);
    run(client.ctx);
    CHECK_FALSE(client.end().is_open());
    CHECK(client.failure.code == client.error());
    return client.error();
}

}  // namespace

TEST_SUITE("async_connect: the operation")
{
    TEST_CASE("succeeds, in a later turn, at once or after a wait")
    {
        procyard_test::check_success<connection_attempt>();
        procyard_test::check_success_after_a_wait<connection_attempt>();
    }
    TEST_CASE("an immediate error comes in a later turn")
    {
        procyard_test::check_immediate_error<connection_attempt>();
    }
    TEST_CASE("cancelled, there is no channel, and the next one gets it")
    {
        using type = asio::cancellation_type;
        for (const auto each : {type::terminal, type::partial, type::total}) {
            for (const bool waiting : {false, true})
                procyard_test::check_cancellation<connection_attempt>(each, waiting);
        }
    }
    TEST_CASE("runs its handler on the handler's executor")
    {
        procyard_test::check_other_executor<connection_attempt>();
    }
    TEST_CASE("goes down with its io_context without a call")
    {
        procyard_test::check_context_destruction<connection_attempt>(false);
        procyard_test::check_context_destruction<connection_attempt>(true);
    }

    TEST_CASE("cancelled in the middle of the handshake: the listener has lost a client")
    {
        const descriptor_check no_leak;
        listening<receiver<int>> server;
        connecting<sender<int>> client;
        asio::cancellation_signal signal;
        server.accept();
        async_connect<sender<int>>(
            client.ctx.get_executor(), server.where.path,
            asio::bind_cancellation_slot(signal.slot(), client.connected.handler()));
        client.ctx.poll();
        server.ctx.poll();
        REQUIRE(server.listener.statistics().pending == 1);
        signal.emit(asio::cancellation_type::total);
        run(client.ctx);
        CHECK(client.error() == asio::error::operation_aborted);
        CHECK(server.next_refusal().why == channel_errc::peer_died);
        CHECK(server.listener.statistics().lost == 1);
        CHECK(server.listener.statistics().pending == 0);
    }

    TEST_CASE("as a future, deferred, and in a coroutine")
    {
        listening<sender<int>> server;
        connecting<receiver<int>> client;
        server.accept();
        auto future = async_connect<receiver<int>>(client.ctx.get_executor(), server.where.path,
                                                   asio::use_future);
        run_both(server.ctx, client.ctx, [&] {
            return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
        });
        CHECK(future.get().is_connected());
        server.accepted = {};
        server.accept();
        bool connected = false;
        asio::co_spawn(
            client.ctx,
            [](std::string path, bool& done) -> asio::awaitable<void> {
                const auto ex = co_await asio::this_coro::executor;
                const auto operation = async_connect<receiver<int>>(ex, path);
                auto end = co_await operation(asio::use_awaitable);
                done = end.is_connected();
            }(server.where.path, connected),
            [](const std::exception_ptr& e) { CHECK_FALSE(e); });
        run_both(server.ctx, client.ctx, [&] { return connected; });
    }
}

TEST_SUITE("async_connect: nobody to connect to")
{
    TEST_CASE("no name, nobody behind it, or something else")
    {
        const socket_place where;
        CHECK(connect_error(where.path) == errc::no_such_file_or_directory);
        where.leave_socket<procyard::unix_seqpacket>();
        CHECK(connect_error(where.path) == errc::connection_refused);
        CHECK(connect_error(where.directory.write("file", "").native())
              == errc::connection_refused);
        CHECK(connect_error(channel_address::abstract_name("procyard-nobody"))
              == errc::connection_refused);
        asio::io_context ctx;
        const socket_place streams;
        const procyard::unix_listener<> listener(ctx.get_executor(), streams.path);
        CHECK(connect_error(streams.path) == errc::wrong_protocol_type);
    }

    TEST_CASE("a name that cannot be")
    {
        CHECK(connect_error("") == socket_errc::bad_name);
        CHECK(connect_error(std::string(108, 'x')) == socket_errc::name_too_long);
        CHECK(connect_error(channel_address::abstract_name("")) == socket_errc::bad_name);
    }

    TEST_CASE("an option that no channel can have, which is told before anybody is looked for")
    {
        CHECK(connect_error("/nonexistent/x", {.channel = {.name = "not good!"}})
              == channel_errc::bad_option);
        CHECK(connect_error("/nonexistent/x",
                            {.channel = {.full = static_cast<procyard::when_full>(4)}})
              == channel_errc::bad_option);
    }

    TEST_CASE("a full queue is waited for")
    {
        const descriptor_check no_leak;
        listening<receiver<int>> server({.socket = {.backlog = 0}});
        connecting<sender<int>> first;
        connecting<sender<int>> second;
        first.start(server.where.path);
        second.start(server.where.path);
        first.ctx.poll();
        second.ctx.poll();
        server.accept();
        run_both(server.ctx, first.ctx, [&] { return first.connected.done(); });
        CHECK_FALSE(first.error());
        run(server.ctx);
        server.accept();
        run_both(server.ctx, second.ctx, [&] { return second.connected.done(); });
        CHECK_FALSE(second.error());
    }
}

TEST_SUITE("async_connect: ends that do not fit")
{
    TEST_CASE("another type: both sides say so, and name both")
    {
        const auto [ours, theirs] = reject<receiver<here::quote>, sender<there::quote>>();
        CHECK(ours.why == channel_errc::other_type);
        CHECK(theirs.code == channel_errc::other_type);
        CHECK(ours.peer.pid == ::getpid());
        CHECK(theirs.peer.pid == ::getpid());
        for (const auto& text : {ours.explanation, theirs.explanation}) {
            CHECK_MESSAGE(says(text, "quote"), text);
            CHECK_MESSAGE(says(text, "f64@8"), text);
            CHECK_MESSAGE(says(text, "f32@8"), text);
        }
        CHECK(ours.explanation != theirs.explanation);
    }

    TEST_CASE("another version of the meaning, and another type in one direction of two")
    {
        const auto [ours, theirs] = reject<sender<here::order>, receiver<there::order>>();
        CHECK(theirs.code == channel_errc::other_type);
        CHECK_MESSAGE(says(theirs.explanation, "version"), theirs.explanation);
        CHECK_MESSAGE(says(ours.explanation, "version"), ours.explanation);
        const auto [here, there] = reject<duplex<int, int>, duplex<int, std::string>>();
        CHECK_MESSAGE(says(here.explanation, "what is sent: here i32"), here.explanation);
        CHECK_MESSAGE(says(there.explanation, "what is received: here str"), there.explanation);
    }

    TEST_CASE("the same direction, and one against two")
    {
        const auto [ours, theirs] = reject<sender<int>, sender<int>>();
        CHECK(ours.why == channel_errc::other_direction);
        CHECK(theirs.code == channel_errc::other_direction);
        CHECK(ours.explanation == "here a sender, there a sender");
        CHECK(theirs.explanation == "here a sender, there a sender");
        const auto [here, there] = reject<duplex<int, int>, receiver<int>>();
        CHECK(here.explanation == "here a duplex, there a receiver");
        CHECK(there.explanation == "here a receiver, there a duplex");
    }

    TEST_CASE("a capacity beyond the client's limit: nothing is made")
    {
        const auto [ours, theirs] = reject<receiver<int>, sender<int>>(
            {.channel = {.capacity_messages = 1024}}, {.channel = {.max_peer_bytes = 8192}});
        CHECK(ours.why == channel_errc::over_limit);
        CHECK(theirs.code == channel_errc::over_limit);
        CHECK_MESSAGE(says(ours.explanation, "8192"), ours.explanation);
        CHECK_MESSAGE(says(theirs.explanation, "8192"), theirs.explanation);
    }
}

TEST_SUITE("async_connect: who may")
{
    TEST_CASE("a client that is not allowed hears it, and the listener counts it")
    {
        for (const bool early : {false, true}) {
            CAPTURE(early);
            const descriptor_check no_leak;
            listening<receiver<int>> server(
                {.allowed = {.predicate = [](const unix_peer&) { return false; }}});
            connecting<sender<int>> client;
            server.accept();
            client.start(server.where.path);
            if (early)
                client.ctx.poll();  // its request lies there unread
            run_both(server.ctx, client.ctx,
                     [&] { return !server.refusals.empty() && client.connected.done(); });
            CHECK(client.error() == channel_errc::refused);
            CHECK(client.error() == errc::permission_denied);
            CHECK_MESSAGE(says(client.failure.explanation, std::to_string(::getpid())),
                          client.failure.explanation);
            CHECK(server.refusals.back().why == channel_errc::refused);
            CHECK(server.refusals.back().peer.pid == ::getpid());
            CHECK(server.listener.statistics().refused == 1);
            CHECK_FALSE(server.accepted.done());
        }
    }

    TEST_CASE("a client that gets in by its process's number")
    {
        listening<receiver<int>> server({.allowed = {.pids = {::getpid()}}});
        connecting<sender<int>> client;
        procyard_test::meet(server, client, {.allowed = {.pids = {::getpid()}}});
    }

    TEST_CASE("a listener that is not whom one wants to talk to hears nothing but the end")
    {
        listening<receiver<int>> server;
        connecting<sender<int>> client;
        server.accept();
        client.start(server.where.path, {.allowed = {.uids = {4711}}});
        run(client.ctx);
        CHECK(client.error() == channel_errc::refused);
        CHECK_MESSAGE(says(client.failure.explanation, "not allowed"), client.failure.explanation);
        CHECK(server.next_refusal().why == channel_errc::peer_died);
    }
}

TEST_SUITE("async_connect: no descriptors left")
{
    TEST_CASE("at any step of the client: EMFILE, and nothing is left on either side")
    {
        int failed = 0;
        bool done = false;
        for (rlim_t spare = 0; !done; ++spare) {
            CAPTURE(spare);
            REQUIRE(spare < 30);
            const descriptor_check no_leak;
            listening<duplex<int, int>> server;
            connecting<duplex<int, int>> client;
            server.accept();
            server.ctx.poll();
            client.start(server.where.path);
            run_both(server.ctx, server.ctx, [&] {
                const unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                const auto next = static_cast<rlim_t>(probe.get());
                const procyard_test::limit_guard few(RLIMIT_NOFILE, next + spare);
                client.ctx.restart();
                client.ctx.poll();
                return client.connected.done();
            });
            done = !client.error();
            if (!done) {
                ++failed;
                CHECK_MESSAGE(client.error() == errc::too_many_files_open,
                              client.error().message());
                CHECK_FALSE(server.accepted.done());
            }
        }
        CHECK(failed > 4);
    }

    TEST_CASE("at any step of the listener: the client is told, and the next gets in")
    {
        int failed = 0;
        int unavailable = 0;
        bool done = false;
        for (rlim_t spare = 0; !done; ++spare) {
            CAPTURE(spare);
            REQUIRE(spare < 30);
            const descriptor_check no_leak;
            listening<duplex<int, int>> server;
            connecting<duplex<int, int>> client;
            server.accept();
            server.ctx.poll();
            client.start(server.where.path);
            run_both(client.ctx, client.ctx, [&] {
                const unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                const auto next = static_cast<rlim_t>(probe.get());
                const procyard_test::limit_guard few(RLIMIT_NOFILE, next + spare);
                server.ctx.restart();
                server.ctx.poll();
                return server.accepted.done() || client.connected.done();
            });
            done = server.accepted.done() && !server.accepted.error();
            if (done)
                break;
            ++failed;
            if (server.accepted.done()) {
                // It could not even be accepted: the accept says so, and the client waits.
                CHECK(server.accepted.error() == errc::too_many_files_open);
                CHECK_FALSE(client.connected.done());
                server.accepted = {};
                server.accept();
                run_both(server.ctx, client.ctx, [&] { return client.connected.done(); });
                CHECK_FALSE(client.error());
            } else {
                ++unavailable;
                CHECK(client.error() == channel_errc::unavailable);
                REQUIRE(server.refusals.size() == 1);
                CHECK(server.refusals[0].why == errc::too_many_files_open);
                connecting<duplex<int, int>> next;
                next.start(server.where.path);
                run_both(server.ctx, next.ctx, [&] { return next.connected.done(); });
                CHECK_FALSE(next.error());
            }
        }
        CHECK(failed > 4);
        CHECK(unavailable > 3);
    }
}
