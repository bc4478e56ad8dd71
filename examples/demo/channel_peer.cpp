// SPDX-License-Identifier: BSL-1.0
//
// The child's side of `demo channel`. It ends when the parent closes its ends, or dies.
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/inherited.hpp>

#include "channel_wire.hpp"
#include "commands.hpp"

namespace demo {

namespace {

namespace asio = boost::asio;
using namespace procyard;
using clock = std::chrono::steady_clock;

constexpr auto quietly = asio::as_tuple(asio::use_awaitable);

class reporter {
public:
    explicit reporter(const asio::any_io_executor& ex)
        : reports_(inherited<sender<report>>(ex, "reports"))
    {
        reports_.try_send({});
    }

    /// A report that finds no room is no loss: the next one says more.
    void now_and_then(const sequence_check& check, std::uint64_t calls)
    {
        const auto now = clock::now();
        if (now - last_ < std::chrono::milliseconds(10))
            return;
        last_ = now;
        reports_.try_send({check.messages(), check.wrong(), calls, 0});
    }

    asio::awaitable<void> at_last(const sequence_check& check, std::uint64_t calls)
    {
        const report end{check.messages(), check.wrong(), calls, 1};
        co_await reports_.async_send(end, quietly);
    }

private:
    sender<report> reports_;
    clock::time_point last_ = clock::now();
};

// `closed` is how it should end. If the parent has died there is nobody to tell anything.
void expect_end(const error_code& ec, std::string_view what)
{
    if (ec != channel_errc::closed && ec != channel_errc::peer_died && ec != asio::error::eof
        && ec != asio::error::broken_pipe)
        throw boost::system::system_error(ec, std::string(what));
}

/// Receives from a channel until it is closed.
asio::awaitable<void> sink(std::size_t size)
{
    auto ex = co_await asio::this_coro::executor;
    auto in = inherited<receiver<bytes>>(ex, "down");
    reporter reports(ex);
    sequence_check check(size);
    error_code ec;
    for (;;) {
        auto batch = in.try_receive_batch(ec);
        if (ec == asio::error::would_block)
            std::tie(ec, batch) = co_await in.async_receive_some(quietly);
        if (ec)
            break;
        for (bytes message : batch)
            check.take(message);
        batch.release();
        reports.now_and_then(check, in.statistics().rung);
    }
    expect_end(ec, "the channel");
    co_await reports.at_last(check, in.statistics().rung);
}

/// The same from a pipe: a buffer, out of which the messages have to be cut.
asio::awaitable<void> pipe_sink(std::size_t size)
{
    auto ex = co_await asio::this_coro::executor;
    pipe_reader in(ex, unique_fd(STDIN_FILENO));
    reporter reports(ex);
    sequence_check check(size);
    std::vector<std::byte> buffer(std::max(pipe_buffer_bytes, 2 * size));
    std::size_t filled = 0;
    std::uint64_t calls = 0;
    error_code ec;
    for (;;) {
        const auto n =
            in.try_read_some(asio::buffer(buffer.data() + filled, buffer.size() - filled), ec);
        ++calls;
        if (ec == asio::error::would_block) {
            std::tie(ec) = co_await in.async_wait_readable(quietly);
            continue;
        }
        if (ec)
            break;
        filled += n;
        std::size_t taken = 0;
        for (; filled - taken >= size; taken += size)
            check.take({buffer.data() + taken, size});
        std::memmove(buffer.data(), buffer.data() + taken, filled - taken);
        filled -= taken;
        reports.now_and_then(check, calls);
    }
    expect_end(ec, "the pipe");
    co_await reports.at_last(check, calls);
}

/// Sends back whatever comes.
asio::awaitable<void> echo(std::size_t)
{
    auto ex = co_await asio::this_coro::executor;
    auto in = inherited<receiver<ball>>(ex, "down");
    auto out = inherited<sender<ball>>(ex, "up");
    reporter reports(ex);
    sequence_check check(0);
    for (;;) {
        auto [ec, b] = co_await in.async_receive(quietly);
        if (!ec && !out.try_send(b, ec) && ec == asio::error::would_block)
            std::tie(ec) = co_await out.async_send(b, quietly);
        if (ec) {
            expect_end(ec, "the channel");
            break;
        }
    }
    co_await reports.at_last(check, in.statistics().rung + out.statistics().rung);
}

asio::awaitable<void> pipe_echo(std::size_t)
{
    auto ex = co_await asio::this_coro::executor;
    pipe_reader in(ex, unique_fd(STDIN_FILENO));
    pipe_writer out(ex, unique_fd(STDOUT_FILENO));
    reporter reports(ex);
    sequence_check check(0);
    ball b{};
    std::uint64_t calls = 0;
    for (;;) {
        auto [ec, n] = co_await asio::async_read(in, asio::buffer(&b, sizeof b), quietly);
        if (!ec)
            std::tie(ec, n) = co_await asio::async_write(out, asio::buffer(&b, sizeof b), quietly);
        calls += 2;
        if (ec) {
            expect_end(ec, "the pipe");
            break;
        }
    }
    co_await reports.at_last(check, calls);
}

/// Sends as fast as it can, and says of each message that it has been sent, until it is killed.
asio::awaitable<void> source(std::size_t size)
{
    auto ex = co_await asio::this_coro::executor;
    auto out = inherited<sender<bytes>>(ex, "up");
    auto said = inherited<sender<std::uint64_t>>(ex, "said");
    std::vector<std::byte> message(size);
    for (std::uint64_t number = 1;; ++number) {
        stamp(message, number);
        error_code ec;
        if (!out.try_send(message, ec) && ec == asio::error::would_block)
            std::tie(ec) = co_await out.async_send(message, quietly);
        if (ec)
            co_return expect_end(ec, "the channel");
        said.try_send(number);
    }
}

asio::awaitable<void> part(std::string_view role, std::size_t size)
{
    if (role == "sink")
        return sink(size);
    if (role == "pipe-sink")
        return pipe_sink(size);
    if (role == "echo")
        return echo(size);
    if (role == "pipe-echo")
        return pipe_echo(size);
    if (role == "source")
        return source(size);
    throw std::invalid_argument("channel-peer is started by `demo channel` alone");
}

}  // namespace

int run_channel_peer(std::string_view role, std::size_t size)
{
    asio::io_context context;
    asio::co_spawn(context, part(role, size), [](std::exception_ptr error) {
        if (error)
            std::rethrow_exception(error);
    });
    context.run();
    return 0;
}

}  // namespace demo
