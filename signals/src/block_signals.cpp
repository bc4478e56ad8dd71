// SPDX-License-Identifier: BSL-1.0
#include <procyard/signals/block_signals.hpp>

#include <boost/system/system_error.hpp>

#include <signal.h>

#include <cstdint>

#include <procyard/signals/signal_error.hpp>

#include "signal_listener.hpp"
#include "thread_masks.hpp"
#include "waitable.hpp"

PROCYARD_NAMESPACE_BEGIN

void block_signals(std::initializer_list<int> numbers, error_code& ec)
{
    ec.clear();
    std::uint64_t wanted = 0;
    for (const int number : numbers) {
        if (!detail::is_waitable(number)) {
            ec = signal_errc::not_waitable;
            return;
        }
        wanted |= detail::signal_bit(number);
    }
    if ((wanted & ~detail::mask_of_other_threads()) != 0) {
        ec = signal_errc::not_blocked;
        return;
    }
    const auto set = detail::sigset_of(wanted);
    // Can only fail for a bad `how`, so there is nothing to report.
    (void)::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void block_signals(std::initializer_list<int> numbers)
{
    error_code ec;
    block_signals(numbers, ec);
    if (ec)
        throw boost::system::system_error(ec, "block_signals");
}

PROCYARD_NAMESPACE_END
