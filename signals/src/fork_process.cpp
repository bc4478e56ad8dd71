// SPDX-License-Identifier: BSL-1.0
#include <procyard/signals/fork_process.hpp>

#include <boost/asio/execution_context.hpp>

#include <unistd.h>

#include <procyard/ipc/syscall.hpp>
#include <procyard/signals/signal_mask_guard.hpp>

PROCYARD_NAMESPACE_BEGIN

pid_t fork_process(asio::execution_context& context, error_code& ec)
{
    using event = asio::execution_context;
    ec.clear();
    // Longer than the sets' own hook of pthread_atfork does: in the copy Asio has to have made its
    // reactor anew before a handler wakes it.
    const auto quiet = signal_mask_guard::all();
    context.notify_fork(event::fork_prepare);
    const pid_t pid = ::fork();  // tidy: allow fork: a copy is what the caller asks for
    if (pid == -1)
        ec = last_error();
    context.notify_fork(pid == 0 ? event::fork_child : event::fork_parent);
    return pid;
}

PROCYARD_NAMESPACE_END
