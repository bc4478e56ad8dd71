// SPDX-License-Identifier: BSL-1.0
// An operation with every kind of completion token. It is a class as for the operation contract
// (operation_contract.hpp), whose `start` returns what the operation has returned; all of these are
// started before it is satisfied.
#ifndef PROCYARD_TESTS_SUPPORT_TOKEN_KINDS_HPP
#define PROCYARD_TESTS_SUPPORT_TOKEN_KINDS_HPP

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <exception>
#include <tuple>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/config.hpp>

#include "operation_contract.hpp"
#include "procyard_test.hpp"

namespace procyard_test {

template <class Operation>
boost::asio::awaitable<void> by_use_awaitable(Operation& operation, int& good)
{
    (void)co_await operation.start(boost::asio::use_awaitable);
    ++good;
}

template <class Operation>
boost::asio::awaitable<void> by_as_tuple(Operation& operation, int& good)
{
    const auto got = co_await operation.start(boost::asio::as_tuple(boost::asio::use_awaitable));
    good += std::get<0>(got) ? 0 : 1;
}

template <class Operation>
boost::asio::awaitable<void> by_redirect_error(Operation& operation, int& good)
{
    auto ec = boost::asio::error::make_error_code(boost::asio::error::fault);
    (void)co_await operation.start(boost::asio::redirect_error(boost::asio::use_awaitable, ec));
    good += ec ? 0 : 1;
}

template <class Operation>
boost::asio::awaitable<void> by_deferred(Operation& operation, int& good)
{
    auto later = operation.start(boost::asio::deferred);
    (void)co_await std::move(later);
    ++good;
}

template <class Operation>
void check_every_token()
{
    namespace asio = boost::asio;
    asio::io_context ctx;
    Operation operation(ctx);
    int good = 0;
    const auto rethrow = [](const std::exception_ptr& error) {
        if (error)
            std::rethrow_exception(error);
    };
    asio::co_spawn(ctx, by_use_awaitable(operation, good), rethrow);
    asio::co_spawn(ctx, by_as_tuple(operation, good), rethrow);
    asio::co_spawn(ctx, by_redirect_error(operation, good), rethrow);
    asio::co_spawn(ctx, by_deferred(operation, good), rethrow);
    auto future = operation.start(asio::use_future);
    const auto strand = asio::make_strand(ctx);
    ending on_strand;
    bool right_place = false;
    operation.start(asio::bind_executor(
        strand, [&, record = on_strand.handler()](procyard::error_code ec, auto&&...) {
            right_place = strand.running_in_this_thread();
            record(ec);
        }));
    ctx.poll();
    operation.satisfy();
    run(ctx);
    CHECK(good == 4);
    CHECK_NOTHROW((void)future.get());
    CHECK(on_strand.count == 1);
    CHECK_MESSAGE(!on_strand.ec, on_strand.ec.message());
    CHECK(right_place);
    // Deferred starts nothing until it is asked to.
    auto later = operation.start(asio::deferred);
    ctx.restart();
    CHECK(ctx.poll() == 0);
    ending got;
    std::move(later)(got.handler());
    ctx.restart();
    ctx.poll();
    operation.satisfy();
    run(ctx);
    CHECK(got.count == 1);
    CHECK_MESSAGE(!got.ec, got.ec.message());
}

}  // namespace procyard_test

#endif
