// SPDX-License-Identifier: BSL-1.0
#include <procyard/signals/signal_ignore_guard.hpp>

#include <boost/system/system_error.hpp>

#include <algorithm>

#include <procyard/signals/signal_error.hpp>

#include "waitable.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace {

struct sigaction change(int number, const struct sigaction* to) noexcept
{
    struct sigaction found{};
    // Cannot fail: the number is good.
    (void)::sigaction(number, to, &found);
    return found;
}

bool is_ignored(const struct sigaction& action) noexcept
{
    return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

signal_ignore_guard::signal_ignore_guard(std::initializer_list<int> numbers)
{
    if (!std::all_of(numbers.begin(), numbers.end(), detail::is_waitable))
        throw boost::system::system_error(signal_errc::not_waitable, "signal_ignore_guard");
    ignored_.reserve(numbers.size());
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    for (const int number : numbers)
        ignored_.push_back({number, change(number, &ignore)});
}

signal_ignore_guard::~signal_ignore_guard()
{
    // In reverse: a number may be there twice.
    for (auto at = ignored_.rbegin(); at != ignored_.rend(); ++at) {
        if (is_ignored(change(at->number, nullptr)))
            (void)change(at->number, &at->found);
    }
}

PROCYARD_NAMESPACE_END
