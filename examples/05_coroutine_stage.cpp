// SPDX-License-Identifier: BSL-1.0
// A coroutine between two programs: it reads what the one writes, and writes what the other reads.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <iostream>
#include <memory>
#include <utility>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;

// [stage]
// Passes everything on, and counts the lines. The coroutine owns both ends: when it is over, they
// close, and its neighbours see that.
asio::awaitable<void> count_lines(pipe_reader in, pipe_writer out,
                                  std::shared_ptr<std::size_t> lines)
{
    std::array<char, 65536> buffer;
    for (;;) {
        error_code ec;
        std::size_t n = co_await in.async_read_some(asio::buffer(buffer),
                                                    asio::redirect_error(asio::use_awaitable, ec));
        if (ec == asio::error::eof)
            co_return;
        if (ec)
            throw boost::system::system_error(ec, "count_lines");  // becomes this stage's result
        *lines += static_cast<std::size_t>(std::count(buffer.begin(), buffer.begin() + n, '\n'));
        // Throws broken_pipe when the next stage has left, and that counts as a SIGPIPE does.
        co_await asio::async_write(out, asio::buffer(buffer, n), asio::use_awaitable);
    }
}

asio::awaitable<void> co_main()
{
    auto executor = co_await asio::this_coro::executor;
    auto lines = std::make_shared<std::size_t>(0);
    pipeline p = command("seq").arg("100000")
        | stage("count",
                [lines](pipe_reader in, pipe_writer out) {
                    return count_lines(std::move(in), std::move(out), lines);
                })
        | command("wc").arg("-c");

    pipeline_result result = co_await async_run(p, executor);
    std::cout << p << ": " << result << '\n' << *lines << " lines, bytes: " << result.std_out.data;
    const stage_result& count = result.status.stages[1];
    std::cout << "the coroutine: " << count << ", " << count.bytes_in.value_or(0) << " in, "
              << count.bytes_out.value_or(0) << " out\n";
}
// [stage]

int main()
{
    try {
        asio::io_context context;
        asio::co_spawn(context, co_main(), [](std::exception_ptr error) {
            if (error)
                std::rethrow_exception(error);
        });
        context.run();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
