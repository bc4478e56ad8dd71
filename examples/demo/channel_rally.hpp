// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_CHANNEL_RALLY_HPP
#define PROCYARD_EXAMPLES_DEMO_CHANNEL_RALLY_HPP

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstdint>
#include <string>

#include "channel_stage.hpp"
#include "latencies.hpp"

namespace demo {

/// A message there and back, again and again.
struct rally_figures {
    std::string name;
    latencies round_trips;
    std::uint64_t wrong = 0;
    std::uint64_t calls = 0;  ///< as of a flow
    std::chrono::nanoseconds elapsed{};
};

/// `spin`: how long each side looks for an answer before it sleeps.
boost::asio::awaitable<rally_figures> channel_rally(channel_stage& stage,
                                                    std::chrono::nanoseconds duration,
                                                    std::chrono::nanoseconds spin);
boost::asio::awaitable<rally_figures> pipe_rally(channel_stage& stage,
                                                 std::chrono::nanoseconds duration);

[[nodiscard]] std::string rally_heading();
[[nodiscard]] std::string rally_row(const rally_figures& figures);

}  // namespace demo

#endif
