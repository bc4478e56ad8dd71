// SPDX-License-Identifier: BSL-1.0
// A server that any process of this user can ask, and clients that find it by its name. Each client
// has two channels, one for its questions and one for the answers; here all are one program.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <procyard/ipc/channel_connect.hpp>
#include <procyard/ipc/channel_listener.hpp>
#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;

struct question {
    std::uint64_t id;
    std::vector<double> numbers;
};
struct answer {
    std::uint64_t id;
    double sum;
};

// [serve]
asio::awaitable<void> serve(duplex<answer, question> client)
{
    for (;;) {
        error_code ec;
        question q =
            co_await client.receiver.async_receive(asio::redirect_error(asio::use_awaitable, ec));
        if (ec)
            co_return;  // closed, or peer_died: the other clients go on
        answer a{q.id, 0};
        for (double n : q.numbers)
            a.sum += n;
        co_await client.sender.async_send(a, asio::redirect_error(asio::use_awaitable, ec));
    }
}
// [serve]

// What one client's coroutine throws is not the end of the others.
void report(const std::exception_ptr& error)
try {
    if (error)
        std::rethrow_exception(error);
} catch (const std::exception& failure) {
    std::cerr << "a client: " << failure.what() << std::endl;
}

// [server]
asio::awaitable<void> accept_all(channel_listener<duplex<answer, question>>& listener)
{
    auto executor = co_await asio::this_coro::executor;
    while (listener.is_open()) {
        auto [ec, accepted] = co_await listener.async_accept(asio::as_tuple(asio::use_awaitable));
        if (ec == asio::error::operation_aborted)
            co_return;  // it was closed
        if (ec)         // EMFILE, say: the clients wait, and the next accept takes its time
            std::cerr << "no client: " << ec.message() << std::endl;
        else
            asio::co_spawn(executor, serve(std::move(accepted.end)), report);
    }
}
// [server]

// [client]
asio::awaitable<void> run_client(std::string path, std::uint64_t id)
{
    auto executor = co_await asio::this_coro::executor;
    auto server =
        co_await async_connect<duplex<question, answer>>(executor, path, asio::use_awaitable);
    question q{id, {1.0, 2.0, static_cast<double>(id)}};
    co_await server.sender.async_send(q, asio::use_awaitable);
    answer a = co_await server.receiver.async_receive(asio::use_awaitable);
    if (a.id != id || a.sum != 3.0 + static_cast<double>(id))
        throw std::runtime_error("a wrong answer");
}
// [client]

// One that is of another type: both sides are told.
asio::awaitable<void> run_stranger(std::string path)
{
    auto executor = co_await asio::this_coro::executor;
    connect_failure failure;
    error_code ec;
    auto nothing = co_await async_connect<duplex<std::string, answer>>(
        executor, path, {}, failure, asio::redirect_error(asio::use_awaitable, ec));
    std::cout << ec.message() + ": " + failure.explanation << std::endl;
}

// First the stranger, then three at once. Then the server is closed.
asio::awaitable<void> run_clients(std::string program, std::string path,
                                  channel_listener<duplex<answer, question>>& listener)
{
    auto executor = co_await asio::this_coro::executor;
    auto stranger = spawn(command(program, {path, "0"}), executor);
    co_await stranger.async_wait(asio::use_awaitable);
    std::vector<child> clients;
    for (const char* id : {"1", "2", "3"})
        clients.push_back(spawn(command(program, {path, id}), executor));
    for (auto& client : clients)
        std::cout << "client: " << co_await client.async_wait(asio::use_awaitable) << std::endl;
    listener.close();
}

asio::awaitable<void> run_all(std::string program, std::string path)
{
    using namespace asio::experimental::awaitable_operators;
    auto executor = co_await asio::this_coro::executor;
    channel_listen_options options;
    options.deadline = std::chrono::seconds(2);  // for the whole of a client's handshake
    options.on_refusal = [](const channel_refusal& refusal) {
        std::cout << "sent away: " << refusal.explanation << std::endl;
    };
    channel_listener<duplex<answer, question>> listener(executor, path, options);
    co_await (accept_all(listener) && run_clients(program, path, listener));
}

// A name in /tmp itself could be guessed, and taken by somebody else first.
struct own_directory {
    own_directory()
    {
        if (::mkdtemp(path) == nullptr)
            throw std::system_error(errno, std::generic_category(), path);
    }
    own_directory(const own_directory&) = delete;
    own_directory& operator=(const own_directory&) = delete;
    ~own_directory() { ::rmdir(path); }

    char path[32] = "/tmp/procyard-example-XXXXXX";
};

asio::awaitable<void> run_all_in_own_directory(std::string program)
{
    const own_directory directory;
    co_await run_all(std::move(program), std::string(directory.path) + "/sums");
}

int main(int argc, char** argv)
{
    try {
        asio::io_context context;
        const std::uint64_t id = argc > 2 ? std::stoull(argv[2]) : 0;
        auto what = argc < 3 ? run_all_in_own_directory(argv[0])
            : id == 0        ? run_stranger(argv[1])
                             : run_client(argv[1], id);
        asio::co_spawn(context, std::move(what), [](std::exception_ptr error) {
            if (error)
                std::rethrow_exception(error);
        });
        context.run();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
