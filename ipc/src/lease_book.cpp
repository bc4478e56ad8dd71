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
    const auto id = next_item();
    ready_.insert(ready_.end(), items_.try_emplace(id, id).first->second);
    last_item_ = id;
    ++counts_.pushed;
    return id;
}

// --- consumers ----------------------------------------------------------------------------------

void lease_book::detach(std::uint64_t number) noexcept
{
    const auto at = consumers_.find(number);
    if (at == consumers_.end())
        return;
    while (!at->second.leases.empty()) {
        auto& ended = at->second.leases.front();
        if (!ended.is_overrun())
            give_back(ended.item, return_reason::consumer_ended);
        end_lease(ended);
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

void lease_book::pause(std::uint64_t number, bool paused) noexcept
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
    const auto lease_number = last_lease_ + 1;
    auto& i = *ready_.begin();
    // What can throw comes first.
    auto& l = leases_.try_emplace(lease_number, lease_number, i, number, after(now, options_.lease))
                  .first->second;
    auto& c = consumers_.find(number)->second;
    deadlines_.insert(l);
    c.leases.push_back(l);
    last_lease_ = lease_number;
    wants_.erase(asked);
    --c.wants;
    ready_.erase(ready_.begin());
    return hand_out{i.number, lease_number, number, l.deadline, ++i.attempts};
}

void lease_book::undo(const hand_out& what)
{
    wants_.push_front(what.consumer);  // can throw, as nothing else
    ++consumers_.find(what.consumer)->second.wants;
    auto& undone = leases_.find(what.lease)->second;
    auto& i = undone.item;
    end_lease(undone);
    --i.attempts;
    ready_.insert(i);
}

void lease_book::bury(const hand_out& what)
{
    undo(what);
    auto& i = items_.find(what.item)->second;
    ready_.erase(ready_.iterator_to(i));
    i.reason = return_reason::unsendable;
    dead_.push_back(i);
}

// --- answers ------------------------------------------------------------------------------------

lease_book::lease_state* lease_book::held_by(std::uint64_t number,
                                             std::uint64_t lease_number) noexcept
{
    const auto at = leases_.find(lease_number);
    return at == leases_.end() || at->second.consumer != number ? nullptr : &at->second;
}

// It is gone then.
void lease_book::end_lease(lease_state& ended) noexcept
{
    if (!ended.is_overrun())
        deadlines_.erase(deadlines_.iterator_to(ended));
    auto& held = consumers_.find(ended.consumer)->second.leases;
    held.erase(held.iterator_to(ended));
    leases_.erase(leases_.find(ended.number));
}

lease_book::answered lease_book::acknowledge(std::uint64_t number,
                                             std::uint64_t lease_number) noexcept
{
    auto* const held = held_by(number, lease_number);
    if (held == nullptr)
        return {verdict::unknown, 0};
    if (held->is_overrun()) {
        end_lease(*held);
        ++counts_.late;
        ++consumers_.find(number)->second.late;
        return {verdict::late, 0};
    }
    const auto item = held->item.number;
    end_lease(*held);
    ++counts_.done;
    items_.erase(item);
    return {verdict::done, item};
}

lease_book::answered lease_book::reject(std::uint64_t number, std::uint64_t lease_number) noexcept
{
    auto* const held = held_by(number, lease_number);
    if (held == nullptr)
        return {verdict::unknown, 0};
    if (held->is_overrun()) {
        end_lease(*held);
        return {verdict::late, 0};  // as it wants: it is not refused anything
    }
    auto& item = held->item;
    end_lease(*held);
    give_back(item, return_reason::rejected);
    return {verdict::returned, item.number};
}

void lease_book::give_back(item_state& item, return_reason why) noexcept
{
    item.reason = why;
    ++counts_.returned;
    if (options_.max_attempts != 0 && item.attempts >= options_.max_attempts)
        dead_.push_back(item);
    else
        ready_.insert(item);
}

void lease_book::expire(time_point now) noexcept
{
    while (!deadlines_.empty() && deadlines_.begin()->deadline <= now) {
        auto& overrun = *deadlines_.begin();
        deadlines_.erase(deadlines_.begin());
        give_back(overrun.item, return_reason::lease_overrun);
    }
}

std::optional<time_point> lease_book::next_deadline() const noexcept
{
    if (deadlines_.empty() || deadlines_.begin()->deadline == time_point::max())
        return std::nullopt;
    return deadlines_.begin()->deadline;
}

std::optional<lease_book::dead_letter> lease_book::collect() noexcept
{
    if (dead_.empty())
        return std::nullopt;
    const auto& i = dead_.front();
    const dead_letter letter{i.number, i.attempts, i.reason};
    dead_.pop_front();
    items_.erase(letter.item);
    return letter;
}

work_queue_statistics lease_book::statistics() const noexcept
{
    auto now = counts_;
    now.ready = ready_.size();
    now.leased = deadlines_.size();
    now.dead = dead_.size();
    now.consumers = consumers_.size();
    return now;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
