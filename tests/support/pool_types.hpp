// SPDX-License-Identifier: BSL-1.0
// What the pools of the tests and their workers say to each other.
#ifndef PROCYARD_TESTS_SUPPORT_POOL_TYPES_HPP
#define PROCYARD_TESTS_SUPPORT_POOL_TYPES_HPP

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include <procyard/ipc/codec.hpp>

namespace pool_test {

/// What the worker is to do, see tests/runtime/pool_worker.cpp.
struct work {
    std::string what;
    std::uint64_t number = 0;
    std::string text;
};

struct answer {
    std::uint64_t number = 0;
    std::int64_t pid = 0;
    std::uint64_t slot = 0;
    std::string text;
};

/// An item whose codec throws, if it is told to.
struct moody_item {
    std::uint64_t number = 0;
    bool throws = false;
};

}  // namespace pool_test

template <>
struct procyard::codec<pool_test::moody_item> {
    static std::size_t size(const pool_test::moody_item&) noexcept { return sizeof(std::uint64_t); }
    static void encode(const pool_test::moody_item& item, procyard::encoder& out)
    {
        if (item.throws)
            throw std::runtime_error("not today");
        out.put(item.number);
    }
    static bool decode(procyard::decoder& in, pool_test::moody_item& item)
    {
        return in.get(item.number);
    }
    static constexpr std::string_view layout = "{u64}";
};

#endif
