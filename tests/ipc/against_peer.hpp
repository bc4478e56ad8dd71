// SPDX-License-Identifier: BSL-1.0
// Honest ends against raw peers.
#ifndef PROCYARD_TESTS_IPC_AGAINST_PEER_HPP
#define PROCYARD_TESTS_IPC_AGAINST_PEER_HPP

#include <boost/asio/io_context.hpp>

#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/channel.hpp>

#include "channel_fixture.hpp"
#include "raw_peer.hpp"

namespace procyard_test {

/// A receiver against a raw sender, connected.
template <class T>
struct against_producer {
    explicit against_producer(const procyard::channel_options& options)
        : ends(procyard::make_channel<T>(options)),
          peer(procyard::detail::ring_role::producer, std::move(ends.sender).take(), options),
          end(ctx.get_executor(), std::move(ends.receiver))
    {
        peer.greet();
        peer.meet();
        peer.let_go();
        CHECK_FALSE(end.try_receive());
        REQUIRE(end.is_connected());
    }
    /// What comes of one receive that waits, and of all that follow.
    procyard::error_code receive_error()
    {
        outcome<procyard::error_code, T> received;
        end.async_receive(received.handler());
        run(ctx);
        procyard::error_code ec;
        T message{};
        CHECK_FALSE(end.try_receive(message, ec));
        CHECK(ec == received.error());
        CHECK_FALSE(end.is_open());
        return received.error();
    }

    boost::asio::io_context ctx;
    procyard::unopened_channel<T> ends;
    raw_peer<T> peer;
    procyard::receiver<T> end;
};

/// A sender against a raw receiver.
template <class T>
struct against_consumer {
    explicit against_consumer(const procyard::channel_options& options)
        : ends(procyard::make_channel<T>(options)),
          peer(procyard::detail::ring_role::consumer, std::move(ends.receiver).take(), options),
          end(ctx.get_executor(), std::move(ends.sender))
    {
        peer.greet();
        peer.meet();
        peer.let_go();
    }

    boost::asio::io_context ctx;
    procyard::unopened_channel<T> ends;
    raw_peer<T> peer;
    procyard::sender<T> end;
};

}  // namespace procyard_test

#endif
