// SPDX-License-Identifier: BSL-1.0
#include "channel_flow.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <utility>
#include <vector>

#include "duration.hpp"

namespace demo {

namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using namespace procyard;

double seconds(std::chrono::nanoseconds duration)
{
    return std::max(std::chrono::duration<double>(duration).count(), 1e-9);
}

double per_million(const flow_figures& f)
{
    return f.received == 0 ? 0
                           : 1e6 * static_cast<double>(f.calls) / static_cast<double>(f.received);
}

/// The figures while they come.
class flow_meter {
public:
    flow_meter(std::string name, std::size_t size, std::chrono::nanoseconds duration)
        : pace_(duration)
    {
        figures_.name = std::move(name);
        figures_.size = size;
    }

    /// Looks at the clock every so many messages. True: a turn of the executor is due.
    [[nodiscard]] bool has_sent(std::uint64_t messages)
    {
        figures_.sent += messages;
        unlooked_ += messages;
        if (unlooked_ < 64)
            return false;
        unlooked_ = 0;
        return pace_.turn_is_due();
    }
    [[nodiscard]] std::uint64_t sent() const noexcept { return figures_.sent; }
    [[nodiscard]] bool is_over() const noexcept { return pace_.is_over(); }

    void look(const channel_statistics& now)
    {
        calls = now.rung;
        has_seen(static_cast<double>(now.used) / static_cast<double>(now.capacity));
    }
    void has_seen(double depth)
    {
        depth_ = depth;
        depths_ += depth;
        ++looks_;
    }
    std::uint64_t calls = 0;  ///< this side's

    [[nodiscard]] flow_figures result(const report& peer) const
    {
        auto f = figures_;
        f.received = peer.messages;
        f.wrong = peer.wrong;
        f.calls = calls + peer.calls;
        f.depth = looks_ == 0 ? 0 : depths_ / looks_;
        f.elapsed = pace_.elapsed();
        return f;
    }

    [[nodiscard]] std::string live(const report& peer) const
    {
        const auto f = result(peer);
        const auto rate = static_cast<double>(f.received) / seconds(f.elapsed);
        constexpr int width = 10;
        const auto filled = static_cast<std::size_t>(depth_ * width + 0.5);
        return fmt::format("{} of {} B: {}/s  {}/s  {} calls per million  [{:<{}}]", f.name, f.size,
                           format_count(rate), format_bytes(rate * static_cast<double>(f.size)),
                           format_count(per_million(f)), std::string(filled, '#'), width);
    }

private:
    pace pace_;
    flow_figures figures_;
    std::uint64_t unlooked_ = 0;
    double depth_ = 0;
    double depths_ = 0;
    double looks_ = 0;
};

/// Tries to send and waits only where that would block.
asio::awaitable<void> fill(sender<bytes> down, flow_meter& meter, std::size_t size)
{
    std::vector<std::byte> message(size);
    while (!meter.is_over()) {
        stamp(message, meter.sent() + 1);
        error_code ec;
        if (!down.try_send(message, ec)) {
            if (ec != asio::error::would_block)
                throw boost::system::system_error(ec, "the channel");
            co_await down.async_send(message, asio::use_awaitable);
        }
        if (meter.has_sent(1)) {
            meter.look(down.statistics());
            co_await asio::post(asio::use_awaitable);
        }
    }
    meter.look(down.statistics());
    down.close();
}

/// The same with many at once, which become visible together.
asio::awaitable<void> fill_together(sender<bytes> down, flow_meter& meter, std::size_t size,
                                    std::size_t at_once)
{
    std::vector<std::byte> memory(size * at_once);
    std::vector<bytes> messages;
    for (std::size_t i = 0; i < at_once; ++i)
        messages.emplace_back(memory.data() + i * size, size);
    while (!meter.is_over()) {
        for (std::size_t i = 0; i < at_once; ++i)
            stamp(std::span(memory).subspan(i * size, size), meter.sent() + i + 1);
        error_code ec;
        const auto sent = down.try_send_some(messages, ec);
        if (ec && ec != asio::error::would_block)
            throw boost::system::system_error(ec, "the channel");
        if (ec)
            co_await down.async_send_all(std::span(messages).subspan(sent), asio::use_awaitable);
        if (meter.has_sent(at_once)) {
            meter.look(down.statistics());
            co_await asio::post(asio::use_awaitable);
        }
    }
    meter.look(down.statistics());
    down.close();
}

/// How full the pipe is, 0 to 1.
double depth_of(const pipe_writer& pipe, std::size_t capacity)
{
    int waiting = 0;
    if (::ioctl(pipe.native_handle(), FIONREAD, &waiting) == -1)
        return 0;
    return static_cast<double>(waiting) / static_cast<double>(capacity);
}

asio::awaitable<void> fill(pipe_writer& down, flow_meter& meter, std::size_t size,
                           std::size_t at_once)
{
    error_code ignored;  // as large as the channel, if the kernel lets us
    set_pipe_capacity(down.native_handle(), ring_bytes(size), ignored);
    const auto capacity = pipe_capacity(down.native_handle(), ignored);
    std::vector<std::byte> messages(size * at_once);
    while (!meter.is_over()) {
        for (std::size_t i = 0; i < at_once; ++i)
            stamp(std::span(messages).subspan(i * size, size), meter.sent() + i + 1);
        for (auto rest = asio::buffer(std::as_const(messages)); rest.size() > 0;) {
            error_code ec;
            rest += down.try_write_some(rest, ec);
            ++meter.calls;
            if (ec == asio::error::would_block)
                co_await down.async_wait_writable(asio::use_awaitable);
            else if (ec)
                throw boost::system::system_error(ec, "the pipe");
        }
        if (meter.has_sent(at_once)) {
            meter.has_seen(depth_of(down, capacity));
            co_await asio::post(asio::use_awaitable);
        }
    }
    down.close();
}

}  // namespace

asio::awaitable<flow_figures> channel_flow(channel_stage& stage, std::size_t size,
                                           std::chrono::nanoseconds duration, std::size_t at_once)
{
    auto what = channel_stage::peer_command("sink", size);
    auto ends = make_channel<bytes>({.capacity_bytes = ring_bytes(size)});
    what.pass(std::move(ends.receiver), "down");
    report_book reports(what, stage);
    sender<bytes> down(stage.executor(), std::move(ends.sender));
    stage.start(what);
    co_await reports.wait_until_ready();

    flow_meter meter(at_once == 1 ? "channel" : "channel, 64 KiB at once", size, duration);
    live_view shown(stage, [&] { return meter.live(reports.latest()); });
    auto filling = at_once == 1 ? fill(std::move(down), meter, size)
                                : fill_together(std::move(down), meter, size, at_once);
    co_await (std::move(filling) && reports.follow());
    auto figures = meter.result(reports.latest());
    co_await stage.end();
    co_return figures;
}

asio::awaitable<flow_figures> pipe_flow(channel_stage& stage, std::size_t size,
                                        std::chrono::nanoseconds duration, std::size_t at_once)
{
    auto what = channel_stage::peer_command("pipe-sink", size);
    what.std_in(stdio::pipe());
    report_book reports(what, stage);
    stage.start(what);
    co_await reports.wait_until_ready();

    flow_meter meter(at_once == 1 ? "pipe" : "pipe, 64 KiB at once", size, duration);
    live_view shown(stage, [&] { return meter.live(reports.latest()); });
    co_await (fill(stage.peer().std_in(), meter, size, at_once) && reports.follow());
    auto figures = meter.result(reports.latest());
    co_await stage.end();
    co_return figures;
}

namespace {
constexpr auto flow_layout = "{:>9}  {:<23} {:>11} {:>7} {:>11} {:>14} {:>6}\n";
}

std::string flow_heading()
{
    return fmt::format(flow_layout, "size", "one way through", "messages/s", "GB/s", "ns/message",
                       "calls/million", "depth");
}

std::string flow_row(const flow_figures& f)
{
    const auto rate = static_cast<double>(f.received) / seconds(f.elapsed);
    return fmt::format(flow_layout, fmt::format("{} B", f.size), f.name, format_count(rate),
                       fmt::format("{:#.3g}", rate * static_cast<double>(f.size) / 1e9),
                       rate > 0 ? fmt::format("{:.1f}", 1e9 / rate) : "-",
                       format_count(per_million(f)), fmt::format("{:.0f} %", 100 * f.depth));
}

}  // namespace demo
