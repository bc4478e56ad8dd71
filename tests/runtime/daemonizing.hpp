// SPDX-License-Identifier: BSL-1.0
// A service that starts daemons, and who they are.
#ifndef PROCYARD_TESTS_RUNTIME_DAEMONIZING_HPP
#define PROCYARD_TESTS_RUNTIME_DAEMONIZING_HPP

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/runtime/supervisor.hpp>

#include "run_fixture.hpp"

namespace procyard_test {

// Ready when its leader is, and its daemons are written down.
inline procyard::service daemonizing(std::string name, procyard::command what,
                                     std::vector<pid_t>& daemons)
{
    procyard::service made(std::move(name), std::move(what));
    made.ready_when(procyard::readiness::line_with("ready"))
        .log([&daemons](procyard::service_output, std::string_view line) {
            if (const auto pid = reported_pid(line, "member"))
                daemons.push_back(pid);
        });
    return made;
}

}  // namespace procyard_test

#endif
