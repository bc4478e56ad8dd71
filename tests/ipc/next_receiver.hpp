// SPDX-License-Identifier: BSL-1.0
// What a receiver that comes after another one, by resume(), is told: of messages with numbers,
// from a sender that drops the oldest.
#ifndef PROCYARD_TESTS_IPC_NEXT_RECEIVER_HPP
#define PROCYARD_TESTS_IPC_NEXT_RECEIVER_HPP

#include <cstdint>
#include <optional>
#include <string>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/channel_error.hpp>

#include "numbered_messages.hpp"

namespace procyard_test {

inline std::uint64_t number_of(const whole& message)
{
    return message.words[0];
}
inline std::uint64_t number_of(const std::string& message)
{
    return std::stoull(message);
}

struct told_next {
    /// How many messages there were before those that it has received or is told of as lost; none,
    /// if it has received nothing.
    std::optional<std::uint64_t> known;
    std::uint64_t received = 0;
    std::uint64_t lost = 0;
    bool is_in_order = true;
    procyard::error_code ec;  ///< that has ended it
};

/// All that is there now.
template <class T>
told_next ask_next(procyard::receiver<T>& next)
{
    told_next told;
    T message{};
    while (!told.ec || told.ec == procyard::channel_errc::lapped) {
        if (!next.try_receive(message, told.ec))
            continue;
        if (!told.known)
            told.known = number_of(message) - next.lost();
        const bool is_next = is_numbered(message, *told.known + told.received + next.lost());
        told.is_in_order = told.is_in_order && is_next;
        ++told.received;
    }
    told.lost = next.lost();
    return told;
}

}  // namespace procyard_test

#endif
