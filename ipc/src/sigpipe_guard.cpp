// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/sigpipe_guard.hpp>

#include "thread_signal.hpp"

PROCYARD_NAMESPACE_BEGIN

sigpipe_guard::sigpipe_guard() noexcept
    : waiting_before_(detail::hold_back_signal(SIGPIPE, previous_))
{
}

sigpipe_guard::~sigpipe_guard()
{
    detail::let_signal_go(SIGPIPE, previous_, may_have_raised_ && !waiting_before_);
}

PROCYARD_NAMESPACE_END
