// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_RAW_HPP
#define PROCYARD_BENCH_RAW_HPP

#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

#include "../support/spawn_round.hpp"
#include "../support/stream_round.hpp"

namespace bench {

/// How a hand-written spawn makes the child.
enum class raw_mechanism { clone, shared_table, promises, fork, posix_spawn };

struct raw_child {
    pid_t pid = -1;
    int pidfd = -1;  // only of the first three
};

/// Starts `argv[0]` with stdin and stdout taken from the given descriptors, -1 to inherit.
raw_child raw_spawn(raw_mechanism mechanism, const std::vector<char*>& argv, int std_in = -1,
                    int std_out = -1);

/// How it waits: blocked on the only child, on a set of pidfds, or on a set but reaping one after
/// the other at the end.
enum class raw_wait { single, set, in_order };

std::unique_ptr<spawner> make_raw_spawner(raw_mechanism mechanism, raw_wait wait,
                                          const std::string& program);

void raw_stdout(const round_options& options);
void raw_copy(const round_options& options);
void raw_lines(const round_options& options);

}  // namespace bench

#endif
