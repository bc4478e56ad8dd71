// SPDX-License-Identifier: BSL-1.0
// What a user of procyard::ipc alone writes: a pipe in an io_context.
#include <procyard/ipc.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>

#include <cstdio>
#include <string_view>

int main()
{
    boost::asio::io_context ctx;
    auto pipe = procyard::make_pipe(ctx.get_executor());
    char buffer[16];
    std::string_view got;
    pipe.writer.async_write_some(boost::asio::buffer("hello", 5),
                                 [](procyard::error_code, std::size_t) { });
    pipe.reader.async_read_some(boost::asio::buffer(buffer),
                                [&](procyard::error_code ec, std::size_t n) {
                                    if (!ec)
                                        got = std::string_view(buffer, n);
                                });
    ctx.run();
    std::printf("ipc consumer: %.*s\n", static_cast<int>(got.size()), got.data());
    return got == "hello" ? 0 : 1;
}
