// SPDX-License-Identifier: BSL-1.0
// This program counts its allocations: a pool's machine makes none for a task.
#include "pool_fsm.hpp"

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <utility>

#include "allocations.hpp"

using procyard::pool_balance;
using procyard::pool_outcome;
using procyard::detail::pool_fsm;
using procyard::detail::pool_output;
using procyard_test::allocations;
using namespace std::chrono_literals;

namespace {

// Workers that do what they are told, oldest first.
class busy_pool {
public:
    explicit busy_pool(const pool_fsm::setup& how) : fsm_(how, 1)
    {
        fsm_.start(now_);
        for (unsigned worker = 1; worker <= how.max_workers; ++worker)
            fsm_.worker_ready(worker, now_);
    }

    // `ahead` tasks are in the pool all the time.
    void run(std::uint64_t tasks, std::uint64_t ahead, const pool_fsm::task_terms& plain)
    {
        auto terms = plain;
        for (std::uint64_t i = 0; i < tasks; ++i) {
            now_ += 1us;
            terms.key = i;
            terms.priority = static_cast<int>(i % 3);
            if (plain.queue_until != pool_fsm::time_point::max())
                terms.queue_until = now_ + 1h;
            fsm_.submit(terms, now_);
            hear();
            if (fsm_.unfinished() <= ahead)
                continue;
            const auto [worker, task] = delivered_[first_];
            delivered_[first_] = {};
            first_ = (first_ + 1) % room;
            fsm_.task_ended(worker, task, pool_outcome::done, now_);
            hear();
        }
    }

    const pool_fsm& fsm() const { return fsm_; }

private:
    static constexpr std::size_t room = 4096;

    void hear()
    {
        for (const auto& one : fsm_.outputs()) {
            if (one.what != pool_output::kind::deliver)
                continue;
            delivered_[last_] = {one.worker, one.task};
            last_ = (last_ + 1) % room;
        }
    }

    pool_fsm fsm_;
    pool_fsm::time_point now_{1h};
    std::array<std::pair<std::uint64_t, std::uint64_t>, room> delivered_{};
    std::size_t first_ = 0;
    std::size_t last_ = 0;
};

std::size_t allocations_of(const pool_fsm::setup& how, const pool_fsm::task_terms& terms)
{
    busy_pool pool(how);
    pool.run(20'000, 500, terms);
    const auto before = allocations();
    pool.run(10'000, 500, terms);
    CHECK(pool.fsm().unfinished() > 0);
    CHECK(pool.fsm().broken_promise() == "");
    return allocations() - before;
}

}  // namespace

TEST_CASE("a task costs a pool's machine no allocation, whatever its terms")
{
    pool_fsm::setup how;
    how.min_workers = how.max_workers = 4;
    how.prefetch = 8;
    how.high_water = 200;
    for (const auto balance :
         {pool_balance::least_loaded, pool_balance::round_robin, pool_balance::sticky_key}) {
        how.balance = balance;
        CAPTURE(to_string(balance));
        CHECK(allocations_of(how, {}) == 0);
        CHECK(allocations_of(how,
                             {.queue_until = pool_fsm::time_point{} + 1h,
                              .run_limit = 1h,
                              .heartbeat_limit = 1h,
                              .idempotent = true})
              == 0);
    }
}
