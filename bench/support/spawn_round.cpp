// SPDX-License-Identifier: BSL-1.0
#include "spawn_round.hpp"

#include <algorithm>
#include <random>
#include <vector>

#include <signal.h>
#include <sys/wait.h>

namespace bench {
namespace {

// Below this number of children the figure is one child's luck; a fork of 4 GiB takes 0.1 s, so it
// cannot be large.
constexpr long children_min = 4;

class spawn_meter {
public:
    spawn_meter(spawner& spawn, double seconds)
        : spawn_(spawn),
          started_us_(now_us()),
          until_us_(started_us_ + seconds * 1e6)
    {
        spawn_.exited = [this] {
            last_exit_us_ = now_us();
            ++exited_;
            start_next();
        };
    }

    void start_next()
    {
        const double before_us = now_us();
        if (before_us >= until_us_ && started_ >= children_min)
            return;
        ++started_;
        (void)spawn_.start();
        in_calls_us_ += now_us() - before_us;
    }

    void print() const
    {
        require(exited_ == started_, "a child was lost");
        const auto n = static_cast<double>(exited_);
        report({{"us", (last_exit_us_ - started_us_) / n},
                {"call_us", in_calls_us_ / n},
                {"children", n}});
    }

private:
    spawner& spawn_;
    double started_us_;
    double until_us_;
    double last_exit_us_ = 0;
    double in_calls_us_ = 0;
    long started_ = 0;
    long exited_ = 0;
};

void start_all(spawner& spawn, std::vector<pid_t>& pids)
{
    for (auto& pid : pids)
        pid = spawn.start();
}

void kill_all(const std::vector<pid_t>& pids)
{
    for (const pid_t pid : pids)
        require(::kill(pid, SIGKILL) == 0, "kill");
}

// Every exit has happened and none has been collected: what is timed after this is the contender
// alone, not the kernel's tearing down of address spaces on both processors.
void wait_for_zombies(const std::vector<pid_t>& pids)
{
    for (const pid_t pid : pids) {
        siginfo_t info{};
        int r = 0;
        do
            r = ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
        while (r == -1 && errno == EINTR);
        require(r == 0, "waitid(WNOWAIT)");
    }
}

double median_us_until_exit_seen(spawner& spawn, std::vector<pid_t>& pids, long samples)
{
    // The same victims in every round and for every contender.
    std::mt19937 random(1);
    std::vector<double> times_us;
    for (long i = 0; i < samples && pids.size() > 1; ++i) {
        auto& victim = pids[random() % pids.size()];
        const double before_us = now_us();
        require(::kill(victim, SIGKILL) == 0, "kill");
        spawn.run_one();
        times_us.push_back(now_us() - before_us);
        victim = pids.back();
        pids.pop_back();
    }
    std::sort(times_us.begin(), times_us.end());
    return times_us[times_us.size() / 2];
}

}  // namespace

void measure_spawn(const round_options& options, const spawner_factory& make)
{
    hold_memory(options.number("memory_mib", 0));
    const long descriptors = options.number("descriptors", 0);
    const bool descriptors_first = options.number("descriptors_first", 0) != 0;
    if (descriptors_first)
        hold_descriptors(descriptors);

    const auto spawn = make(options.text("program", "/bin/true"));
    spawn->exited = [] { };
    (void)spawn->start();  // page faults, lazy binding and the contender's own set-up are not the
                           // row's business
    spawn->run();
    if (!descriptors_first)
        hold_descriptors(descriptors);

    spawn_meter meter(*spawn, options.real("seconds", 0.3));
    for (long i = options.number("in_flight", 1); i > 0; --i)
        meter.start_next();
    spawn->run();
    meter.print();
}

void measure_children(const round_options& options, const spawner_factory& make)
{
    const long count = options.number("count", 1000);
    hold_descriptors(0);
    std::vector<pid_t> pids(static_cast<std::size_t>(count), 0);

    const auto spawn = make(options.text("program"));
    spawn->exited = [] { };
    const pid_t warm_up = spawn->start();
    kill_all({warm_up});
    spawn->run();

    const auto bytes_before = anonymous_bytes();
    const double started_us = now_us();
    start_all(*spawn, pids);
    const double spawned_us = now_us();
    const auto bytes_after = anonymous_bytes();

    const double seen_us = median_us_until_exit_seen(*spawn, pids, options.number("samples", 31));
    const double kill_started_us = now_us();
    kill_all(pids);
    spawn->run();
    const double killed_us = (now_us() - kill_started_us) / static_cast<double>(pids.size());

    // A second generation, smaller because it costs time only, to see the contender's own part.
    pids.resize(std::min<std::size_t>(pids.size(), 500));
    start_all(*spawn, pids);
    kill_all(pids);
    wait_for_zombies(pids);
    const double reap_started_us = now_us();
    spawn->run();
    const double reap_us = (now_us() - reap_started_us) / static_cast<double>(pids.size());

    const auto n = static_cast<double>(count);
    report({{"bytes", (static_cast<double>(bytes_after) - static_cast<double>(bytes_before)) / n},
            {"call_us", (spawned_us - started_us) / n},
            {"seen_us", seen_us},
            {"killed_us", killed_us},
            {"reap_us", reap_us}});
}

}  // namespace bench
