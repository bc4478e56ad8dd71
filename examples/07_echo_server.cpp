// SPDX-License-Identifier: BSL-1.0
// Children inside an Asio TCP server: each connection talks to a program of its own (here `cat`,
// which makes it an echo server; `sort` or `bc` would do as well). Its own client tries it out.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <procyard/ipc/async_copy.hpp>
#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace asio::experimental::awaitable_operators;
using namespace procyard;
using namespace std::chrono_literals;

// [serve]
using socket_ptr = std::shared_ptr<tcp::socket>;
using child_ptr = std::shared_ptr<child>;

asio::awaitable<void> upload(socket_ptr client, child_ptr program)
{
    co_await async_copy(*client, program->std_in(), asio::use_awaitable);
    program->std_in().close();  // the client has said all: the program sees the end of its input
}

asio::awaitable<void> download(child_ptr program, socket_ptr client)
{
    co_await async_copy(program->std_out(), *client, asio::use_awaitable);
    error_code ignored;                                     // the client may have gone
    client->shutdown(tcp::socket::shutdown_both, ignored);  // ends the upload too, if it goes on
}

// A failure does not win a race; as a result it does.
asio::awaitable<std::exception_ptr> failure_of(asio::awaitable<void> what)
try {
    co_await std::move(what);
    co_return nullptr;
} catch (...) {
    co_return std::current_exception();
}

// When one direction fails, the other is cancelled, and the child is dropped: its tree is killed.
// So it is when the time is over.
asio::awaitable<void> serve(socket_ptr client)
{
    auto executor = co_await asio::this_coro::executor;
    asio::steady_timer limit(executor, 10min);
    auto program = std::make_shared<child>(
        spawn(command("cat").std_in(stdio::pipe()).std_out(stdio::pipe()), executor));
    auto first = co_await (failure_of(upload(client, program) && download(program, client))
                           || limit.async_wait(asio::use_awaitable));
    if (first.index() == 1)
        throw std::runtime_error("it takes too long");
    if (const auto failure = std::get<0>(first))
        std::rethrow_exception(failure);
    std::cout << program->info().path << ": " << co_await program->async_wait() << '\n';
}
// [serve]

void rethrow(const std::exception_ptr& error)
{
    if (error)
        std::rethrow_exception(error);
}

// One bad connection is not the end of a server.
void say(const task_name& connection, const std::exception_ptr& failure)
try {
    std::rethrow_exception(failure);
} catch (const std::exception& error) {
    std::cerr << connection << ": " << error.what() << '\n';
}

// A hundred programs at a time; the clients behind them wait in the acceptor.
asio::awaitable<void> listen(tcp::acceptor acceptor, int clients)
{
    task_group_options options;
    options.limit = 100;
    options.on_failure = task_failure::concerns_nobody;
    options.on_task_failed = say;
    task_group connections(acceptor.get_executor(), options);
    asio::steady_timer pause(acceptor.get_executor());
    while (clients > 0) {
        auto [ec, client] = co_await acceptor.async_accept(asio::as_tuple(asio::use_awaitable));
        if (!acceptor.is_open())
            break;
        if (ec) {
            std::cerr << "no client: " << ec.message() << '\n';
            pause.expires_after(50ms);  // EMFILE, which stays for a while
            co_await pause.async_wait(asio::use_awaitable);
            continue;
        }
        --clients;
        auto shared = std::make_shared<tcp::socket>(std::move(client));
        co_await connections.async_spawn("connection", serve(std::move(shared)),
                                         asio::use_awaitable);
    }
    co_await connections.async_join(asio::use_awaitable);
}

asio::awaitable<void> talk(tcp::endpoint address, std::string text)
{
    tcp::socket server(co_await asio::this_coro::executor);
    co_await server.async_connect(address, asio::use_awaitable);
    std::string answer(text.size(), '\0');
    co_await (asio::async_write(server, asio::buffer(text), asio::use_awaitable)
              && asio::async_read(server, asio::buffer(answer), asio::use_awaitable));
    if (answer != text)
        throw std::logic_error("the echo is wrong");
    std::cout << "echoed " << answer.size() << " bytes\n";
}  // closes the socket, which ends the program behind it

int main()
{
    try {
        asio::io_context context;
        tcp::acceptor acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
        const auto address = acceptor.local_endpoint();
        asio::co_spawn(context, listen(std::move(acceptor), 2), rethrow);
        asio::co_spawn(context, talk(address, "hello\n"), rethrow);
        asio::co_spawn(context, talk(address, std::string(1 << 20, 'x')), rethrow);
        context.run();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
