// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_STAGE_TABLE_HPP
#define PROCYARD_EXAMPLES_DEMO_STAGE_TABLE_HPP

#include <string>

#include <procyard/runtime/pipeline_status.hpp>

#include "stage_monitor.hpp"

namespace demo {

/// A line for each stage: how it ended, what it used, how much it read and wrote, how long it took.
std::string stage_table(const procyard::pipeline_status& status, const stage_monitor& monitor);

}  // namespace demo

#endif
