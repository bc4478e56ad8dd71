// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_END_SORT_HPP
#define PROCYARD_IPC_DETAIL_END_SORT_HPP

#include <cstdint>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// Of what an end is one that a process can ask another for. An ABI: the numbers are on the wire.
enum class end_sort : std::uint8_t {
    channel = 0,  ///< or of two: a sender, a receiver, a duplex
    broadcast = 1,
    latest_value = 2,
    work_queue = 3,
};

/// Of an end that is one descriptor from the other side until it is opened, and to which there is
/// no opposite one: `sort`, and `item_type`, what it is of. Where the end is defined. Not defined:
/// it is none of these.
template <class End>
struct given_kind;

template <class End>
concept given_end = requires { given_kind<End>::sort; };

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
