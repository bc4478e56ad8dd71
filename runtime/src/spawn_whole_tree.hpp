// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_SPAWN_WHOLE_TREE_HPP
#define PROCYARD_RUNTIME_SRC_SPAWN_WHOLE_TREE_HPP

#include <boost/asio/any_io_executor.hpp>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/command.hpp>
#include <procyard/runtime/spawn_error.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// As `spawn`, but `tree_mode::automatic` is a subreaper's tree where no cgroup is to be had, so
// that no daemon is lost. Not by one attempt with `tree_mode::cgroup` and another one: an observer
// would hear of a failure at each start.
[[nodiscard]] child spawn_whole_tree(const command& what, const asio::any_io_executor& executor,
                                     spawn_failure& failure);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
