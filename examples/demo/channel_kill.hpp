// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_CHANNEL_KILL_HPP
#define PROCYARD_EXAMPLES_DEMO_CHANNEL_KILL_HPP

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "channel_stage.hpp"

namespace demo {

/// What we heard of a SIGKILL to the other process, in the middle of its messages.
struct kill_figures {
    std::string name;
    std::size_t size = 0;
    std::chrono::nanoseconds heard_after{};  ///< from the kill to `peer_died`
    std::uint64_t sent = 0;                  ///< as far as the sender could tell
    std::uint64_t received = 0;              ///< as far as the receiver could tell
    std::uint64_t after_the_kill = 0;        ///< messages that we have received or sent since
    std::uint64_t lost = 0;                  ///< that the dead sender had sent, and we have not got
    std::uint64_t wrong = 0;
    bool heard = false;  ///< it was `peer_died`
};

/// The sender dies: we receive all that it had sent, and then `peer_died`.
boost::asio::awaitable<kill_figures> kill_the_sender(channel_stage& stage, std::size_t size,
                                                     std::chrono::nanoseconds after);
/// The receiver dies: we hear of it as soon as there is no more room.
boost::asio::awaitable<kill_figures> kill_the_receiver(channel_stage& stage, std::size_t size,
                                                       std::chrono::nanoseconds after);

[[nodiscard]] std::string kill_heading();
[[nodiscard]] std::string kill_row(const kill_figures& figures);

}  // namespace demo

#endif
