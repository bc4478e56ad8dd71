// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_LATENCIES_HPP
#define PROCYARD_EXAMPLES_DEMO_LATENCIES_HPP

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace demo {

/// How long things took, to two digits: buckets of 1/64 of their power of two. However many there
/// are, they take 30 KB.
class latencies {
public:
    void add(std::chrono::nanoseconds took) noexcept
    {
        ++counts_[bucket_of(static_cast<std::uint64_t>(took.count()))];
        ++total_;
    }

    [[nodiscard]] std::uint64_t total() const noexcept { return total_; }

    /// So many of all have taken no longer; 0 when there are none.
    [[nodiscard]] std::chrono::nanoseconds percentile(double percent) const noexcept
    {
        const auto rank = static_cast<std::uint64_t>(static_cast<double>(total_) * percent / 100);
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            seen += counts_[i];
            if (seen > rank)
                return std::chrono::nanoseconds(begin_of(i));
        }
        return {};
    }

private:
    static constexpr unsigned bits = 6;

    static std::size_t bucket_of(std::uint64_t ns) noexcept
    {
        const auto width = static_cast<unsigned>(std::bit_width(ns));
        if (width <= bits)
            return static_cast<std::size_t>(ns);
        const auto shift = width - bits - 1;
        return static_cast<std::size_t>((std::uint64_t{shift} << bits) + (ns >> shift));
    }
    static std::int64_t begin_of(std::size_t bucket) noexcept
    {
        const auto shift = bucket >> bits == 0 ? 0 : (bucket >> bits) - 1;
        return static_cast<std::int64_t>((bucket - (shift << bits)) << shift);
    }

    std::array<std::uint64_t, std::size_t{65 - bits} << bits> counts_{};
    std::uint64_t total_ = 0;
};

}  // namespace demo

#endif
