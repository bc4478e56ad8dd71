// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/supervisor.hpp>

#include <exception>
#include <ostream>
#include <utility>

#include "duration_text.hpp"
#include "supervisor_core.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace {

std::string what_of(const std::exception_ptr& exception)
{
    try {
        std::rethrow_exception(exception);
    } catch (const std::exception& e) {
        return e.what();
    } catch (...) {
        return "an exception of an unknown type";
    }
}

// One line of it, the last.
std::string last_line(const std::string& text)
{
    const auto end = text.find_last_not_of('\n');
    if (end == std::string::npos)
        return {};
    const auto begin = text.rfind('\n', end);
    return text.substr(begin == std::string::npos ? 0 : begin + 1,
                       end - (begin == std::string::npos ? 0 : begin + 1) + 1);
}

// What is not said by the rest.
std::string cause_of(const death_report& death)
{
    switch (death.cause) {
    case service_cause::asked:
    case service_cause::ended:
    case service_cause::crashed: return {};
    default: return " (" + std::string(to_string(death.cause)) + ')';
    }
}

std::string text_of(const death_report& death, const std::string& cause)
{
    std::string text = death.status ? death.status->to_string()
        : death.exception           ? "threw: " + what_of(death.exception)
        : !death.text.empty()       ? death.text
                                    : std::string("ended");
    text += " after " + detail::to_text(death.uptime) + cause;
    if (const auto line = last_line(death.error_tail); !line.empty())
        text += "; stderr ends with: \"" + line + '"';
    return text;
}

}  // namespace

std::string death_report::to_string() const
{
    return text_of(*this, cause_of(*this));
}

std::string service_event::to_string() const
{
    std::string text = std::to_string(sequence) + ' ' + service + '.' + std::to_string(generation);
    if (replacement)
        text += " (replacement)";
    text += ": ";
    text += procyard::to_string(from);
    text += " -> ";
    text += procyard::to_string(to);
    text += " (";
    text += procyard::to_string(cause);
    text += ')';
    if (to == service_state::backoff)
        text += ", next start in " + detail::to_text(delay);
    if (death)
        text += ": " + text_of(*death, death->cause == cause ? std::string() : cause_of(*death));
    return text;
}

std::ostream& operator<<(std::ostream& out, const service_event& event)
{
    return out << event.to_string();
}

std::ostream& operator<<(std::ostream& out, const death_report& report)
{
    return out << report.to_string();
}

supervisor::supervisor(asio::any_io_executor ex, supervisor_options options)
    : core_(std::make_shared<detail::supervisor_core>(std::move(ex), std::move(options)))
{
}

supervisor& supervisor::operator=(supervisor&& other) noexcept
{
    if (core_ && core_ != other.core_)
        core_->abandon();
    core_ = std::move(other.core_);
    return *this;
}

supervisor::~supervisor()
{
    if (core_)
        core_->abandon();
}

supervisor::executor_type supervisor::get_executor() const noexcept
{
    return core_->executor();
}

void supervisor::add(const service& what)
{
    core_->add(what);
}

void supervisor::start()
{
    core_->request(detail::supervisor_input::kind::start);
}

void supervisor::start(std::string_view name)
{
    core_->request(detail::supervisor_input::kind::start_service, name);
}

void supervisor::stop(std::string_view name)
{
    core_->request(detail::supervisor_input::kind::stop_service, name);
}

void supervisor::restart(std::string_view name)
{
    core_->request(detail::supervisor_input::kind::restart_service, name);
}

void supervisor::replace(std::string_view name)
{
    core_->request(detail::supervisor_input::kind::replace_service, name);
}

void supervisor::remove(std::string_view name)
{
    core_->request(detail::supervisor_input::kind::remove_service, name);
}

std::vector<service_snapshot> supervisor::snapshot() const
{
    return core_->snapshot();
}

void supervisor::start_sweep(const std::shared_ptr<detail::supervisor_core>& core,
                             asio::any_completion_handler<void(error_code)> h)
{
    core->wait_for_sweep(std::move(h));
}

void supervisor::start_wait(const std::shared_ptr<detail::supervisor_core>& core, end_handler h)
{
    core->wait(std::move(h));
}

void supervisor::start_stop(const std::shared_ptr<detail::supervisor_core>& core,
                            std::chrono::nanoseconds budget, end_handler h)
{
    core->wait(std::move(h));
    core->stop(budget);
}

PROCYARD_NAMESPACE_END
