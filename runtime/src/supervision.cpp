// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/supervision.hpp>

#include <boost/assert.hpp>

PROCYARD_NAMESPACE_BEGIN

std::string_view to_string(restart_kind kind) noexcept
{
    switch (kind) {
    case restart_kind::permanent: return "permanent";
    case restart_kind::transient: return "transient";
    case restart_kind::temporary: return "temporary";
    }
    BOOST_ASSERT_MSG(false, "restart_kind: no such value");
    return "?";
}

std::string_view to_string(restart_strategy what) noexcept
{
    switch (what) {
    case restart_strategy::one_for_one: return "one for one";
    case restart_strategy::one_for_all: return "one for all";
    case restart_strategy::rest_for_one: return "rest for one";
    }
    BOOST_ASSERT_MSG(false, "restart_strategy: no such value");
    return "?";
}

std::string_view to_string(service_state state) noexcept
{
    switch (state) {
    case service_state::configured: return "configured";
    case service_state::waiting: return "waiting";
    case service_state::starting: return "starting";
    case service_state::ready: return "ready";
    case service_state::unready: return "unready";
    case service_state::stopping: return "stopping";
    case service_state::killing: return "killing";
    case service_state::exited: return "exited";
    case service_state::backoff: return "backoff";
    case service_state::failed: return "failed";
    case service_state::removed: return "removed";
    }
    BOOST_ASSERT_MSG(false, "service_state: no such value");
    return "?";
}

std::string_view to_string(service_cause cause) noexcept
{
    switch (cause) {
    case service_cause::asked: return "asked to";
    case service_cause::dependencies_ready: return "its dependencies are ready";
    case service_cause::dependency_failed: return "a dependency has failed for good";
    case service_cause::became_ready: return "it says so";
    case service_cause::lost_readiness: return "it says that it is not ready";
    case service_cause::ended: return "it has ended";
    case service_cause::crashed: return "it has failed";
    case service_cause::start_timeout: return "it was not ready in time";
    case service_cause::unhealthy: return "it is not healthy";
    case service_cause::watchdog: return "its watchdog has run out";
    case service_cause::sibling_failed: return "a sibling has failed";
    case service_cause::too_many_restarts: return "too many restarts";
    case service_cause::grace_over: return "its grace is over";
    case service_cause::budget_over: return "the time to stop is over";
    case service_cause::delay_over: return "its delay is over";
    case service_cause::replaced: return "another incarnation serves";
    }
    BOOST_ASSERT_MSG(false, "service_cause: no such value");
    return "?";
}

PROCYARD_NAMESPACE_END
