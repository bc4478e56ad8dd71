// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_TREE_WAIT_HPP
#define PROCYARD_RUNTIME_SRC_TREE_WAIT_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>

#include <memory>

#include <procyard/ipc/config.hpp>

#include "process_tree.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// Waits until nobody is left in the tree.
///
/// Event-driven: it waits for one member's pidfd after the other, or for the change of
/// cgroup.events, and looks at the tree after each. Only where the kernel gives no descriptor that
/// could tell (see tree_event) it looks every few milliseconds.
/// @par Completion signature   `void(error_code)`
/// @par Errors                 `operation_aborted`
/// @par Cancellation           terminal, partial, total; from any thread. The tree is as it was.
/// @par Lifetime               The operation shares the tree; what the tree borrows must live on.
void start_tree_wait(const asio::any_io_executor& executor, std::shared_ptr<process_tree> tree,
                     asio::any_completion_handler<void(error_code)> handler);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
