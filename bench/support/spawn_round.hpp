// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_SPAWN_ROUND_HPP
#define PROCYARD_BENCH_SPAWN_ROUND_HPP

#include <functional>
#include <memory>
#include <string>

#include <sys/types.h>

#include "round.hpp"

namespace bench {

/// A contender's way to start children of one program and to learn of their exits.
class spawner {
public:
    spawner() = default;
    spawner(const spawner&) = delete;
    spawner& operator=(const spawner&) = delete;
    virtual ~spawner() = default;

    /// Starts one child with the parent's stdio. `exited()` is called from `run` or `run_one` when
    /// it has been reaped.
    virtual pid_t start() = 0;

    /// Works until no child is left.
    virtual void run() = 0;

    /// Works until one child, any, has been reaped. Only `measure_children` needs it.
    virtual void run_one() { require(false, "this contender cannot do it"); }

    std::function<void()> exited;
};

/// Builds a contender's spawner for a program. Called once a round, at the point the row asks for.
using spawner_factory = std::function<std::unique_ptr<spawner>(const std::string& program)>;

/// `spawn program= in_flight= memory_mib= descriptors= descriptors_first= seconds=`: µs per child
/// and per call.
void measure_spawn(const round_options& options, const spawner_factory& make);

/// `children program= count= seconds=`: bytes of the parent per living child, µs until an exit is
/// seen, µs per child to kill and reap all, µs to reap those that have exited.
void measure_children(const round_options& options, const spawner_factory& make);

}  // namespace bench

#endif
