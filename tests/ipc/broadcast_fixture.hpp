// SPDX-License-Identifier: BSL-1.0
// What the tests of broadcasts have in common: messages that show whether they are whole, and
// somebody who receives them.
#ifndef PROCYARD_TESTS_IPC_BROADCAST_FIXTURE_HPP
#define PROCYARD_TESTS_IPC_BROADCAST_FIXTURE_HPP

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include <procyard/ipc/broadcast.hpp>

#include "procyard_test.hpp"

namespace procyard_test {

/// A message of which every word follows from its number.
struct marked {
    std::uint64_t number;
    std::array<std::uint64_t, 31> words;
};
[[nodiscard]] inline marked mark(std::uint64_t number)
{
    marked made{number, {}};
    for (std::size_t i = 0; i < made.words.size(); ++i)
        made.words[i] = (number + i) * 0x9e3779b97f4a7c15U;
    return made;
}
[[nodiscard]] inline bool is_whole(const marked& m)
{
    return mark(m.number).words == m.words;
}

/// The same in messages of different lengths.
[[nodiscard]] inline std::string mark_text(std::uint64_t number)
{
    return std::to_string(number) + ':'
        + std::string(number % 301, static_cast<char>('a' + number % 26));
}
[[nodiscard]] inline std::uint64_t number_of(const marked& m)
{
    return m.number;
}
[[nodiscard]] inline std::uint64_t number_of(const std::string& text)
{
    return std::stoull(text);
}
[[nodiscard]] inline bool is_whole(const std::string& text)
{
    return !text.empty() && text == mark_text(std::stoull(text));
}

/// What a subscriber has seen.
struct tally {
    std::uint64_t received = 0;
    std::uint64_t next = 0;    // the number that would come next, if nothing is lost
    std::uint64_t torn = 0;    // not whole
    std::uint64_t wrong = 0;   // not the number that lost() makes one expect
    std::uint64_t lapses = 0;  // times that it was told of a loss
    procyard::error_code end;
};

/// Receives until the end, whatever that is: tries, and waits when there is nothing. Runs ctx.
template <class T>
tally receive_all(boost::asio::io_context& ctx, procyard::subscriber<T>& from)
{
    tally seen;
    T message{};
    procyard::error_code ec;
    for (;;) {
        if (from.try_receive(message, ec)) {
            if (!is_whole(message))
                ++seen.torn;
            else if (number_of(message) != seen.received + from.lost())
                ++seen.wrong;
            ++seen.received;
        } else if (ec == procyard::channel_errc::lapped && from.is_open()) {
            ++seen.lapses;
        } else if (ec == boost::asio::error::would_block) {
            from.async_wait_readable([](procyard::error_code) { });
            ctx.restart();
            if (ctx.run_one_for(deadlock_guard) == 0)
                ec = boost::asio::error::timed_out;
            else
                continue;
        }
        if (ec && (ec != procyard::channel_errc::lapped || !from.is_open())) {
            seen.end = ec;
            return seen;
        }
    }
}

}  // namespace procyard_test

#endif
