// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CONNECTABLE_END_HPP
#define PROCYARD_IPC_CONNECTABLE_END_HPP

#include <concepts>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What async_connect() returns: a sender, a receiver, or a duplex of both; a subscriber, a
/// latest_reader, a work_source.
template <class End>
concept connectable_end = requires(const channel_options& options) {
    { detail::end_kind<End>::plan(options) } -> std::same_as<detail::end_plan>;
};

/// What a channel_listener gives out: an end of a channel, or a duplex.
template <class End>
concept acceptable_end = connectable_end<End> && !detail::given_end<End>;

PROCYARD_NAMESPACE_END

#endif
