// SPDX-License-Identifier: BSL-1.0
// What the tests of channel_listener and async_connect have in common.
#ifndef PROCYARD_TESTS_IPC_LISTENER_FIXTURE_HPP
#define PROCYARD_TESTS_IPC_LISTENER_FIXTURE_HPP

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/channel_connect.hpp>
#include <procyard/ipc/channel_listener.hpp>

#include "procyard_test.hpp"
#include "socket_place.hpp"

namespace procyard_test {

/// Runs the contexts of both sides, in turns and in this thread, until `done()`.
template <class Predicate>
void run_both(boost::asio::io_context& a, boost::asio::io_context& b, Predicate done)
{
    const auto end = std::chrono::steady_clock::now() + deadlock_guard;
    while (!done()) {
        if (std::chrono::steady_clock::now() >= end)
            FAIL("hung");
        a.restart();
        a.poll();
        b.restart();
        b.poll();
    }
}

/// Gives a client as long as a test may take, so that no honest one is cut off on a busy machine.
inline procyard::channel_listen_options patient(procyard::channel_listen_options options = {})
{
    if (options.deadline == procyard::channel_listen_options{}.deadline)
        options.deadline = deadlock_guard;
    return options;
}

/// A listener of either kind, what it has accepted, and whom it has sent away.
template <class Listener, class Accepted>
struct recorded_listener {
    explicit recorded_listener(procyard::channel_listen_options options = {})
        : listener(ctx.get_executor(), where.path, with_record(patient(std::move(options))))
    {
    }

    /// Starts an accept, of which `accepted` says the result.
    void accept() { listener.async_accept(accepted.handler()); }
    /// Runs until somebody more has been sent away; who that was.
    const procyard::channel_refusal& next_refusal()
    {
        const auto before = refusals.size();
        run_until(ctx, [&] { return refusals.size() > before; });
        return refusals.back();
    }

    socket_place where;
    boost::asio::io_context ctx;
    std::vector<procyard::channel_refusal> refusals;
    Listener listener;
    outcome<procyard::error_code, Accepted> accepted;

private:
    procyard::channel_listen_options with_record(procyard::channel_listen_options options)
    {
        options.on_refusal = [this](const procyard::channel_refusal& r) { refusals.push_back(r); };
        return options;
    }
};

/// One that makes a channel for each client.
template <class End>
struct listening : recorded_listener<procyard::channel_listener<End>, procyard::accepted_end<End>> {
    using recorded_listener<procyard::channel_listener<End>,
                            procyard::accepted_end<End>>::recorded_listener;
};

/// A client in a context of its own.
template <class End>
struct connecting {
    void start(const procyard::channel_address& address,
               procyard::channel_connect_options options = {})
    {
        procyard::async_connect<End>(ctx.get_executor(), address, std::move(options), failure,
                                     connected.handler());
    }
    procyard::error_code error() { return connected.error(); }
    End& end() { return connected.result(); }
    /// Runs to its end: what it is told, once, and its explanation is of that.
    procyard::error_code told()
    {
        run(ctx);
        CHECK(connected.count == 1);
        CHECK(error() == failure.code);
        return error();
    }

    boost::asio::io_context ctx;
    procyard::connect_failure failure;
    outcome<procyard::error_code, End> connected;
};

/// Lets a client in, and returns when both sides have their ends.
template <class Ours, class Theirs>
void meet(listening<Ours>& server, connecting<Theirs>& client,
          procyard::channel_connect_options options = {})
{
    server.accept();
    client.start(server.where.path, std::move(options));
    run_both(server.ctx, client.ctx,
             [&] { return server.accepted.done() && client.connected.done(); });
    REQUIRE_MESSAGE(!server.accepted.error(), server.accepted.error().message());
    REQUIRE_MESSAGE(!client.error(), client.error().message());
}

/// What both sides say of a client that does not get in.
struct rejection {
    procyard::channel_refusal here;
    procyard::connect_failure there;
};

template <class Server, class Theirs>
rejection reject_by(procyard::channel_listen_options ours = {},
                    procyard::channel_connect_options theirs = {})
{
    const descriptor_check no_leak;
    Server server(std::move(ours));
    connecting<Theirs> client;
    server.accept();
    client.start(server.where.path, std::move(theirs));
    run_both(server.ctx, client.ctx,
             [&] { return !server.refusals.empty() && client.connected.done(); });
    CHECK_FALSE(server.accepted.done());
    CHECK(client.error() == client.failure.code);
    if constexpr (requires { client.end().is_open(); })
        CHECK_FALSE(client.end().is_open());
    return {server.refusals.back(), client.failure};
}
template <class Ours, class Theirs>
rejection reject(procyard::channel_listen_options ours = {},
                 procyard::channel_connect_options theirs = {})
{
    return reject_by<listening<Ours>, Theirs>(std::move(ours), std::move(theirs));
}

}  // namespace procyard_test

#endif
