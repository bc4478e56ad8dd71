// SPDX-License-Identifier: BSL-1.0
// The common contract of asynchronous operations, for those of pipe_reader and pipe_writer.
#include <procyard/ipc/pipe.hpp>

#include <array>
#include <optional>
#include <string>

#include "operation_contract.hpp"

namespace asio = boost::asio;
using procyard::error_code;

namespace {

struct pipe_operation {
    explicit pipe_operation(asio::io_context& ctx)
        : pipe(procyard::make_pipe(ctx.get_executor())),
          reader(std::move(pipe.reader)),
          writer(std::move(pipe.writer))
    {
    }

    error_code breakage() const { return asio::error::bad_descriptor; }

    void fill()
    {
        error_code ec;
        while (!ec)
            writer->try_write_some(asio::buffer(block), ec);
        REQUIRE(ec == asio::error::would_block);
    }
    void drain()
    {
        error_code ec;
        while (!ec)
            reader->try_read_some(asio::buffer(block), ec);
    }
    void write_one()
    {
        error_code ec;
        writer->try_write_some(asio::buffer("x", 1), ec);
        REQUIRE_FALSE(ec);
    }

    procyard::pipe_pair pipe;
    std::optional<procyard::pipe_reader> reader;
    std::optional<procyard::pipe_writer> writer;
    std::array<char, 4096> block{};
};

struct async_read_some : pipe_operation {
    using pipe_operation::pipe_operation;
    template <class Token>
    void start(Token&& token)
    {
        reader->async_read_some(asio::buffer(block), std::forward<Token>(token));
    }
    void satisfy() { write_one(); }
    void break_it() { reader->close(); }
    void destroy() { reader.reset(); }
};

struct async_wait_readable : pipe_operation {
    using pipe_operation::pipe_operation;
    template <class Token>
    void start(Token&& token)
    {
        reader->async_wait_readable(std::forward<Token>(token));
    }
    void satisfy() { write_one(); }
    void break_it() { reader->close(); }
    void destroy() { reader.reset(); }
};

struct async_write_some : pipe_operation {
    explicit async_write_some(asio::io_context& ctx) : pipe_operation(ctx) { fill(); }
    template <class Token>
    void start(Token&& token)
    {
        writer->async_write_some(asio::buffer(block), std::forward<Token>(token));
    }
    void satisfy() { drain(); }
    void break_it() { writer->close(); }
    void destroy() { writer.reset(); }
};

struct async_wait_writable : pipe_operation {
    explicit async_wait_writable(asio::io_context& ctx) : pipe_operation(ctx) { fill(); }
    template <class Token>
    void start(Token&& token)
    {
        writer->async_wait_writable(std::forward<Token>(token));
    }
    void satisfy() { drain(); }
    void break_it() { writer->close(); }
    void destroy() { writer.reset(); }
};

struct async_wait_closed : pipe_operation {
    using pipe_operation::pipe_operation;
    template <class Token>
    void start(Token&& token)
    {
        writer->async_wait_closed(std::forward<Token>(token));
    }
    void satisfy() { reader->close(); }
    void break_it() { writer->close(); }
    void destroy() { writer.reset(); }
};

}  // namespace

TEST_SUITE("pipe_reader"){PROCYARD_OPERATION_CONTRACT(async_read_some)
                              PROCYARD_OPERATION_CONTRACT(async_wait_readable)}

TEST_SUITE("pipe_writer")
{
    PROCYARD_OPERATION_CONTRACT(async_write_some)
    PROCYARD_OPERATION_CONTRACT(async_wait_writable)
    PROCYARD_OPERATION_CONTRACT(async_wait_closed)
}
