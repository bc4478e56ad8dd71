// SPDX-License-Identifier: BSL-1.0
// A listener that gives a subscription, a reader of a latest value or a consumer's end to a client
// in this thread, or whatever it is told to. For tests with INTERNALS ipc.
#ifndef PROCYARD_TESTS_IPC_RAW_GIVER_HPP
#define PROCYARD_TESTS_IPC_RAW_GIVER_HPP

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/channel_connect.hpp>
#include <procyard/ipc/latest_value.hpp>
#include <procyard/ipc/unix_socket.hpp>
#include <procyard/ipc/work_queue.hpp>

#include "connection_messages.hpp"
#include "connection_packet.hpp"
#include "listener_fixture.hpp"
#include "raw_listener.hpp"

namespace procyard_test {

/// Who has what is given out, and is honest.
template <class T>
struct end_owner {
    boost::asio::io_context ctx;
    procyard::broadcaster<T> broadcast{ctx.get_executor(), {.capacity_messages = 4}};
    procyard::latest_value<T> latest{ctx.get_executor()};
    procyard::work_queue<T> queue{ctx.get_executor()};

    template <class End>
    procyard::unique_fd make()
    {
        if constexpr (std::same_as<End, procyard::subscriber<T>>)
            return broadcast.subscribe().take();
        else if constexpr (std::same_as<End, procyard::latest_reader<T>>)
            return latest.subscribe().take();
        else
            return queue.consumer().take();
    }
    // How many it still has to do with, once it has looked.
    std::size_t clients()
    {
        (void)broadcast.try_send(T());
        (void)latest.store(T());
        ctx.restart();
        ctx.poll();
        return broadcast.readers() + latest.readers() + queue.statistics().consumers;
    }
};

inline std::pair<procyard::unique_fd, procyard::unique_fd> socket_pair()
{
    procyard::error_code ec;
    auto made = procyard::make_raw_socket_pair(SOCK_SEQPACKET, ec);
    REQUIRE_FALSE(ec);
    return {std::move(made.first), std::move(made.second)};
}

/// What lies in the socket that an end is until it is opened.
struct end_letter {
    explicit end_letter(const procyard::unique_fd& from)
        : bytes(procyard::detail::max_connection_bytes)
    {
        procyard::error_code ec;
        const auto got = procyard::detail::receive_packet(from.get(), bytes, own, ec);
        REQUIRE_FALSE(ec);
        REQUIRE(got.descriptors == own.size());
        bytes.resize(got.bytes);
        fds = {own[0].get(), own[1].get()};
    }
    std::vector<std::byte> bytes;
    std::array<procyard::unique_fd, 2> own;
    std::vector<int> fds;
};

/// A client that has asked, and whom it has asked: one that accepts, and gives what it is told to.
template <class End>
struct raw_giver {
    raw_giver()
    {
        procyard::detail::connection_answer honest;
        honest.side = procyard::detail::side_of(procyard::detail::end_kind<End>::opposite());
        listener.answer = procyard::detail::to_bytes(honest);
        listener.answer_fds.clear();
        procyard::async_connect<End>(
            client.ctx.get_executor(), where.path, {}, client.failure,
            boost::asio::bind_cancellation_slot(deadline.slot(), client.connected.handler()));
        client.ctx.poll();
        listener.accept();
        listener.read_request();
    }
    void give(procyard::unique_fd end)
    {
        listener.answer_fds.push_back(end.get());
        kept.push_back(std::move(end));
    }
    // A socket in which that lies.
    void give(const end_letter& what)
    {
        auto ends = socket_pair();
        send_packet(ends.first.get(), what.bytes, what.fds);
        kept.push_back(std::move(ends.first));
        give(std::move(ends.second));
    }
    // Runs the client to its end.
    procyard::error_code told()
    {
        const auto ec = client.told();
        CHECK(client.failure.peer.pid == ::getpid());
        CHECK(client.end().is_open() == !ec);
        return ec;
    }
    procyard::error_code answer()
    {
        listener.reply();
        listener.confirm();
        return told();
    }

    socket_place where;
    raw_listener<std::uint64_t> listener{where.path};
    boost::asio::cancellation_signal deadline;
    connecting<End> client;
    std::vector<procyard::unique_fd> kept;
};

}  // namespace procyard_test

#endif
