// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_PROCESS_ID_HPP
#define PROCYARD_IPC_SRC_PROCESS_ID_HPP

#include <sys/types.h>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// getpid(), for where a message asks for it: whether this process is the one that made an end, or
// a copy of it.
//
// The C library asks the kernel each time, 0.1 µs. Here it is remembered, in a page that the
// kernel empties in the child of a fork (MADV_WIPEONFORK, Linux 4.14); where it does not, the
// kernel is asked each time.
//
// Rejected: pthread_atfork, a handler of which stays when the library is unloaded, and which a
// clone() does not call.
// Cost: a load, and a page for the process.
[[nodiscard]] pid_t process_id() noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
