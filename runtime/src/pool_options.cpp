// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pool_options.hpp>

#include <boost/assert.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>

#include "duration_text.hpp"
#include "pool_check.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace {

constexpr unsigned most_workers = 4096;
constexpr unsigned most_tasks = 1024;

std::string plain(double value)
{
    char text[32];
    std::snprintf(text, sizeof text, "%g", value);
    return text;
}

// The first of what is wrong: `max_workers is 0; 1 to 4096`.
class options_check {
public:
    void limits(std::string_view name, std::uint64_t value, std::uint64_t least, std::uint64_t most)
    {
        if (value < least || value > most)
            refuse(name, std::to_string(value),
                   std::to_string(least) + " to " + std::to_string(most));
    }

    void at_least(std::string_view name, std::uint64_t value, std::uint64_t least)
    {
        if (value < least)
            refuse(name, std::to_string(value), "at least " + std::to_string(least));
    }

    void more_than_nothing(std::string_view name, std::chrono::nanoseconds value)
    {
        if (value.count() <= 0)
            refuse(name, std::to_string(value.count()) + " ns", "more than 0");
    }

    void not_negative(std::string_view name, std::chrono::nanoseconds value)
    {
        if (value.count() < 0)
            refuse(name, std::to_string(value.count()) + " ns", "0 or more");
    }

    // Not a number is in no interval.
    void part(std::string_view name, double value)
    {
        if (!(value >= 0 && value <= 1))
            refuse(name, plain(value), "0 to 1");
    }

    void refuse(std::string_view name, const std::string& value, const std::string& allowed)
    {
        if (!text_.empty())
            return;
        text_.append(name).append(" is ").append(value).append("; ").append(allowed);
    }

    [[nodiscard]] std::string take() { return std::move(text_); }

private:
    std::string text_{};
};

void check_backoff(options_check& check, const restart_backoff& backoff)
{
    check.not_negative("backoff.first", backoff.first);
    if (backoff.cap < backoff.first)
        check.refuse("backoff.cap", detail::to_text(backoff.cap),
                     "not less than backoff.first, which is " + detail::to_text(backoff.first));
    if (!(backoff.factor >= 1) || std::isinf(backoff.factor))
        check.refuse("backoff.factor", plain(backoff.factor), "1 or more");
    check.part("backoff.jitter", backoff.jitter);
    check.not_negative("backoff.stable_after", backoff.stable_after);
}

void check_affinity(options_check& check, const std::vector<std::vector<unsigned>>& affinity)
{
    for (std::size_t i = 0; i < affinity.size(); ++i) {
        if (affinity[i].empty())
            check.refuse("affinity[" + std::to_string(i) + "]", "empty", "at least one processor");
    }
}

void check_counters(options_check& check, const std::vector<std::string>& names)
{
    for (std::size_t i = 0; i < names.size(); ++i) {
        const auto field = "counters[" + std::to_string(i) + "]";
        if (names[i].empty())
            check.refuse(field, "empty", "a name");
        if (std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i), names[i])
            != names.begin() + static_cast<std::ptrdiff_t>(i))
            check.refuse(field, '"' + names[i] + '"', "a name that no other one has");
    }
}

}  // namespace

std::string_view to_string(pool_balance what) noexcept
{
    switch (what) {
    case pool_balance::least_loaded: return "least loaded";
    case pool_balance::round_robin: return "round robin";
    case pool_balance::sticky_key: return "sticky key";
    }
    BOOST_ASSERT_MSG(false, "pool_balance: no such value");
    return "?";
}

namespace detail {

std::string problem_of_workers(unsigned min, unsigned max)
{
    options_check check;
    check.limits("max_workers", max, 1, most_workers);
    if (min > max)
        check.refuse("min_workers", std::to_string(min),
                     "at most max_workers, which is " + std::to_string(max));
    return check.take();
}

std::string problem_of(const pool_options& options)
{
    if (auto problem = problem_of_workers(options.min_workers, options.max_workers);
        !problem.empty())
        return problem;
    options_check check;
    check.limits("tasks_per_worker", options.tasks_per_worker, 1, most_tasks);
    check.limits("prefetch", options.prefetch, 0, most_tasks);
    check.at_least("high_water", options.high_water, 1);
    if (options.balance > pool_balance::sticky_key)
        check.refuse("balance", std::to_string(static_cast<unsigned>(options.balance)),
                     "one of pool_balance");
    check.more_than_nothing("idle_timeout", options.idle_timeout);
    check.more_than_nothing("start_timeout", options.start_timeout);
    check.not_negative("ask_grace", options.ask_grace);
    check.not_negative("term_grace", options.term_grace);
    check.more_than_nothing("recycle_after_age", options.recycle_after_age);
    check.part("recycle_jitter", options.recycle_jitter);
    check_backoff(check, options.backoff);
    check.at_least("strikes", options.strikes, 1);
    check_affinity(check, options.affinity);
    check_counters(check, options.counters);
    return check.take();
}

std::string problem_of(const submit_options& options)
{
    options_check check;
    check.more_than_nothing("run_deadline", options.run_deadline);
    if (options.heartbeat < least_heartbeat)
        check.refuse("heartbeat", std::to_string(options.heartbeat.count()) + " ns",
                     "at least " + to_text(least_heartbeat));
    return check.take();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
