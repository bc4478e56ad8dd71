// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_LEASE_BOOK_HPP
#define PROCYARD_IPC_SRC_LEASE_BOOK_HPP

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
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
//
// What an item or a lease needs in any of its states is in it from the beginning: so to add and to
// hand out can fail for want of memory, before anything has changed; to take back cannot.
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
        std::uint64_t item;  // 0, where that is nobody's business
    };
    struct dead_letter {
        std::uint64_t item;
        unsigned attempts;
        return_reason reason;
    };

    explicit lease_book(const work_queue_options& options) : options_(options) { }
    lease_book(const lease_book&) = delete;
    lease_book& operator=(const lease_book&) = delete;

    [[nodiscard]] bool is_full() const noexcept { return items_.size() >= options_.capacity; }
    /// Nothing is ready or leased.
    [[nodiscard]] bool is_drained() const noexcept { return ready_.empty() && deadlines_.empty(); }
    [[nodiscard]] std::uint64_t next_item() const noexcept { return last_item_ + 1; }
    /// @pre not is_full()
    std::uint64_t add();

    /// @pre never used before
    void attach(std::uint64_t consumer) { consumers_.try_emplace(consumer); }
    /// What it has is returned.
    void detach(std::uint64_t consumer) noexcept;
    /// It asks for one more item. False: it has more than it may.
    [[nodiscard]] bool want(std::uint64_t consumer);
    /// It cannot be sent anything for now, or can again.
    void pause(std::uint64_t consumer, bool paused) noexcept;

    /// The next item to be sent, and to whom.
    [[nodiscard]] std::optional<hand_out> next(time_point now);
    /// It could not be sent, and was no attempt.
    void undo(const hand_out& what);
    /// It never can be: it is dead.
    void bury(const hand_out& what);

    [[nodiscard]] answered acknowledge(std::uint64_t consumer, std::uint64_t lease) noexcept;
    [[nodiscard]] answered reject(std::uint64_t consumer, std::uint64_t lease) noexcept;
    /// How many of the consumer's answers have come too late.
    [[nodiscard]] std::uint64_t late_answers(std::uint64_t consumer) const;

    /// Returns what was to be answered by now.
    void expire(time_point now) noexcept;
    [[nodiscard]] std::optional<time_point> next_deadline() const noexcept;

    [[nodiscard]] bool has_dead() const noexcept { return !dead_.empty(); }
    /// The oldest of the dead letters, which is gone then.
    [[nodiscard]] std::optional<dead_letter> collect() noexcept;

    [[nodiscard]] work_queue_statistics statistics() const noexcept;

private:
    using set_hook = boost::intrusive::set_member_hook<>;
    using list_hook = boost::intrusive::list_member_hook<>;

    struct item_state {
        explicit item_state(std::uint64_t n) noexcept : number(n) { }
        const std::uint64_t number;
        unsigned attempts = 0;
        return_reason reason = return_reason::none;
        set_hook in_ready;
        list_hook in_dead;
    };
    struct by_number {
        using type = std::uint64_t;
        type operator()(const item_state& i) const noexcept { return i.number; }
    };
    using ready_items = boost::intrusive::set<
        item_state, boost::intrusive::key_of_value<by_number>,
        boost::intrusive::member_hook<item_state, set_hook, &item_state::in_ready>>;
    using dead_items = boost::intrusive::list<
        item_state, boost::intrusive::member_hook<item_state, list_hook, &item_state::in_dead>>;

    struct lease_state {
        lease_state(std::uint64_t n, item_state& i, std::uint64_t c, time_point d) noexcept
            : number(n),
              item(i),
              consumer(c),
              deadline(d)
        {
        }
        const std::uint64_t number;
        item_state& item;  // gone, perhaps, when the lease is overrun
        const std::uint64_t consumer;
        const time_point deadline;
        set_hook in_deadlines;  // when it is not overrun
        list_hook in_consumer;
        [[nodiscard]] bool is_overrun() const noexcept { return !in_deadlines.is_linked(); }
    };
    struct by_deadline {
        using type = std::pair<time_point, std::uint64_t>;
        type operator()(const lease_state& l) const noexcept { return {l.deadline, l.number}; }
    };
    using deadlines = boost::intrusive::set<
        lease_state, boost::intrusive::key_of_value<by_deadline>,
        boost::intrusive::member_hook<lease_state, set_hook, &lease_state::in_deadlines>>;
    using consumers_leases = boost::intrusive::list<
        lease_state,
        boost::intrusive::member_hook<lease_state, list_hook, &lease_state::in_consumer>>;

    struct consumer_state {
        consumers_leases leases{};
        std::size_t wants = 0;
        std::uint64_t late = 0;
        bool is_paused = false;
    };

    [[nodiscard]] lease_state* held_by(std::uint64_t consumer, std::uint64_t lease) noexcept;
    void end_lease(lease_state& ended) noexcept;
    void give_back(item_state& item, return_reason why) noexcept;

    work_queue_options options_;
    std::unordered_map<std::uint64_t, item_state> items_;
    ready_items ready_;
    dead_items dead_;
    std::unordered_map<std::uint64_t, lease_state> leases_;
    deadlines deadlines_;  // leases that are not overrun
    std::map<std::uint64_t, consumer_state> consumers_;
    std::deque<std::uint64_t> wants_;  // consumers, in the order in which they have asked
    std::uint64_t last_item_ = 0;
    std::uint64_t last_lease_ = 0;
    work_queue_statistics counts_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
