// SPDX-License-Identifier: BSL-1.0
//
// The limit: the same work written by hand on system calls, for this one purpose.

#include "raw.hpp"

#include <cstdio>
#include <cstring>

namespace {

bench::raw_mechanism mechanism_of(const bench::round_options& options)
{
    const auto name = options.text("mechanism", "clone");
    if (name == "shared_table")
        return bench::raw_mechanism::shared_table;
    if (name == "promises")
        return bench::raw_mechanism::promises;
    if (name == "fork")
        return bench::raw_mechanism::fork;
    if (name == "posix_spawn")
        return bench::raw_mechanism::posix_spawn;
    bench::require(name == "clone", "mechanism=clone|shared_table|promises|fork|posix_spawn");
    return bench::raw_mechanism::clone;
}

bench::raw_wait wait_of(const bench::round_options& options)
{
    if (options.command() == "children")
        return bench::raw_wait::in_order;
    const bool any_number = options.text("wait", "fewest_calls") == "epoll";
    if (any_number || options.number("in_flight", 1) != 1)
        return bench::raw_wait::set;
    return bench::raw_wait::single;
}

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    const auto make = [&options](const std::string& program) {
        return bench::make_raw_spawner(mechanism_of(options), wait_of(options), program);
    };
    if (options.command() == "spawn")
        bench::measure_spawn(options, make);
    else if (options.command() == "children")
        bench::measure_children(options, make);
    else if (options.command() == "stdout")
        bench::raw_stdout(options);
    else if (options.command() == "copy")
        bench::raw_copy(options);
    else if (options.command() == "lines")
        bench::raw_lines(options);
    else
        bench::require(false, "bench_raw spawn | children | stdout | copy | lines");
}
