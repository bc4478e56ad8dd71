// SPDX-License-Identifier: BSL-1.0
// What the tests of pipelines share: small programs, small coroutines, and numbers to send through.
#ifndef PROCYARD_TESTS_SUPPORT_PIPELINE_FIXTURE_HPP
#define PROCYARD_TESTS_SUPPORT_PIPELINE_FIXTURE_HPP

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/runtime/pipeline.hpp>

#include "procyard_test.hpp"
#include "spawning.hpp"

namespace procyard_test {

namespace pipes {

using namespace procyard;
using boost::asio::as_tuple;
using boost::asio::awaitable;
using boost::asio::use_awaitable;
using procyard_test::helper;
using procyard_test::read_all;
using procyard_test::read_line;

/// What `seq 1 COUNT` prints.
inline std::string numbers(int count)
{
    std::string text;
    for (int i = 1; i <= count; ++i)
        text += std::to_string(i) + '\n';
    return text;
}
inline command seq(int count)
{
    return command("seq", {"1", std::to_string(count)});
}

/// Copies everything, 16 KiB at a time.
inline awaitable<void> copy_all(pipe_reader in, pipe_writer out)
{
    std::vector<char> buffer(std::size_t{16} << 10);
    for (;;) {
        const auto [ec, n] =
            co_await in.async_read_some(asio::buffer(buffer), as_tuple(use_awaitable));
        if (ec == asio::error::eof)
            co_return;
        if (ec)
            throw boost::system::system_error(ec);
        co_await asio::async_write(out, asio::buffer(buffer.data(), n), use_awaitable);
    }
}

/// Waits for ever, or for its cancellation.
inline awaitable<void> pause_for_ever(pipe_reader, pipe_writer)
{
    asio::steady_timer timer(co_await asio::this_coro::executor,
                             asio::steady_timer::time_point::max());
    co_await timer.async_wait(use_awaitable);
}

inline pipeline_status wait(asio::io_context& ctx, running_pipeline& running)
{
    outcome<error_code, pipeline_status> got;
    running.async_wait(got.handler());
    run_until(ctx, [&] { return got.done(); });
    CHECK_FALSE(got.error());
    return got.result();
}

/// Reads and writes nothing.
inline awaitable<void> nothing(pipe_reader, pipe_writer)
{
    co_return;
}

/// Writes until nobody reads.
inline awaitable<void> generate_for_ever(pipe_reader, pipe_writer out)
{
    const std::string text(4096, 'x');
    for (;;)
        co_await asio::async_write(out, asio::buffer(text), use_awaitable);
}

/// Starts, waits, and returns what became of it.
inline pipeline_status run_to_end(const pipeline& p)
{
    asio::io_context ctx;
    auto running = spawn(p, ctx.get_executor());
    return wait(ctx, running);
}

}  // namespace pipes

}  // namespace procyard_test

#endif
