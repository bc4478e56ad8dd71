// SPDX-License-Identifier: BSL-1.0
// The tests that every asynchronous operation has to pass, written once. An operation is a class:
//
//   struct read_some {
//       explicit read_some(asio::io_context& ctx);   // ready to start; would wait
//       void start(auto&& token);                    // starts the operation
//       void satisfy();                              // makes it complete with success
//       void break_it();                             // before start: makes it fail
//       error_code breakage() const;                 // with this error
//       void destroy();                              // destroys the object it was started on
//   };
//   PROCYARD_OPERATION_CONTRACT(read_some)           // inside a TEST_SUITE
#ifndef PROCYARD_TESTS_SUPPORT_OPERATION_CONTRACT_HPP
#define PROCYARD_TESTS_SUPPORT_OPERATION_CONTRACT_HPP

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <memory>
#include <optional>

#include <doctest/doctest.h>

#include <procyard/ipc/config.hpp>

#include "procyard_test.hpp"

namespace procyard_test {

/// How an operation ended, whatever else it hands out.
struct ending {
    int count = 0;
    procyard::error_code ec{};

    [[nodiscard]] auto handler()
    {
        return [this](procyard::error_code got, auto&&...) {
            ++count;
            ec = got;
        };
    }
};

template <class Operation>
void check_success()
{
    boost::asio::io_context ctx;
    Operation operation(ctx);
    ending got;
    operation.start(got.handler());
    operation.satisfy();
    CHECK_MESSAGE(got.count == 0, "completed inside the initiating function");
    run(ctx);
    CHECK(got.count == 1);
    CHECK_MESSAGE(!got.ec, got.ec.message());
}

template <class Operation>
void check_success_after_a_wait()
{
    boost::asio::io_context ctx;
    Operation operation(ctx);
    ending got;
    operation.start(got.handler());
    ctx.poll();
    CHECK_MESSAGE(got.count == 0, "did not wait");
    CHECK_MESSAGE(!ctx.stopped(), "a pending operation is outstanding work");
    operation.satisfy();
    run(ctx);
    CHECK(got.count == 1);
    CHECK_MESSAGE(!got.ec, got.ec.message());
}

template <class Operation>
void check_immediate_error()
{
    boost::asio::io_context ctx;
    Operation operation(ctx);
    operation.break_it();
    ending got;
    operation.start(got.handler());
    CHECK_MESSAGE(got.count == 0, "completed inside the initiating function");
    run(ctx);
    CHECK(got.count == 1);
    CHECK(got.ec == operation.breakage());
}

/// Cancelled in state `waiting` or before its first turn, an operation has done nothing: the next
/// one does the whole work.
template <class Operation>
void check_cancellation(boost::asio::cancellation_type type, bool waiting)
{
    namespace asio = boost::asio;
    asio::io_context ctx;
    Operation operation(ctx);
    asio::cancellation_signal signal;
    ending first;
    operation.start(asio::bind_cancellation_slot(signal.slot(), first.handler()));
    if (waiting)
        ctx.poll();
    signal.emit(type);
    CHECK_MESSAGE(first.count == 0, "completed inside emit()");
    operation.satisfy();
    run(ctx);
    CHECK(first.count == 1);
    CHECK(first.ec == asio::error::operation_aborted);

    ending second;
    operation.start(second.handler());
    run(ctx);
    CHECK(second.count == 1);
    CHECK_MESSAGE(!second.ec, second.ec.message());

    signal.emit(type);  // late: concerns nobody any more
    run(ctx);
    CHECK(first.count == 1);
}

template <class Operation>
void check_destruction(bool waiting)
{
    boost::asio::io_context ctx;
    auto operation = std::make_unique<Operation>(ctx);
    ending got;
    operation->start(got.handler());
    if (waiting)
        ctx.poll();
    operation->destroy();
    CHECK_MESSAGE(got.count == 0, "completed inside the destructor");
    run(ctx);
    CHECK(got.count == 1);
    CHECK(got.ec == boost::asio::error::operation_aborted);
}

/// The I/O executor makes progress on one context, the handler belongs to another. A composed
/// operation goes to and fro between them.
template <class Operation>
void check_other_executor()
{
    boost::asio::io_context ctx;
    boost::asio::io_context other;
    const auto there = other.get_executor();
    Operation operation(ctx);
    ending got;
    bool right_place = false;
    operation.start(boost::asio::bind_executor(
        there, [&, record = got.handler()](procyard::error_code ec, auto&&...) {
            right_place = there.running_in_this_thread();
            record(ec);
        }));
    other.poll();
    CHECK_MESSAGE(!other.stopped(), "the handler's executor has outstanding work too");
    operation.satisfy();
    const auto end = std::chrono::steady_clock::now() + deadlock_guard;
    while (got.count == 0) {
        REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, "hung");
        ctx.restart();
        ctx.poll();
        CHECK_MESSAGE(got.count == 0, "ran on the wrong executor");
        other.restart();
        other.poll();
    }
    CHECK(got.count == 1);
    CHECK(right_place);
    CHECK_MESSAGE(!got.ec, got.ec.message());
}

/// The io_context goes with the operation in it: the handler is destroyed and not called.
template <class Operation>
void check_context_destruction(bool waiting)
{
    auto alive = std::make_shared<int>(0);
    bool called = false;
    {
        std::optional<boost::asio::io_context> ctx(std::in_place);
        auto operation = std::make_unique<Operation>(*ctx);
        operation->start([alive, &called](procyard::error_code, auto&&...) { called = true; });
        if (waiting)
            ctx->poll();
        operation.reset();
        ctx.reset();
    }
    CHECK_FALSE(called);
    CHECK(alive.use_count() == 1);
}

}  // namespace procyard_test

#define PROCYARD_OPERATION_CONTRACT(Operation)                                                     \
    TEST_CASE(#Operation ": succeeds, in a later turn")                                            \
    {                                                                                              \
        procyard_test::check_success<Operation>();                                                 \
    }                                                                                              \
    TEST_CASE(#Operation ": waits until it can succeed")                                           \
    {                                                                                              \
        procyard_test::check_success_after_a_wait<Operation>();                                    \
    }                                                                                              \
    TEST_CASE(#Operation ": an immediate error comes in a later turn")                             \
    {                                                                                              \
        procyard_test::check_immediate_error<Operation>();                                         \
    }                                                                                              \
    TEST_CASE(#Operation ": cancelled before its first turn, it has done nothing")                 \
    {                                                                                              \
        using type = boost::asio::cancellation_type;                                               \
        for (const auto each : {type::terminal, type::partial, type::total})                       \
            procyard_test::check_cancellation<Operation>(each, false);                             \
    }                                                                                              \
    TEST_CASE(#Operation ": cancelled while it waits, it has done nothing")                        \
    {                                                                                              \
        using type = boost::asio::cancellation_type;                                               \
        for (const auto each : {type::terminal, type::partial, type::total})                       \
            procyard_test::check_cancellation<Operation>(each, true);                              \
    }                                                                                              \
    TEST_CASE(#Operation ": completes with operation_aborted when its object is destroyed")        \
    {                                                                                              \
        procyard_test::check_destruction<Operation>(false);                                        \
        procyard_test::check_destruction<Operation>(true);                                         \
    }                                                                                              \
    TEST_CASE(#Operation ": runs its handler on the handler's executor")                           \
    {                                                                                              \
        procyard_test::check_other_executor<Operation>();                                          \
    }                                                                                              \
    TEST_CASE(#Operation ": goes down with its io_context without a call")                         \
    {                                                                                              \
        procyard_test::check_context_destruction<Operation>(false);                                \
        procyard_test::check_context_destruction<Operation>(true);                                 \
    }

#endif
