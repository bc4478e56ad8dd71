// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_INDEX_HPP
#define PROCYARD_RUNTIME_SRC_POOL_INDEX_HPP

#include <boost/assert.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Where something is kept in a vector of such things.
using pool_place = std::uint32_t;
inline constexpr pool_place no_place = std::numeric_limits<pool_place>::max();

// Finds the place of a number. Numbers are given in sequence, which the golden ratio spreads most
// evenly: almost each one finds its cell at the first look.
//
// Linear probing, at most half full; what is erased closes the gap. No allocation but to grow.
// Rejected: std::unordered_map, which allocates for each; a number as its own hash, which makes one
// stretch of all, that each erasure walks to its end; and numbers that hold their place, which
// nobody can read in a report.
class pool_index {
public:
    pool_index() : cells_(std::size_t{1} << bits_) { }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    [[nodiscard]] pool_place find(std::uint64_t number) const noexcept
    {
        if (number == 0)
            return no_place;
        auto at = home(number);
        while (cells_[at].number != number) {
            if (cells_[at].number == 0)
                return no_place;
            at = after(at);
        }
        return cells_[at].place;
    }

    // So that so many can be in it without memory.
    void reserve(std::size_t numbers)
    {
        while (2 * numbers > cells_.size())
            grow();
    }

    // @pre number is not 0, and not there
    void insert(std::uint64_t number, pool_place place)
    {
        reserve(size_ + 1);
        put(number, place);
        ++size_;
    }

    // @pre number is there
    void erase(std::uint64_t number) noexcept
    {
        auto gap = home(number);
        while (cells_[gap].number != number) {
            BOOST_ASSERT_MSG(cells_[gap].number != 0, "pool_index: no such number");
            gap = after(gap);
        }
        // What stands behind the gap, and would be looked for before it, moves into it.
        for (auto at = after(gap); cells_[at].number != 0; at = after(at)) {
            const auto way = (at - home(cells_[at].number)) & mask();
            if (way >= ((at - gap) & mask()))
                cells_[std::exchange(gap, at)] = cells_[at];
        }
        cells_[gap] = {};
        --size_;
    }

private:
    struct cell {
        std::uint64_t number = 0;  // 0: empty
        pool_place place = no_place;
    };

    [[nodiscard]] std::size_t mask() const noexcept { return cells_.size() - 1; }
    [[nodiscard]] std::size_t home(std::uint64_t number) const noexcept
    {
        return static_cast<std::size_t>(number * 0x9e3779b97f4a7c15ULL >> (64 - bits_));
    }
    [[nodiscard]] std::size_t after(std::size_t at) const noexcept { return (at + 1) & mask(); }

    void put(std::uint64_t number, pool_place place) noexcept
    {
        auto at = home(number);
        while (cells_[at].number != 0)
            at = after(at);
        cells_[at] = {number, place};
    }

    void grow()
    {
        auto before = std::vector<cell>(2 * cells_.size());
        std::swap(cells_, before);
        ++bits_;
        for (const auto& one : before) {
            if (one.number != 0)
                put(one.number, one.place);
        }
    }

    unsigned bits_ = 4;
    std::vector<cell> cells_;  // 2^bits_
    std::size_t size_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
