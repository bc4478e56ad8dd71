// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_FORK_PROCESS_HPP
#define PROCYARD_SIGNALS_FORK_PROCESS_HPP

#include <sys/types.h>

#include <procyard/ipc/config.hpp>
#include <procyard/signals/export.hpp>

namespace boost::asio {
class execution_context;
}

PROCYARD_NAMESPACE_BEGIN

/// fork(2) for a program whose copy goes on with the same io_context and the same signal sets.
///
/// Blocks all signals, tells the context before and after (`notify_fork`), and unblocks them when
/// the copy has descriptors of its own. So a signal that is sent to the copy before its loop runs
/// is told there, and never in the original. To run another program, use `spawn`, which copies
/// nothing.
///
/// Returns what fork() does: the copy's id, 0 in the copy, -1 after an error.
/// @par Errors          EAGAIN, ENOMEM: there is no copy.
/// @throws              What a service of the context throws in the copy, as Asio's reactor when
///                      it has no descriptors.
/// @par Thread safety   No other thread may use the context meanwhile. In the copy there is but the
///                      one that called.
PROCYARD_SIGNALS_EXPORT pid_t fork_process(asio::execution_context& context, error_code& ec);

PROCYARD_NAMESPACE_END

#endif
