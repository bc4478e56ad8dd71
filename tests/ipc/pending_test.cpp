// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/pending.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include <procyard/ipc/syscall.hpp>

#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard_test::outcome;
using procyard_test::run;
using string_pending = procyard::detail::pending<void(error_code, std::string)>;

TEST_SUITE("pending")
{
    TEST_CASE("completes in a later turn, once, with the arguments it is given")
    {
        asio::io_context ctx;
        outcome<error_code, std::string> got;
        string_pending op(ctx.get_executor(), got.handler());
        CHECK(op);
        op.complete(procyard::make_errno(EIO), "text");
        CHECK_FALSE(op);
        CHECK(got.count == 0);
        run(ctx);
        CHECK(got.count == 1);
        CHECK(got.error() == boost::system::errc::io_error);
        CHECK(got.result() == "text");
    }

    TEST_CASE("keeps run() of the I/O executor until it completes")
    {
        asio::io_context ctx;
        outcome<error_code, std::string> got;
        string_pending op(ctx.get_executor(), got.handler());
        ctx.poll();
        CHECK_FALSE(ctx.stopped());
        op.complete({}, "late");
        run(ctx);
        CHECK(got.result() == "late");
    }

    TEST_CASE("runs a handler on the handler's own executor and keeps that one's run() too")
    {
        asio::io_context io;
        asio::io_context other;
        outcome<error_code, std::string> got;
        string_pending op(io.get_executor(),
                          asio::bind_executor(other.get_executor(), got.handler()));
        other.poll();
        CHECK_FALSE(other.stopped());
        op.complete({}, "there");
        run(io);
        CHECK(got.count == 0);
        run(other);
        CHECK(got.result() == "there");
    }

    TEST_CASE("complete_now stays in the turn when the handler belongs there")
    {
        asio::io_context ctx;
        outcome<error_code, std::string> got;
        string_pending op(ctx.get_executor(), got.handler());
        bool same_turn = false;
        asio::post(ctx, [&] {
            op.complete_now({}, "now");
            same_turn = got.done();
        });
        run(ctx);
        CHECK(same_turn);
    }

    TEST_CASE("call_now calls where it is called, but a handler that belongs elsewhere")
    {
        asio::io_context io;
        asio::io_context other;
        outcome<error_code, std::string> here;
        outcome<error_code, std::string> there;
        outcome<error_code, std::string> erased;
        string_pending stays(io.get_executor(), here.handler());
        string_pending goes(io.get_executor(),
                            asio::bind_executor(other.get_executor(), there.handler()));
        // What it belongs to cannot be told: the executor is asked, in a turn of which it stays.
        string_pending unknown(io.get_executor(), string_pending::handler_type(erased.handler()));
        bool same_turn = false;
        asio::post(io, [&] {
            stays.call_now({}, "here");
            goes.call_now({}, "there");
            unknown.call_now({}, "erased");
            same_turn = here.done() && erased.done();
        });
        run(io);
        CHECK(same_turn);
        CHECK(here.result() == "here");
        CHECK(erased.result() == "erased");
        CHECK(there.count == 0);
        run(other);
        CHECK(there.result() == "there");
    }

    TEST_CASE("what the handler throws comes out of call_now, and the work is gone")
    {
        asio::io_context ctx;
        string_pending op(ctx.get_executor(), [](const error_code&, const std::string&) {
            throw std::runtime_error("thrown");
        });
        CHECK_THROWS_WITH(op.call_now({}, ""), "thrown");
        CHECK_FALSE(op);
        run(ctx);
    }

    TEST_CASE("the cancellation slot of the handler can be reached")
    {
        asio::io_context ctx;
        asio::cancellation_signal signal;
        outcome<error_code, std::string> got;
        string_pending op(ctx.get_executor(),
                          asio::bind_cancellation_slot(signal.slot(), got.handler()));
        auto slot = op.get_cancellation_slot();
        REQUIRE(slot.is_connected());
        slot.assign(
            [&](asio::cancellation_type) { op.complete(asio::error::operation_aborted, {}); });
        signal.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
        CHECK_FALSE(op.get_cancellation_slot().is_connected());
    }

    TEST_CASE("a move leaves an empty object and carries the work along")
    {
        asio::io_context ctx;
        outcome<error_code, std::string> got;
        string_pending a(ctx.get_executor(), got.handler());
        string_pending b(std::move(a));
        CHECK_FALSE(a);
        a = std::move(b);
        CHECK_FALSE(b);
        ctx.poll();
        CHECK_FALSE(ctx.stopped());
        a.complete({}, "moved");
        run(ctx);
        CHECK(got.result() == "moved");
    }

    TEST_CASE("destroying it destroys the handler and releases the work")
    {
        asio::io_context ctx;
        auto token = std::make_shared<int>(0);
        {
            string_pending op(ctx.get_executor(), [token](error_code, std::string) { });
            CHECK(token.use_count() == 2);
        }
        CHECK(token.use_count() == 1);
        run(ctx);
    }

    TEST_CASE("the handler may start the next operation into the same object")
    {
        asio::io_context ctx;
        string_pending op;
        outcome<error_code, std::string> second;
        op = string_pending(ctx.get_executor(), [&](error_code, std::string) {
            op = string_pending(ctx.get_executor(), second.handler());
            op.complete({}, "second");
        });
        op.complete({}, "first");
        run(ctx);
        CHECK(second.result() == "second");
    }

    TEST_CASE("completing from another thread is safe")
    {
        asio::io_context ctx;
        outcome<error_code, std::string> got;
        string_pending op(ctx.get_executor(), got.handler());
        std::thread completer([&op] { op.complete({}, "thread"); });
        run(ctx);
        completer.join();
        CHECK(got.result() == "thread");
    }
}
