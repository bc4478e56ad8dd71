// SPDX-License-Identifier: BSL-1.0
#include "service_runner.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <exception>
#include <optional>
#include <utility>

#include "watched_completion.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// What a probe throws is a no. A function of its own: its frame keeps what the awaitable needs.
asio::awaitable<bool> ask_safely(std::shared_ptr<const service_access::description>,
                                 const service_probe* probe)
{
    try {
        co_return co_await (*probe)();
    } catch (...) {
        co_return false;
    }
}

bool is_cancellation(const std::exception_ptr& error)
{
    try {
        std::rethrow_exception(error);
    } catch (const boost::system::system_error& e) {
        return e.code() == asio::error::operation_aborted;
    } catch (...) {
        return false;
    }
}

}  // namespace

// One that was put to a probe. The probe runs beside who asks: it may not listen to cancellation,
// and then nobody waits for it, but it is not asked again before it has answered.
struct service_runner::question {
    std::optional<bool> answer{};
    asio::cancellation_signal patience{};  // emitted when there is an answer, or no interest
    asio::cancellation_signal probe{};
};

void service_runner::tell(supervisor_input::kind what, timer_clock::duration extension)
{
    supervisor_input news{what};
    news.extension = extension;
    tell(news);
}

void service_runner::tell(supervisor_input news)
{
    news.service = setup_.number;
    news.generation = setup_.generation;
    asio::post(setup_.executor, [weak = setup_.owner, news] {
        if (const auto owner = weak.lock())
            owner->on_news(news);
    });
}

void service_runner::tell_end(bool clean, death_report report)
{
    end_checks();
    report.uptime = setup_.clock->now() - started_;
    report.asked = asked_;
    asio::post(setup_.executor,
               [setup = setup_, clean,
                told = std::make_shared<death_report>(std::move(report))]() mutable {
                   if (const auto owner = setup.owner.lock())
                       owner->on_ended(setup.number, setup.generation, clean, std::move(told));
               });
}

// What runs once has served when it has ended.
void service_runner::tell_started()
{
    if (!how().one_shot)
        tell(supervisor_input::kind::ready);
}

void service_runner::alive()
{
    fed_ = setup_.clock->now();
}

void service_runner::supervise(asio::awaitable<void> part, asio::cancellation_signal* end)
{
    auto ended = [self = shared_from_this()](const std::exception_ptr& error) {
        if (error && !is_cancellation(error))
            self->tell(supervisor_input::kind::unhealthy);
    };
    watched_completion watched(setup_.executor, std::move(ended), [self = shared_from_this()] {
        self->tell(supervisor_input::kind::unhealthy);
    });
    if (end == nullptr)
        return asio::co_spawn(setup_.executor, std::move(part), std::move(watched));
    try {
        asio::co_spawn(setup_.executor, std::move(part),
                       asio::bind_cancellation_slot(end->slot(), std::move(watched)));
    } catch (...) {
        end->slot().clear();  // Asio leaves in there what it has destroyed
        throw;
    }
}

void service_runner::serves(bool ready) noexcept
{
    serves_ = ready;
    if (!ready || std::exchange(watchdog_armed_, true))
        return;
    fed_ = setup_.clock->now();
    watch_signal_.emit(asio::cancellation_type::terminal);
}

// Started here, and armed when it is ready: that must not fail for want of memory.
void service_runner::start_watchdog()
{
    fed_ = setup_.clock->now();
    most_hunger_ = *how().watchdog;
    // Who runs once is never ready while it runs.
    watchdog_armed_ = how().one_shot;
    supervise([](std::shared_ptr<service_runner> self) -> asio::awaitable<void> {
        co_await self->watch();
    }(shared_from_this()));
}

void service_runner::set_watchdog(timer_clock::duration most)
{
    if (!how().watchdog || most <= timer_clock::duration::zero())
        return;
    most_hunger_ = most;
    fed_ = setup_.clock->now();
    watch_signal_.emit(asio::cancellation_type::terminal);
}

void service_runner::trigger_watchdog()
{
    if (checks_ended_)
        return;
    watchdog_bit_ = true;
    supervisor_input news{supervisor_input::kind::unhealthy};
    news.cause = service_cause::watchdog;
    tell(news);
}

void service_runner::start_health()
{
    supervise(
        [](std::shared_ptr<service_runner> self) -> asio::awaitable<void> {
            co_await self->check_health();
        }(shared_from_this()),
        &health_signal_);
}

void service_runner::start_probe()
{
    supervise(
        [](std::shared_ptr<service_runner> self) -> asio::awaitable<void> {
            co_await self->probe_until_ready();
        }(shared_from_this()),
        &probe_signal_);
}

void service_runner::end_checks() noexcept
{
    checks_ended_ = true;
    watch_signal_.emit(asio::cancellation_type::terminal);
    emit_later(health_signal_);
    emit_later(probe_signal_);
    if (asked_last_)
        asked_last_->patience.emit(asio::cancellation_type::terminal);
}

// A coroutine that is cancelled before it has begun, or while it runs to its end without a wait,
// throws out of its executor's run(), and its end is never told: Asio (of Boost 1.81) awaits a post
// then, outside of its try. Who was spawned before has begun when this comes, and does not run.
void service_runner::emit_later(asio::cancellation_signal& signal) noexcept
{
    try {
        asio::post(setup_.executor, [self = shared_from_this(), &signal] {
            signal.emit(asio::cancellation_type::terminal);
        });
    } catch (...) {  // no memory
        signal.emit(asio::cancellation_type::terminal);
    }
}

asio::awaitable<void> service_runner::watch()
{
    const auto due = [&] {
        constexpr auto never = timer_clock::time_point::max();
        return !watchdog_armed_ || most_hunger_ > never - fed_ ? never : fed_ + most_hunger_;
    };
    do {
        // Ends early when the time is another one.
        (void)co_await setup_.clock->async_wait_until(
            setup_.executor, due(),
            asio::bind_cancellation_slot(watch_signal_.slot(),
                                         asio::as_tuple(asio::use_awaitable)));
        if (checks_ended_)
            co_return;
    } while (due() > setup_.clock->now());
    trigger_watchdog();
}

asio::awaitable<bool> service_runner::ask(const service_probe* probe, std::chrono::nanoseconds most)
{
    if (asked_last_ && !asked_last_->answer)
        co_return false;
    const auto asked = std::make_shared<question>();
    asked_last_ = asked;
    const auto answer = [asked](const std::exception_ptr& error, bool good) {
        asked->answer = !error && good;
        asked->patience.emit(asio::cancellation_type::terminal);
    };
    // One that is lost has answered: else it would not be asked again.
    asio::co_spawn(setup_.executor, ask_safely(setup_.how, probe),
                   asio::bind_cancellation_slot(
                       asked->probe.slot(), watched_completion(setup_.executor, answer, [answer] {
                           answer(nullptr, false);
                       })));
    if (!asked->answer && !checks_ended_) {
        (void)co_await setup_.clock->async_wait_for(
            setup_.executor, most,
            asio::bind_cancellation_slot(asked->patience.slot(),
                                         asio::as_tuple(asio::use_awaitable)));
    }
    if (!asked->answer)
        asked->probe.emit(asio::cancellation_type::terminal);
    co_return asked->answer.value_or(false);
}

asio::awaitable<void> service_runner::check_health()
{
    const auto& check = *how().health;
    for (unsigned failures = 0; failures < check.failures;) {
        const auto [ec] = co_await setup_.clock->async_wait_for(
            setup_.executor, check.interval, asio::as_tuple(asio::use_awaitable));
        if (ec || checks_ended_)
            co_return;
        if (!serves_) {
            failures = 0;
            continue;
        }
        const bool good = co_await ask(&check.ask, check.most);
        if (checks_ended_)
            co_return;
        failures = good ? 0 : failures + 1;
    }
    tell(supervisor_input::kind::unhealthy);
}

asio::awaitable<void> service_runner::probe_until_ready()
{
    const auto& probe = how().ready;
    while (!co_await ask(&service_access::ask(probe), service_access::most(probe))) {
        const auto [ec] = co_await setup_.clock->async_wait_for(
            setup_.executor, service_access::interval(probe), asio::as_tuple(asio::use_awaitable));
        if (ec || checks_ended_)
            co_return;
    }
    if (!checks_ended_)
        tell(supervisor_input::kind::ready);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
