// SPDX-License-Identifier: BSL-1.0
// The recipe of docs/shutdown.md under a real load: wrk keeps asking while one server is replaced
// by another one on the same listening socket.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <string>

#include <procyard/runtime/command.hpp>
#include <procyard/runtime/run.hpp>
#include <procyard/runtime/shutdown.hpp>
#include <procyard/runtime/spawn.hpp>

#include "procyard_test.hpp"
#include "skip.hpp"

using namespace procyard;
using namespace procyard_test;
using asio::ip::tcp;

namespace {

// One that runs, and what it has said.
struct server {
    child process{};
    std::string said{};
};

// The coroutines of a test refer to what is the test's: it outlives them.

asio::awaitable<void> hear(server& from, std::string what)
{
    while (from.said.find(what) == std::string::npos) {
        std::string more(512, '\0');
        const auto n = co_await from.process.std_out().async_read_some(asio::buffer(more),
                                                                       asio::use_awaitable);
        from.said.append(more, 0, n);
    }
}

asio::awaitable<void> hear_all(server& from)
{
    auto [ec, n] =
        co_await asio::async_read(from.process.std_out(), asio::dynamic_buffer(from.said),
                                  asio::as_tuple(asio::use_awaitable));
    CHECK(ec == asio::error::eof);
}

server start(tcp::acceptor& listening, const shutdown_coordinator* parent = nullptr)
{
    command what(PROCYARD_GRACEFUL_SERVER);
    what.arg("3").descriptor(3, stdio::borrow(listening.native_handle()));
    what.std_out(stdio::pipe());
    if (parent != nullptr)
        parent->hand_down(what);
    return {spawn(what, listening.get_executor())};
}

bool is_there(const std::string& program)
{
    return std::system(("command -v " + program + " > /dev/null").c_str()) == 0;
}

// The number in front of a word, as in `12 connections, 34 answered, 0 broken`; -1 without.
long number_before(const std::string& text, const std::string& word)
{
    const auto end = text.rfind(' ' + word);
    if (end == std::string::npos)
        return -1;
    const auto begin = text.find_last_not_of("0123456789", end - 1);
    return std::strtol(text.c_str() + begin + 1, nullptr, 10);
}

asio::awaitable<void> replace_under_load(tcp::acceptor& listening, server& first, server& second)
{
    co_await hear(first, "ready");
    co_await hear(first, "warm");  // it has answered some hundred requests
    second = start(listening);
    co_await hear(second, "ready");
    first.process.terminate();
    const auto status = co_await first.process.async_wait(asio::use_awaitable);
    CHECK_MESSAGE(status.success(), status);
    co_await hear_all(first);
    co_await hear(second, "warm");  // the load goes on
}

}  // namespace

TEST_SUITE("examples/17_graceful_server")
{
    TEST_CASE("is replaced under load without a failed request (case 51, complaint 22)")
    {
        if (!is_there("wrk")) {
            skip("wrk is not installed");
            return;
        }
        asio::io_context ctx;
        tcp::acceptor listening(ctx, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
        const auto url = "http://127.0.0.1:" + std::to_string(listening.local_endpoint().port());

        server first = start(listening);
        server second;
        outcome<std::exception_ptr> replaced;
        asio::co_spawn(ctx, replace_under_load(listening, first, second), replaced.handler());
        outcome<error_code, run_result> load;
        async_run(command("wrk", {"-t1", "-c16", "-d8s", url}), ctx.get_executor(),
                  run_options().std_out(run_output().capture()), load.handler());
        run_until(ctx, [&] { return replaced.done() && load.done(); });
        REQUIRE_FALSE(load.error());
        const std::string& wrk = load.result().std_out.data;
        INFO(wrk);
        INFO(first.said);
        REQUIRE_FALSE(replaced.error());
        CHECK(load.result().status.success());
        CHECK(wrk.find("requests in") != std::string::npos);
        CHECK(wrk.find("Socket errors") == std::string::npos);
        CHECK(wrk.find("Non-2xx") == std::string::npos);

        second.process.terminate();
        outcome<std::exception_ptr> heard;
        asio::co_spawn(ctx, hear_all(second), heard.handler());
        run_until(ctx, [&] { return heard.done(); });
        INFO(second.said);
        CHECK(number_before(first.said, "broken") == 0);
        CHECK(number_before(first.said, "answered") >= 500);
        // wrk stops in the middle of its last requests, and these do not count with it.
        CHECK(number_before(first.said, "answered") + number_before(second.said, "answered")
              >= number_before(wrk, "requests"));
        CHECK(first.said.find("SIGTERM: stopped in") != std::string::npos);
        CHECK(first.said.find("not stopped") == std::string::npos);
    }

    TEST_CASE("as a child it stops by itself within what its parent gives it (case 54)")
    {
        asio::io_context ctx;
        tcp::acceptor listening(ctx, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
        shutdown_options options;
        options.budget = std::chrono::seconds(12);
        shutdown_coordinator stop(ctx.get_executor(), options);
        server only = start(listening, &stop);
        stop.add_child("server", only.process);

        // A client that never asks: the server would wait for it as long as its own 20 s last.
        tcp::socket client(ctx);
        client.connect(listening.local_endpoint());
        outcome<std::exception_ptr> told;
        asio::co_spawn(ctx, hear(only, "ready"), told.handler());
        run_until(ctx, [&] { return told.done(); });
        REQUIRE_FALSE(told.error());
        outcome<error_code, shutdown_report> ended;
        stop.async_wait(ended.handler());
        stop.request();
        asio::co_spawn(ctx, hear_all(only), told.handler());
        run_until(ctx, [&] { return told.count == 2 && ended.done(); });
        INFO(only.said);
        INFO(ended.result());
        // Not killed, nor by the signal: it has said what it left behind.
        REQUIRE(only.process.try_wait());
        CHECK(only.process.try_wait()->code() == 1);
        CHECK(only.said.find("not stopped in drain: work connection") != std::string::npos);
        CHECK(only.said.find(" of 1.92 s") != std::string::npos);
        CHECK(ended.result().clean());
    }
}
