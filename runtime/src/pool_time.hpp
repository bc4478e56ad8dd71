// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_TIME_HPP
#define PROCYARD_RUNTIME_SRC_POOL_TIME_HPP

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// As timer_clock::after: the longest delays, and what they lead to, are for ever.
inline timer_clock::time_point later(timer_clock::time_point from, timer_clock::duration delay)
{
    using time_point = timer_clock::time_point;
    return delay > time_point::max() - from ? time_point::max() : from + delay;
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
