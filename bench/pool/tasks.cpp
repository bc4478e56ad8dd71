// SPDX-License-Identifier: BSL-1.0
#include "tasks.hpp"

#include <algorithm>

namespace bench {

task_round::task_round(const round_options& options)
    : workers_(static_cast<std::size_t>(options.number("workers", 1))),
      window_(static_cast<std::size_t>(options.number("window", 1))),
      spin_us_(options.number("spin_us", 0)),
      seconds_(options.real("seconds", 0.3))
{
    if (window_ == 1)
        trips_us_.reserve(1'000'000);
}

void task_round::start()
{
    started_us_ = now_us();
    until_us_ = started_us_ + seconds_ * 1e6;
}

bool task_round::more()
{
    // The clock is not free: it is looked at now and then, where many go at once.
    if (!over_ && (window_ == 1 || submitted_ % 64 == 0))
        over_ = now_us() >= until_us_;
    return !over_;
}

pool_message task_round::next()
{
    pool_message request{};
    request.set_number(++submitted_);
    numbers_ += submitted_;
    if (window_ == 1)
        submitted_us_ = now_us();
    return request;
}

void task_round::take(const pool_message& response)
{
    require(!response.torn() && response.number() > 1, "a response is torn");
    ++done_;
    numbers_ -= response.number() - 1;
    if (window_ == 1 && workers_ == 1 && trips_us_.size() < trips_us_.capacity())
        trips_us_.push_back(static_cast<float>(now_us() - submitted_us_));
}

void task_round::report()
{
    const double us = now_us() - started_us_;
    require(ended() && done_ > 0 && numbers_ == 0, "each task answered once");
    std::sort(trips_us_.begin(), trips_us_.end());
    const auto at = [&](double part) {
        return static_cast<double>(
            trips_us_[static_cast<std::size_t>(part * static_cast<double>(trips_us_.size() - 1))]);
    };
    const double ns = us * 1e3 / static_cast<double>(done_);
    if (trips_us_.empty())
        bench::report({{"ns", ns}});
    else
        bench::report({{"ns", ns}, {"p50_us", at(0.5)}, {"p99_us", at(0.99)}});
}

}  // namespace bench
