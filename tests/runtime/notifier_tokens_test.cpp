// SPDX-License-Identifier: BSL-1.0
// What a service awaits of its manager, with every kind of completion token.
#include <procyard/runtime/service_notifier.hpp>

#include <doctest/doctest.h>

#include <boost/asio/io_context.hpp>

#include <utility>

#include "fake_manager.hpp"
#include "token_kinds.hpp"

namespace asio = boost::asio;
using namespace procyard_test;

namespace {

struct of_a_manager {
    explicit of_a_manager(asio::io_context& ctx) : notifier(ctx.get_executor(), its(manager)) { }
    // What it reads it lets go of: a barrier is a descriptor.
    void satisfy() { (void)manager.drain(); }

    static procyard::service_manager its(const fake_manager& there)
    {
        procyard::service_manager made;
        made.socket = there.address();
        return made;
    }
    fake_manager manager{};
    procyard::service_notifier notifier;
};

struct notify : of_a_manager {
    using of_a_manager::of_a_manager;
    auto start(auto&& token)
    {
        return notifier.async_notify(procyard::service_notice().ready(),
                                     std::forward<decltype(token)>(token));
    }
};

struct barrier : of_a_manager {
    using of_a_manager::of_a_manager;
    auto start(auto&& token)
    {
        return notifier.async_barrier(std::forward<decltype(token)>(token));
    }
};

// Of a manager that expects no signs of life: else it would have no end.
struct feed_watchdog : of_a_manager {
    using of_a_manager::of_a_manager;
    auto start(auto&& token)
    {
        return notifier.async_feed_watchdog(std::forward<decltype(token)>(token));
    }
};

}  // namespace

TEST_SUITE("service_notifier: completion tokens")
{
    TEST_CASE("async_notify serves every kind")
    {
        check_every_token<notify>();
    }

    TEST_CASE("async_barrier serves every kind")
    {
        check_every_token<barrier>();
    }

    TEST_CASE("async_feed_watchdog serves every kind")
    {
        check_every_token<feed_watchdog>();
    }
}
