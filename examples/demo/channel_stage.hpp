// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_CHANNEL_STAGE_HPP
#define PROCYARD_EXAMPLES_DEMO_CHANNEL_STAGE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include <procyard/ipc/channel.hpp>
#include <procyard/runtime.hpp>

#include "channel_wire.hpp"

namespace demo {

/// What all steps of `demo channel` need: the other process, and somewhere to show how it goes.
class channel_stage {
public:
    explicit channel_stage(boost::asio::any_io_executor ex) : executor_(std::move(ex)) { }

    [[nodiscard]] const boost::asio::any_io_executor& executor() const noexcept
    {
        return executor_;
    }

    /// This program again, in one of channel_peer.cpp's roles.
    [[nodiscard]] static procyard::command peer_command(std::string_view role, std::size_t size);
    void start(const procyard::command& what) { peer_ = procyard::spawn(what, executor_); }
    [[nodiscard]] procyard::child& peer() noexcept { return peer_; }
    /// Waits for its end, which must be a success.
    boost::asio::awaitable<void> end();

    /// What tells how the present step goes; empty between steps.
    [[nodiscard]] std::string live() const { return live_ ? live_() : std::string(); }

private:
    friend class live_view;

    boost::asio::any_io_executor executor_;
    procyard::child peer_;
    std::function<std::string()> live_;
};

/// Shows something as long as it is there.
class live_view {
public:
    live_view(channel_stage& stage, std::function<std::string()> live) : stage_(stage)
    {
        stage_.live_ = std::move(live);
    }
    live_view(const live_view&) = delete;
    live_view& operator=(const live_view&) = delete;
    ~live_view() { stage_.live_ = nullptr; }

private:
    channel_stage& stage_;
};

/// The reports of the other process.
class report_book {
public:
    /// Makes the channel, of which one end goes along with `what`.
    report_book(procyard::command& what, const channel_stage& stage);

    /// Waits for the first one, with which it says that it is ready.
    boost::asio::awaitable<void> wait_until_ready();
    /// Follows them up to the last one, or until the other process has died.
    boost::asio::awaitable<void> follow();
    [[nodiscard]] const report& latest() const noexcept { return latest_; }

private:
    procyard::receiver<report> reports_;
    report latest_{};
};

/// When a coroutine that never has to wait lets others have a turn, and when its time is over.
class pace {
public:
    using clock = std::chrono::steady_clock;

    explicit pace(std::chrono::nanoseconds duration) noexcept
        : end_(begin_ + duration),
          next_turn_(begin_)
    {
    }

    [[nodiscard]] clock::time_point begin() const noexcept { return begin_; }
    [[nodiscard]] std::chrono::nanoseconds elapsed() const noexcept
    {
        return clock::now() - begin_;
    }
    /// Asks the clock; call it now and then. True: it is time for a turn of the executor.
    [[nodiscard]] bool turn_is_due() noexcept
    {
        const auto now = clock::now();
        over_ = now >= end_;
        if (now < next_turn_)
            return false;
        next_turn_ = now + std::chrono::milliseconds(1);
        return true;
    }
    [[nodiscard]] bool is_over() const noexcept { return over_; }

private:
    clock::time_point begin_ = clock::now();
    clock::time_point end_;
    clock::time_point next_turn_;
    bool over_ = false;
};

/// Large enough for several messages of that size.
[[nodiscard]] std::size_t ring_bytes(std::size_t message_size) noexcept;

/// `45.2 M`, `812 k`, `13`
[[nodiscard]] std::string format_count(double number);
/// `12.3 µs`, `96 ns`, `4.2 ms`
[[nodiscard]] std::string format_short(std::chrono::nanoseconds duration);

}  // namespace demo

#endif
