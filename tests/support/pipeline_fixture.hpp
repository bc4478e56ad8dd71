// SPDX-License-Identifier: BSL-1.0
// What the tests of pipelines share: small programs, small coroutines, and numbers to send through.
#ifndef PROCYARD_TESTS_SUPPORT_PIPELINE_FIXTURE_HPP
#define PROCYARD_TESTS_SUPPORT_PIPELINE_FIXTURE_HPP

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/runtime/pipeline.hpp>

#include "procyard_test.hpp"

namespace procyard_test {

namespace pipes {

using namespace procyard;
using boost::asio::as_tuple;
using boost::asio::awaitable;
using boost::asio::use_awaitable;

inline command helper(std::initializer_list<std::string_view> arguments)
{
    return command(PROCYARD_TEST_HELPER).args(arguments);
}

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

inline std::string read_all(asio::io_context& ctx, pipe_reader& from)
{
    std::string text;
    outcome<error_code, std::size_t> got;
    asio::async_read(from, asio::dynamic_buffer(text), got.handler());
    run_until(ctx, [&] { return got.done(); });
    CHECK(got.error() == asio::error::eof);
    return text;
}

inline pipeline_status wait(asio::io_context& ctx, running_pipeline& running)
{
    outcome<error_code, pipeline_status> got;
    running.async_wait(got.handler());
    run_until(ctx, [&] { return got.done(); });
    CHECK_FALSE(got.error());
    return got.result();
}

}  // namespace pipes

}  // namespace procyard_test

#endif
