// SPDX-License-Identifier: BSL-1.0
// Two ends of a stream for the tests of framed.
#ifndef PROCYARD_TESTS_IPC_FRAMED_FIXTURE_HPP
#define PROCYARD_TESTS_IPC_FRAMED_FIXTURE_HPP

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/framed.hpp>

#include "message_samples.hpp"
#include "procyard_test.hpp"

namespace procyard_test {

using socket_type = boost::asio::local::stream_protocol::socket;

template <class T>
std::vector<std::byte> frame_of(const T& value, procyard::frame_checksum checksum = {})
{
    procyard::error_code ec;
    auto frame = procyard::detail::make_frame(value, 1U << 20U, checksum, ec);
    REQUIRE_FALSE(ec);
    return frame;
}

template <class Send, class Receive>
procyard::detail::frame_hello hello_of()
{
    return procyard::detail::hello_taker<Send, Receive>::ours(1U << 20U);
}

struct sockets {
    explicit sockets(boost::asio::io_context& ctx) : here(ctx), there(ctx)
    {
        boost::asio::local::connect_pair(here, there);
    }

    /// What the peer sends.
    void put(const std::vector<std::byte>& bytes)
    {
        boost::asio::write(there, boost::asio::buffer(bytes));
    }
    template <class T>
    void put_message(const T& value)
    {
        put(frame_of(value));
    }
    template <class Send, class Receive>
    void put_hello()
    {
        put(hello_of<Send, Receive>().to_frame({}));
    }

    /// Until the stream takes nothing any more; returns how many bytes it took.
    std::size_t fill()
    {
        const std::array<char, 4096> bytes{};
        std::size_t sum = 0;
        here.non_blocking(true);
        // The last ones go byte by byte, or less than a buffer's worth would still fit.
        for (const std::size_t size : {bytes.size(), std::size_t{1}}) {
            boost::system::error_code ec;
            while (!ec)
                sum += here.write_some(boost::asio::buffer(bytes.data(), size), ec);
            REQUIRE(ec == boost::asio::error::would_block);
        }
        filled += sum;
        return sum;
    }
    /// What the peer has got beyond that, and all of that.
    std::vector<std::byte> drain()
    {
        std::vector<std::byte> got;
        boost::system::error_code ec;
        there.non_blocking(true);
        while (!ec) {
            std::array<std::byte, 4096> part;
            const auto n = there.read_some(boost::asio::buffer(part), ec);
            got.insert(got.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(n));
        }
        REQUIRE(ec == boost::asio::error::would_block);
        const auto skipped = std::min(filled, got.size());
        filled -= skipped;
        got.erase(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(skipped));
        return got;
    }

    socket_type here;
    socket_type there;
    std::size_t filled = 0;
};

template <class T>
struct links {
    explicit links(boost::asio::io_context& ctx, procyard::framed_options options = {})
        : sockets(ctx),
          left(sockets.here, options),
          right(sockets.there, options)
    {
    }

    procyard_test::sockets sockets;
    procyard::framed<socket_type&, T> left;
    procyard::framed<socket_type&, T> right;
};

}  // namespace procyard_test

#endif
