// SPDX-License-Identifier: BSL-1.0
#include <procyard/signals/signal_mask_guard.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace {

sigset_t make_set(std::initializer_list<int> signals) noexcept
{
    sigset_t set;
    ::sigemptyset(&set);
    for (const int number : signals) {
        [[maybe_unused]] const int added = ::sigaddset(&set, number);
        PROCYARD_ASSERT(added == 0 && "not a signal number that can be blocked");
    }
    return set;
}

sigset_t full_set() noexcept
{
    sigset_t set;
    ::sigfillset(&set);
    return set;
}

}  // namespace

signal_mask_guard::signal_mask_guard(std::initializer_list<int> signals) noexcept
    : signal_mask_guard(make_set(signals))
{
}

signal_mask_guard::signal_mask_guard(const sigset_t& signals) noexcept
{
    // Can only fail for a bad `how`, so there is nothing to report.
    (void)::pthread_sigmask(SIG_BLOCK, &signals, &previous_);
}

signal_mask_guard signal_mask_guard::all() noexcept
{
    return signal_mask_guard(full_set());
}

signal_mask_guard::~signal_mask_guard()
{
    (void)::pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
}

PROCYARD_NAMESPACE_END
