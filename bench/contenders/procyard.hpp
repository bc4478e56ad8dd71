// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_PROCYARD_HPP
#define PROCYARD_BENCH_PROCYARD_HPP

#include "../support/stream_round.hpp"

namespace bench {

void procyard_stdout(const round_options& options);
void procyard_copy(const round_options& options);
void procyard_lines(const round_options& options);

}  // namespace bench

#endif
