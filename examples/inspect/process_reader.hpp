// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_INSPECT_PROCESS_READER_HPP
#define PROCYARD_EXAMPLES_INSPECT_PROCESS_READER_HPP

#include <sys/types.h>

#include <optional>
#include <vector>

#include <procyard/ipc/config.hpp>

#include "channel_rows.hpp"

namespace inspect {

/// Looks into a process: copies what it has mapped, by process_vm_readv(2). It is neither stopped
/// nor changed.
/// @par Errors   ESRCH: there is no such process; EACCES or EPERM: it may not be looked into
[[nodiscard]] seen_process read_process(pid_t pid, procyard::error_code& ec);

/// All processes, but those that may not be looked into, and their positions by now.
[[nodiscard]] std::vector<seen_process> read_all_processes();

}  // namespace inspect

#endif
