// SPDX-License-Identifier: BSL-1.0
// Pictures of 1 MiB that nobody copies: a child makes them in the shared memory, and they are
// looked at where they lie. The child is this program again.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <cstdint>
#include <exception>
#include <iostream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include <procyard/ipc/channel.hpp>
#include <procyard/runtime.hpp>
#include <procyard/runtime/inherited.hpp>

namespace asio = boost::asio;
using namespace procyard;

// Plain, without padding, of a multiple of 8 bytes: what can be lent.
struct frame {
    std::uint64_t number;
    std::uint64_t checksum;
    std::array<std::uint64_t, 131072> pixels;
};
constexpr std::uint64_t frames = 40;

std::uint64_t checksum_of(const frame& f)
{
    return std::accumulate(f.pixels.begin(), f.pixels.end(), f.number,
                           [](std::uint64_t sum, std::uint64_t pixel) { return sum * 3 + pixel; });
}

// [camera]
asio::awaitable<void> camera()
{
    auto executor = co_await asio::this_coro::executor;
    auto out = inherited<sender<frame>>(executor, "frames");
    for (std::uint64_t number = 1; number <= frames; ++number) {
        auto room = co_await out.async_loan(1, asio::use_awaitable);  // waits while all are in use
        frame& f = room[0];
        f.number = number;
        std::iota(f.pixels.begin(), f.pixels.end(), number * 1000);
        f.checksum = checksum_of(f);
        room.commit();  // without this, nothing would be sent
    }
}
// [camera]

// [viewer]
asio::awaitable<void> viewer(std::string program)
{
    auto executor = co_await asio::this_coro::executor;
    auto ends = make_channel<frame>({.capacity_messages = 4});
    command what(program, {"child"});
    what.pass(std::move(ends.sender), "frames");
    receiver<frame> in(executor, std::move(ends.receiver));
    child process = spawn(what, executor);

    std::uint64_t seen = 0;
    for (;;) {
        error_code ec;
        auto batch = co_await in.async_receive_some(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::closed)
            break;
        if (ec)
            throw boost::system::system_error(ec, "frames");
        for (const frame& f : batch.in_place())
            if (f.number != ++seen || f.checksum != checksum_of(f))
                throw std::logic_error("not the picture that was taken");
    }  // the batch ends, and with it the right to look: the camera may write there again
    auto status = co_await process.async_wait(asio::use_awaitable);
    std::cout << seen << " pictures, " << seen * sizeof(frame::pixels) / (1024 * 1024)
              << " MiB, through room for " << in.statistics().capacity
              << "; all as they were taken\n"
              << "the camera: " << status << '\n';
}
// [viewer]

int main(int argc, char** argv)
{
    try {
        asio::io_context context;
        const bool is_child = argc > 1 && argv[1] == std::string("child");
        asio::co_spawn(context, is_child ? camera() : viewer(argv[0]),
                       [](std::exception_ptr error) {
                           if (error)
                               std::rethrow_exception(error);
                       });
        context.run();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
