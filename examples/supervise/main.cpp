// SPDX-License-Identifier: BSL-1.0
// supervise: runs the services of a configuration file, and is asked about them by a socket.
#include <signal.h>
#include <unistd.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <csignal>
#include <exception>
#include <iostream>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/ipc/unix_listener.hpp>
#include <procyard/runtime.hpp>
#include <procyard/signals.hpp>

#include "config.hpp"
#include "runner.hpp"

namespace asio = boost::asio;
using namespace procyard;

namespace {

constexpr std::string_view usage = "supervise run FILE [--socket PATH]\n"
                                   "supervise check FILE\n"
                                   "supervise status [--socket PATH]\n"
                                   "supervise logs NAME [--follow] [--socket PATH]\n"
                                   "supervise start|stop|restart|replace NAME [--socket PATH]\n";
constexpr std::size_t longest_request = 4096;
constexpr long most_clients = 16;
constexpr auto time_of_client = std::chrono::seconds(5);
constexpr auto retry_pause = std::chrono::milliseconds(50);

struct arguments {
    std::vector<std::string> words{};
    std::string socket = "supervise.sock";
    bool follow = false;
};

arguments parse(std::span<char* const> given)
{
    arguments all;
    for (std::size_t i = 0; i < given.size(); ++i) {
        const std::string_view word = given[i];
        if (word == "--socket" && i + 1 < given.size())
            all.socket = given[++i];
        else if (word == "--follow" || word == "-f")
            all.follow = true;
        else if (word.starts_with('-'))
            throw std::invalid_argument("what is \"" + std::string(word) + "\"?");
        else
            all.words.emplace_back(word);
    }
    return all;
}

using shared_client = std::shared_ptr<unix_stream::socket>;

asio::awaitable<void> answer_one(shared_client client, std::shared_ptr<supervise::runner> all,
                                 asio::steady_timer& limit)
{
    std::string request;
    const auto size = co_await asio::async_read_until(
        *client, asio::dynamic_buffer(request, longest_request), '\n', asio::use_awaitable);
    request.resize(size - 1);
    constexpr std::string_view follow = "follow ";
    if (request.starts_with(follow)) {
        limit.cancel();
        co_await all->follow(client, request.substr(follow.size()));
        co_return;
    }
    const auto text = all->answer(request);
    co_await asio::async_write(*client, asio::buffer(text), asio::use_awaitable);
}

// Nobody is listened to for long: a client that says nothing has a descriptor of ours.
asio::awaitable<void> serve(shared_client client, std::shared_ptr<supervise::runner> all)
{
    asio::steady_timer limit(co_await asio::this_coro::executor, time_of_client);
    limit.async_wait([client](boost::system::error_code ec) {
        if (!ec)
            client->close(ec);
    });
    try {
        co_await answer_one(client, all, limit);
    } catch (const boost::system::system_error&) {  // it has gone, or says nothing of use
    }
    // A follower's wait for its end may hold the socket still.
    boost::system::error_code ignored;
    client->close(ignored);
}

asio::awaitable<std::pair<boost::system::error_code, shared_client>>
accept_one(std::shared_ptr<unix_listener<>> listener)
{
    try {
        auto client = co_await listener->async_accept(asio::use_awaitable);
        co_return std::pair(boost::system::error_code(),
                            std::make_shared<unix_stream::socket>(std::move(client)));
    } catch (const boost::system::system_error& error) {
        co_return std::pair(error.code(), shared_client());
    }
}

asio::awaitable<void> answer_all(std::shared_ptr<unix_listener<>> listener, task_group* tasks,
                                 std::shared_ptr<supervise::runner> all)
{
    asio::steady_timer pause(co_await asio::this_coro::executor);
    const auto served = std::make_shared<int>(0);  // by its use count
    for (;;) {
        // Those that are there have a time limit, so this ends.
        while (served.use_count() > most_clients) {
            pause.expires_after(retry_pause);
            co_await pause.async_wait(asio::use_awaitable);
        }
        const auto [ec, client] = co_await accept_one(listener);
        if (ec == asio::error::operation_aborted)
            co_return;
        if (ec) {  // no descriptor left, say: others are given back
            pause.expires_after(retry_pause);
            co_await pause.async_wait(asio::use_awaitable);
            continue;
        }
        tasks->spawn("client", [taken = client, all, served]() -> asio::awaitable<void> {
            co_await serve(taken, all);
        });
    }
}

// By nohup, which is to be obeyed.
bool is_hang_up_ignored()
{
    struct sigaction found{};
    return ::sigaction(SIGHUP, nullptr, &found) == 0 && found.sa_handler == SIG_IGN;
}

asio::awaitable<void> stop_at_signal(std::shared_ptr<supervise::runner> all)
{
    const auto executor = co_await asio::this_coro::executor;
    signal_set asked(executor, {SIGINT, SIGTERM});
    if (!is_hang_up_ignored())
        asked.add(SIGHUP);
    const auto told_elsewhere = [](boost::system::error_code, const supervisor_result&) { };
    co_await asked.async_wait(asio::use_awaitable);
    all->supervisor().async_stop(told_elsewhere);
    // Who asks again does not want to wait for the rest of the budget. Of a terminal that goes one
    // hears twice, of its shell and of the kernel: that is no impatience.
    while ((co_await asked.async_wait(asio::use_awaitable)).number == SIGHUP) { }
    all->supervisor().async_stop(std::chrono::seconds(0), told_elsewhere);
}

asio::awaitable<int> run(supervise::config how, std::string socket)
{
    auto executor = co_await asio::this_coro::executor;
    auto all = std::make_shared<supervise::runner>(executor, how);
    auto listener = std::make_shared<unix_listener<>>(executor, socket);
    // By itself: whatever becomes of the clients, it can be stopped.
    task_group signals(executor);
    signals.spawn("signals", stop_at_signal(all));
    task_group tasks(executor);
    tasks.spawn("control", answer_all(listener, &tasks, all));
    std::exception_ptr fault;
    supervisor_result result;
    try {
        co_await all->start();
        result = co_await all->supervisor().async_wait(asio::use_awaitable);
    } catch (...) {  // a port that is taken, say
        fault = std::current_exception();
    }
    tasks.cancel();
    signals.cancel();
    co_await tasks.async_join(asio::use_awaitable);
    co_await signals.async_join(asio::use_awaitable);
    if (fault)
        std::rethrow_exception(fault);
    for (const auto& name : result.left)
        std::cout << name << " did not stop\n";
    if (result.failed)
        std::cout << "given up: " << result.culprit << '\n';
    co_return result.failed ? 1 : 0;
}

// Says what is asked for, and prints the answer.
asio::awaitable<int> ask(std::string request, std::string socket)
{
    unix_stream::socket server(co_await asio::this_coro::executor);
    co_await server.async_connect(unix_stream::endpoint(socket), asio::use_awaitable);
    request += '\n';
    co_await asio::async_write(server, asio::buffer(request), asio::use_awaitable);
    std::string text;
    boost::system::error_code ec;
    co_await asio::async_read(server, asio::dynamic_buffer(text),
                              asio::redirect_error(asio::use_awaitable, ec));
    const bool is_good = text.starts_with("ok\n");
    if (is_good)
        std::cout << text.substr(3);
    else
        std::cerr << "supervise: " << (text.empty() ? "no answer\n" : text);
    co_return is_good ? 0 : 1;
}

// Prints what comes as it comes, until the runner ends.
asio::awaitable<int> follow(std::string name, std::string socket)
{
    unix_stream::socket server(co_await asio::this_coro::executor);
    co_await server.async_connect(unix_stream::endpoint(socket), asio::use_awaitable);
    const auto request = "follow " + name + '\n';
    co_await asio::async_write(server, asio::buffer(request), asio::use_awaitable);
    std::string text;
    boost::system::error_code ec;
    const auto size = co_await asio::async_read_until(
        server, asio::dynamic_buffer(text), '\n', asio::redirect_error(asio::use_awaitable, ec));
    if (ec || text.substr(0, size) != "ok\n") {
        std::cerr << "supervise: " << (text.empty() ? "no answer\n" : text);
        co_return 1;
    }
    text.erase(0, size);
    while (!ec && std::cout << text << std::flush) {
        text.resize(longest_request);
        const auto got = co_await server.async_read_some(
            asio::buffer(text), asio::redirect_error(asio::use_awaitable, ec));
        text.resize(got);
    }
    co_return std::cout ? 0 : 1;
}

int run_to_end(asio::awaitable<int> body)
{
    asio::io_context context(1);
    int code = 1;
    asio::co_spawn(context, std::move(body), [&](const std::exception_ptr& error, int result) {
        if (error)
            std::rethrow_exception(error);
        code = result;
    });
    context.run();
    return code;
}

// A log that is being written is not waited for: its disk may stand still.
int run_and_leave(asio::awaitable<int> body)
{
    const auto leave = [](asio::awaitable<int> whole) -> asio::awaitable<int> {
        const int code = co_await std::move(whole);
        std::cout << std::flush;
        std::quick_exit(code);
    };
    return run_to_end(leave(std::move(body)));
}

int obey(const arguments& given)
{
    const auto& words = given.words;
    const auto is = [&](std::string_view verb, std::size_t count) {
        return words.size() == count && words[0] == verb;
    };
    if (is("check", 2)) {
        const auto how = supervise::read_config(words[1]);
        for (const auto& one : how.services)
            std::cout << one.name << ": " << one.command << '\n';
        return 0;
    }
    if (is("run", 2)) {
        block_signals({SIGINT, SIGTERM});
        if (!is_hang_up_ignored())
            block_signals({SIGHUP});
        std::signal(SIGPIPE, SIG_IGN);  // who reads our output may go
        return run_and_leave(run(supervise::read_config(words[1]), given.socket));
    }
    if (given.follow && is("logs", 2))
        return run_to_end(follow(words[1], given.socket));
    if (is("status", 1) && !given.follow)
        return run_to_end(ask("status", given.socket));
    for (const auto* const verb : {"logs", "start", "stop", "restart", "replace"}) {
        if (is(verb, 2) && !given.follow)
            return run_to_end(ask(words[0] + ' ' + words[1], given.socket));
    }
    std::cerr << usage;
    return 2;
}

}  // namespace

int main(int argc, char** argv)
{
    if (const auto code = run_if_guardian())
        return *code;
    try {
        return obey(parse(std::span(argv, static_cast<std::size_t>(argc)).subspan(1)));
    } catch (const std::exception& error) {
        std::cerr << "supervise: " << error.what() << '\n';
        return 1;
    }
}
