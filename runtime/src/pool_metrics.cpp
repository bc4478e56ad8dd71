// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pool_metrics.hpp>

#include <boost/assert.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

PROCYARD_NAMESPACE_BEGIN

void pool_histogram::add(std::chrono::nanoseconds time) noexcept
{
    const auto at_least_0 = std::max(time, std::chrono::nanoseconds::zero());
    ++counts[static_cast<std::size_t>(
        std::bit_width(static_cast<std::uint64_t>(at_least_0.count())))];
    // For three hundred years of them.
    sum = at_least_0 > std::chrono::nanoseconds::max() - sum ? std::chrono::nanoseconds::max()
                                                             : sum + at_least_0;
    longest = std::max(longest, at_least_0);
}

std::chrono::nanoseconds pool_histogram::upper_bound(std::size_t bucket) noexcept
{
    BOOST_ASSERT_MSG(bucket < buckets, "pool_histogram: no such bucket");
    return bucket >= buckets - 1
        ? std::chrono::nanoseconds::max()
        : std::chrono::nanoseconds(std::chrono::nanoseconds::rep{1} << bucket);
}

std::uint64_t pool_histogram::count() const noexcept
{
    return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

std::chrono::nanoseconds pool_histogram::mean() const noexcept
{
    const auto all = count();
    return all == 0 ? std::chrono::nanoseconds::zero()
                    : std::chrono::nanoseconds(static_cast<std::chrono::nanoseconds::rep>(
                          static_cast<std::uint64_t>(sum.count()) / all));
}

std::chrono::nanoseconds pool_histogram::quantile(double part) const noexcept
{
    BOOST_ASSERT_MSG(part >= 0 && part <= 1, "pool_histogram: not a part of all");
    const auto all = count();
    if (all == 0)
        return std::chrono::nanoseconds::zero();
    const auto wanted = part * static_cast<double>(all);
    double below = 0;
    for (std::size_t i = 0; i < buckets; ++i) {
        const auto here = static_cast<double>(counts[i]);
        if (here == 0 || below + here < wanted) {
            below += here;
            continue;
        }
        const auto from = i == 0 ? 0.0 : static_cast<double>(upper_bound(i - 1).count());
        const auto to = std::min(static_cast<double>(upper_bound(i).count()),
                                 static_cast<double>(longest.count()));
        const auto value = from + (to - from) * std::max(0.0, wanted - below) / here;
        // Doubles are coarser than the longest times.
        if (value >= static_cast<double>(longest.count()))
            return longest;
        return std::chrono::nanoseconds(static_cast<std::chrono::nanoseconds::rep>(value));
    }
    return longest;
}

double pool_metrics::utilisation(const pool_metrics& earlier) const noexcept
{
    const auto used = busy_time - earlier.busy_time;
    const auto could = ready_time - earlier.ready_time;
    if (could <= std::chrono::nanoseconds::zero())
        return 0;
    // What runs at a worker that is to end when it has done is used beyond what could be.
    return std::clamp(static_cast<double>(used.count()) / static_cast<double>(could.count()), 0.0,
                      1.0);
}

double pool_metrics::utilisation() const noexcept
{
    return utilisation(pool_metrics{});
}

PROCYARD_NAMESPACE_END
