// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_CHANNEL_FLOW_HPP
#define PROCYARD_EXAMPLES_DEMO_CHANNEL_FLOW_HPP

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "channel_stage.hpp"

namespace demo {

/// Messages one way, as fast as they go.
struct flow_figures {
    std::string name;
    std::size_t size = 0;
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint64_t wrong = 0;
    /// Of both sides: to wake the other one, and to write to a pipe or read from it.
    std::uint64_t calls = 0;
    double depth = 0;  ///< how full it was on average, 0 to 1
    std::chrono::nanoseconds elapsed{};

    /// All that was sent has arrived, once and in order.
    [[nodiscard]] bool is_right() const noexcept { return wrong == 0 && sent == received; }
};

/// `at_once`: how many are made visible together.
boost::asio::awaitable<flow_figures> channel_flow(channel_stage& stage, std::size_t size,
                                                  std::chrono::nanoseconds duration,
                                                  std::size_t at_once);
/// `at_once`: how many are written together.
boost::asio::awaitable<flow_figures> pipe_flow(channel_stage& stage, std::size_t size,
                                               std::chrono::nanoseconds duration,
                                               std::size_t at_once);

[[nodiscard]] std::string flow_heading();
[[nodiscard]] std::string flow_row(const flow_figures& figures);

}  // namespace demo

#endif
