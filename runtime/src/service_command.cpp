// SPDX-License-Identifier: BSL-1.0
#include "service_command.hpp"

#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <variant>

#include "command_access.hpp"
#include "proc_text.hpp"
#include "stop_budget.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

void connect_streams(command& what)
{
    const auto* const standard = command_access::standard(what);
    const auto is_free = [&](int number) {
        return stdio_access::what(standard[number]) == stdio_access::kind::inherit;
    };
    if (is_free(0))
        what.std_in(stdio::null());
    if (is_free(1))
        what.std_out(stdio::pipe());
    if (is_free(2))
        what.std_err(stdio::pipe());
}

// Borrowed, and not handed over: a descriptor that is handed over is made blocking, for both
// incarnations at once, and who has seen a connection that the other one took would wait in
// accept().
void pass_descriptors(command& what, const service_access::description& how,
                      const descriptor_store& kept)
{
    for (const auto& one : how.listeners)
        what.listen_descriptor(stdio::borrow(one.descriptor->get()), one.name);
    for (const auto& one : kept.all())
        what.listen_descriptor(stdio::borrow(one.descriptor->get()), one.name);
}

// By which all that it starts is found again. Trees nest: the marks of those around it stay.
void mark(command& what, const std::string& marker)
{
    const auto& own = command_access::environment(what);
    const auto found = own.find(tree_marker_name);
    std::string outer;
    if (found != own.end())
        outer = found->second.value_or("");
    else if (const char* const value = ::getenv(tree_marker_name.data());
             value != nullptr && !command_access::env_clear(what))
        outer = value;
    what.env(std::string(tree_marker_name), outer.empty() ? marker : outer + ':' + marker);
}

}  // namespace

void forget_our_own(command& what)
{
    for (const char* const name : {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID",
                                   "LISTEN_FDS", "LISTEN_FDNAMES", "FDSTORE"}) {
        if (!command_access::environment(what).contains(name))
            what.env_remove(name);
    }
}

bool is_listened_to(const service_access::description& how)
{
    return service_access::kind(how.ready) == service_access::readiness_kind::told || how.watchdog
        || how.most_extension > std::chrono::nanoseconds::zero() || how.most_kept > 0;
}

command command_of(const runner_setup& setup, const std::string& notify_address)
{
    const auto& how = *setup.how;
    auto what = std::get<command>(how.body);
    connect_streams(what);
    forget_our_own(what);
    pass_descriptors(what, how, *setup.kept);
    if (!notify_address.empty())
        what.env("NOTIFY_SOCKET", notify_address);
    if (how.most_kept > 0)
        what.env("FDSTORE", std::to_string(how.most_kept));
    if (how.watchdog) {
        const auto most = std::chrono::duration_cast<std::chrono::microseconds>(*how.watchdog);
        what.env("WATCHDOG_USEC", std::to_string(most.count()));
    }
    tell_grace(what, std::min(how.stop_grace, setup.most_grace));
    if (setup.book)
        mark(what, setup.book->marker());
    if (setup.orphans == orphan_policy::kill && command_access::parent_death_signal(what) == 0)
        what.parent_death_signal(SIGKILL);
    return what;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
