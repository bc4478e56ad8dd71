// SPDX-License-Identifier: BSL-1.0
#include "signal_mailbox.hpp"

#include <bit>
#include <limits>

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

constexpr std::uint64_t count_mask = std::numeric_limits<std::uint32_t>::max();

constexpr std::uint32_t count_of(std::uint64_t waiting) noexcept
{
    return static_cast<std::uint32_t>(waiting & count_mask);
}

constexpr std::uint32_t order_of(std::uint64_t waiting) noexcept
{
    return static_cast<std::uint32_t>(waiting >> 32);
}

constexpr std::uint64_t pack(pid_t pid, uid_t uid) noexcept
{
    return std::uint64_t{static_cast<std::uint32_t>(pid)} << 32 | static_cast<std::uint32_t>(uid);
}

}  // namespace

signal_record record_of(int number, const siginfo_t& info) noexcept
{
    signal_record record;
    record.number = number;
    record.code = info.si_code;
    // Positive codes are the kernel's own; of those only SIGCHLD's name a process.
    const bool has_sender = info.si_code == SI_USER || info.si_code == SI_QUEUE
        || info.si_code == SI_TKILL || info.si_code == SI_MESGQ
        || (number == SIGCHLD && info.si_code > 0 && info.si_code != SI_KERNEL);
    if (has_sender) {
        record.pid = info.si_pid;
        record.uid = info.si_uid;
    }
    if (info.si_code == SI_QUEUE || info.si_code == SI_TIMER || info.si_code == SI_MESGQ
        || info.si_code == SI_ASYNCIO)
        record.value = info.si_value.sival_ptr;
    return record;
}

void signal_mailbox::details::write(const signal_record& record) noexcept
{
    auto at = version.load(std::memory_order_relaxed);
    if (at % 2 != 0 || !version.compare_exchange_strong(at, at + 1, std::memory_order_acquire))
        return;
    sender.store(pack(record.pid, record.uid), std::memory_order_release);
    value.store(record.value, std::memory_order_release);
    code.store(record.code, std::memory_order_release);
    version.store(at + 2, std::memory_order_release);
}

bool signal_mailbox::details::read(signal_info& info, std::uint32_t& at) const noexcept
{
    at = version.load(std::memory_order_acquire);
    if (at % 2 != 0)
        return false;
    const auto who = sender.load(std::memory_order_acquire);
    auto* const what = value.load(std::memory_order_acquire);
    const auto how = code.load(std::memory_order_acquire);
    if (version.load(std::memory_order_relaxed) != at)
        return false;
    info.sender_pid = static_cast<pid_t>(who >> 32);
    info.sender_uid = static_cast<uid_t>(who & count_mask);
    info.value.sival_ptr = what;
    info.code = how;
    return true;
}

signal_mailbox::~signal_mailbox()
{
    delete[] places_.load(std::memory_order_relaxed);  // Relaxed: nobody uses it any more.
}

void signal_mailbox::make_queue()
{
    // Relaxed: only this side makes one.
    if (places_.load(std::memory_order_relaxed) != nullptr)
        return;
    auto made = std::make_unique<place[]>(queue_capacity);
    for (std::uint32_t i = 0; i < queue_capacity; ++i)
        made[i].turn.store(head_ + i, std::memory_order_relaxed);  // Relaxed: published below.
    places_.store(made.release(), std::memory_order_release);
}

void signal_mailbox::post(const signal_record& record) noexcept
{
    if (record.number < first_realtime)
        details_[static_cast<std::size_t>(record.number)].write(record);
    else if (enqueue(record))
        return;
    else
        overflowed_.fetch_add(1, std::memory_order_relaxed);  // Relaxed: a statistic.
    count(record.number);
}

void signal_mailbox::count(int number) noexcept
{
    auto& slot = waiting_[static_cast<std::size_t>(number)];
    auto now = slot.load(std::memory_order_relaxed);
    for (;;) {
        if (count_of(now) == count_mask)
            return;
        auto next = now + 1;
        if (count_of(now) == 0)
            next = std::uint64_t{clock_.fetch_add(1, std::memory_order_relaxed)} << 32 | 1;
        if (slot.compare_exchange_weak(now, next, std::memory_order_release,
                                       std::memory_order_relaxed))
            return;
    }
}

// A bounded queue of many writers, each place with a turn of its own (D. Vyukov's). A writer that
// is interrupted between its two steps keeps the reader, and nobody else, from going on; it wakes
// the reader when it is done.
bool signal_mailbox::enqueue(const signal_record& record) noexcept
{
    auto* const places = places_.load(std::memory_order_acquire);
    if (places == nullptr)
        return false;
    auto at = tail_.load(std::memory_order_relaxed);
    for (;;) {
        auto& here = places[at % queue_capacity];
        const auto turn = here.turn.load(std::memory_order_acquire);
        const auto ahead = static_cast<std::int32_t>(turn - at);
        if (ahead < 0)
            return false;
        if (ahead > 0) {
            at = tail_.load(std::memory_order_relaxed);
        } else if (tail_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
            here.record = record;
            here.turn.store(at + 1, std::memory_order_release);
            return true;
        }
    }
}

bool signal_mailbox::dequeue(signal_info& taken) noexcept
{
    auto* const places = places_.load(std::memory_order_relaxed);  // Relaxed: this side's own.
    while (places != nullptr) {
        auto& here = places[head_ % queue_capacity];
        if (here.turn.load(std::memory_order_acquire) != head_ + 1)
            return false;
        const auto record = here.record;
        here.turn.store(head_ + queue_capacity, std::memory_order_release);
        ++head_;
        if (record.number == 0)
            continue;  // forgotten
        taken = signal_info{};
        taken.number = record.number;
        taken.count = 1;
        taken.sender_pid = record.pid;
        taken.sender_uid = record.uid;
        taken.code = record.code;
        taken.value.sival_ptr = record.value;
        return true;
    }
    return false;
}

int signal_mailbox::longest_waiting(int from, int to, std::uint64_t but_not) const noexcept
{
    int found = 0;
    std::uint32_t oldest = 0;
    for (int number = from; number < to; ++number) {
        const auto now = waiting_[static_cast<std::size_t>(number)].load(std::memory_order_acquire);
        if (count_of(now) == 0 || (but_not & signal_bit(number)) != 0)
            continue;
        // The order may wrap; the distance tells.
        if (found == 0 || static_cast<std::int32_t>(order_of(now) - oldest) < 0) {
            found = number;
            oldest = order_of(now);
        }
    }
    return found;
}

bool signal_mailbox::take_standard(signal_info& taken) noexcept
{
    std::uint64_t busy = 0;
    for (;;) {
        const int number = longest_waiting(1, first_realtime, busy);
        if (number == 0)
            return false;
        const auto index = static_cast<std::size_t>(number);
        signal_info info;
        std::uint32_t version = 0;
        // Its handler is about to put more in, and will wake: not to be waited for, since its
        // thread may stand still.
        if (!details_[index].read(info, version)) {
            busy |= signal_bit(number);
            continue;
        }
        info.number = number;
        info.count = count_of(waiting_[index].exchange(0, std::memory_order_acq_rel));
        // One more that has come since has been counted too, so it is the last one.
        (void)details_[index].read(info, version);
        taken = info;
        return true;
    }
}

bool signal_mailbox::take_realtime(signal_info& taken) noexcept
{
    if (dequeue(taken))
        return true;
    // Those that found no room came after those that did.
    const int number = longest_waiting(first_realtime, last_signal + 1, 0);
    if (number == 0)
        return false;
    taken = signal_info{};
    taken.number = number;
    taken.count =
        count_of(waiting_[static_cast<std::size_t>(number)].exchange(0, std::memory_order_acquire));
    taken.overflowed = true;
    return true;
}

bool signal_mailbox::take(signal_info& taken) noexcept
{
    const bool found = realtime_is_next_ ? take_realtime(taken) || take_standard(taken)
                                         : take_standard(taken) || take_realtime(taken);
    if (found)
        realtime_is_next_ = taken.number < first_realtime;
    return found;
}

void signal_mailbox::forget(int number) noexcept
{
    waiting_[static_cast<std::size_t>(number)].store(0, std::memory_order_relaxed);
    auto* const places = places_.load(std::memory_order_relaxed);
    if (number < first_realtime || places == nullptr)
        return;
    // Marked where they are: the others keep their order.
    for (auto at = head_;
         places[at % queue_capacity].turn.load(std::memory_order_acquire) == at + 1; ++at) {
        auto& record = places[at % queue_capacity].record;
        if (record.number == number)
            record.number = 0;
    }
}

void signal_mailbox::reset() noexcept
{
    // Relaxed: nobody else uses it.
    constexpr auto relaxed = std::memory_order_relaxed;
    for (auto& one : waiting_)
        one.store(0, relaxed);
    for (auto& one : details_)
        one.version.store(0, relaxed);
    head_ = 0;
    tail_.store(0, relaxed);
    if (auto* const places = places_.load(relaxed); places != nullptr) {
        for (std::uint32_t i = 0; i < queue_capacity; ++i)
            places[i].turn.store(i, relaxed);
    }
    realtime_is_next_ = false;
    overflowed_.store(0, relaxed);
}

std::uint64_t signal_mailbox::overflowed() const noexcept
{
    return overflowed_.load(std::memory_order_relaxed);  // Relaxed: a statistic.
}

}  // namespace detail
PROCYARD_NAMESPACE_END
