// SPDX-License-Identifier: BSL-1.0
// What works on any stream works on sockets, unchanged: Unix sockets and TCP.
#include <procyard/ipc/async_copy.hpp>
#include <procyard/ipc/fifo.hpp>
#include <procyard/ipc/line_reader.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/unique_fd.hpp>

#include "procyard_test.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using procyard::async_copy;
using procyard::copy_result;
using procyard::error_code;
using procyard::line_reader;
using procyard::pipe_reader;
using procyard::pipe_writer;
using procyard::unique_fd;
using procyard::unix_stream;
using procyard_test::descriptor_check;
using procyard_test::outcome;
using procyard_test::run;

namespace {

struct unix_sockets {
    using socket = unix_stream::socket;
    static std::pair<socket, socket> connect(asio::io_context& ctx)
    {
        auto made = procyard::make_socket_pair<unix_stream>(ctx.get_executor());
        return {std::move(made.first), std::move(made.second)};
    }
};

struct tcp_sockets {
    using socket = asio::ip::tcp::socket;
    static std::pair<socket, socket> connect(asio::io_context& ctx)
    {
        asio::ip::tcp::acceptor acceptor(ctx, {asio::ip::address_v4::loopback(), 0});
        socket first(ctx);
        first.connect(acceptor.local_endpoint());
        return {std::move(first), acceptor.accept()};
    }
};

const std::string bulk(300'000, 'b');

// Writes it and then ends the stream.
template <class Socket>
void write_all(Socket& socket, const std::string& text, outcome<error_code, std::size_t>& sent)
{
    asio::async_write(socket, asio::buffer(text),
                      [&, done = sent.handler()](error_code ec, std::size_t n) {
                          socket.shutdown(Socket::shutdown_send);
                          done(ec, n);
                      });
}

}  // namespace

TEST_SUITE("async_copy")
{
    TEST_CASE_TEMPLATE("copies between sockets of Asio", Sockets, unix_sockets, tcp_sockets)
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        auto [in, source] = Sockets::connect(ctx);
        auto [sink, out] = Sockets::connect(ctx);
        outcome<error_code, std::size_t> sent;
        write_all(in, bulk, sent);
        outcome<error_code, copy_result> copied;
        async_copy(source, sink, [&, done = copied.handler()](error_code ec, copy_result result) {
            sink.close();
            done(ec, result);
        });
        std::string received;
        outcome<error_code, std::size_t> got;
        asio::async_read(out, asio::dynamic_buffer(received), got.handler());
        run(ctx);
        CHECK_FALSE(copied.error());
        CHECK(copied.result().bytes == bulk.size());
        CHECK(copied.result().end_of_source);
        CHECK(received == bulk);
    }

    TEST_CASE_TEMPLATE("copies between a socket and a pipe", Sockets, unix_sockets, tcp_sockets)
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        auto [in, source] = Sockets::connect(ctx);
        auto pipe = procyard::make_pipe(ctx.get_executor());
        outcome<error_code, std::size_t> sent;
        write_all(in, bulk, sent);
        outcome<error_code, copy_result> copied;
        async_copy(source, pipe.writer,
                   [&, done = copied.handler()](error_code ec, copy_result result) {
                       pipe.writer.close();
                       done(ec, result);
                   });
        std::string received;
        outcome<error_code, std::size_t> got;
        asio::async_read(pipe.reader, asio::dynamic_buffer(received), got.handler());
        run(ctx);
        CHECK_FALSE(copied.error());
        CHECK(received == bulk);
    }

    TEST_CASE("copies from a FIFO, by splice where the kernel can")
    {
        const descriptor_check no_leak;
        const procyard_test::temporary_directory directory;
        asio::io_context ctx;
        const auto name = procyard::make_fifo((directory.path() / "f").native());
        outcome<error_code, pipe_reader> opened;
        procyard::async_open_fifo_reader(ctx.get_executor(), name.path(), opened.handler());
        ctx.poll();
        auto writer = procyard::open_fifo_writer(ctx.get_executor(), name.path());
        auto pair = procyard::make_socket_pair<unix_stream>(ctx.get_executor());
        pipe_writer sink(ctx.get_executor(), unique_fd(pair.first.release()));
        const std::string text = "through the FIFO";
        outcome<error_code, std::size_t> sent;
        asio::async_write(writer, asio::buffer(text), sent.handler());
        run(ctx);
        writer.close();
        REQUIRE_FALSE(opened.error());
        outcome<error_code, copy_result> copied;
        async_copy(opened.result(), sink, copied.handler());
        run(ctx);
        CHECK(copied.result().bytes == text.size());
        std::array<char, 64> block{};
        CHECK(std::string(block.data(), pair.second.receive(asio::buffer(block))) == text);
    }
}

TEST_SUITE("line_reader")
{
    TEST_CASE_TEMPLATE("reads the lines of a socket", Sockets, unix_sockets, tcp_sockets)
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        auto [in, out] = Sockets::connect(ctx);
        outcome<error_code, std::size_t> sent;
        const std::string text = "one\ntwo\nrest";
        write_all(in, text, sent);
        line_reader lines(std::move(out));
        std::string read;
        for (;;) {
            outcome<error_code, std::string> line;
            lines.async_read_line(line.handler());
            run(ctx);
            if (line.error() == asio::error::eof)
                break;
            REQUIRE_FALSE(line.error());
            read += line.result() + "|";
        }
        CHECK(read == "one|two|rest|");
    }

    TEST_CASE("reads the lines of all writers of a FIFO")
    {
        const procyard_test::temporary_directory directory;
        asio::io_context ctx;
        const auto name = procyard::make_fifo((directory.path() / "f").native());
        line_reader lines(procyard::open_fifo_reader(ctx.get_executor(), name.path()));
        for (const std::string text : {"first\n", "second\n"}) {
            auto writer = procyard::open_fifo_writer(ctx.get_executor(), name.path());
            error_code ec;
            (void)writer.try_write_some(asio::buffer(text), ec);
            writer.close();
            outcome<error_code, std::string> line;
            lines.async_read_line(line.handler());
            run(ctx);
            CHECK(line.result() + "\n" == text);
        }
    }
}
