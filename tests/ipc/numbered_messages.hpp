// SPDX-License-Identifier: BSL-1.0
// Messages that say which they are, with every byte: half of one, or a wrong one, is noticed.
#ifndef PROCYARD_TESTS_IPC_NUMBERED_MESSAGES_HPP
#define PROCYARD_TESTS_IPC_NUMBERED_MESSAGES_HPP

#include <boost/asio/awaitable.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include <procyard/ipc/channel.hpp>

namespace procyard_test {

struct whole {
    std::array<std::uint64_t, 5> words{};
};

template <class T>
T numbered(std::uint64_t n)
{
    if constexpr (std::is_same_v<T, whole>) {
        whole made;
        made.words.fill(n);
        return made;
    } else {
        return std::to_string(n) + std::string(n * 7 % 600, static_cast<char>('a' + n % 26));
    }
}

inline bool is_numbered(const whole& message, std::uint64_t n)
{
    return std::all_of(message.words.begin(), message.words.end(),
                       [n](std::uint64_t word) { return word == n; });
}
inline bool is_numbered(const std::string& message, std::uint64_t n)
{
    return message == numbered<std::string>(n);
}

/// Of any length; every byte says where it stands.
inline std::string numbered_text(std::uint64_t n, std::size_t length)
{
    std::string made(length, '\0');
    for (std::size_t i = 0; i < length; ++i)
        made[i] = static_cast<char>(n * 31 + i * 7 + i / 251);
    return made;
}

/// Receives up to number `until`, each the next and whole; `ec` says why not, bad_message that one
/// was not.
template <class T>
boost::asio::awaitable<void> receive_numbered(procyard::receiver<T>& from, std::uint64_t until,
                                              std::uint64_t& next, procyard::error_code& ec)
{
    namespace asio = boost::asio;
    while (!ec && next < until) {
        const auto message =
            co_await from.async_receive(asio::redirect_error(asio::use_awaitable, ec));
        if (!ec && !is_numbered(message, next))
            ec = procyard::channel_errc::bad_message;
        if (!ec)
            ++next;
    }
}

}  // namespace procyard_test

#endif
