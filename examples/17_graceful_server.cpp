// SPDX-License-Identifier: BSL-1.0
// An HTTP server that ends without a failed request: it goes on accepting for a while, tells each
// connection that its answer is the last one, and leaves when nobody is left.
//
//   17_graceful_server            tries itself out
//   17_graceful_server FD         serves on a listening socket it was given, until SIGTERM
#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace procyard;
using namespace std::chrono_literals;

struct counters {
    int connections = 0;
    int answered = 0;
    int broken = 0;
};

// [serve]
// The length of the next request; 0: there is none, or one that is too long or takes its time.
asio::awaitable<std::size_t> read_request(tcp::socket& client, std::string& text)
{
    using namespace asio::experimental::awaitable_operators;
    // An idle client is waited for, who may have a request on its way; one that has begun is not.
    if (text.empty())
        co_await client.async_wait(tcp::socket::wait_read, asio::as_tuple(asio::use_awaitable));
    asio::steady_timer limit(client.get_executor(), 10s);
    auto first = co_await (asio::async_read_until(client, asio::dynamic_buffer(text, 8192),
                                                  "\r\n\r\n", asio::as_tuple(asio::use_awaitable))
                           || limit.async_wait(asio::use_awaitable));
    const auto* read = std::get_if<0>(&first);
    co_return read != nullptr && !std::get<0>(*read) ? std::get<1>(*read) : 0;
}

// `work` is what the drain waits for: the whole connection, so that no request which is on its way
// finds it closed. From the announcement on, the next answer is the last.
asio::awaitable<void> serve(tcp::socket client, shutdown_work work,
                            const shutdown_coordinator& stop, counters& count)
{
    const auto ending = stop.token(shutdown_phase::announce);
    std::string text;
    for (bool last = false; !last;) {
        const auto length = co_await read_request(client, text);
        if (length == 0) {
            count.broken += text.empty() ? 0 : 1;
            co_return;
        }
        text.erase(0, length);
        last = ending.cancelled();
        const std::string answer = std::string("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n")
            + (last ? "Connection: close\r\n\r\nok\n" : "\r\nok\n");
        auto [failed, written] = co_await asio::async_write(client, asio::buffer(answer),
                                                            asio::as_tuple(asio::use_awaitable));
        count.answered += failed ? 0 : 1;
        count.broken += failed ? 1 : 0;
        if (failed)
            co_return;
        if (count.answered == 500)
            std::cout << "warm" << std::endl;
    }
    error_code ignored;  // the client may be gone
    client.shutdown(tcp::socket::shutdown_send, ignored);
    work.release();  // as it is when this coroutine ends in another way
}

// Ends when the intake is closed. A connection that was accepted in that moment is served.
asio::awaitable<void> listen(tcp::acceptor acceptor, shutdown_coordinator& stop, counters& count)
{
    const auto closing = stop.token(shutdown_phase::close_intake);
    asio::steady_timer pause(acceptor.get_executor());
    while (!closing.cancelled()) {  // asked for: an accept that need not wait is never cancelled
        auto [ec, client] = co_await acceptor.async_accept(
            bind_token(closing, asio::as_tuple(asio::use_awaitable)));
        if (ec) {  // cancelled; or EMFILE, which stays for a while
            pause.expires_after(50ms);
            co_await pause.async_wait(bind_token(closing, asio::as_tuple(asio::use_awaitable)));
            continue;
        }
        ++count.connections;
        stop.tasks().spawn("connection",
                           serve(std::move(client), stop.hold("connection"), stop, count));
    }
}
// [serve]

// Two requests on one connection, the second one after the server was told to end.
asio::awaitable<void> try_out(tcp::endpoint address, cancellation_token ending)
{
    const auto executor = co_await asio::this_coro::executor;
    tcp::socket server(executor);
    co_await server.async_connect(address, asio::use_awaitable);
    for (int n = 0; n < 2; ++n) {
        const std::string request = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";
        co_await asio::async_write(server, asio::buffer(request), asio::use_awaitable);
        std::string answer;
        co_await asio::async_read_until(server, asio::dynamic_buffer(answer), "ok\n",
                                        asio::use_awaitable);
        std::cout << (answer.find("close") == std::string::npos ? "kept alive" : "last answer")
                  << std::endl;
        if (n == 0) {
            ::raise(SIGTERM);
            co_await ending.async_wait(executor, asio::use_awaitable);
        }
    }
}

int main(int argc, char** argv)
{
    try {
        asio::io_context context;
        counters count;
        int code = 1;
        // [main]
        shutdown_options options;
        options.budget = 20s;
        options.linger = 500ms;  // until whoever sends clients here has heard; else 5 s or more
        shutdown_coordinator stop(context.get_executor(), options.heed_parent());
        stop.on_signals({SIGINT, SIGTERM});
        stop.async_wait([&](error_code, const shutdown_report& report) {
            std::cout << report << std::endl;
            code = report.exit_code();
        });
        // [main]
        tcp::acceptor acceptor = argc == 2
            ? tcp::acceptor(context, tcp::v4(), std::atoi(argv[1]))
            : tcp::acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
        if (argc != 2)
            stop.tasks().spawn(
                "client", try_out(acceptor.local_endpoint(), stop.token(shutdown_phase::announce)));
        stop.tasks().spawn("listener", listen(std::move(acceptor), stop, count));
        std::cout << "ready" << std::endl;
        context.run();
        std::cout << count.connections << " connections, " << count.answered << " answered, "
                  << count.broken << " broken" << std::endl;
        return code;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
