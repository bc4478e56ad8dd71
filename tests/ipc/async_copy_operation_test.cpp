// SPDX-License-Identifier: BSL-1.0
// The common contract of asynchronous operations, for async_copy.
#include <procyard/ipc/async_copy.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include <array>
#include <optional>
#include <utility>

#include <procyard/ipc/pipe.hpp>

#include "operation_contract.hpp"

namespace asio = boost::asio;
using procyard::async_copy;
using procyard::error_code;
using procyard::make_pipe;
using procyard::pipe_reader;
using procyard::pipe_writer;

namespace {

// The contract, over a copy from pipe to pipe.
template <bool Splice>
struct copy_pipes {
    explicit copy_pipes(asio::io_context& ctx)
        : from(make_pipe(ctx.get_executor())),
          to(make_pipe(ctx.get_executor()))
    {
        source.emplace(std::move(from.reader));
        sink.emplace(std::move(to.writer));
    }
    template <class Token>
    void start(Token&& token)
    {
        async_copy(*source, *sink, {.allow_splice = Splice}, std::forward<Token>(token));
    }
    void satisfy()
    {
        error_code ec;
        from.writer.try_write_some(asio::buffer("x", 1), ec);
        from.writer.close();
    }
    void break_it() { source->close(); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void destroy()
    {
        source.reset();
        sink.reset();
    }

    procyard::pipe_pair from;
    procyard::pipe_pair to;
    std::optional<pipe_reader> source;
    std::optional<pipe_writer> sink;
};

using spliced_copy = copy_pipes<true>;
using buffered_copy = copy_pipes<false>;

struct copy_to_full_sink : spliced_copy {
    explicit copy_to_full_sink(asio::io_context& ctx) : spliced_copy(ctx)
    {
        error_code ec;
        const std::array<char, 4096> block{};
        while (!ec)
            sink->try_write_some(asio::buffer(block), ec);
        spliced_copy::satisfy();  // the source has something and ends
    }
    void satisfy()
    {
        std::array<char, 4096> block{};
        for (error_code ec; !ec;)
            to.reader.try_read_some(asio::buffer(block), ec);
    }
    void break_it() { sink->close(); }
};

// With a stream of Asio as the sink; the source is what goes.
struct copy_to_socket : spliced_copy {
    explicit copy_to_socket(asio::io_context& ctx) : spliced_copy(ctx), near(ctx), far(ctx)
    {
        asio::local::connect_pair(near, far);
    }
    template <class Token>
    void start(Token&& token)
    {
        async_copy(*source, near, std::forward<Token>(token));
    }

    asio::local::stream_protocol::socket near;
    asio::local::stream_protocol::socket far;
};

}  // namespace

TEST_SUITE("async_copy")
{
    PROCYARD_OPERATION_CONTRACT(spliced_copy)
    PROCYARD_OPERATION_CONTRACT(buffered_copy)
    PROCYARD_OPERATION_CONTRACT(copy_to_full_sink)
    PROCYARD_OPERATION_CONTRACT(copy_to_socket)
}
