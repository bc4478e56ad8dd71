// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_LEASE_BOOK_HPP
#define PROCYARD_IPC_SRC_LEASE_BOOK_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/work_records.hpp>
#include <procyard/ipc/work_options.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Who has which item of a work queue, and until when. Knows no clock, no channel, and not what the
// items are.
//
//           --handed out-->         --acknowledged--> gone
//     ready                 leased
//        ^ \                  |
//        |  \--unsendable--\  | rejected, overrun, its consumer ended
//        |                  v v
//        |<--less than max_attempts-- ? --max_attempts--> dead --collected--> gone
//
// An item is in one of these states, and leased to one consumer at most. The oldest that is ready
// is handed out first, also if it has been back; to the consumer that has asked first.
//
// A lease is answered once, also one that was overrun: until then it counts as one that the
// consumer holds, so that whoever answers late can be told from who answers what it never had. The
// one is refused, the other cut off.
class lease_book {
public:
    using time_point = std::chrono::steady_clock::time_point;

    enum class verdict : std::uint8_t {
        done,      // the item is gone
        returned,  // it is ready again, or dead
        late,      // refused: it has been returned before
        unknown,   // the consumer has no such lease, which no honest one would say
    };
    struct answered {
        verdict what;
        std::uint64_t item;
    };
    struct dead_letter {
        std::uint64_t item;
        unsigned attempts;
        return_reason reason;
    };

    explicit lease_book(const work_queue_options& options) : options_(options) { }

    [[nodiscard]] bool is_full() const noexcept { return items_.size() >= options_.capacity; }
    /// Nothing is ready or leased.
    [[nodiscard]] bool is_drained() const noexcept
    {
        return ready_.empty() && by_deadline_.empty();
    }
    [[nodiscard]] std::uint64_t next_item() const noexcept { return last_item_ + 1; }
    /// @pre not is_full()
    std::uint64_t add();

    /// @pre never used before
    void attach(std::uint64_t consumer) { consumers_.try_emplace(consumer); }
    /// What it has is returned.
    void detach(std::uint64_t consumer);
    /// It asks for one more item. False: it has more than it may.
    [[nodiscard]] bool want(std::uint64_t consumer);
    /// It cannot be sent anything for now, or can again.
    void pause(std::uint64_t consumer, bool paused);

    /// The next item to be sent, and to whom.
    [[nodiscard]] std::optional<hand_out> next(time_point now);
    /// It could not be sent, and was no attempt.
    void undo(const hand_out& what);
    /// It never can be: it is dead.
    void bury(const hand_out& what);

    [[nodiscard]] answered acknowledge(std::uint64_t consumer, std::uint64_t lease);
    [[nodiscard]] answered reject(std::uint64_t consumer, std::uint64_t lease);
    /// How many of the consumer's answers have come too late.
    [[nodiscard]] std::uint64_t late_answers(std::uint64_t consumer) const;

    /// Returns what was to be answered by now.
    void expire(time_point now);
    [[nodiscard]] std::optional<time_point> next_deadline() const noexcept;

    [[nodiscard]] bool has_dead() const noexcept { return !dead_.empty(); }
    /// The oldest of the dead letters, which is gone then.
    [[nodiscard]] std::optional<dead_letter> collect();

    [[nodiscard]] work_queue_statistics statistics() const noexcept;

private:
    struct item_state {
        unsigned attempts = 0;
        return_reason reason = return_reason::none;
    };
    struct lease_state {
        std::uint64_t item;
        std::uint64_t consumer;
        time_point deadline;
        bool is_overrun = false;
    };
    struct consumer_state {
        std::set<std::uint64_t> leases{};
        std::size_t wants = 0;
        std::uint64_t late = 0;
        bool is_paused = false;
    };

    [[nodiscard]] lease_state* held_by(std::uint64_t consumer, std::uint64_t lease);
    void end_lease(std::uint64_t number, const lease_state& ended);
    void give_back(std::uint64_t item, return_reason why);

    work_queue_options options_;
    std::unordered_map<std::uint64_t, item_state> items_;
    std::set<std::uint64_t> ready_;
    std::unordered_map<std::uint64_t, lease_state> leases_;
    std::set<std::pair<time_point, std::uint64_t>> by_deadline_;  // leases that are not overrun
    std::map<std::uint64_t, consumer_state> consumers_;
    std::deque<std::uint64_t> wants_;  // consumers, in the order in which they have asked
    std::deque<std::uint64_t> dead_;
    std::uint64_t last_item_ = 0;
    std::uint64_t last_lease_ = 0;
    work_queue_statistics counts_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
