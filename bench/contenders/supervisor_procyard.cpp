// SPDX-License-Identifier: BSL-1.0
//
// supervisor with many commands: how long until all are up, until one that was killed is up again,
// and what it costs while nothing happens.

#include <signal.h>
#include <sys/resource.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <procyard/runtime/command.hpp>
#include <procyard/runtime/service.hpp>
#include <procyard/runtime/supervisor.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "../support/round.hpp"

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

struct usage {
    double wake_ups;
    double cpu_us;
};

// Of all threads of this process.
usage usage_so_far()
{
    rusage used{};
    bench::require(::getrusage(RUSAGE_SELF, &used) == 0, "getrusage");
    const auto us = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
    };
    return {static_cast<double>(used.ru_nvcsw), us(used.ru_utime) + us(used.ru_stime)};
}

// While the context runs for a second in which nothing is to be done.
usage usage_of(asio::io_context& context)
{
    context.restart();
    const auto before = usage_so_far();
    context.run_for(1s);
    const auto after = usage_so_far();
    return {after.wake_ups - before.wake_ups, after.cpu_us - before.cpu_us};
}

// What the second itself costs.
usage usage_of_nothing()
{
    asio::io_context context(1);
    const auto work = asio::make_work_guard(context);
    return usage_of(context);
}

class tree {
public:
    explicit tree(const bench::round_options& options)
        : count_(static_cast<std::size_t>(options.number("count", 2000))),
          kills_(static_cast<std::size_t>(options.number("kills", 100))),
          supervisor_(context_.get_executor(), make_options())
    {
        const procyard::command child(options.text("program"));
        for (std::size_t i = 0; i < count_; ++i)
            supervisor_.add(procyard::service("s" + std::to_string(i), child)
                                .backoff({.first = 0ns, .jitter = 0}));
    }

    void run()
    {
        const auto nothing = usage_of_nothing();
        const double started_us = now();
        supervisor_.start();
        context_.run();  // until all are up
        const double up_us = (last_us_ - started_us) / static_cast<double>(count_);
        // What the starts have left to do is none of it.
        context_.restart();
        context_.run_for(200ms);
        const auto idle = usage_of(context_);
        for (std::size_t i = 0; i < kills_; ++i)
            kill_one(i);
        std::sort(restarts_us_.begin(), restarts_us_.end());
        const auto at = [&](double part) {
            return restarts_us_[static_cast<std::size_t>(
                part * static_cast<double>(restarts_us_.size() - 1))];
        };
        bench::report({{"up_us", up_us},
                       {"p50_us", at(0.5)},
                       {"p99_us", at(0.99)},
                       {"wake_ups", std::max(0.0, idle.wake_ups - nothing.wake_ups)},
                       {"idle_cpu_us", std::max(0.0, idle.cpu_us - nothing.cpu_us)}});
    }

private:
    static double now() { return bench::now_us(); }

    procyard::supervisor_options make_options()
    {
        procyard::supervisor_options options;
        // The default is one a service of which every death is news.
        options.intensity = {.restarts = 1'000'000, .window = 1s};
        options.on_event = [this](const procyard::service_event& event) {
            if (event.to != procyard::service_state::ready)
                return;
            last_us_ = now();
            if (++up_ >= count_)
                context_.stop();
        };
        return options;
    }

    void kill_one(std::size_t i)
    {
        const auto all = supervisor_.snapshot();
        const auto& victim = all[i * 7 % all.size()];
        bench::require(victim.pid > 0, "a child that lives");
        context_.restart();
        const double killed_us = now();
        bench::require(::kill(victim.pid, SIGKILL) == 0, "kill");
        context_.run();
        restarts_us_.push_back(last_us_ - killed_us);
    }

    std::size_t count_;
    std::size_t kills_;
    std::size_t up_ = 0;
    double last_us_ = 0;
    std::vector<double> restarts_us_{};
    asio::io_context context_{1};
    procyard::supervisor supervisor_;
};

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    bench::hold_descriptors(0);  // raises the limit
    bench::pin_to(0);
    tree(options).run();
}
