// SPDX-License-Identifier: BSL-1.0
#include "service_check.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string_view>
#include <variant>
#include <vector>

#include "command_access.hpp"
#include "manager_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using description = service_access::description;
using readiness_kind = service_access::readiness_kind;

// Of the members of a group, as add() would say it of each.
std::string fault_of_members(const description::members& group)
{
    std::vector<std::string_view> before;
    for (const auto& member : group.services) {
        const auto& how = *service_access::what(member);
        const auto is_before = [&](std::string_view name) {
            return std::find(before.begin(), before.end(), name) != before.end();
        };
        auto fault = fault_of(how);
        if (fault.empty() && is_before(how.name))
            fault = "there is one of that name";
        for (const auto& name : how.depends_on) {
            if (fault.empty() && !is_before(name))
                fault = "depends on \"" + name + "\", which was not added before it";
        }
        if (!fault.empty())
            return "its member \"" + how.name + "\": " + fault;
        before.push_back(how.name);
    }
    return {};
}

std::string fault_of_readiness(const description& how, bool is_command)
{
    const auto kind = service_access::kind(how.ready);
    if (!is_command && (kind == readiness_kind::newline || kind == readiness_kind::line))
        return "only a command has outputs and descriptors by which it could be ready";
    if (kind == readiness_kind::probe && !service_access::ask(how.ready))
        return "the probe of its readiness is empty";
    return {};
}

std::string fault_of_times(const description& how)
{
    if (how.health && !how.health->ask)
        return "the probe of its health is empty";
    if (how.health && (how.health->failures == 0 || how.health->interval.count() <= 0))
        return "its health has to be asked at an interval, and to fail at least once";
    if (how.watchdog && how.watchdog->count() <= 0)
        return "the time of its watchdog is not positive";
    if (how.most_extension.count() < 0)
        return "the time by which it may extend others is negative";
    const auto& delays = how.backoff;
    if (delays.first.count() < 0 || delays.cap < delays.first || !(delays.factor >= 1.0)
        || !(delays.jitter >= 0.0 && delays.jitter < 1.0))
        return "its delays: 0 <= first <= cap, factor >= 1, 0 <= jitter < 1";
    return {};
}

std::string fault_of_log(const description& how, bool is_command)
{
    if (!is_command && (how.log->plain || how.log->task))
        return "only a command has outputs to log";
    if (how.log->how.most_bytes == 0)
        return "there is no room before its log";
    return {};
}

// Those that are passed have the numbers from 3 on, so nothing else may have one of them.
std::string fault_of_descriptors(const description& how)
{
    const auto* const what = std::get_if<command>(&how.body);
    if (how.listeners.empty() && how.most_kept == 0)
        return {};
    if (what == nullptr)
        return "only a command gets descriptors";
    for (const auto& one : how.listeners) {
        if (!is_descriptor_name(one.name))
            return "\"" + one.name
                + "\" is no name of a descriptor: 1 to 255 printable characters, "
                  "and no colon";
        if (!*one.descriptor)
            return "its descriptor \"" + one.name + "\" is empty";
    }
    const auto end = first_activation_descriptor + how.listeners.size() + how.most_kept;
    const auto is_taken = [&](int number) { return static_cast<std::size_t>(number) < end; };
    int number = -1;
    for (const auto& [mapped, connection] : command_access::descriptors(*what)) {
        if (number < 0 && is_taken(mapped))
            number = mapped;
    }
    if (service_access::kind(how.ready) == readiness_kind::newline
        && is_taken(service_access::descriptor(how.ready)))
        number = service_access::descriptor(how.ready);
    if (number >= 0)
        return "its descriptor " + std::to_string(number)
            + " is one of those by which it gets what it listens on, or what is kept for it";
    return {};
}

}  // namespace

std::string fault_of(const description& how)
{
    const bool is_command = std::holds_alternative<command>(how.body);
    const auto* const group = std::get_if<description::members>(&how.body);
    if (how.name.empty())
        return "a service has no name";
    if (how.name.find('/') != std::string::npos)
        return "a name has no slash, which stands between a group and its member";
    if (const auto* body = std::get_if<service_body>(&how.body); body != nullptr && !*body)
        return "its coroutine is empty";
    for (auto fault : {fault_of_readiness(how, is_command), fault_of_times(how),
                       fault_of_log(how, is_command), fault_of_descriptors(how)}) {
        if (!fault.empty())
            return fault;
    }
    const bool is_started = service_access::kind(how.ready) == readiness_kind::started;
    if (group != nullptr && (!is_started || how.one_shot || how.watchdog))
        return "a group is ready when its members are, does not end, and has no watchdog";
    if (group != nullptr)
        return fault_of_members(*group);
    if (how.one_shot && how.restart == restart_kind::permanent)
        return "what runs once is not permanent";
    return {};
}

}  // namespace detail

PROCYARD_NAMESPACE_END
