// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/observer.hpp>

#include <ostream>

#include "child_core.hpp"
#include "child_service.hpp"

PROCYARD_NAMESPACE_BEGIN

std::string_view to_string(child_event::kind what) noexcept
{
    using kind = child_event::kind;
    switch (what) {
    case kind::spawned: return "spawned";
    case kind::exec_failed: return "exec failed";
    case kind::signal_sent: return "signal sent";
    case kind::ladder_step: return "ladder step";
    case kind::limit_hit: return "limit hit";
    case kind::exited: return "exited";
    case kind::reaped: return "reaped";
    case kind::drained: return "drained";
    }
    return "unknown";
}

std::ostream& operator<<(std::ostream& out, const child_event& event)
{
    out << '[' << event.pid << "] " << event.program << ": " << to_string(event.what);
    if (event.failure != nullptr)
        return out << ": " << *event.failure;
    if (event.what == child_event::kind::signal_sent)
        out << ' ' << signal_name(event.number);
    else if (event.what == child_event::kind::ladder_step)
        out << ' ' << event.number;
    if (!event.text.empty())
        out << " (" << event.text << ')';
    if (event.status != nullptr)
        out << ": " << *event.status;
    return out;
}

void set_observer(const asio::any_io_executor& executor, std::shared_ptr<observer> watcher)
{
    detail::child_service::of(executor).observers()->set(std::move(watcher));
}

PROCYARD_NAMESPACE_END
