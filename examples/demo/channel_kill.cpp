// SPDX-License-Identifier: BSL-1.0
#include "channel_kill.hpp"

#include <fmt/format.h>

#include <boost/asio/error.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

namespace demo {

namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using namespace procyard;

/// What both sides count until the end of the other process, and from the kill on.
class obituary {
public:
    using clock = std::chrono::steady_clock;

    obituary(std::string name, std::size_t size)
    {
        figures.name = std::move(name);
        figures.size = size;
    }

    asio::awaitable<void> kill(channel_stage& stage, std::chrono::nanoseconds after)
    {
        asio::steady_timer timer(stage.executor(), after);
        co_await timer.async_wait(asio::use_awaitable);
        killed_ = clock::now();
        messages_then_ = messages;
        is_killed_ = true;
        stage.peer().kill();
    }
    [[nodiscard]] bool is_killed() const noexcept { return is_killed_; }
    void hear(const error_code& ec)
    {
        figures.heard_after = clock::now() - killed_;
        figures.after_the_kill = messages - messages_then_;
        figures.heard = ec == channel_errc::peer_died;
    }
    [[nodiscard]] std::string live() const
    {
        return fmt::format("{}, messages of {} B: {}", figures.name, figures.size,
                           format_count(static_cast<double>(messages)));
    }

    kill_figures figures;
    std::uint64_t messages = 0;  ///< of this side

private:
    clock::time_point killed_ = clock::now();
    std::uint64_t messages_then_ = 0;
    bool is_killed_ = false;
};

asio::awaitable<void> drain(receiver<bytes> up, obituary& told)
{
    sequence_check check(told.figures.size);
    for (;;) {
        error_code ec;
        auto batch = co_await up.async_receive_some(asio::redirect_error(asio::use_awaitable, ec));
        if (ec) {
            told.hear(ec);
            break;
        }
        // Slower than the sender, so that there is something left when it dies.
        bytes message;
        for (int n = 0; (n < 16 || told.is_killed()) && batch.next(message); ++n)
            check.take(message);
        told.messages = check.messages();
    }
    told.figures.received = check.messages();
    told.figures.wrong = check.wrong();
}

/// The number of the last message that the sender has claimed to have sent.
asio::awaitable<void> listen(receiver<std::uint64_t> said, obituary& told)
{
    for (;;) {
        error_code ec;
        auto numbers =
            co_await said.async_receive_some(asio::redirect_error(asio::use_awaitable, ec));
        if (ec)
            co_return;
        for (auto number : numbers)
            told.figures.sent = number;
    }
}

asio::awaitable<void> fill(sender<bytes> down, obituary& told)
{
    std::vector<std::byte> message(told.figures.size);
    pace turns(std::chrono::hours(1));
    for (;;) {
        stamp(message, told.messages + 1);
        error_code ec;
        if (!down.try_send(message, ec) && ec == asio::error::would_block)
            co_await down.async_send(message, asio::redirect_error(asio::use_awaitable, ec));
        if (ec) {
            told.hear(ec);
            break;
        }
        ++told.messages;
        if (told.messages % 64 == 0 && turns.turn_is_due())
            co_await asio::post(asio::use_awaitable);
    }
    told.figures.sent = told.messages;
}

}  // namespace

asio::awaitable<kill_figures> kill_the_sender(channel_stage& stage, std::size_t size,
                                              std::chrono::nanoseconds after)
{
    auto what = channel_stage::peer_command("source", size);
    auto ends = make_channel<bytes>({.capacity_bytes = ring_bytes(size)});
    auto claims = make_channel<std::uint64_t>();
    what.pass(std::move(ends.sender), "up");
    what.pass(std::move(claims.sender), "said");
    receiver<bytes> up(stage.executor(), std::move(ends.receiver));
    receiver<std::uint64_t> said(stage.executor(), std::move(claims.receiver));
    stage.start(what);

    obituary told("sender", size);
    live_view shown(stage, [&] { return told.live(); });
    co_await (drain(std::move(up), told) && listen(std::move(said), told)
              && told.kill(stage, after));
    co_await stage.peer().async_wait(asio::use_awaitable);
    auto& f = told.figures;
    // The claim is made after the message, so the last message may be one that nobody claims.
    f.lost = f.sent - std::min(f.sent, f.received);
    co_return f;
}

asio::awaitable<kill_figures> kill_the_receiver(channel_stage& stage, std::size_t size,
                                                std::chrono::nanoseconds after)
{
    auto what = channel_stage::peer_command("sink", size);
    auto ends = make_channel<bytes>({.capacity_bytes = ring_bytes(size)});
    what.pass(std::move(ends.receiver), "down");
    report_book reports(what, stage);
    sender<bytes> down(stage.executor(), std::move(ends.sender));
    stage.start(what);

    obituary told("receiver", size);
    live_view shown(stage, [&] { return told.live(); });
    co_await (fill(std::move(down), told) && reports.follow() && told.kill(stage, after));
    co_await stage.peer().async_wait(asio::use_awaitable);
    told.figures.received = reports.latest().messages;
    told.figures.wrong = reports.latest().wrong;
    co_return told.figures;
}

namespace {
constexpr auto kill_layout = "{:>9}  {:<12} {:>15} {:>15} {:>12} {:>12} {:>6}\n";
}

std::string kill_heading()
{
    return fmt::format(kill_layout, "size", "kill -9 of", "peer_died after", "after the kill",
                       "sent", "received", "lost");
}

std::string kill_row(const kill_figures& f)
{
    return fmt::format(kill_layout, fmt::format("{} B", f.size), "the " + f.name,
                       f.heard ? format_short(f.heard_after) : "never", f.after_the_kill, f.sent,
                       f.name == "sender" ? std::to_string(f.received)
                                          : fmt::format("≥ {}", f.received),
                       f.name == "sender" ? std::to_string(f.lost) : "-");
}

}  // namespace demo
