// SPDX-License-Identifier: BSL-1.0
// A listener that lacks memory, at each place where it takes some.
#include <procyard/ipc/channel_listener.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/system/errc.hpp>

#include <algorithm>
#include <cstddef>
#include <new>

#include <doctest/doctest.h>

#include "allocations.hpp"
#include "listener_fixture.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::receiver;
using procyard::sender;
using procyard_test::connecting;
using procyard_test::failing_allocation;
using procyard_test::listening;
using procyard_test::run_both;

namespace {

// One turn, in which the allocation after `skipped` others fails. Whether there were as many; else
// `skipped` is less by those there were.
bool poll_without_memory(asio::io_context& ctx, std::size_t& skipped, bool& has_thrown)
{
    ctx.restart();
    const auto before = procyard_test::allocations();
    const failing_allocation none(skipped + 1);
    try {
        ctx.poll_one();
    } catch (const std::bad_alloc&) {
        has_thrown = true;
    }
    const auto taken = procyard_test::allocations() - before;
    skipped -= std::min(skipped, taken);
    return none.has_failed();
}

// What happens when an allocation of the listener's fails, the one after `skipped` others. False:
// there are not so many.
bool fails_and_goes_on(std::size_t skipped)
{
    CAPTURE(skipped);
    const procyard_test::descriptor_check no_leak;
    listening<receiver<int>> server;
    connecting<sender<int>> client;
    server.accept();
    server.ctx.poll();
    client.start(server.where.path);
    client.ctx.poll();
    bool failed = false;
    bool has_thrown = false;
    for (int turn = 0; turn < 100 && !failed && !client.connected.done(); ++turn) {
        failed = poll_without_memory(server.ctx, skipped, has_thrown);
        if (!failed) {
            client.ctx.restart();
            client.ctx.poll();
        }
    }
    CHECK_FALSE(has_thrown);
    run_both(server.ctx, client.ctx,
             [&] { return server.accepted.done() || client.connected.done(); });
    if (server.accepted.done() && server.accepted.error())
        CHECK(server.accepted.error() == errc::not_enough_memory);
    // Whatever that was, the next client gets in.
    connecting<sender<int>> next;
    next.start(server.where.path);
    run_both(server.ctx, next.ctx, [&] {
        if (server.accepted.done()) {
            server.accepted = {};
            server.accept();
        }
        return next.connected.done();
    });
    CHECK_FALSE(next.error());
    return failed;
}

}  // namespace

TEST_SUITE("channel_listener: no memory left")
{
    TEST_CASE("wherever that is: run() goes on, and so does the listener")
    {
        std::size_t places = 0;
        while (fails_and_goes_on(places))
            REQUIRE(++places < 200);
        CHECK(places > 5);
    }
}
