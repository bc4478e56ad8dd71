// SPDX-License-Identifier: BSL-1.0
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>

#include <exception>
#include <new>
#include <utility>

#include "service_runner.hpp"
#include "watched_completion.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

class coroutine_runner final : public service_runner {
public:
    coroutine_runner(runner_setup what, std::weak_ptr<supervisor_core> core)
        : service_runner(std::move(what)),
          core_(std::move(core))
    {
    }

    void start() override
    {
        auto self = std::static_pointer_cast<coroutine_runner>(shared_from_this());
        const auto over = [self](const std::exception_ptr& error) { self->ended(error); };
        const auto lost = [self] { self->ended(std::make_exception_ptr(std::bad_alloc())); };
        try {
            asio::co_spawn(setup_.executor, run(self),
                           asio::bind_cancellation_slot(
                               signal_.slot(), watched_completion(setup_.executor, over, lost)));
        } catch (...) {
            signal_.slot().clear();  // Asio leaves in there what it has destroyed
            throw;
        }
        if (how().watchdog)
            start_watchdog();
        if (how().health)
            start_health();
        switch (service_access::kind(how().ready)) {
        case service_access::readiness_kind::started: tell_started(); break;
        case service_access::readiness_kind::probe: start_probe(); break;
        default: break;  // it will say so
        }
    }

    void stop(timer_clock::time_point) override
    {
        end_checks();
        asked_ = true;
        emit_later(signal_);
    }

    // There is no more that one can do to it: it ends when it comes to its next wait.
    void kill() override { stop(setup_.clock->now()); }

    void abandon() noexcept override
    {
        end_checks();
        emit_later(signal_);
    }

private:
    // A function of its own, since the body may be a lambda whose captures have to stay.
    static asio::awaitable<void> run(std::shared_ptr<coroutine_runner> self)
    {
        const auto& body = std::get<service_body>(self->how().body);
        co_await body(service_access::context(self->core_, self->setup_.number,
                                              self->setup_.generation, self->how().name,
                                              self->setup_.executor));
    }

    void ended(const std::exception_ptr& error)
    {
        death_report report;
        // What one throws that was cancelled says nothing.
        if (!asked_)
            report.exception = error;
        tell_end(!error || asked_, std::move(report));
    }

    std::weak_ptr<supervisor_core> core_;
    asio::cancellation_signal signal_{};
};

}  // namespace

std::shared_ptr<service_runner> make_coroutine_runner(runner_setup what,
                                                      std::weak_ptr<supervisor_core> core)
{
    return std::make_shared<coroutine_runner>(std::move(what), std::move(core));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
