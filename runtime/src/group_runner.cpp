// SPDX-License-Identifier: BSL-1.0
#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

#include "service_runner.hpp"
#include "supervisor_core.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// A supervisor as a service of another one.
class group_runner final : public service_runner {
public:
    explicit group_runner(runner_setup what) : service_runner(std::move(what)) { }

    void start() override
    {
        const auto& members = std::get<service_access::description::members>(how().body);
        supervisor_options options;
        options.strategy = members.strategy;
        options.intensity = members.intensity;
        options.clock = setup_.clock;
        options.stop_budget = how().stop_grace;
        options.orphans = setup_.orphans;
        options.on_event = [weak = weak_from_this()](const service_event& event) {
            if (const auto self = weak.lock())
                static_cast<group_runner&>(*self).hear(event);
        };
        inner_ = std::make_shared<supervisor_core>(
            setup_.executor, std::move(options),
            supervisor_core::group_mark{setup_.book, setup_.turn, setup_.history, setup_.owner,
                                        setup_.number, setup_.generation, setup_.most_grace});
        for (const auto& one : members.services)
            inner_->add(one);
        inner_->wait([self = shared_from_this()](error_code ec, const supervisor_result& result) {
            static_cast<group_runner&>(*self).ended(ec, result);
        });
        inner_->request(supervisor_input::kind::start);
        look();
        if (how().health)
            start_health();
    }

    // Not its grace: of an outer budget it may have less, of which its members have their shares.
    void stop(timer_clock::time_point deadline) override
    {
        end_checks();
        asked_ = true;
        hurry(deadline);
    }

    void hurry(timer_clock::time_point deadline) override
    {
        const auto left = deadline - setup_.clock->now();
        if (inner_)  // else it could not be started, and its end is on its way
            inner_->stop(std::max(left, timer_clock::duration::zero()));
    }

    void kill() override
    {
        if (inner_)
            inner_->stop(std::chrono::nanoseconds::zero());
    }

    void abandon() noexcept override
    {
        end_checks();
        if (inner_)
            inner_->abandon();
    }

    [[nodiscard]] supervisor_core* members() const noexcept override
    {
        return has_ended_ ? nullptr : inner_.get();
    }

private:
    void hear(const service_event& event)
    {
        look();
        if (const auto owner = setup_.owner.lock())
            owner->on_member(setup_.number, setup_.generation, event);
    }

    // Ready when all are, or have done what they were to do.
    void look()
    {
        const bool ready = inner_->all_serve();
        if (ready != std::exchange(was_ready_, ready))
            tell(ready ? supervisor_input::kind::ready : supervisor_input::kind::unready);
    }

    void ended(error_code ec, const supervisor_result& result)
    {
        death_report report;
        if (result.failed)
            report.text = "too many restarts, the last of \"" + result.culprit + '"';
        inner_->abandon();
        has_ended_ = true;
        tell_end(!ec && !result.failed, std::move(report));
    }

    std::shared_ptr<supervisor_core> inner_{};
    bool was_ready_ = false;
    bool has_ended_ = false;
};

}  // namespace

std::shared_ptr<service_runner> make_group_runner(runner_setup what)
{
    return std::make_shared<group_runner>(std::move(what));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
