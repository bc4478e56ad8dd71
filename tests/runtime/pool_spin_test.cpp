// SPDX-License-Identifier: BSL-1.0
// Workers whose channels spin before they sleep.
#include <procyard/runtime/process_pool.hpp>

#include <doctest/doctest.h>

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <utility>

#include "pool_fixture.hpp"
#include "skip.hpp"

using namespace procyard_test;
using namespace std::chrono_literals;

namespace {

procyard::pool_options spinning(std::chrono::nanoseconds spin)
{
    auto options = of_workers(1);
    options.channels.spin = spin;
    return options;
}

// How often it has gone to sleep by itself.
std::uint64_t waits_of(std::int64_t pid)
{
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    const std::string wanted = "voluntary_ctxt_switches:";
    std::string word;
    std::uint64_t count = 0;
    while (status >> word && word != wanted) { }
    status >> count;
    REQUIRE_FALSE(status.fail());
    return count;
}

// As it was started with.
std::string environment_of(pid_t pid)
{
    std::ifstream file("/proc/" + std::to_string(pid) + "/environ");
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_SUITE("process_pool: spinning")
{
    TEST_CASE("a worker looks for its next task as long as the pool's channels do, and finds it")
    {
        if (std::thread::hardware_concurrency() < 2)
            return skip("there is one processor, and nobody spins on it");
        constexpr std::uint64_t tasks = 200;
        pooled pool(spinning(50ms));
        pool.must_start();
        const auto worker = pool.call(make_work("square", 2)).pid;
        const auto before = waits_of(worker);
        for (std::uint64_t n = 0; n < tasks; ++n)
            REQUIRE(pool.call(make_work("square", n)).number == n * n);
        const auto waits = waits_of(worker) - before;
        CHECK_MESSAGE(waits < tasks / 2, waits, " of ", tasks);
        pool.stop();
    }

    TEST_CASE("what tells a worker how long to spin is not there for the worker's children")
    {
        pooled pool(spinning(1us));
        pool.must_start();
        CHECK(pool.call(make_work("environment", 0, "PROCYARD_POOL_SPIN_NS")).text == "(none)");
        pool.stop();
    }

    TEST_CASE(
        "what this process was told of spinning itself is not told to a worker that shall not")
    {
        REQUIRE(::setenv("PROCYARD_POOL_SPIN_NS", "1000", 1) == 0);
        for (const bool by_command : {false, true}) {
            CAPTURE(by_command);
            auto program = pool_worker();
            if (by_command)
                program.env("PROCYARD_POOL_SPIN_NS", "7");
            pooled pool(of_workers(1), "work", std::move(program));
            pool.must_start();
            const auto told = environment_of(pool.it->workers().front());
            CHECK((told.find("PROCYARD_POOL_SPIN_NS=7") != std::string::npos) == by_command);
            CHECK_MESSAGE(told.find("PROCYARD_POOL_SPIN_NS=1000") == std::string::npos, told);
            pool.stop();
        }
        REQUIRE(::unsetenv("PROCYARD_POOL_SPIN_NS") == 0);
    }

    TEST_CASE("a worker that is told how long to spin in no number does not spin, and works")
    {
        for (const auto* const text : {"", "soon", "5x", "-1", "99999999999999999999"}) {
            CAPTURE(text);
            pooled pool(of_workers(1), "work", pool_worker().env("PROCYARD_POOL_SPIN_NS", text));
            pool.must_start();
            CHECK(pool.call(make_work("square", 3)).number == 9);
            pool.stop();
        }
    }
}
