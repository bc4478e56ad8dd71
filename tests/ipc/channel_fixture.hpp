// SPDX-License-Identifier: BSL-1.0
// What the tests of channels have in common: ends in two places, full rings, and a peer's process.
#ifndef PROCYARD_TESTS_IPC_CHANNEL_FIXTURE_HPP
#define PROCYARD_TESTS_IPC_CHANNEL_FIXTURE_HPP

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/channel.hpp>

#include "forked.hpp"
#include "procyard_test.hpp"

namespace procyard_test {

/// Runs a coroutine to its end; an exception fails the test.
template <class Coroutine>
void run_coroutine(boost::asio::io_context& ctx, Coroutine coroutine)
{
    bool finished = false;
    boost::asio::co_spawn(ctx, std::move(coroutine), [&](std::exception_ptr failure) {
        finished = true;
        if (failure)
            std::rethrow_exception(failure);
    });
    run(ctx);
    CHECK(finished);
}

/// Puts as many of these in as there is room for. How many that were.
template <class T>
std::size_t fill(procyard::sender<T>& sender, const T& message = {})
{
    std::size_t sent = 0;
    procyard::error_code ec;
    while (sender.try_send(message, ec))
        ++sent;
    REQUIRE(ec == boost::asio::error::would_block);
    return sent;
}

/// Takes all that is there. How many that were.
template <class T>
std::size_t drain(procyard::receiver<T>& receiver)
{
    std::size_t received = 0;
    T message{};
    procyard::error_code ec;
    while (receiver.try_receive(message, ec))
        ++received;
    return received;
}

/// A copy of this process with one end of a channel, while the test keeps the other: each closes
/// what is not its own. `body(unopened<sender<T>>)` runs there, and returns the exit code.
template <class T>
class sending_process : public forked {
public:
    template <class Body>
    sending_process(procyard::unopened_channel<T>& ends, Body body)
        : forked([&] {
              ends.receiver = {};
              return body(std::move(ends.sender));
          })
    {
        ends.sender = {};
    }
};

template <class T>
class receiving_process : public forked {
public:
    template <class Body>
    receiving_process(procyard::unopened_channel<T>& ends, Body body)
        : forked([&] {
              ends.sender = {};
              return body(std::move(ends.receiver));
          })
    {
        ends.receiver = {};
    }
};

}  // namespace procyard_test

#endif
