// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/pipe.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <array>
#include <string>

#include <doctest/doctest.h>

#include "allocations.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::make_pipe;
using procyard_test::allocations;

namespace {

constexpr int warm_up = 10;  // until every recycled block of Asio has its size
constexpr int counted = 100;

// All tests here call run() and not the bounded run_for(): that one makes a new cache of recycled
// memory for each handler. The guard against a hang is ctest's.

}  // namespace

TEST_SUITE("pipe allocations")
{
    TEST_CASE("a read that follows a read with a callback allocates nothing")
    {
        asio::io_context ctx;
        auto pipe = make_pipe(ctx.get_executor());
        error_code ec;
        pipe.writer.try_write_some(asio::buffer(std::string(warm_up + counted, 'x')), ec);
        std::array<char, 1> byte{};
        std::size_t spent = 0;
        std::size_t before = 0;
        int round = 0;
        struct handler {
            procyard::pipe_pair& pipe;
            std::array<char, 1>& byte;
            int& round;
            std::size_t& before;
            std::size_t& spent;
            void operator()(error_code, std::size_t) const
            {
                if (++round == warm_up)
                    before = allocations();
                if (round == warm_up + counted)
                    spent = allocations() - before;
                else
                    pipe.reader.async_read_some(asio::buffer(byte), *this);
            }
        };
        pipe.reader.async_read_some(asio::buffer(byte), handler{pipe, byte, round, before, spent});
        ctx.run();
        CHECK(round == warm_up + counted);
        CHECK(spent == 0);
    }

    TEST_CASE("reads and writes of a coroutine allocate nothing, waiting or not")
    {
        asio::io_context ctx;
        auto there = make_pipe(ctx.get_executor());
        auto back = make_pipe(ctx.get_executor());
        std::size_t spent = 0;
        int echoed = 0;
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                std::size_t before = 0;
                for (int i = 0; i < warm_up + counted; ++i) {
                    if (i == warm_up)
                        before = allocations();
                    char byte = 'x';
                    co_await there.writer.async_write_some(asio::buffer(&byte, 1));
                    co_await back.reader.async_read_some(asio::buffer(&byte, 1));
                }
                spent = allocations() - before;
            },
            asio::detached);
        asio::co_spawn(
            ctx,
            [&]() -> asio::awaitable<void> {
                for (int i = 0; i < warm_up + counted; ++i, ++echoed) {
                    char byte = 0;
                    co_await there.reader.async_read_some(asio::buffer(&byte, 1));
                    co_await back.writer.async_write_some(asio::buffer(&byte, 1));
                }
            },
            asio::detached);
        ctx.run();
        CHECK(echoed == warm_up + counted);
        CHECK(spent == 0);
    }
}
