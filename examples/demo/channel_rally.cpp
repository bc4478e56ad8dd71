// SPDX-License-Identifier: BSL-1.0
#include "channel_rally.hpp"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <utility>

namespace demo {

namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using namespace procyard;

class rally_meter {
public:
    using clock = pace::clock;

    rally_meter(std::string name, std::chrono::nanoseconds duration) : end_(begin_ + duration)
    {
        figures.name = std::move(name);
    }

    [[nodiscard]] bool is_over() const noexcept { return last_ >= end_; }
    [[nodiscard]] std::uint64_t next() const noexcept { return figures.round_trips.total() + 1; }
    void has_come_back(const ball& b)
    {
        const auto now = clock::now();
        if (b.number != next())
            ++figures.wrong;
        figures.round_trips.add(now - last_);
        last_ = now;
    }
    [[nodiscard]] rally_figures result(std::uint64_t calls) const
    {
        auto f = figures;
        f.calls = calls;
        f.elapsed = last_ - begin_;
        return f;
    }
    [[nodiscard]] std::string live() const
    {
        const auto& all = figures.round_trips;
        return fmt::format("{}, there and back: {} round trips  p50 {}  p99 {}", figures.name,
                           format_count(static_cast<double>(all.total())),
                           format_short(all.percentile(50)), format_short(all.percentile(99)));
    }

    rally_figures figures;

private:
    clock::time_point begin_ = clock::now();
    clock::time_point end_;
    clock::time_point last_ = begin_;
};

asio::awaitable<std::uint64_t> play(sender<ball> down, receiver<ball> up, rally_meter& meter)
{
    while (!meter.is_over()) {
        ball b{meter.next(), {}};
        error_code ec;
        if (!down.try_send(b, ec)) {
            if (ec != asio::error::would_block)
                throw boost::system::system_error(ec, "the channel");
            co_await down.async_send(b, asio::use_awaitable);
        }
        b = co_await up.async_receive(asio::use_awaitable);
        meter.has_come_back(b);
    }
    co_return down.statistics().rung + up.statistics().rung;
}

asio::awaitable<std::uint64_t> play(child& peer, rally_meter& meter)
{
    while (!meter.is_over()) {
        ball b{meter.next(), {}};
        co_await asio::async_write(peer.std_in(), asio::buffer(&b, sizeof b), asio::use_awaitable);
        co_await asio::async_read(peer.std_out(), asio::buffer(&b, sizeof b), asio::use_awaitable);
        meter.has_come_back(b);
    }
    peer.std_in().close();
    co_return 2 * meter.figures.round_trips.total();
}

}  // namespace

asio::awaitable<rally_figures> channel_rally(channel_stage& stage,
                                             std::chrono::nanoseconds duration,
                                             std::chrono::nanoseconds spin)
{
    auto what = channel_stage::peer_command("echo", sizeof(ball));
    const channel_options options{.capacity_messages = 16, .spin = spin};
    auto there = make_channel<ball>(options);
    auto back = make_channel<ball>(options);
    what.pass(std::move(there.receiver), "down");
    what.pass(std::move(back.sender), "up");
    report_book reports(what, stage);
    sender<ball> down(stage.executor(), std::move(there.sender));
    receiver<ball> up(stage.executor(), std::move(back.receiver));
    stage.start(what);
    co_await reports.wait_until_ready();

    rally_meter meter(spin.count() == 0 ? "channel"
                                        : fmt::format("channel, spin {}", format_short(spin)),
                      duration);
    live_view shown(stage, [&] { return meter.live(); });
    const auto calls = co_await (play(std::move(down), std::move(up), meter) && reports.follow());
    auto figures = meter.result(calls + reports.latest().calls);
    co_await stage.end();
    co_return figures;
}

asio::awaitable<rally_figures> pipe_rally(channel_stage& stage, std::chrono::nanoseconds duration)
{
    auto what = channel_stage::peer_command("pipe-echo", sizeof(ball));
    what.std_in(stdio::pipe()).std_out(stdio::pipe());
    report_book reports(what, stage);
    stage.start(what);
    co_await reports.wait_until_ready();

    rally_meter meter("pipe", duration);
    live_view shown(stage, [&] { return meter.live(); });
    const auto calls = co_await (play(stage.peer(), meter) && reports.follow());
    auto figures = meter.result(calls + reports.latest().calls);
    co_await stage.end();
    co_return figures;
}

namespace {
constexpr auto rally_layout = "{:>9}  {:<23} {:>11} {:>7} {:>11} {:>14} {:>6}\n";
}

std::string rally_heading()
{
    return fmt::format(rally_layout, "size", "there and back by", "round trips", "p50", "p99",
                       "calls/million", "");
}

std::string rally_row(const rally_figures& f)
{
    const auto total = static_cast<double>(f.round_trips.total());
    const auto seconds = std::max(std::chrono::duration<double>(f.elapsed).count(), 1e-9);
    return fmt::format(
        rally_layout, fmt::format("{} B", sizeof(ball)), f.name,
        format_count(total / seconds) + "/s", format_short(f.round_trips.percentile(50)),
        format_short(f.round_trips.percentile(99)),
        format_count(total > 0 ? 1e6 * static_cast<double>(f.calls) / total : 0), "");
}

}  // namespace demo
