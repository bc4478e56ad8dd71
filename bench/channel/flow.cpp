// SPDX-License-Identifier: BSL-1.0
#include "flow.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace bench {
namespace {

// Often enough to end in time, rarely enough not to be seen in a row of five nanoseconds.
constexpr double look_every_us = 100;

constexpr std::uint64_t trips_not_counted = 64;
constexpr std::size_t trips_max = std::size_t{1} << 21U;

double end_of_row_us(const round_options& options)
{
    return now_us() + options.real("seconds", 0.3) * 1e6;
}

double percentile(const std::vector<float>& sorted, double part)
{
    const auto at = static_cast<std::size_t>(part * static_cast<double>(sorted.size()));
    return static_cast<double>(sorted[std::min(at, sorted.size() - 1)]);
}

}  // namespace

outgoing::outgoing(const round_options& options) : until_us_(end_of_row_us(options)) { }

void outgoing::look_at_clock() noexcept
{
    const double now = now_us();
    if (now - looked_us_ < look_every_us)
        stride_ *= 2;
    else if (stride_ > 1)
        stride_ /= 2;
    looked_us_ = now;
    until_look_ = stride_;
    ended_ = now >= until_us_ && next_ != 0;
}

bool incoming::take_first_or_last(std::uint64_t number)
{
    if (expected_ == none_yet && number == 0) {
        expected_ = 1;
        first_us_ = now_us();
        return true;
    }
    if (number != (expected_ | last_message))
        fail(number, "came");
    last_us_ = now_us();
    return false;
}

void incoming::fail(std::uint64_t number, const char* what) const
{
    std::fprintf(stderr, "message %llu: %s where %llu was expected\n",
                 static_cast<unsigned long long>(number & ~last_message), what,
                 static_cast<unsigned long long>(expected_ == none_yet ? 0 : expected_));
    std::exit(1);
}

void incoming::print(std::size_t message_bytes) const
{
    errno = 0;
    require(last_us_ > first_us_, "the last message has not come");
    const auto count = static_cast<double>(expected_);  // the last, and all before it but the first
    const double us = last_us_ - first_us_;
    report({{"ns", us * 1e3 / count},
            {"gb_per_s", static_cast<double>(message_bytes) * count / us / 1e3},
            {"messages", count}});
}

round_trips::round_trips(const round_options& options) : until_us_(end_of_row_us(options))
{
    trips_us_.resize(trips_max);  // touched now: a page fault would be a round trip's
    trips_us_.clear();
}

bool round_trips::end_trip()
{
    const double now = now_us();
    if (next_ >= trips_not_counted && trips_us_.size() < trips_max)
        trips_us_.push_back(static_cast<float>(now - trip_us_));
    trip_us_ = now;
    ++next_;
    const bool was_last = ended_;
    ended_ = now >= until_us_ && next_ > 2 * trips_not_counted;
    return !was_last;
}

void round_trips::print()
{
    std::sort(trips_us_.begin(), trips_us_.end());
    report({{"p50_us", percentile(trips_us_, 0.5)},
            {"p99_us", percentile(trips_us_, 0.99)},
            {"round_trips", static_cast<double>(trips_us_.size())}});
}

}  // namespace bench
