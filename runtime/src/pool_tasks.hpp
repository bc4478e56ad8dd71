// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_TASKS_HPP
#define PROCYARD_RUNTIME_SRC_POOL_TASKS_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/pool_error.hpp>

#include "pool_index.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// 1, 2, 3, …; never used again.
using pool_task_number = std::uint64_t;

// What of submit_options the machine has to know.
struct pool_task_terms {
    int priority = 0;
    std::uint64_t key = 0;
    timer_clock::time_point queue_until = timer_clock::time_point::max();
    timer_clock::duration run_limit = timer_clock::duration::max();
    timer_clock::duration heartbeat_limit = timer_clock::duration::max();
    bool idempotent = false;
    unsigned strikes = 0;  // 0: the pool's
};

// A task that is not over.
struct pool_task {
    enum class state : std::uint8_t { waiting, queued, delivered };

    pool_task_number number = 0;  // 0: the place is free
    pool_task_terms terms{};
    timer_clock::time_point submitted{};
    state stands = state::waiting;
    bool alone = false;  // has a strike, or is suspected, and runs alone
    bool asked = false;  // its worker was told that it is cancelled
    // It is over, and will not be begun: its worker has it until that has said so, or is gone.
    bool withdrawn = false;
    bool running = false;
    // What it ends with when its worker has answered or is gone.
    std::optional<pool_outcome> verdict{};
    unsigned strikes = 0;
    unsigned suspicions = 0;     // workers that died when it was the next one to be begun
    std::uint32_t slot = 0;      // who has it or had it last; queued, with sticky keys: its home
    std::uint64_t worker = 0;    // as well
    std::uint64_t delivery = 0;  // the how manieth of its worker's
    timer_clock::time_point running_since{};
    timer_clock::time_point ask_until = timer_clock::time_point::max();  // then SIGTERM
    pool_place home = no_place;
    // In its queue, in its worker's list, or among the free places.
    pool_place before = no_place;
    pool_place after = no_place;
};

// All tasks that are not over, each in a place of its own that it keeps.
class pool_tasks {
public:
    [[nodiscard]] pool_task& operator[](pool_place at) noexcept { return all_[at]; }
    [[nodiscard]] const pool_task& operator[](pool_place at) const noexcept { return all_[at]; }
    [[nodiscard]] std::size_t size() const noexcept { return index_.size(); }
    [[nodiscard]] pool_task_number last_number() const noexcept { return last_; }
    // Of a number that was never given, or is no more: no_place.
    [[nodiscard]] pool_place find(pool_task_number number) const noexcept
    {
        return index_.find(number);
    }

    // With the next number, and else as it is by default.
    [[nodiscard]] pool_place add()
    {
        if (free_ == no_place) {
            all_.emplace_back();
            free_ = static_cast<pool_place>(all_.size() - 1);
        }
        index_.insert(last_ + 1, free_);
        const auto at = std::exchange(free_, all_[free_].after);
        all_[at] = pool_task{};
        all_[at].number = ++last_;
        return at;
    }
    // A number for a task that is over before it was anything.
    pool_task_number skip() noexcept { return ++last_; }

    void remove(pool_place at) noexcept
    {
        index_.erase(all_[at].number);
        all_[at].number = 0;
        all_[at].after = std::exchange(free_, at);
    }

private:
    std::vector<pool_task> all_{};
    pool_index index_{};
    pool_place free_ = no_place;
    pool_task_number last_ = 0;
};

// A list of tasks by their own links: each is in one at a time.
class pool_task_list {
public:
    [[nodiscard]] bool empty() const noexcept { return first_ == no_place; }
    [[nodiscard]] pool_place first() const noexcept { return first_; }

    void push_back(pool_tasks& tasks, pool_place at) noexcept { insert_after(tasks, last_, at); }

    // By number; those that come in order are at its end at once.
    void insert(pool_tasks& tasks, pool_place at) noexcept
    {
        if (last_ == no_place || tasks[last_].number < tasks[at].number)
            return insert_after(tasks, last_, at);
        auto next = first_;
        while (tasks[next].number < tasks[at].number)
            next = tasks[next].after;
        insert_after(tasks, tasks[next].before, at);
    }

    void erase(pool_tasks& tasks, pool_place at) noexcept
    {
        auto& one = tasks[at];
        (one.before == no_place ? first_ : tasks[one.before].after) = one.after;
        (one.after == no_place ? last_ : tasks[one.after].before) = one.before;
        one.before = one.after = no_place;
    }

private:
    // Behind `before`, which may be nobody.
    void insert_after(pool_tasks& tasks, pool_place before, pool_place at) noexcept
    {
        auto& one = tasks[at];
        one.before = before;
        one.after = before == no_place ? first_ : tasks[before].after;
        (before == no_place ? first_ : tasks[before].after) = at;
        (one.after == no_place ? last_ : tasks[one.after].before) = at;
    }

    pool_place first_ = no_place;
    pool_place last_ = no_place;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
