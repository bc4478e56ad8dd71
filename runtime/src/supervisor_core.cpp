// SPDX-License-Identifier: BSL-1.0
#include "supervisor_core.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <exception>
#include <random>
#include <stdexcept>
#include <utility>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using kind = supervisor_input::kind;

supervisor_fsm::setup setup_of(const supervisor_options& options)
{
    supervisor_fsm::setup what;
    what.strategy = options.strategy;
    what.intensity = options.intensity;
    what.stop_budget = options.stop_budget;
    return what;
}

bool is_alive(service_state state)
{
    using enum service_state;
    return state == starting || state == ready || state == unready || state == stopping
        || state == killing;
}

std::uint64_t seed_of(const supervisor_options& options)
{
    return options.seed != 0 ? options.seed : std::random_device{}();
}

}  // namespace

supervisor_core::supervisor_core(asio::any_io_executor ex, supervisor_options options,
                                 bool is_group)
    : executor_(std::move(ex)),
      options_(std::move(options)),
      fsm_(detail::setup_of(options_), seed_of(options_)),
      is_group_(is_group)
{
    if (!options_.clock)
        options_.clock = steady_timer_clock();
}

namespace {

// Of the members of a group, as add() would say it of each.
std::string fault_of(const service_access::description::members& group)
{
    std::vector<std::string_view> before;
    for (const auto& member : group.services) {
        const auto& how = *service_access::what(member);
        const auto is_before = [&](std::string_view name) {
            return std::find(before.begin(), before.end(), name) != before.end();
        };
        auto fault = detail::fault_of(how);
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

}  // namespace

std::string fault_of(const service_access::description& how)
{
    using readiness_kind = service_access::readiness_kind;
    const auto kind = service_access::kind(how.ready);
    const bool is_command = std::holds_alternative<command>(how.body);
    const bool is_group = std::holds_alternative<service_access::description::members>(how.body);
    if (how.name.empty())
        return "a service has no name";
    if (!is_command && (kind == readiness_kind::newline || kind == readiness_kind::line))
        return "only a command has outputs and descriptors by which it could be ready";
    if (kind == readiness_kind::probe && !service_access::ask(how.ready))
        return "the probe of its readiness is empty";
    if (how.health && !how.health->ask)
        return "the probe of its health is empty";
    if (how.health && (how.health->failures == 0 || how.health->interval.count() <= 0))
        return "its health has to be asked at an interval, and to fail at least once";
    if (how.watchdog && how.watchdog->count() <= 0)
        return "the time of its watchdog is not positive";
    if (const auto* body = std::get_if<service_body>(&how.body); body != nullptr && !*body)
        return "its coroutine is empty";
    const auto& delays = how.backoff;
    if (delays.first.count() < 0 || delays.cap < delays.first || !(delays.factor >= 1.0)
        || !(delays.jitter >= 0.0 && delays.jitter < 1.0))
        return "its delays: 0 <= first <= cap, factor >= 1, 0 <= jitter < 1";
    if (is_group && (kind != readiness_kind::started || how.one_shot || how.watchdog))
        return "a group is ready when its members are, does not end, and has no watchdog";
    if (!is_command && how.log)
        return "only a command has outputs to log";
    if (const auto* group = std::get_if<service_access::description::members>(&how.body))
        return fault_of(*group);
    if (how.one_shot && how.restart == restart_kind::permanent)
        return "what runs once is not permanent";
    return {};
}

std::optional<std::size_t> supervisor_core::find(std::string_view name) const
{
    for (std::size_t i = 0; i < services_.size(); ++i) {
        if (services_[i].how->name == name && fsm_.state(i) != service_state::removed)
            return i;
    }
    return std::nullopt;
}

std::size_t supervisor_core::number_of(std::string_view name) const
{
    if (const auto found = find(name))
        return *found;
    throw std::invalid_argument("supervisor: there is no service \"" + std::string(name) + '"');
}

void supervisor_core::add(const service& what)
{
    const auto& how = service_access::what(what);
    const auto refuse = [&](const std::string& why) {
        throw std::invalid_argument("supervisor: service \"" + how->name + "\": " + why);
    };
    if (const auto fault = fault_of(*how); !fault.empty())
        refuse(fault);
    if (find(how->name))
        refuse("there is one of that name");
    supervisor_fsm::service_setup setup;
    for (const auto& name : how->depends_on) {
        const auto found = find(name);
        if (!found)
            refuse("depends on \"" + name + "\", which was not added before it");
        setup.depends_on.push_back(*found);
    }
    setup.restart = how->restart;
    setup.backoff = how->backoff;
    setup.start_timeout = how->start_timeout;
    setup.stop_grace = how->stop_grace;
    setup.one_shot = how->one_shot;
    services_.push_back({how});
    services_.back().since = options_.clock->now();
    (void)fsm_.add(std::move(setup));
    tell({kind::tick});
}

void supervisor_core::request(supervisor_input::kind what)
{
    tell({what});
}

void supervisor_core::request(supervisor_input::kind what, std::string_view name)
{
    const auto number = number_of(name);
    if (what == kind::remove_service)
        refuse_if_needed(name);
    tell({what, number});
}

void supervisor_core::stop(std::chrono::nanoseconds budget)
{
    const auto most = std::min(budget, options_.stop_budget);
    const auto deadline = options_.clock->after(most);
    if (!stop_began_)
        stop_began_ = options_.clock->now();
    if (!is_group_)
        stop_ends_ = std::min(stop_ends_.value_or(deadline), deadline);
    supervisor_input input{kind::stop};
    input.deadline = deadline;
    tell(input);
}

void supervisor_core::wait(handler h)
{
    if (result_) {
        pending<void(error_code, supervisor_result)>(executor_, std::move(h))
            .complete({}, *result_);
        return;
    }
    std::erase_if(waits_, [](const auto& one) { return !*one; });
    const auto one =
        std::make_shared<pending<void(error_code, supervisor_result)>>(executor_, std::move(h));
    waits_.push_back(one);
    auto slot = one->get_cancellation_slot();
    if (!slot.is_connected())
        return;
    slot.assign([weak = std::weak_ptr(one)](asio::cancellation_type type) {
        const auto waiting = weak.lock();
        if (type == asio::cancellation_type::none || !waiting || !*waiting)
            return;
        waiting->complete(asio::error::operation_aborted, {});
    });
}

std::vector<service_snapshot> supervisor_core::snapshot() const
{
    std::vector<service_snapshot> all;
    for (std::size_t i = 0; i < services_.size(); ++i) {
        const auto& one = services_[i];
        service_snapshot now;
        now.name = one.how->name;
        now.state = fsm_.state(i);
        now.generation = fsm_.generation(i);
        now.since = one.since;
        now.restarts = one.restarts;
        now.last_death = one.last_death;
        if (const auto found = one.runners.find(now.generation); found != one.runners.end()) {
            now.pid = found->second->pid();
            now.status_text = found->second->status_text();
        }
        all.push_back(std::move(now));
    }
    return all;
}

void supervisor_core::abandon() noexcept
{
    // An observer may destroy the supervisor, and is on the stack then: nothing of it is destroyed
    // here, and tell() sees that it is over.
    abandoned_ = true;
    inputs_.clear();
    if (timer_)
        timer_->emit(asio::cancellation_type::terminal);
    for (auto& one : services_) {
        const auto runners = std::exchange(one.runners, {});
        for (const auto& [generation, runner] : runners)
            runner->abandon();
    }
    for (const auto& one : waits_) {
        if (*one)
            one->complete(asio::error::operation_aborted, {});
    }
}

void supervisor_core::on_news(supervisor_input::kind what, std::size_t number,
                              std::uint64_t generation)
{
    tell({what, number, generation});
}

void supervisor_core::on_ended(std::size_t number, std::uint64_t generation, bool clean,
                               std::shared_ptr<death_report> report)
{
    if (abandoned_)
        return;
    auto& one = services_[number];
    one.runners.erase(generation);
    one.last_death = std::move(report);
    one.last_dead = generation;
    tell({clean ? kind::ended_clean : kind::ended_failed, number, generation});
}

// Inputs wait for each other: what an observer asks for is heard when what it was told is done.
void supervisor_core::tell(const supervisor_input& input)
{
    if (abandoned_)
        return;
    inputs_.push_back(input);
    if (telling_)
        return;
    struct guard {
        bool& telling;
        ~guard() { telling = false; }
    };
    const auto self = shared_from_this();
    {
        const guard over{telling_ = true};
        tell_all();
    }
    arm();
}

void supervisor_core::tell_all()
{
    while (!inputs_.empty()) {
        const auto next = inputs_.front();
        inputs_.pop_front();
        // A copy: what is carried out may add a service.
        const auto step = fsm_.resume(next, options_.clock->now());
        for (const auto& one : step.transitions) {
            if (!abandoned_)
                publish(one);
        }
        for (const auto& one : step.outputs) {
            if (!abandoned_)
                carry_out(one);
        }
    }
}

void supervisor_core::publish(const service_transition& what)
{
    auto& one = services_[what.service];
    if (what.role == incarnation_role::serving) {
        one.since = what.when;
        one.restarts += what.to == service_state::backoff ? 1 : 0;
        if (what.to == service_state::failed && what.cause == service_cause::too_many_restarts)
            give_up(one.how->name);
    }
    if (what.role == incarnation_role::serving) {
        const auto found = one.runners.find(what.generation);
        if (found != one.runners.end())
            found->second->serves(what.to == service_state::ready);
    }
    const auto name = one.how->name;
    if (what.to == service_state::removed) {
        // Its sinks and bodies go with it; the number stays.
        one.how = std::make_shared<service_access::description>(
            service_access::description{name, service_body()});
    }
    if (!options_.on_event)
        return;
    service_event event;
    event.sequence = what.sequence;
    event.when = what.when;
    event.service = name;
    event.generation = what.generation;
    event.replacement = what.role != incarnation_role::serving;
    event.from = what.from;
    event.to = what.to;
    event.cause = what.cause;
    event.delay = what.delay;
    if (one.last_dead == what.generation && is_alive(what.from) && !is_alive(what.to))
        event.death = one.last_death;
    options_.on_event(event);
}

// The machine stops everything; here that has an end, too.
void supervisor_core::give_up(const std::string& culprit)
{
    culprit_ = culprit;
    stop_began_ = options_.clock->now();
    if (!is_group_)
        stop_ends_ = options_.clock->after(options_.stop_budget);
}

void supervisor_core::carry_out(const supervisor_output& what)
{
    if (what.what == supervisor_output::kind::finished)
        return finish(true);
    if (what.what == supervisor_output::kind::start)
        return start(what.service, what.generation);
    const auto found = services_[what.service].runners.find(what.generation);
    if (found == services_[what.service].runners.end())
        return;
    const auto runner = found->second;  // it may end meanwhile
    if (what.what == supervisor_output::kind::stop)
        runner->stop();
    else
        runner->kill();
}

void supervisor_core::start(std::size_t number, std::uint64_t generation)
{
    auto& one = services_[number];
    runner_setup setup{std::weak_ptr<runner_owner>(shared_from_this()),
                       executor_,
                       options_.clock,
                       one.how,
                       number,
                       generation};
    const auto runner = std::holds_alternative<command>(one.how->body)
        ? make_command_runner(std::move(setup))
        : std::holds_alternative<service_body>(one.how->body)
        ? make_coroutine_runner(std::move(setup), weak_from_this())
        : make_group_runner(std::move(setup));
    one.runners.emplace(generation, runner);
    try {
        runner->start();
    } catch (const std::exception& error) {
        runner->abandon();
        return cannot_start(number, generation, error.what());
    }
    // A body runs to its first wait, and may destroy the supervisor there.
    if (abandoned_)
        runner->abandon();
}

void supervisor_core::cannot_start(std::size_t number, std::uint64_t generation,
                                   const std::string& why)
{
    auto report = std::make_shared<death_report>();
    report->text = why;
    asio::post(executor_, [weak = weak_from_this(), number, generation, report] {
        if (const auto self = weak.lock())
            self->on_ended(number, generation, false, report);
    });
}

// A service whose dependency is gone for good would wait for ever at its next start.
void supervisor_core::refuse_if_needed(std::string_view name) const
{
    for (std::size_t i = 0; i < services_.size(); ++i) {
        const auto& needs = services_[i].how->depends_on;
        if (fsm_.state(i) != service_state::removed
            && std::find(needs.begin(), needs.end(), name) != needs.end())
            throw std::invalid_argument("supervisor: service \"" + std::string(name)
                                        + "\" is needed by \"" + services_[i].how->name + '"');
    }
}

void supervisor_core::arm()
{
    if (abandoned_)
        return;
    auto next = result_ ? std::nullopt : fsm_.next();
    if (stop_ends_ && !result_)
        next = std::min(next.value_or(*stop_ends_), *stop_ends_);
    if (next == armed_for_)
        return;
    if (timer_)
        timer_->emit(asio::cancellation_type::terminal);
    timer_.reset();
    armed_for_ = next;
    if (!next)
        return;
    timer_ = std::make_shared<asio::cancellation_signal>();
    options_.clock->async_wait_until(
        executor_, *next,
        asio::bind_cancellation_slot(
            timer_->slot(), [weak = weak_from_this(), mine = std::weak_ptr(timer_)](error_code ec) {
                const auto self = weak.lock();
                // Another timer may have taken its place since it was due.
                if (!ec && self && self->timer_ && self->timer_ == mine.lock())
                    self->on_timer();
            }));
}

void supervisor_core::on_timer()
{
    timer_.reset();
    armed_for_.reset();
    tell({kind::tick});
    if (stop_ends_ && !result_ && options_.clock->now() >= *stop_ends_)
        finish(false);
    arm();
}

void supervisor_core::finish(bool everything_has_gone)
{
    if (result_)
        return;
    supervisor_result made;
    made.failed = !culprit_.empty();
    made.culprit = culprit_;
    if (stop_began_)
        made.stop_time = options_.clock->now() - *stop_began_;
    for (const auto& one : services_) {
        if (!everything_has_gone && !one.runners.empty())
            made.left.push_back(one.how->name);
    }
    result_ = std::move(made);
    complete_waits();
}

void supervisor_core::complete_waits()
{
    for (const auto& one : waits_) {
        if (*one)
            one->complete({}, *result_);
    }
}

void supervisor_core::post_news(const asio::any_io_executor& ex,
                                std::weak_ptr<supervisor_core> core, supervisor_input::kind what,
                                std::size_t number, std::uint64_t generation)
{
    if (core.expired())
        return;
    asio::post(ex, [core = std::move(core), what, number, generation] {
        if (const auto self = core.lock())
            self->on_news(what, number, generation);
    });
}

void supervisor_core::post_alive(const asio::any_io_executor& ex,
                                 std::weak_ptr<supervisor_core> core, std::size_t number,
                                 std::uint64_t generation)
{
    if (core.expired())
        return;
    asio::post(ex, [core = std::move(core), number, generation] {
        const auto self = core.lock();
        if (!self)
            return;
        const auto& runners = self->services_[number].runners;
        if (const auto found = runners.find(generation); found != runners.end())
            found->second->alive();
    });
}

}  // namespace detail

PROCYARD_NAMESPACE_END
