// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/service.hpp>

#include <boost/asio/post.hpp>

#include <utility>

#include "service_access.hpp"
#include "supervisor_core.hpp"

PROCYARD_NAMESPACE_BEGIN

service_context::service_context(std::weak_ptr<detail::supervisor_core> core, std::size_t number,
                                 std::uint64_t generation, std::string name,
                                 asio::any_io_executor ex)
    : core_(std::move(core)),
      number_(number),
      generation_(generation),
      name_(std::move(name)),
      executor_(std::move(ex))
{
}

void service_context::ready() const
{
    detail::supervisor_core::post_news(
        executor_, core_, {detail::supervisor_input::kind::ready, number_, generation_});
}

void service_context::unready() const
{
    detail::supervisor_core::post_news(
        executor_, core_, {detail::supervisor_input::kind::unready, number_, generation_});
}

void service_context::alive() const
{
    detail::supervisor_core::post_alive(executor_, core_, number_, generation_);
}

void service_context::extend(std::chrono::nanoseconds time) const
{
    detail::supervisor_core::post_news(executor_, core_,
                                       {.what = detail::supervisor_input::kind::extend,
                                        .service = number_,
                                        .generation = generation_,
                                        .extension = time});
}

readiness readiness::started()
{
    return readiness(kind::started);
}

readiness readiness::told()
{
    return readiness(kind::told);
}

readiness readiness::newline_on(int descriptor)
{
    readiness made(kind::newline);
    made.descriptor_ = descriptor;
    return made;
}

readiness readiness::line_with(std::string text)
{
    readiness made(kind::line);
    made.text_ = std::move(text);
    return made;
}

readiness readiness::probe(service_probe ask, std::chrono::nanoseconds interval,
                           std::chrono::nanoseconds most)
{
    readiness made(kind::probe);
    made.ask_ = std::move(ask);
    made.interval_ = interval;
    made.most_ = most;
    return made;
}

service::service(std::string name, command what)
    : what_(std::make_shared<description>(description{std::move(name), std::move(what)}))
{
}

service::service(std::string name, service_body body)
    : what_(std::make_shared<description>(description{std::move(name), std::move(body)}))
{
}

service::service(std::string name, restart_strategy strategy, std::vector<service> members,
                 restart_intensity intensity)
    : what_(std::make_shared<description>(description{
          std::move(name), description::members{strategy, intensity, std::move(members)}}))
{
}

// Copies share what they describe until one of them is changed.
service::description& service::change()
{
    auto own = std::make_shared<description>(*what_);
    auto& changed = *own;
    what_ = std::move(own);
    return changed;
}

service& service::restart(restart_kind kind)
{
    change().restart = kind;
    return *this;
}

service& service::backoff(const restart_backoff& delays)
{
    change().backoff = delays;
    return *this;
}

service& service::depends_on(std::vector<std::string> names)
{
    change().depends_on = std::move(names);
    return *this;
}

service& service::one_shot()
{
    auto& changed = change();
    changed.one_shot = true;
    changed.restart = restart_kind::transient;
    return *this;
}

service& service::ready_when(readiness what)
{
    change().ready = std::move(what);
    return *this;
}

service& service::start_timeout(std::chrono::nanoseconds most)
{
    change().start_timeout = most;
    return *this;
}

service& service::stop_grace(std::chrono::nanoseconds grace)
{
    change().stop_grace = grace;
    return *this;
}

service& service::stop_signal(int number)
{
    change().stop_signal = number;
    return *this;
}

service& service::may_extend(std::chrono::nanoseconds most)
{
    change().most_extension = most;
    return *this;
}

service& service::watchdog(std::chrono::nanoseconds most)
{
    change().watchdog = most;
    return *this;
}

service& service::health(service_probe ask, std::chrono::nanoseconds interval, unsigned failures,
                         std::chrono::nanoseconds most)
{
    change().health = description::health_check{std::move(ask), interval, failures, most};
    return *this;
}

service& service::log(service_log sink)
{
    change().log = std::make_shared<detail::log_sink>(detail::log_sink{std::move(sink), {}, {}});
    return *this;
}

service& service::log(service_log_task sink, log_options options)
{
    change().log =
        std::make_shared<detail::log_sink>(detail::log_sink{{}, std::move(sink), options});
    return *this;
}

service& service::error_tail(std::size_t bytes)
{
    change().error_tail = bytes;
    return *this;
}

service& service::listen(std::string name, unique_fd descriptor)
{
    change().listeners.push_back(
        {std::move(name), std::make_shared<const unique_fd>(std::move(descriptor))});
    return *this;
}

service& service::keep_descriptors(std::size_t most)
{
    change().most_kept = most;
    return *this;
}

const std::string& service::name() const noexcept
{
    return what_->name;
}

PROCYARD_NAMESPACE_END
