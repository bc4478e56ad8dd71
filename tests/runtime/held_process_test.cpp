// SPDX-License-Identifier: BSL-1.0
#include "held_process.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "feature_off.hpp"
#include "procyard_test.hpp"
#include "sweep_fixture.hpp"
#include "test_process.hpp"

using namespace procyard_test::sweeps;
using procyard_test::test_process;
using procyard_test::wait_ready;

TEST_SUITE("held_process")
{
    TEST_CASE("init, ourselves and numbers that are none cannot be held")
    {
        for (const pid_t pid : {-1, 0, 1, static_cast<int>(::getpid())})
            CHECK_FALSE(held_process::hold(pid));
    }

    TEST_CASE("tells alive, dead and gone apart, with a pidfd and without")
    {
        on_each_kernel([](auto) {
            test_process child({"pause"});
            child.expect("ready", 1);
            const auto held = held_process::hold(child.pid());
            REQUIRE(held);
            CHECK((held->descriptor() >= 0) == has(kernel().pidfd));
            CHECK(held->look() == held_process::condition::alive);
            CHECK_FALSE(held->signal(SIGKILL));
            wait_ready(child.pidfd(), POLLIN);
            CHECK(held->look() == held_process::condition::dead);
            CHECK_FALSE(held->signal(SIGTERM));
            child.reap();
            CHECK(held->look() == held_process::condition::gone);
            CHECK_FALSE(held->signal(SIGTERM));
            CHECK_FALSE(held_process::hold(child.pid()));
        });
    }

    TEST_CASE("a number that has become somebody else's is not signalled")
    {
        const feature_off no_pidfd(&kernel_features::pidfd);
        test_process first({"pause"});
        first.expect("ready", 1);
        auto held = held_process::hold(first.pid());
        REQUIRE(held);
        held->set_reaped();
        CHECK_FALSE(held->signal(SIGKILL));
        CHECK(held->look() == held_process::condition::gone);
        CHECK_FALSE(is_gone(first.pid()));
    }
}
