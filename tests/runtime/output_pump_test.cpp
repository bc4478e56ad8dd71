// SPDX-License-Identifier: BSL-1.0
#include "output_pump.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/ipc/pipe.hpp>

#include "procyard_test.hpp"
#include "run_access.hpp"

namespace asio = boost::asio;
using namespace procyard;

namespace {

// A pump on a pipe whose writing end the test holds, as a descendant would.
class pump_fixture final : public detail::pump_owner,
                           public std::enable_shared_from_this<pump_fixture> {
public:
    // Fills the pipe, and lets the pump begin.
    void start(std::size_t bytes, const run_output& target)
    {
        pump = std::make_unique<detail::output_pump>(*this, ctx.get_executor(),
                                                     detail::run_access::sinks(target));
        error_code ec;
        auto ends = make_raw_pipe(ec, {.capacity_bytes = std::size_t{1} << 20});
        REQUIRE_FALSE(ec);
        writer = std::move(ends.write_end);
        reader.assign(std::move(ends.read_end), ec);
        REQUIRE_FALSE(ec);
        const std::string text(bytes, 'x');
        REQUIRE(::write(writer.get(), text.data(), text.size()) == static_cast<ssize_t>(bytes));
        pump->start(reader);
    }

    void finish()
    {
        procyard_test::run_until(ctx, [&] { return done; });
        procyard_test::run(ctx);
    }

    asio::io_context ctx;
    pipe_reader reader{ctx.get_executor()};
    unique_fd writer;
    std::unique_ptr<detail::output_pump> pump;
    bool done = false;

private:
    std::shared_ptr<void> keep_alive() override { return shared_from_this(); }
    void pump_read(detail::output_pump&) override { }
    void pump_limit(detail::output_pump&) override { }
    void pump_sink_failed(detail::output_pump&) override { }
    void pump_done(detail::output_pump&) override
    {
        CHECK_FALSE(done);
        done = true;
    }
};

// Counts the bytes once the gate is readable.
asio::awaitable<void> take_after(pipe_reader& gate, std::size_t& taken, std::string_view bytes)
{
    co_await gate.async_wait_readable(asio::use_awaitable);
    taken += bytes.size();
}

constexpr std::size_t full = std::size_t{1} << 20;  // of one turn, too

}  // namespace

TEST_SUITE("output_pump")
{
    TEST_CASE("a cut takes what is in a held pipe and ends, however much that is")
    {
        for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, full / 2, full}) {
            const auto it = std::make_shared<pump_fixture>();
            it->start(bytes, run_output().capture());
            it->pump->cut();
            it->finish();
            const auto result = it->pump->take_result();
            CHECK(result.data.size() == bytes);
            CHECK(result.held_by_descendant);
        }
    }

    TEST_CASE("a cut that finds the end of the pipe is a complete output")
    {
        const auto it = std::make_shared<pump_fixture>();
        it->start(full, run_output().capture());
        it->writer.reset();
        it->pump->cut();
        it->finish();
        const auto result = it->pump->take_result();
        CHECK(result.data.size() == full);
        CHECK(result.complete());
    }

    TEST_CASE("a cut waits for a sink that takes its time, an abort does not")
    {
        const auto it = std::make_shared<pump_fixture>();
        auto gate = make_pipe(it->ctx.get_executor());
        std::size_t taken = 0;
        it->start(full, run_output().to_coroutine([&](std::string_view bytes) {
            return take_after(gate.reader, taken, bytes);
        }));
        procyard_test::run_until(it->ctx, [&] { return it->pump->is_held_up(); });
        it->pump->cut();
        while (it->ctx.poll() > 0) { }
        CHECK_FALSE(it->done);
        SUBCASE("it lets go")
        {
            error_code ec;
            gate.writer.try_write_some(asio::buffer("x", 1), ec);
            it->finish();
            CHECK(taken == full);
            CHECK(it->pump->take_result().held_by_descendant);
        }
        SUBCASE("it is given up")
        {
            it->pump->abort();
            it->finish();
            const auto result = it->pump->take_result();
            CHECK(taken == 0);
            CHECK(result.aborted);
            REQUIRE(result.sink_failures.size() == 1);
            CHECK(result.sink_failures[0].error == asio::error::operation_aborted);
        }
    }

    TEST_CASE("a turn of the event loop is bounded, so that others have theirs")
    {
        const auto it = std::make_shared<pump_fixture>();
        it->start(full, run_output().capture());
        bool other = false;
        asio::post(it->ctx, [&] { other = true; });
        it->ctx.restart();
        while (!other)
            it->ctx.run_one_for(procyard_test::deadlock_guard);
        CHECK_FALSE(it->done);
        it->writer.reset();
        it->finish();
        CHECK(it->pump->take_result().complete());
    }
}
