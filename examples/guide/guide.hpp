// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_GUIDE_GUIDE_HPP
#define PROCYARD_EXAMPLES_GUIDE_GUIDE_HPP

// What the programs behind docs/processes.md share, so that each can keep to its subject.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;

/// Everything that comes until the end of the stream.
inline asio::awaitable<std::string> read_all(pipe_reader& from)
{
    std::string text;
    auto [ec, n] = co_await asio::async_read(from, asio::dynamic_buffer(text),
                                             asio::as_tuple(asio::use_awaitable));
    if (ec != asio::error::eof)
        throw boost::system::system_error(ec, "read");
    co_return text;
}

inline void expect(bool condition, const char* sentence)
{
    if (!condition)
        throw std::logic_error(sentence);
}

/// Runs the coroutine to its end; the program's exit code.
inline int run_main(asio::awaitable<void> main)
{
    try {
        asio::io_context context;
        asio::co_spawn(context, std::move(main), [](std::exception_ptr error) {
            if (error)
                std::rethrow_exception(error);
        });
        context.run();
        return 0;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}

#endif
