// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/run.hpp>

#include <type_traits>
#include <utility>

PROCYARD_NAMESPACE_BEGIN

static_assert(!std::is_aggregate_v<run_options>, "see the class");

run_options::run_options() = default;

run_options& run_options::std_in(run_input source)
{
    std_in_ = std::move(source);
    return *this;
}

run_options& run_options::std_out(run_output target)
{
    std_out_ = std::move(target);
    return *this;
}

run_options& run_options::std_err(run_output target)
{
    std_err_ = std::move(target);
    return *this;
}

run_options& run_options::deadline(std::chrono::nanoseconds limit)
{
    deadline_ = limit;
    return *this;
}

run_options& run_options::idle_deadline(std::chrono::nanoseconds limit)
{
    PROCYARD_ASSERT(limit.count() > 0 && "no child writes all the time");
    idle_deadline_ = limit;
    return *this;
}

run_options& run_options::ladder(stop_ladder rungs)
{
    ladder_ = std::move(rungs);
    return *this;
}

run_options& run_options::drain_grace(std::chrono::nanoseconds limit)
{
    drain_grace_ = limit;
    return *this;
}

run_options& run_options::descendants(descendant_policy policy)
{
    descendants_ = policy;
    return *this;
}

run_options& run_options::on_sink_failure(sink_failure_policy policy)
{
    on_sink_failure_ = policy;
    return *this;
}

run_options& run_options::spawn_off_loop(bool off)
{
    spawn_off_loop_ = off;
    return *this;
}

run_options& run_options::clock(std::shared_ptr<timer_clock> source)
{
    clock_ = std::move(source);
    return *this;
}

PROCYARD_NAMESPACE_END
