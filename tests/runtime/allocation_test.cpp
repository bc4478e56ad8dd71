// SPDX-License-Identifier: BSL-1.0
// This program counts its allocations: how many a spawn and a wait make.
#include <procyard/runtime/spawn.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <cstddef>

#include <doctest/doctest.h>

#include "allocations.hpp"

namespace asio = boost::asio;
using namespace procyard;
using procyard_test::allocations;

namespace {

struct counts {
    std::size_t per_spawn = 0;
    std::size_t per_wait = 0;
};

// The figures of docs/performance.md ("Allocations"), which a change has to change as well.
constexpr counts with_a_callback{2, 5};
constexpr counts in_a_coroutine{2, 7};
constexpr std::size_t per_pipe = 1;
constexpr std::size_t spawn_with_options = 5;

constexpr int warm_up = 10;  // until every recycled block of Asio has its size
constexpr int counted = 50;

// The most that one of many children takes. All tests here call run() and not the bounded
// run_for(): that one makes a new cache of recycled memory for each handler. The guard against a
// hang is ctest's.
class measurement {
public:
    child& spawn_counted(const command& what, asio::io_context& ctx)
    {
        before_ = allocations();
        child_ = spawn(what, ctx.get_executor());
        started_ = allocations();
        return child_;
    }
    // False when there is nothing more to measure.
    bool end_counted()
    {
        if (++rounds_ > warm_up) {
            most_.per_spawn = std::max(most_.per_spawn, started_ - before_);
            most_.per_wait = std::max(most_.per_wait, allocations() - started_);
        }
        return rounds_ < warm_up + counted;
    }
    [[nodiscard]] counts most() const
    {
        REQUIRE(rounds_ == warm_up + counted);
        return most_;
    }

private:
    child child_;
    std::size_t before_ = 0;
    std::size_t started_ = 0;
    int rounds_ = 0;
    counts most_;
};

// Each child is started by the handler of the one before.
counts of_callbacks(const command& what)
{
    asio::io_context ctx;
    measurement seen;
    struct handler {
        asio::io_context& ctx;
        const command& what;
        measurement& seen;
        void next() const { seen.spawn_counted(what, ctx).async_wait(*this); }
        void operator()(error_code, exit_status) const
        {
            if (seen.end_counted())
                next();
        }
    };
    asio::post(ctx, [&] { handler{ctx, what, seen}.next(); });
    ctx.run();
    return seen.most();
}

counts of_a_coroutine(const command& what)
{
    asio::io_context ctx;
    measurement seen;
    asio::co_spawn(
        ctx,
        [&]() -> asio::awaitable<void> {
            do {
                co_await seen.spawn_counted(what, ctx).async_wait();
            } while (seen.end_counted());
        },
        asio::detached);
    ctx.run();
    return seen.most();
}

// One mechanism, whatever this machine has: a cgroup's leaf takes memory for its path.
command plain()
{
    return command("/bin/true").tree(tree_mode::process_group);
}

void check_at_most(const counts& seen, const counts& documented)
{
    CHECK(seen.per_spawn <= documented.per_spawn);
    CHECK(seen.per_wait <= documented.per_wait);
}

}  // namespace

TEST_SUITE("allocations")
{
    TEST_CASE("of a spawn, and of a wait with a callback")
    {
        check_at_most(of_callbacks(plain()), with_a_callback);
    }

    TEST_CASE("of a spawn, and of a wait in a coroutine")
    {
        check_at_most(of_a_coroutine(plain()), in_a_coroutine);
    }

    TEST_CASE("each pipe costs a spawn one more")
    {
        const auto piped =
            plain().std_in(stdio::pipe()).std_out(stdio::pipe()).std_err(stdio::pipe());
        auto expected = in_a_coroutine;
        expected.per_spawn += 3 * per_pipe;
        check_at_most(of_a_coroutine(piped), expected);
    }

    TEST_CASE("options cost little, a new environment its variables")
    {
        const auto full = plain()
                              .args({"a", "b"})
                              .env_clear()
                              .env("A", "1")
                              .working_directory("/")
                              .umask(022)
                              .limit(RLIMIT_CORE, 0);
        CHECK(of_a_coroutine(full).per_spawn <= spawn_with_options);
    }
}
