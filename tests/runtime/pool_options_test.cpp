// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pool_error.hpp>
#include <procyard/runtime/pool_options.hpp>

#include "pool_check.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/errc.hpp>

#include <chrono>
#include <cmath>
#include <limits>
#include <set>
#include <string>

#include <doctest/doctest.h>

using namespace procyard;
using procyard::detail::problem_of;
using procyard::detail::problem_of_workers;
using namespace std::chrono_literals;

namespace {

// What is said of options of which one thing was changed.
template <class Change>
std::string problem_with(Change change)
{
    pool_options options;
    change(options);
    return problem_of(options);
}

}  // namespace

TEST_SUITE_BEGIN("pool_options");

TEST_CASE("the default options are good, and so are the ends of each interval")
{
    CHECK(problem_of(pool_options{}) == "");
    CHECK(problem_of(submit_options{}) == "");
    const auto good = problem_with([](pool_options& how) {
        how.min_workers = 0;
        how.max_workers = 4096;
        how.tasks_per_worker = 1024;
        how.prefetch = 0;
        how.high_water = 1;
        how.ask_grace = 0ns;
        how.term_grace = 0ns;
        how.recycle_jitter = 1;
        how.backoff.first = 0ns;
        how.backoff.cap = 0ns;
        how.strikes = 1;
        how.affinity = {{0}, {1, 2}};
        how.counters = {"words", "bytes"};
    });
    CHECK(good == "");
}

TEST_CASE("what is wrong with a pool's options is named, with its value")
{
    const auto with = [](auto change) { return problem_with(change); };
    CHECK(with([](auto& how) { how.max_workers = 0; }) == "max_workers is 0; 1 to 4096");
    CHECK(with([](auto& how) { how.max_workers = 4097; }) == "max_workers is 4097; 1 to 4096");
    CHECK(with([](auto& how) { how.min_workers = 2; })
          == "min_workers is 2; at most max_workers, which is 1");
    CHECK(with([](auto& how) { how.tasks_per_worker = 0; }) == "tasks_per_worker is 0; 1 to 1024");
    CHECK(with([](auto& how) { how.prefetch = 1025; }) == "prefetch is 1025; 0 to 1024");
    CHECK(with([](auto& how) { how.high_water = 0; }) == "high_water is 0; at least 1");
    CHECK(with([](auto& how) { how.balance = static_cast<pool_balance>(9); })
          == "balance is 9; one of pool_balance");
    CHECK(with([](auto& how) { how.idle_timeout = 0ns; }) == "idle_timeout is 0 ns; more than 0");
    CHECK(with([](auto& how) { how.start_timeout = -1ns; })
          == "start_timeout is -1 ns; more than 0");
    CHECK(with([](auto& how) { how.ask_grace = -5ns; }) == "ask_grace is -5 ns; 0 or more");
    CHECK(with([](auto& how) { how.term_grace = -5ns; }) == "term_grace is -5 ns; 0 or more");
    CHECK(with([](auto& how) { how.recycle_after_age = 0ns; })
          == "recycle_after_age is 0 ns; more than 0");
    CHECK(with([](auto& how) { how.recycle_jitter = 1.5; }) == "recycle_jitter is 1.5; 0 to 1");
    CHECK(with([](auto& how) { how.recycle_jitter = std::nan(""); })
          == "recycle_jitter is nan; 0 to 1");
    CHECK(with([](auto& how) { how.strikes = 0; }) == "strikes is 0; at least 1");
    CHECK(with([](auto& how) { how.affinity = {{1}, {}}; })
          == "affinity[1] is empty; at least one processor");
    CHECK(with([](auto& how) { how.counters = {"a", ""}; }) == "counters[1] is empty; a name");
    CHECK(with([](auto& how) { how.counters = {"a", "b", "a"}; })
          == "counters[2] is \"a\"; a name that no other one has");
}

TEST_CASE("what is wrong with the delays between starts is named")
{
    const auto with = [](auto change) {
        return problem_with([&](pool_options& how) { change(how.backoff); });
    };
    CHECK(with([](auto& how) { how.first = -1ns; }) == "backoff.first is -1 ns; 0 or more");
    CHECK(with([](auto& how) { how.cap = 50ms; })
          == "backoff.cap is 50 ms; not less than backoff.first, which is 100 ms");
    CHECK(with([](auto& how) { how.factor = 0.5; }) == "backoff.factor is 0.5; 1 or more");
    CHECK(with([](auto& how) { how.factor = std::numeric_limits<double>::infinity(); })
          == "backoff.factor is inf; 1 or more");
    CHECK(with([](auto& how) { how.jitter = -1; }) == "backoff.jitter is -1; 0 to 1");
    CHECK(with([](auto& how) { how.stable_after = -1ns; })
          == "backoff.stable_after is -1 ns; 0 or more");
}

TEST_CASE("the first of several problems is told")
{
    pool_options options;
    options.high_water = 0;
    options.strikes = 0;
    CHECK(problem_of(options) == "high_water is 0; at least 1");
    CHECK(problem_of_workers(3, 2) == "min_workers is 3; at most max_workers, which is 2");
    CHECK(problem_of_workers(0, 1) == "");
}

TEST_CASE("what is wrong with a submission's options is named; a time that is over is none")
{
    CHECK(problem_of(submit_options{.run_deadline = 0ns}) == "run_deadline is 0 ns; more than 0");
    CHECK(problem_of(submit_options{.heartbeat = -1s})
          == "heartbeat is -1000000000 ns; at least 20 ms");
    CHECK(problem_of(submit_options{.heartbeat = 20ms - 1ns})
          == "heartbeat is 19999999 ns; at least 20 ms");
    CHECK(problem_of(submit_options{.heartbeat = 20ms}) == "");
    CHECK(problem_of(submit_options{.queue_deadline = -1s}) == "");
}

TEST_CASE("each outcome has a name and a code of its own")
{
    std::set<std::string> names;
    std::set<std::string> messages;
    for (std::size_t i = 0; i < pool_outcomes; ++i) {
        const auto what = static_cast<pool_outcome>(i);
        names.emplace(to_string(what));
        messages.insert(make_pool_error(what).message());
    }
    CHECK(names.size() == pool_outcomes);
    CHECK(messages.size() == pool_outcomes);
    CHECK(make_pool_error(pool_outcome::done) == error_code());
    CHECK(make_pool_error(pool_outcome::cancelled) == asio::error::operation_aborted);
    CHECK(make_pool_error(pool_outcome::poisoned) == pool_errc::poisoned);
    CHECK(make_pool_error(pool_outcome::stopped) == pool_errc::stopped);
}

TEST_CASE("the codes of a pool compare equal to the conditions that are documented")
{
    namespace errc = boost::system::errc;
    CHECK(error_code(pool_errc::queue_deadline) == errc::timed_out);
    CHECK(error_code(pool_errc::run_deadline) == errc::timed_out);
    CHECK(error_code(pool_errc::heartbeat_lost) == errc::timed_out);
    CHECK(error_code(pool_errc::not_ready) == errc::resource_unavailable_try_again);
    CHECK(error_code(pool_errc::stopped) == errc::operation_canceled);
    CHECK(error_code(pool_errc::bad_message) == errc::bad_message);
    CHECK(error_code(pool_errc::worker_died) != errc::timed_out);
    CHECK(error_code(pool_errc::worker_died).category().name() == std::string("procyard.pool"));
    CHECK(error_code(77, pool_category()).message() == "unknown pool error 77");
    CHECK(to_string(pool_balance::round_robin) == "round robin");
}

TEST_SUITE_END();
