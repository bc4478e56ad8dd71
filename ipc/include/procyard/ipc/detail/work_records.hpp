// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_WORK_RECORDS_HPP
#define PROCYARD_IPC_DETAIL_WORK_RECORDS_HPP

#include <chrono>
#include <cstdint>

#include <procyard/ipc/config.hpp>

// What a work queue and its consumers send each other: an ABI (docs/channel-abi.md).

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// An item that goes to a consumer, and under which lease.
struct hand_out {
    std::uint64_t item = 0;
    std::uint64_t lease = 0;
    std::uint64_t consumer = 0;
    std::chrono::steady_clock::time_point deadline{};
    unsigned attempt = 0;
};

/// The same as a message.
template <class T>
struct work_item {
    std::uint64_t item = 0;
    std::uint64_t lease = 0;
    std::int64_t deadline_ns = 0;  ///< of CLOCK_MONOTONIC
    std::uint64_t refused = 0;     ///< how many of the consumer's answers have come too late
    std::uint64_t attempt = 0;
    T value{};
};

enum class work_reply : std::uint64_t {
    want = 0,  ///< one more item, please; `lease` is 0
    acknowledge = 1,
    reject = 2,
};

struct work_answer {
    work_reply what{};
    std::uint64_t lease = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
