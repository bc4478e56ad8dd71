// SPDX-License-Identifier: BSL-1.0
// What the fuzzers have in common: an input that is taken apart from its beginning, and a demand
// that holds in every build.
#ifndef PROCYARD_TESTS_FUZZ_FUZZ_INPUT_HPP
#define PROCYARD_TESTS_FUZZ_FUZZ_INPUT_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

/// The entry that libFuzzer calls, and driver.cpp where there is none.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace procyard_fuzz {

/// Ends the process with a core, which is a finding.
inline void demand(bool holds, const char* what)
{
    if (holds)
        return;
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();
}

class input {
public:
    input(const std::uint8_t* data, std::size_t size) noexcept
        : rest_(reinterpret_cast<const std::byte*>(data), size)
    {
    }

    [[nodiscard]] bool empty() const noexcept { return rest_.empty(); }
    /// The next number; what is missing at the end is 0.
    template <class Number>
    Number take()
    {
        Number n{};
        const auto bytes = take_bytes(sizeof n);
        if (!bytes.empty())
            std::memcpy(&n, bytes.data(), bytes.size());
        return n;
    }
    /// The next bytes, at most as many.
    std::span<const std::byte> take_bytes(std::size_t most)
    {
        const auto taken = rest_.first(std::min(most, rest_.size()));
        rest_ = rest_.subspan(taken.size());
        return taken;
    }
    std::span<const std::byte> take_rest() { return take_bytes(rest_.size()); }

private:
    std::span<const std::byte> rest_;
};

/// In memory of its own, so that a sanitizer sees a read beyond the end.
inline std::vector<std::byte> copy_of(std::span<const std::byte> bytes)
{
    return {bytes.begin(), bytes.end()};
}

}  // namespace procyard_fuzz

#endif
