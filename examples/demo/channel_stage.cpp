// SPDX-License-Identifier: BSL-1.0
#include "channel_stage.hpp"

#include <fmt/format.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <utility>

namespace demo {

namespace asio = boost::asio;
using namespace procyard;

command channel_stage::peer_command(std::string_view role, std::size_t size)
{
    command what("/proc/self/exe", {"channel-peer", std::string(role), std::to_string(size)});
    // A group of its own, so that a ^C comes to us alone; it starts nobody.
    what.arg0("demo").std_in(stdio::null()).tree(tree_mode::process_group);
    return what;
}

asio::awaitable<void> channel_stage::end()
{
    const auto status = co_await peer_.async_wait(asio::use_awaitable);
    if (!status.success())
        throw std::runtime_error("the other process: " + status.to_string());
}

report_book::report_book(command& what, const channel_stage& stage)
{
    auto ends = make_channel<report>({.capacity_messages = 64});
    what.pass(std::move(ends.sender), "reports");
    reports_ = receiver<report>(stage.executor(), std::move(ends.receiver));
}

asio::awaitable<void> report_book::wait_until_ready()
{
    latest_ = co_await reports_.async_receive(asio::use_awaitable);
}

asio::awaitable<void> report_book::follow()
{
    while (latest_.last == 0) {
        error_code ec;
        auto next = co_await reports_.async_receive(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::peer_died)
            co_return;
        if (ec)
            throw boost::system::system_error(ec, "the reports");
        latest_ = next;
    }
}

std::size_t ring_bytes(std::size_t message_size) noexcept
{
    return std::max<std::size_t>(256 * 1024, std::bit_ceil(8 * (message_size + 8)));
}

std::string format_count(double number)
{
    constexpr const char* units[] = {"", " k", " M", " G"};
    std::size_t unit = 0;
    while (number >= 9999.5 && unit + 1 < std::size(units)) {
        number /= 1000;
        ++unit;
    }
    return fmt::format("{:.{}f}{}", number, unit == 0 || number >= 99.95 ? 0 : 1, units[unit]);
}

std::string format_short(std::chrono::nanoseconds duration)
{
    auto number = static_cast<double>(duration.count());
    constexpr const char* units[] = {"ns", "µs", "ms", "s"};
    std::size_t unit = 0;
    while (number >= 999.5 && unit + 1 < std::size(units)) {
        number /= 1000;
        ++unit;
    }
    return fmt::format("{:.3g} {}", number, units[unit]);
}

}  // namespace demo
