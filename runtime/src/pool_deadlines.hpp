// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_DEADLINES_HPP
#define PROCYARD_RUNTIME_SRC_POOL_DEADLINES_HPP

#include <cstddef>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>

#include "pool_index.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// When each of many things is due, and which is first: a heap that knows where each one stands in
// it, so that a time is changed or taken back in logarithmic time, and nothing is kept of it.
class pool_deadlines {
public:
    using time_point = timer_clock::time_point;

    // So that those below `places` can be set without memory.
    void reserve(std::size_t places)
    {
        heap_.reserve(places);
        if (places > where_.size())
            where_.resize(places, no_place);
    }

    // time_point::max(): never.
    void set(pool_place which, time_point due)
    {
        if (which >= where_.size())
            where_.resize(which + 1, no_place);
        auto at = where_[which];
        if (at == no_place) {
            if (due == time_point::max())
                return;
            at = static_cast<pool_place>(heap_.size());
            heap_.push_back({due, which});
            where_[which] = at;
            return move_up(at);
        }
        if (due == time_point::max())
            return remove(at);
        const bool sooner = due < heap_[at].due;
        heap_[at].due = due;
        sooner ? move_up(at) : move_down(at);
    }

    [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
    // @pre not empty()
    [[nodiscard]] time_point first_due() const noexcept { return heap_.front().due; }
    [[nodiscard]] pool_place first() const noexcept { return heap_.front().which; }
    // max() if it is not due at all
    [[nodiscard]] time_point due_of(pool_place which) const noexcept
    {
        const bool known = which < where_.size() && where_[which] != no_place;
        return known ? heap_[where_[which]].due : time_point::max();
    }

private:
    struct entry {
        time_point due;
        pool_place which;
    };

    void remove(pool_place at)
    {
        where_[heap_[at].which] = no_place;
        const auto last = heap_.back();
        heap_.pop_back();
        if (at == heap_.size())
            return;
        put(at, last);
        move_up(at);
        move_down(where_[last.which]);
    }

    void put(pool_place at, const entry& one) noexcept
    {
        heap_[at] = one;
        where_[one.which] = at;
    }

    void move_up(pool_place at) noexcept
    {
        const auto one = heap_[at];
        while (at > 0) {
            const auto above = (at - 1) / 2;
            if (heap_[above].due <= one.due)
                break;
            put(at, heap_[above]);
            at = above;
        }
        put(at, one);
    }

    void move_down(pool_place at) noexcept
    {
        const auto one = heap_[at];
        for (;;) {
            auto below = 2 * at + 1;
            if (below >= heap_.size())
                break;
            if (below + 1 < heap_.size() && heap_[below + 1].due < heap_[below].due)
                ++below;
            if (one.due <= heap_[below].due)
                break;
            put(at, heap_[below]);
            at = below;
        }
        put(at, one);
    }

    std::vector<entry> heap_{};
    std::vector<pool_place> where_{};  // of each, in heap_
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
