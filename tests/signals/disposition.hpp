// SPDX-License-Identifier: BSL-1.0
// What a signal does in this process, and what it did before the test.
#ifndef PROCYARD_TESTS_SIGNALS_DISPOSITION_HPP
#define PROCYARD_TESTS_SIGNALS_DISPOSITION_HPP

#include <signal.h>

#include <doctest/doctest.h>

namespace procyard_test {

[[nodiscard]] inline struct sigaction disposition_of(int number)
{
    struct sigaction now{};
    REQUIRE(::sigaction(number, nullptr, &now) == 0);
    return now;
}

[[nodiscard]] inline bool is_handled_by(const struct sigaction& action, void (*handler)(int))
{
    return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == handler;
}

[[nodiscard]] inline bool are_equal(const struct sigaction& a, const struct sigaction& b)
{
    for (int number = 1; number < SIGRTMAX; ++number) {
        if (::sigismember(&a.sa_mask, number) != ::sigismember(&b.sa_mask, number))
            return false;
    }
    return a.sa_flags == b.sa_flags && a.sa_handler == b.sa_handler;
}

/// Gives a signal an action for a scope, and then the one it had: doctest has handlers of its own
/// for SIGTERM, SIGINT and others, which call a test crashed.
class disposition_guard {
public:
    explicit disposition_guard(int number, void (*handler)(int) = SIG_DFL, int flags = 0)
        : number_(number)
    {
        struct sigaction action{};
        action.sa_handler = handler;
        action.sa_flags = flags;
        REQUIRE(::sigaction(number, &action, &before_) == 0);
    }
    disposition_guard(int number, const struct sigaction& action) : number_(number)
    {
        REQUIRE(::sigaction(number, &action, &before_) == 0);
    }
    disposition_guard(const disposition_guard&) = delete;
    disposition_guard& operator=(const disposition_guard&) = delete;
    ~disposition_guard() { ::sigaction(number_, &before_, nullptr); }

private:
    int number_;
    struct sigaction before_{};
};

}  // namespace procyard_test

#endif
