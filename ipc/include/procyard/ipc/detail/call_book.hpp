// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_CALL_BOOK_HPP
#define PROCYARD_IPC_DETAIL_CALL_BOOK_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The calls of a caller, each with who waits for it. Decides what an answer, a deadline and a
// cancellation mean; sends nothing, and knows the time only from outside.
//
//   waiting --a place--> open --answer--> done
//     | withdrawn          | withdrawn
//     v                    v
//   done, nothing sent   withdrawn --answer--> gone, counted as late
//
// waiting:   not sent. Calls are sent in the order in which they were started.
// open:      sent; the peer owes an answer, exactly one.
// withdrawn: nobody waits any more, the peer has been told, and still owes the answer. The call
//            keeps its place until then: what the peer is busy with is bounded, not what we wait
//            for. So an answer belongs to a call of this book, or the peer is not honest; no list
//            of old numbers is needed to tell a late answer from an invented one.
//
// Before the peer's limit is known there is no place.
template <class Waiter>
class call_book {
public:
    using time_point = std::chrono::steady_clock::time_point;
    static constexpr time_point never = time_point::max();

    struct withdrawn {
        Waiter waiter;
        std::uint64_t id;
        bool sent;  // the peer has to be told
    };
    enum class verdict : std::uint8_t { awaited, late, unknown };

    explicit call_book(std::size_t most_open) : most_open_(std::max(most_open, std::size_t{1})) { }

    /// What the peer bears.
    void limit(std::size_t theirs) noexcept { places_ = std::min(most_open_, theirs); }
    [[nodiscard]] bool limited() const noexcept { return places_ != 0; }

    /// @return the number of the call; greater than all before it
    std::uint64_t add(Waiter waiter, time_point deadline)
    {
        const auto id = ++last_id_;
        // Apart, until the call is in the book: a deadline without one would be nobody's.
        deadlines due;
        if (deadline != never)
            due.emplace(deadline, id);
        waiting_.emplace_hint(waiting_.end(), id, entry{std::move(waiter), deadline});
        deadlines_.merge(due);
        return id;
    }

    struct departure {
        std::uint64_t id;
        time_point deadline;
        Waiter* waiter;  ///< valid until the book is changed
    };
    /// The call to be sent next; it is open then.
    [[nodiscard]] std::optional<departure> send_next()
    {
        if (waiting_.empty() || open_.size() >= places_)
            return std::nullopt;
        // Moved as it is: what needs no memory loses no call.
        const auto next = open_.insert(waiting_.extract(waiting_.begin())).position;
        ++awaited_;
        return departure{next->first, next->second.deadline, &*next->second.waiter};
    }

    /// An answer has come. Who waits for it is put into `out`.
    [[nodiscard]] verdict answer(std::uint64_t id, std::optional<Waiter>& out)
    {
        const auto found = open_.find(id);
        if (found == open_.end())
            return verdict::unknown;
        const bool awaited = found->second.waiter.has_value();
        if (awaited) {
            --awaited_;
            forget_deadline(found->second.deadline, id);
            out.emplace(std::move(*found->second.waiter));
        }
        open_.erase(found);
        return awaited ? verdict::awaited : verdict::late;
    }

    /// Nobody waits for the call any more. Nothing when there is nobody now.
    [[nodiscard]] std::optional<withdrawn> withdraw(std::uint64_t id)
    {
        if (const auto early = waiting_.find(id); early != waiting_.end()) {
            forget_deadline(early->second.deadline, id);
            withdrawn result{std::move(*early->second.waiter), id, false};
            waiting_.erase(early);
            return result;
        }
        const auto found = open_.find(id);
        if (found == open_.end() || !found->second.waiter)
            return std::nullopt;
        --awaited_;
        forget_deadline(found->second.deadline, id);
        withdrawn result{std::move(*found->second.waiter), id, true};
        found->second.waiter.reset();
        return result;
    }

    /// The call that send_next() gave has turned out to be none that can be sent.
    [[nodiscard]] Waiter take_back(std::uint64_t id)
    {
        std::optional<Waiter> waiter;
        (void)answer(id, waiter);
        PROCYARD_ASSERT(waiter && "a call is taken back right after it was given out");
        return std::move(*waiter);
    }

    /// Withdraws one that should have been answered by now; nothing when there is none any more.
    /// Not all of them at once: a list of them takes memory, and where there is none those that it
    /// had by then would never hear of their end.
    [[nodiscard]] std::optional<withdrawn> expire(time_point now)
    {
        if (deadlines_.empty() || deadlines_.begin()->first > now)
            return std::nullopt;
        return withdraw(deadlines_.begin()->second);
    }
    /// When there will be something to expire.
    [[nodiscard]] time_point next_deadline() const noexcept
    {
        return deadlines_.empty() ? never : deadlines_.begin()->first;
    }

    /// Nothing can be sent any more; what was sent may still be answered.
    void abandon_waiting(std::vector<Waiter>& out)
    {
        for (auto& [id, one] : std::exchange(waiting_, {})) {
            forget_deadline(one.deadline, id);
            out.push_back(std::move(*one.waiter));
        }
    }

    /// The end: no answer will come any more.
    void abandon(std::vector<Waiter>& out)
    {
        // Those that were started first, first: calls are sent in their order.
        auto all = std::exchange(open_, {});
        all.merge(waiting_);
        deadlines_.clear();
        awaited_ = 0;
        for (auto& [id, one] : all)
            if (one.waiter)
                out.push_back(std::move(*one.waiter));
    }

    /// Whether there is somebody for whom the peer should be listened to.
    [[nodiscard]] bool anybody_waits() const noexcept { return awaited_ != 0 || !waiting_.empty(); }
    [[nodiscard]] std::size_t waiting() const noexcept { return waiting_.size(); }
    [[nodiscard]] std::size_t open() const noexcept { return open_.size(); }

private:
    struct entry {
        std::optional<Waiter> waiter;  // none: withdrawn
        time_point deadline;
    };

    using deadlines = std::set<std::pair<time_point, std::uint64_t>>;

    void forget_deadline(time_point deadline, std::uint64_t id)
    {
        if (deadline != never)
            deadlines_.erase({deadline, id});
    }

    std::size_t most_open_;
    std::size_t places_ = 0;
    std::uint64_t last_id_ = 0;
    std::map<std::uint64_t, entry> waiting_;
    std::map<std::uint64_t, entry> open_;
    std::size_t awaited_ = 0;  // open, and not withdrawn
    deadlines deadlines_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
