// SPDX-License-Identifier: BSL-1.0
// What the tests of async_run(pipeline) share.
#ifndef PROCYARD_TESTS_SUPPORT_PIPELINE_RUN_FIXTURE_HPP
#define PROCYARD_TESTS_SUPPORT_PIPELINE_RUN_FIXTURE_HPP

#include <procyard/runtime/pipeline.hpp>

#include "pipeline_fixture.hpp"
#include "run_fixture.hpp"

namespace procyard_test {

using pipeline_run_fixture = basic_run_fixture<procyard::pipeline, procyard::pipeline_result>;

}  // namespace procyard_test

#endif
