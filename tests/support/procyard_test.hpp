// SPDX-License-Identifier: BSL-1.0
// What every test of asynchronous code needs: a bounded run, a place for a completion's arguments,
// and counters of what a process may leak.
#ifndef PROCYARD_TESTS_SUPPORT_PROCYARD_TEST_HPP
#define PROCYARD_TESTS_SUPPORT_PROCYARD_TEST_HPP

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace procyard_test {

/// How long a test may wait before it counts as hung. Generous: sanitizers and a busy machine are
/// slow, and a test that works never waits for it.
inline constexpr std::chrono::seconds deadlock_guard{60};

/// Runs until nothing is left to do; fails the test when that does not happen.
inline std::size_t run(boost::asio::io_context& ctx, std::chrono::seconds limit = deadlock_guard)
{
    ctx.restart();
    const std::size_t handlers = ctx.run_for(limit);
    REQUIRE_MESSAGE(ctx.stopped(), "hung: operations are still outstanding");
    return handlers;
}

/// Runs handlers until `done()` holds; fails the test when it does not come to hold.
template <class Predicate>
void run_until(boost::asio::io_context& ctx, Predicate done,
               std::chrono::seconds limit = deadlock_guard)
{
    ctx.restart();
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!done()) {
        const std::size_t ran = ctx.run_one_until(end);
        if (ran == 0 && !done()) {
            REQUIRE_MESSAGE(!ctx.stopped(), "out of work before the condition came to hold");
            REQUIRE_MESSAGE(false, "hung: the condition never came to hold");
        }
    }
}

/// Keeps the arguments of a completion: `outcome<error_code, int> got; start(got.handler());`
template <class... Args>
struct outcome {
    int count = 0;
    std::optional<std::tuple<Args...>> value;

    [[nodiscard]] auto handler()
    {
        return [this](Args... args) {
            ++count;
            value.emplace(std::move(args)...);
        };
    }
    [[nodiscard]] bool done() const noexcept { return count > 0; }

    /// Argument `I`; fails the test when the completion has not come.
    template <std::size_t I>
    [[nodiscard]] auto& get()
    {
        REQUIRE_MESSAGE(value.has_value(), "not completed");
        return std::get<I>(*value);
    }
    [[nodiscard]] auto& error() { return get<0>(); }
    [[nodiscard]] auto& result() { return get<1>(); }
};

/// Open descriptors of this process with what they are, "5 -> pipe:[123]"; not the one used to
/// look.
[[nodiscard]] std::vector<std::string> open_descriptor_list();
/// How many descriptors this process has open.
[[nodiscard]] std::size_t open_descriptors();
/// How many children of this process have died and not been reaped.
[[nodiscard]] std::size_t zombie_children();
/// How many children, alive or not, this process has.
[[nodiscard]] std::size_t children();
/// How many descriptors the epoll instances of this process watch.
[[nodiscard]] std::size_t watched_descriptors();
/// How many threads this process has.
[[nodiscard]] std::size_t threads();

/// Fails the test when, at the end of its scope, another set of descriptors is open than at the
/// start. Put it before the io_context, which owns some itself.
class descriptor_check {
public:
    descriptor_check() : before_(open_descriptor_list()) { }
    descriptor_check(const descriptor_check&) = delete;
    descriptor_check& operator=(const descriptor_check&) = delete;
    ~descriptor_check() { CHECK(open_descriptor_list() == before_); }

private:
    std::vector<std::string> before_;
};

}  // namespace procyard_test

#endif
