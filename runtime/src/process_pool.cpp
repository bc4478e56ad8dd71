// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/process_pool.hpp>

#include <signal.h>

#include <algorithm>
#include <ostream>
#include <stdexcept>
#include <utility>

#include <procyard/signals/signal_info.hpp>

#include "duration_text.hpp"
#include "pool_check.hpp"
#include "pool_core.hpp"

PROCYARD_NAMESPACE_BEGIN

std::string pool_task_report::to_string() const
{
    std::string made(procyard::to_string(outcome));
    if (outcome == pool_outcome::poisoned && attempts == 0)
        made += " before it was begun, after " + std::to_string(deaths.size()) + " deaths";
    else
        made += " after " + std::to_string(attempts) + (attempts == 1 ? " attempt" : " attempts");
    made += ", waited " + detail::to_text(wait_time) + ", ran " + detail::to_text(run_time);
    if (!text.empty())
        made += ": " + text;
    if (!deaths.empty())
        made += "; the last worker: " + deaths.back()->to_string();
    return made;
}

std::ostream& operator<<(std::ostream& out, const pool_task_report& what)
{
    return out << what.to_string();
}

void to_pool::operator()(const signal_info& info, error_code& ec) const
{
    if (const auto core = core_.lock())
        core->signal(info.number, ec);
    else
        ec.clear();
}

namespace detail {

namespace {

// What cannot be said would be a worker that never becomes ready, or a task without an end.
std::string problem_of_channels(const channel_options& channels, const std::string& entry,
                                const type_description& request, const type_description& response)
{
    hello_message hello;
    hello.entry = entry;
    hello.request = request.to_bytes();
    hello.response = response.to_bytes();
    hello.text.assign(longest_text, '?');
    const auto least = sizeof(std::uint32_t) + pool_header_bytes + encoded_size(hello);
    if (channels.max_message_bytes >= least)
        return {};
    return "channels.max_message_bytes is " + std::to_string(channels.max_message_bytes)
        + "; at least " + std::to_string(least) + ", for what a worker says of itself";
}

pool_process_setup process_setup_of(asio::any_io_executor ex, command program, std::string entry,
                                    const pool_options& options, const type_description& request,
                                    const type_description& response)
{
    auto channels = options.channels;
    // A record that was dropped would be a task that nobody answers.
    channels.full = when_full::suspend;
    setup_message setup;
    setup.tasks_at_once = options.tasks_per_worker;
    setup.counters = static_cast<std::uint32_t>(options.counters.size());
    setup.beat_ns = std::chrono::nanoseconds(pool_beat).count();
    // The channel counts the length that stands before the bytes.
    const auto most = channels.max_message_bytes;
    setup.longest_record = most - std::min(most, sizeof(std::uint32_t));
    return {std::move(ex),      options.clock, std::move(program), std::move(entry),
            channels,           setup,         options.affinity,   options.error_tail,
            options.term_grace, &request,      &response};
}

}  // namespace

pool_task_state::~pool_task_state() = default;

void pool_task_state::cancel()
{
    if (core != nullptr)
        core->cancel(*this);
}

void pool_task_state::give_credits(std::uint32_t items)
{
    if (core != nullptr)
        core->give_credits(*this, items);
}

void pool_task_state::spoil(const char* why)
{
    fault = pool_errc::bad_message;
    report.text = why;
}

command this_program(const std::string& entry)
{
    // Not by its path, where another version may be by now.
    command what("/proc/self/exe");
    what.arg0("procyard-worker " + entry);
    return what;
}

std::shared_ptr<pool_core> make_pool_core(asio::any_io_executor ex, command program,
                                          std::string entry, pool_options options,
                                          const type_description& request,
                                          const type_description& response)
{
    auto problem = entry.empty() ? std::string("the entry has no name") : problem_of(options);
    if (problem.empty() && options.counters.size() > most_counters)
        problem = "counters has " + std::to_string(options.counters.size()) + " names; at most "
            + std::to_string(most_counters);
    if (problem.empty())
        problem = problem_of_affinity(options.affinity, program);
    if (problem.empty())
        problem = problem_of_channels(options.channels, entry, request, response);
    if (!problem.empty())
        throw std::invalid_argument("process_pool: " + problem);
    if (!options.clock)
        options.clock = steady_timer_clock();
    auto setup = process_setup_of(std::move(ex), std::move(program), std::move(entry), options,
                                  request, response);
    return std::make_shared<pool_core>(std::move(options), std::move(setup));
}

void start_pool(pool_core& core, pool_handler_erased handler)
{
    core.start(std::move(handler));
}

void stop_pool(pool_core& core, std::chrono::nanoseconds budget, pool_handler_erased handler)
{
    core.stop(budget, std::move(handler));
}

void abandon_pool(pool_core& core) noexcept
{
    core.abandon();
}

void resize_pool(pool_core& core, unsigned min_workers, unsigned max_workers)
{
    core.resize(min_workers, max_workers);
}

void recycle_pool(pool_core& core)
{
    core.recycle();
}

const std::string& explanation_of(const pool_core& core) noexcept
{
    return core.explanation();
}

std::vector<pid_t> workers_of(const pool_core& core)
{
    return core.pids();
}

pool_metrics metrics_of(pool_core& core)
{
    return core.metrics();
}

void check_terms(const submit_options& options)
{
    if (const auto problem = problem_of(options); !problem.empty())
        throw std::invalid_argument("process_pool: " + problem);
}

bool submit_to(pool_core& core, std::shared_ptr<pool_task_state> task,
               const request_writer& request, const submit_options& options, bool may_wait)
{
    return core.submit(std::move(task), request, options, may_wait);
}

const asio::any_io_executor& executor_of(const pool_core& core) noexcept
{
    return core.executor();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
