// SPDX-License-Identifier: BSL-1.0
#include "lease_book.hpp"

#include <algorithm>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using time_point = lease_book::time_point;

// Not beyond the end of time.
time_point after(time_point now, std::chrono::nanoseconds lease) noexcept
{
    const auto left = time_point::max() - now;
    return lease >= left ? time_point::max() : now + lease;
}

}  // namespace

std::uint64_t lease_book::add()
{
    PROCYARD_ASSERT(!is_full() && "who adds has looked whether there is room");
    const auto id = last_item_ + 1;
    items_.try_emplace(id);
    ready_.insert(ready_.end(), id);
    last_item_ = id;
    ++counts_.pushed;
    return id;
}

// --- consumers ----------------------------------------------------------------------------------

void lease_book::detach(std::uint64_t number)
{
    const auto at = consumers_.find(number);
    if (at == consumers_.end())
        return;
    for (const auto lease_number : at->second.leases) {
        const auto ended = leases_.find(lease_number);
        if (!ended->second.is_overrun) {
            by_deadline_.erase({ended->second.deadline, lease_number});
            give_back(ended->second.item, return_reason::consumer_ended);
        }
        leases_.erase(ended);
    }
    std::erase(wants_, number);
    consumers_.erase(at);
}

bool lease_book::want(std::uint64_t number)
{
    const auto at = consumers_.find(number);
    if (at == consumers_.end())
        return false;
    auto& c = at->second;
    if (c.wants + c.leases.size() >= options_.leases_per_consumer)
        return false;
    wants_.push_back(number);
    ++c.wants;
    return true;
}

void lease_book::pause(std::uint64_t number, bool paused)
{
    if (const auto at = consumers_.find(number); at != consumers_.end())
        at->second.is_paused = paused;
}

std::uint64_t lease_book::late_answers(std::uint64_t number) const
{
    const auto at = consumers_.find(number);
    return at == consumers_.end() ? 0 : at->second.late;
}

// --- handing out --------------------------------------------------------------------------------

std::optional<hand_out> lease_book::next(time_point now)
{
    if (ready_.empty())
        return std::nullopt;
    const auto asked = std::ranges::find_if(
        wants_, [this](std::uint64_t c) { return !consumers_.find(c)->second.is_paused; });
    if (asked == wants_.end())
        return std::nullopt;
    const auto number = *asked;
    const auto id = *ready_.begin();
    const auto lease_number = last_lease_ + 1;
    const auto deadline = after(now, options_.lease);
    auto& c = consumers_.find(number)->second;
    // What can throw comes first.
    by_deadline_.emplace(deadline, lease_number);
    leases_.try_emplace(lease_number, lease_state{id, number, deadline});
    c.leases.insert(lease_number);
    last_lease_ = lease_number;
    wants_.erase(asked);
    --c.wants;
    ready_.erase(ready_.begin());
    return hand_out{id, lease_number, number, deadline, ++items_.find(id)->second.attempts};
}

void lease_book::undo(const hand_out& what)
{
    const auto at = leases_.find(what.lease);
    end_lease(what.lease, at->second);
    leases_.erase(at);
    --items_.find(what.item)->second.attempts;
    ready_.insert(what.item);
    wants_.push_front(what.consumer);
    ++consumers_.find(what.consumer)->second.wants;
}

void lease_book::bury(const hand_out& what)
{
    undo(what);
    ready_.erase(what.item);
    items_.find(what.item)->second.reason = return_reason::unsendable;
    dead_.push_back(what.item);
}

// --- answers ------------------------------------------------------------------------------------

lease_book::lease_state* lease_book::held_by(std::uint64_t number, std::uint64_t lease_number)
{
    const auto at = leases_.find(lease_number);
    return at == leases_.end() || at->second.consumer != number ? nullptr : &at->second;
}

void lease_book::end_lease(std::uint64_t number, const lease_state& ended)
{
    by_deadline_.erase({ended.deadline, number});
    consumers_.find(ended.consumer)->second.leases.erase(number);
}

lease_book::answered lease_book::acknowledge(std::uint64_t number, std::uint64_t lease_number)
{
    const auto* const held = held_by(number, lease_number);
    if (held == nullptr)
        return {verdict::unknown, 0};
    const auto was = *held;
    end_lease(lease_number, was);
    leases_.erase(lease_number);
    if (was.is_overrun) {
        ++counts_.late;
        ++consumers_.find(number)->second.late;
        return {verdict::late, was.item};
    }
    ++counts_.done;
    items_.erase(was.item);
    return {verdict::done, was.item};
}

lease_book::answered lease_book::reject(std::uint64_t number, std::uint64_t lease_number)
{
    const auto* const held = held_by(number, lease_number);
    if (held == nullptr)
        return {verdict::unknown, 0};
    const auto was = *held;
    end_lease(lease_number, was);
    leases_.erase(lease_number);
    if (was.is_overrun)
        return {verdict::late, was.item};  // as it wants: it is not refused anything
    give_back(was.item, return_reason::rejected);
    return {verdict::returned, was.item};
}

void lease_book::give_back(std::uint64_t id, return_reason why)
{
    auto& i = items_.find(id)->second;
    i.reason = why;
    ++counts_.returned;
    if (options_.max_attempts != 0 && i.attempts >= options_.max_attempts)
        dead_.push_back(id);
    else
        ready_.insert(id);
}

void lease_book::expire(time_point now)
{
    while (!by_deadline_.empty() && by_deadline_.begin()->first <= now) {
        const auto number = by_deadline_.begin()->second;
        by_deadline_.erase(by_deadline_.begin());
        auto& overrun = leases_.find(number)->second;
        overrun.is_overrun = true;
        give_back(overrun.item, return_reason::lease_overrun);
    }
}

std::optional<time_point> lease_book::next_deadline() const noexcept
{
    if (by_deadline_.empty() || by_deadline_.begin()->first == time_point::max())
        return std::nullopt;
    return by_deadline_.begin()->first;
}

std::optional<lease_book::dead_letter> lease_book::collect()
{
    if (dead_.empty())
        return std::nullopt;
    const auto id = dead_.front();
    const auto at = items_.find(id);
    const dead_letter letter{id, at->second.attempts, at->second.reason};
    dead_.pop_front();
    items_.erase(at);
    return letter;
}

work_queue_statistics lease_book::statistics() const noexcept
{
    auto now = counts_;
    now.ready = ready_.size();
    now.leased = by_deadline_.size();
    now.dead = dead_.size();
    now.consumers = consumers_.size();
    return now;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
