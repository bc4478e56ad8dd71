// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_LOADS_HPP
#define PROCYARD_RUNTIME_SRC_POOL_LOADS_HPP

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// How many tasks the worker of each slot has, or that it takes none, and which has the fewest: the
// first of equal ones.
//
// A set of slots for each load, one bit for each slot. Rejected: to look at all slots for the
// least, twice for each task, which is what 64 workers would spend most of their pool's time with;
// and a list for each load, which hands out the last one that has become idle, so that with work
// for a few all stay awake.
class pool_loads {
public:
    static constexpr std::uint32_t closed = UINT32_MAX;
    static constexpr std::size_t none = SIZE_MAX;

    // @pre loads are below `most`, or closed
    pool_loads(std::size_t slots, std::uint32_t most) : counts_(most), bits_(most) { grow(slots); }

    void grow(std::size_t slots)
    {
        loads_.resize(slots, closed);
        for (auto& one : bits_)
            one.resize((slots + 63) / 64);
    }

    [[nodiscard]] std::size_t size() const noexcept { return loads_.size(); }
    [[nodiscard]] std::uint32_t operator[](std::size_t slot) const noexcept { return loads_[slot]; }

    void set(std::size_t slot, std::uint32_t load) noexcept
    {
        const auto before = loads_[slot];
        if (before == load)
            return;
        const auto bit = std::uint64_t{1} << (slot % 64);
        if (before != closed) {
            bits_[before][slot / 64] &= ~bit;
            --counts_[before];
        }
        loads_[slot] = load;
        if (load == closed)
            return;
        bits_[load][slot / 64] |= bit;
        ++counts_[load];
        if (load < least_)
            least_ = load;
    }

    // The fewest that any slot has that is open; closed if none is.
    [[nodiscard]] std::uint32_t least() noexcept
    {
        while (least_ < counts_.size() && counts_[least_] == 0)
            ++least_;
        return least_ < counts_.size() ? least_ : closed;
    }

    // Who has so many.
    [[nodiscard]] std::size_t first_with(std::uint32_t load) const noexcept
    {
        if (load >= counts_.size() || counts_[load] == 0)
            return none;
        std::size_t word = 0;
        while (bits_[load][word] == 0)
            ++word;
        return word * 64 + static_cast<std::size_t>(std::countr_zero(bits_[load][word]));
    }

private:
    std::vector<std::uint32_t> loads_{};
    std::vector<std::uint32_t> counts_;  // of slots with each load
    std::vector<std::vector<std::uint64_t>> bits_;
    std::uint32_t least_ = 0;  // nobody has fewer
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
