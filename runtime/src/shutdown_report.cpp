// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/shutdown_report.hpp>

#include <signal.h>
#include <unistd.h>

#include <ostream>
#include <sstream>

#include "duration_text.hpp"

PROCYARD_NAMESPACE_BEGIN

std::string_view to_string(shutdown_phase phase) noexcept
{
    switch (phase) {
    case shutdown_phase::announce: return "announce";
    case shutdown_phase::linger: return "linger";
    case shutdown_phase::close_intake: return "close intake";
    case shutdown_phase::drain: return "drain";
    case shutdown_phase::cancel: return "cancel";
    case shutdown_phase::stop_children: return "stop children";
    case shutdown_phase::flush: return "flush";
    }
    return "?";
}

std::ostream& operator<<(std::ostream& out, shutdown_phase phase)
{
    return out << to_string(phase);
}

std::string_view to_string(shutdown_leftover::kind what) noexcept
{
    switch (what) {
    case shutdown_leftover::kind::handler: return "handler";
    case shutdown_leftover::kind::work: return "work";
    case shutdown_leftover::kind::task: return "task";
    case shutdown_leftover::kind::child: return "child";
    case shutdown_leftover::kind::supervisor: return "supervisor";
    case shutdown_leftover::kind::service: return "service";
    case shutdown_leftover::kind::pool: return "pool";
    }
    return "?";
}

std::ostream& operator<<(std::ostream& out, const shutdown_leftover& leftover)
{
    return out << leftover.phase << ": " << to_string(leftover.what) << ' ' << leftover.name
               << ", for " << detail::to_text(leftover.running_for);
}

std::ostream& operator<<(std::ostream& out, const shutdown_failure& failure)
{
    return out << failure.place << ": " << failure.name << ": " << failure.what;
}

int shutdown_report::exit_code() const noexcept
{
    if (requested_exit_code != 0)
        return requested_exit_code;
    return clean() ? 0 : 1;
}

std::string shutdown_report::to_string() const
{
    std::ostringstream out;
    out << procyard::to_string(reason) << ": stopped in " << detail::to_text(duration()) << " of "
        << detail::to_text(deadline - began);
    for (const auto& leftover : leftovers)
        out << "\nnot stopped in " << leftover;
    for (const auto& failure : failures)
        out << "\nfailed in " << failure;
    return std::move(out).str();
}

std::ostream& operator<<(std::ostream& out, const shutdown_report& report)
{
    return out << report.to_string();
}

void die_of_signal(int signal_number) noexcept
{
    struct sigaction by_default{};
    by_default.sa_handler = SIG_DFL;
    (void)::sigaction(signal_number, &by_default, nullptr);
    sigset_t one;
    (void)::sigemptyset(&one);
    (void)::sigaddset(&one, signal_number);
    (void)::pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
    (void)::raise(signal_number);
    ::_exit(128 + signal_number);
}

PROCYARD_NAMESPACE_END
