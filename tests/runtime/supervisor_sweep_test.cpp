// SPDX-License-Identifier: BSL-1.0
// The contract of every operation, for the wait until nothing is left of another supervisor.
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <optional>
#include <utility>

#include <procyard/ipc/unique_fd.hpp>

#include "operation_contract.hpp"
#include "survivor_book.hpp"
#include "survivor_lock.hpp"
#include "temporary_directory.hpp"
#include "token_kinds.hpp"

namespace asio = boost::asio;
using namespace procyard_test;

namespace {

// The directory is locked by a process that is dead, as it is for a moment when a supervisor was
// killed while it was spawning.
struct sweep_behind_a_lock {
    explicit sweep_behind_a_lock(asio::io_context& context) : ctx(context)
    {
        options.state_directory = place.path() / "state";
        {
            const procyard::detail::survivor_book makes_it(options.state_directory);
        }
        lock.reset(::open((options.state_directory / "lock").c_str(), O_RDWR | O_CLOEXEC));
        auto dead = procyard::detail::this_process();
        dead.start_ticks += 1;  // one of our number, and not we
        const auto range = procyard::detail::range_of(dead);
        struct flock all{};
        all.l_type = F_WRLCK;
        all.l_whence = SEEK_SET;
        all.l_start = range.start;
        all.l_len = range.length;
        REQUIRE(::fcntl(lock.get(), F_OFD_SETLK, &all) == 0);
        it.emplace(ctx.get_executor(), options);
    }
    auto start(auto&& token) { return it->async_sweep(std::forward<decltype(token)>(token)); }
    void satisfy() { lock.reset(); }
    void break_it()
    {
        options.sweep_budget = std::chrono::nanoseconds(0);
        it.emplace(ctx.get_executor(), options);
    }
    static procyard::error_code breakage() { return asio::error::timed_out; }
    void destroy() { it.reset(); }

    asio::io_context& ctx;
    temporary_directory place{};
    procyard::supervisor_options options{};
    procyard::unique_fd lock{};
    std::optional<procyard::supervisor> it{};
};

}  // namespace

TEST_SUITE("supervisor::async_sweep")
{
    PROCYARD_OPERATION_CONTRACT(sweep_behind_a_lock)

    TEST_CASE("serves every kind of completion token")
    {
        check_every_token<sweep_behind_a_lock>();
    }
}
