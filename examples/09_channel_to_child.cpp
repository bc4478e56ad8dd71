// SPDX-License-Identifier: BSL-1.0
// Requests to a child and its answers, through shared memory. The child is this program again.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <utility>

#include <procyard/ipc/channel.hpp>
#include <procyard/runtime.hpp>
#include <procyard/runtime/inherited.hpp>

namespace asio = boost::asio;
using namespace procyard;

// Any aggregate of numbers, strings and vectors can be sent.
struct request {
    std::uint64_t id;
    std::string text;
};
struct response {
    std::uint64_t id;
    std::uint64_t words;
};

std::uint64_t count_words(const std::string& text)
{
    std::uint64_t words = 0;
    for (std::size_t i = 0; i < text.size(); ++i)
        words += text[i] != ' ' && (i == 0 || text[i - 1] == ' ') ? 1U : 0U;
    return words;
}

// [child]
asio::awaitable<void> serve()
{
    auto executor = co_await asio::this_coro::executor;
    auto requests = inherited<receiver<request>>(executor, "requests");
    auto responses = inherited<sender<response>>(executor, "responses");
    for (;;) {
        error_code ec;
        request r = co_await requests.async_receive(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::closed)
            co_return;
        if (ec)
            throw boost::system::system_error(ec, "requests");
        if (r.text == "crash")
            std::abort();
        response answer{r.id, count_words(r.text)};
        co_await responses.async_send(answer, asio::use_awaitable);
    }
}
// [child]

// [parent]
asio::awaitable<void> ask(std::string program)
{
    auto executor = co_await asio::this_coro::executor;
    auto requests = make_channel<request>();
    auto responses = make_channel<response>();
    command what(program, {"child"});
    what.pass(std::move(requests.receiver), "requests");
    what.pass(std::move(responses.sender), "responses");
    sender<request> tx(executor, std::move(requests.sender));
    receiver<response> rx(executor, std::move(responses.receiver));
    child worker = spawn(what, executor);

    std::uint64_t id = 0;
    for (const char* text : {"to be or not to be", "that is the question", "crash"}) {
        request asked{++id, text};
        error_code ec;  // no exception for peer_died: the status, below, says more
        co_await tx.async_send(std::move(asked), asio::redirect_error(asio::use_awaitable, ec));
        response r{};
        if (!ec)
            r = co_await rx.async_receive(asio::redirect_error(asio::use_awaitable, ec));
        if (ec)
            std::cout << text << ": " << ec.message() << '\n';
        else
            std::cout << text << ": " << r.words << " words\n";
    }
    std::cout << "the child: " << co_await worker.async_wait(asio::use_awaitable) << '\n';
}
// [parent]

int main(int argc, char** argv)
{
    try {
        asio::io_context context;
        const bool is_child = argc > 1 && argv[1] == std::string("child");
        asio::co_spawn(context, is_child ? serve() : ask(argv[0]), [](std::exception_ptr error) {
            if (error)
                std::rethrow_exception(error);
        });
        context.run();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
