// SPDX-License-Identifier: BSL-1.0
#include "supervisor_core.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <exception>
#include <new>
#include <random>
#include <stdexcept>
#include <utility>

#include "service_check.hpp"

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

std::chrono::nanoseconds grace_within(std::chrono::nanoseconds budget)
{
    return supervisor_fsm::asking_part(budget, supervisor_fsm::setup().kill_reserve);
}

bool is_alive(service_state state)
{
    using enum service_state;
    return state == starting || state == ready || state == unready || state == stopping
        || state == killing;
}

// Cancelled by its slot, without an effect on anything else.
template <class... Results>
void abort_when_cancelled(const std::shared_ptr<pending<void(error_code, Results...)>>& one)
{
    auto slot = one->get_cancellation_slot();
    if (!slot.is_connected())
        return;
    slot.assign([weak = std::weak_ptr(one)](asio::cancellation_type type) {
        const auto waiting = weak.lock();
        if (type == asio::cancellation_type::none || !waiting || !*waiting)
            return;
        waiting->complete(asio::error::operation_aborted, Results{}...);
    });
}

std::uint64_t seed_of(const supervisor_options& options)
{
    return options.seed != 0 ? options.seed : std::random_device{}();
}

}  // namespace

supervisor_core::supervisor_core(asio::any_io_executor ex, supervisor_options options,
                                 std::optional<group_mark> group)
    : executor_(std::move(ex)),
      options_(std::move(options)),
      fsm_(detail::setup_of(options_), seed_of(options_)),
      turn_(group ? group->turn : std::make_shared<supervision_turn>()),
      group_(std::move(group)),
      most_grace_(grace_within(group_ ? std::min(options_.stop_budget, group_->most_grace)
                                      : options_.stop_budget)),
      burial_(std::make_shared<orphan_burial>(executor_))
{
    if (!options_.clock)
        options_.clock = steady_timer_clock();
    if (group_)
        book_ = group_->book;
    if (options_.state_directory.empty())
        return;
    book_ = std::make_shared<survivor_book>(options_.state_directory);
    sweeping_ = true;
}

std::optional<std::size_t> supervisor_core::find(std::string_view name) const
{
    for (const auto& [number, one] : services_) {
        if (one.how->name == name && fsm_.state(number) != service_state::removed)
            return number;
    }
    return std::nullopt;
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
        if (fsm_.leaves(*found))
            refuse("depends on \"" + name + "\", which is being removed");
        setup.depends_on.push_back(*found);
    }
    setup.restart = how->restart;
    setup.backoff = how->backoff;
    setup.start_timeout = how->start_timeout;
    setup.stop_grace = how->stop_grace;
    setup.most_extension = how->most_extension;
    setup.one_shot = how->one_shot;
    const auto history =
        group_ ? group_->history->member(how->name) : std::make_shared<service_history>();
    const bool goes_on = group_ && group_serves();
    setup.generations = history->generations;
    setup.generation = goes_on ? *history->generations : 0;
    entry one{.how = how,
              .log = std::make_shared<log_feed>(executor_, how->log,
                                                [weak = weak_from_this()] {
                                                    if (const auto self = weak.lock())
                                                        self->on_log_idle();
                                                }),
              .kept = std::make_shared<descriptor_store>(executor_, how->most_kept),
              .history = history};
    one.since = options_.clock->now();
    if (goes_on)
        one.stood = history->state;
    services_.emplace(fsm_.next_number(), std::move(one));
    (void)fsm_.add(std::move(setup));
    tell({kind::tick});
}

void supervisor_core::request(supervisor_input::kind what)
{
    tell({what});
}

void supervisor_core::request(supervisor_input::kind what, std::string_view name)
{
    request(what, name, name);
}

void supervisor_core::stop(std::chrono::nanoseconds budget)
{
    const auto most = std::min(budget, options_.stop_budget);
    const auto deadline = options_.clock->after(most);
    if (!stop_began_)
        stop_began_ = options_.clock->now();
    stop_ends_ = std::min(stop_ends_.value_or(deadline), deadline);
    supervisor_input input{kind::stop};
    input.deadline = deadline;
    tell(input);
}

void supervisor_core::wait(handler h)
{
    if (result_ || abandoned_) {
        pending<void(error_code, supervisor_result)>(executor_, std::move(h))
            .complete(result_ ? error_code() : asio::error::operation_aborted,
                      result_.value_or(supervisor_result()));
        return;
    }
    std::erase_if(waits_, [](const auto& one) { return !*one; });
    const auto one =
        std::make_shared<pending<void(error_code, supervisor_result)>>(executor_, std::move(h));
    waits_.push_back(one);
    abort_when_cancelled(one);
}

void supervisor_core::wait_for_sweep(sweep_handler h)
{
    const auto one = std::make_shared<pending<void(error_code)>>(executor_, std::move(h));
    if (sweeping_ && !sweep_timer_ && !result_)
        sweep();
    if (!sweeping_)
        return one->complete({});
    if (result_)
        return one->complete(asio::error::timed_out);
    std::erase_if(sweep_waits_, [](const auto& waiting) { return !*waiting; });
    sweep_waits_.push_back(one);
    abort_when_cancelled(one);
}

void supervisor_core::abandon() noexcept
{
    // An observer may destroy the supervisor, and is on the stack then: nothing of it is destroyed
    // here, and tell() sees that it is over.
    const bool is_known = std::exchange(abandoned_, true);
    if (!group_)
        turn_->waiting.clear();
    if (timer_)
        timer_->emit(asio::cancellation_type::terminal);
    if (sweep_timer_)
        sweep_timer_->emit(asio::cancellation_type::terminal);
    const bool goes_on = group_ && group_serves();
    const auto owner = group_ ? group_->owner.lock() : nullptr;
    const bool may_take_over = owner && owner->serves_here(group_->number, group_->generation);
    for (auto& [number, one] : services_) {
        const auto runners = std::exchange(one.runners, {});
        for (const auto& [generation, runner] : runners)
            runner->abandon();
        one.log->end();
        if (is_known)
            continue;
        one.history->lines_lost += one.log->lost();
        // Of two incarnations of a group the one that serves has the last word, though it may end
        // first, and its members may have the lower numbers.
        const auto generation = shown_generation(one, fsm_.generation(number));
        if (goes_on) {
            one.history->state = fsm_.state(number);
            one.history->generation = generation;
            one.history->since = one.since;
        } else if (may_take_over) {
            one.history->aside = {group_->generation, fsm_.state(number), generation, one.since};
        }
    }
    for (const auto& log : last_logs_)
        log->end();
    // Posted, which takes memory: where there is none even for this the host ends (std::terminate).
    // Rejected: to drop the handler instead; a coroutine's posts in its destructor.
    for (const auto& one : waits_) {
        if (*one)
            one->complete(asio::error::operation_aborted, {});
    }
    end_sweep(asio::error::operation_aborted);
}

void supervisor_core::on_news(const supervisor_input& news)
{
    tell(news);
}

void supervisor_core::on_ended(std::size_t number, std::uint64_t generation, bool clean,
                               std::shared_ptr<death_report> report)
{
    if (abandoned_)
        return;
    const auto found = services_.find(number);
    if (found == services_.end())
        return;
    auto& one = found->second;
    one.runners.erase(generation);
    report->cause = fsm_.cause_of_end(number, generation, clean);
    one.last_death = std::move(report);
    one.last_dead = generation;
    one.history->last_death = one.last_death;
    tell({clean ? kind::ended_clean : kind::ended_failed, number, generation});
}

// Inputs wait for each other: what an observer asks for is heard when what it was told is done.
void supervisor_core::tell(const supervisor_input& input)
{
    if (abandoned_)
        return;
    turn_->waiting.push_back({weak_from_this(), input});
    if (turn_->taken)
        return;
    if (sweeping_) {
        if (!sweep_timer_ && !result_)
            sweep();
        if (sweeping_)
            return arm();
    }
    struct guard {
        bool& telling;
        ~guard() { telling = false; }
    };
    const auto self = shared_from_this();
    // Each of them, whatever fails on the way: what one has decided can be another's to hear, and
    // nobody comes back for that.
    std::exception_ptr failure;
    {
        const guard over{turn_->taken = true};
        while (!turn_->waiting.empty()) {
            const auto next = turn_->waiting.front();
            turn_->waiting.pop_front();
            try {
                if (const auto whose = next.whose.lock(); whose && !whose->abandoned_)
                    whose->hear(next.what);
            } catch (...) {
                if (!failure)
                    failure = std::current_exception();
            }
        }
    }
    if (book_ && !abandoned_)
        book_->write();
    if (failure)
        std::rethrow_exception(failure);
}

// What the machine has decided is told and done to its end, whatever fails on the way (an observer,
// the memory): it counts on it, and does not say it again.
void supervisor_core::hear(const supervisor_input& input)
{
    std::exception_ptr failure;
    const auto attempt = [&](auto&& what) {
        try {
            what();
        } catch (...) {
            if (!failure)
                failure = std::current_exception();
        }
    };
    attempt([&] { (void)fsm_.resume(input, options_.clock->now()); });
    // Also of one that has not come to its end. It stays as it is: what is asked for meanwhile has
    // to wait.
    const auto& step = fsm_.last_step();
    for (const auto& one : step.transitions) {
        if (!abandoned_)
            attempt([&] { publish(one); });
    }
    for (const auto& one : step.outputs) {
        if (!abandoned_)
            attempt([&] { carry_out(one); });
    }
    attempt([&] { arm(); });
    if (failure)
        std::rethrow_exception(failure);
}

// Whether nothing is left of another supervisor with our directory: neither its lock nor a process.
bool supervisor_core::sweep_once()
{
    if (!book_->open())
        return false;
    if (!sweep_)
        sweep_ = std::make_unique<survivor_sweep>(book_->marker(), book_->old());
    return !sweep_->pass();
}

// Kills what another supervisor has left, and looks again until it has gone.
void supervisor_core::sweep()
{
    bool left = true;
    try {
        left = !sweep_once();
    } catch (const std::bad_alloc&) {        // then the next time
    } catch (const std::exception& error) {  // another one was first, or the files are unreadable
        return give_up_sweep(error.what());
    }
    if (!left) {
        sweeping_ = false;
        sweep_.reset();
        sweep_timer_.reset();
        book_->forget_the_old();
        return end_sweep({});
    }
    // By the machine's clock: it is the kernel that is waited for.
    if (!sweep_timer_)
        sweep_ends_ = steady_timer_clock()->after(options_.sweep_budget);
    if (steady_timer_clock()->now() >= sweep_ends_) {
        return give_up_sweep(sweep_ ? "survivors of another supervisor that cannot be killed: "
                                     + sweep_->describe_left()
                                    : book_->describe_holder());
    }
    arm_sweep();
}

void supervisor_core::arm_sweep()
{
    constexpr auto longest = std::chrono::milliseconds(50);
    sweep_timer_ = std::make_shared<asio::cancellation_signal>();
    const auto delay = sweep_delay_;
    sweep_delay_ = std::min<std::chrono::nanoseconds>(2 * delay, longest);
    steady_timer_clock()->async_wait_for(
        executor_, delay,
        asio::bind_cancellation_slot(sweep_timer_->slot(),
                                     [weak = weak_from_this(), kept = sweep_timer_](error_code ec) {
                                         const auto self = weak.lock();
                                         if (ec || !self || self->abandoned_ || self->result_)
                                             return;
                                         self->sweep();
                                         if (!self->sweeping_)
                                             self->tell({kind::tick});
                                     }));
}

void supervisor_core::end_sweep(error_code ec)
{
    for (const auto& one : sweep_waits_) {
        if (*one)
            one->complete(ec);
    }
}

// Who cannot be killed (another user's, in the kernel) may hold whatever a service needs. Nothing
// was started, so this is the end, and it says who they are.
void supervisor_core::give_up_sweep(std::string why)
{
    culprit_ = std::move(why);
    sweep_timer_ = std::make_shared<asio::cancellation_signal>();
    all_have_gone_ = true;
    asio::post(executor_, [weak = weak_from_this()] {
        const auto self = weak.lock();
        if (!self || self->abandoned_ || self->result_)
            return;
        self->finish();
    });
}

void supervisor_core::publish(const service_transition& what)
{
    auto& one = services_.at(what.service);
    if (what.role == incarnation_role::serving) {
        one.since = what.when;
        one.history->restarts += what.to == service_state::backoff ? 1 : 0;
        if (what.to == service_state::failed && what.cause == service_cause::too_many_restarts)
            give_up(one.how->name);
    }
    if (what.role == incarnation_role::serving) {
        const auto found = one.runners.find(what.generation);
        if (found != one.runners.end())
            found->second->serves(what.to == service_state::ready);
    }
    // It has ended for good: nobody is there for whom they are kept.
    const auto stands = fsm_.state(what.service);
    const bool is_over = stands == service_state::exited || stands == service_state::failed
        || stands == service_state::removed;
    if (is_over && !fsm_.alive(what.service))
        one.kept->clear();
    // Until it was told; `one` is in it.
    const auto gone =
        what.to == service_state::removed ? forget(what.service) : entries::node_type();
    if (!options_.on_event)
        return tell_takeover(what);  // the snapshot has to know
    service_event event;
    event.sequence = ++told_;
    event.when = what.when;
    event.service = one.how->name;
    event.generation = shown_generation(one, what.generation);
    event.replacement = what.role != incarnation_role::serving;
    event.from = std::exchange(one.stood, std::nullopt).value_or(what.from);
    event.to = what.to;
    event.cause = what.cause;
    event.delay = what.delay;
    if (one.last_dead == what.generation && is_alive(what.from) && !is_alive(what.to))
        event.death = one.last_death;
    options_.on_event(event);
    if (!abandoned_)
        tell_takeover(what);
}

// All that is kept of it, but for its log, which gets what waits for it.
supervisor_core::entries::node_type supervisor_core::forget(std::size_t number)
{
    auto gone = services_.extract(number);
    const auto& log = gone.mapped().log;
    log->release();
    if (!log->idle())
        last_logs_.push_back(log);
    return gone;
}

void supervisor_core::on_log_idle()
{
    std::erase_if(last_logs_, [](const auto& log) { return log->idle(); });
    finish_if_over();
}

// The machine stops everything; here that has an end, too.
void supervisor_core::give_up(const std::string& culprit)
{
    culprit_ = culprit;
    stop_began_ = options_.clock->now();
    stop_ends_ = options_.clock->after(options_.stop_budget);
}

void supervisor_core::carry_out(const supervisor_output& what)
{
    if (what.what == supervisor_output::kind::finished) {
        all_have_gone_ = true;
        return finish_if_over();
    }
    if (what.what == supervisor_output::kind::start)
        return start(what.service, what.generation);
    const auto& runners = services_.at(what.service).runners;
    const auto found = runners.find(what.generation);
    if (found == runners.end())
        return;
    const auto runner = found->second;  // it may end meanwhile
    try {
        switch (what.what) {
        case supervisor_output::kind::stop: return runner->stop(what.deadline);
        case supervisor_output::kind::hurry: return runner->hurry(what.deadline);
        default: return runner->kill();
        }
    } catch (const std::bad_alloc&) {
        // Who cannot be asked is killed: takes none, but to tell of a group's end (see abandon()).
        runner->abandon();
    }
}

void supervisor_core::start(std::size_t number, std::uint64_t generation)
{
    auto& one = services_.at(number);
    runner_setup setup{std::weak_ptr<runner_owner>(shared_from_this()),
                       executor_,
                       options_.clock,
                       one.how,
                       number,
                       generation,
                       one.log,
                       one.kept,
                       options_.orphans,
                       most_grace_,
                       book_,
                       burial_,
                       turn_,
                       one.history};
    std::shared_ptr<service_runner> runner;
    try {
        runner = std::holds_alternative<command>(one.how->body)
            ? make_command_runner(std::move(setup))
            : std::holds_alternative<service_body>(one.how->body)
            ? make_coroutine_runner(std::move(setup), weak_from_this())
            : make_group_runner(std::move(setup));
        one.runners.emplace(generation, runner);
        runner->start();
    } catch (const std::exception& error) {
        if (runner)
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
    for (const auto& [number, one] : services_) {
        const auto& needs = one.how->depends_on;
        if (fsm_.state(number) != service_state::removed
            && std::find(needs.begin(), needs.end(), name) != needs.end())
            throw std::invalid_argument("supervisor: service \"" + std::string(name)
                                        + "\" is needed by \"" + one.how->name + '"');
    }
}

void supervisor_core::arm()
{
    if (abandoned_)
        return;
    auto next = result_ ? std::nullopt : fsm_.next();
    if (stop_ends_ && !result_ && (!group_ || all_have_gone_))
        next = std::min(next.value_or(*stop_ends_), *stop_ends_);
    if (next == armed_for_)
        return;
    if (timer_)
        timer_->emit(asio::cancellation_type::terminal);
    timer_.reset();
    armed_for_.reset();  // until it is: without memory it is tried again with the next input
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
    armed_for_ = next;
}

void supervisor_core::on_timer()
{
    timer_.reset();
    armed_for_.reset();
    tell({kind::tick});
    finish_if_over();
    arm();
}

bool supervisor_core::logs_are_flushed() const noexcept
{
    const auto is_idle = [](const auto& log) { return log->idle(); };
    return std::all_of(services_.begin(), services_.end(),
                       [&](const auto& one) { return is_idle(one.second.log); })
        && std::all_of(last_logs_.begin(), last_logs_.end(), is_idle);
}

// When all have gone, and what they have said has come to where it belongs; or when the time for
// that is over. A group has no end of its own as long as somebody lives.
void supervisor_core::finish_if_over()
{
    if (result_ || abandoned_)
        return;
    const bool is_late = stop_ends_ && options_.clock->now() >= *stop_ends_;
    if (all_have_gone_ ? is_late || logs_are_flushed() : is_late && !group_)
        finish();
}

void supervisor_core::finish()
{
    supervisor_result made;
    made.failed = !culprit_.empty();
    made.culprit = culprit_;
    if (stop_began_)
        made.stop_time = options_.clock->now() - *stop_began_;
    if (!all_have_gone_)
        name_left({}, made.left);
    for (const auto& [number, one] : services_)
        one.log->end();
    for (const auto& log : last_logs_)
        log->end();
    result_ = std::move(made);
    if (sweep_timer_)
        sweep_timer_->emit(asio::cancellation_type::terminal);
    end_sweep(asio::error::timed_out);
    complete_waits();
    arm();
}

void supervisor_core::complete_waits()
{
    for (const auto& one : waits_) {
        if (*one)
            one->complete({}, *result_);
    }
}

void supervisor_core::post_news(const asio::any_io_executor& ex,
                                std::weak_ptr<supervisor_core> core, const supervisor_input& news)
{
    if (core.expired())
        return;
    asio::post(ex, [core = std::move(core), news] {
        if (const auto self = core.lock())
            self->on_news(news);
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
        // By its number, which is nobody else's when it was removed.
        const auto one = self->services_.find(number);
        if (one == self->services_.end())
            return;
        const auto& runners = one->second.runners;
        if (const auto found = runners.find(generation); found != runners.end())
            found->second->alive();
    });
}

}  // namespace detail

PROCYARD_NAMESPACE_END
