// SPDX-License-Identifier: BSL-1.0
#include "kernel_features.hpp"

#include <doctest/doctest.h>

#include <cerrno>

#include "feature_off.hpp"

using namespace procyard::detail;

TEST_SUITE("kernel_features")
{
    TEST_CASE("everything is assumed to be there until it is refused")
    {
        const kernel_features fresh;
        CHECK(has(fresh.pidfd));
        CHECK(has(fresh.clone3));
        CHECK(has(fresh.close_range));
        CHECK(has(fresh.cgroup_kill));
        CHECK(has(fresh.proc_children));
    }

    TEST_CASE("ENOSYS clears a flag, another errno only where the caller says that it means it")
    {
        kernel_features features;
        CHECK_FALSE(refused(features.pidfd, EMFILE));
        CHECK_FALSE(refused(features.pidfd, 0));
        CHECK_FALSE(refused(features.pidfd, EINVAL));
        CHECK(has(features.pidfd));
        CHECK(refused(features.pidfd, ENOSYS));
        CHECK_FALSE(has(features.pidfd));
        CHECK(refused(features.pidfd_group_signal, EINVAL, EINVAL));
        CHECK_FALSE(has(features.pidfd_group_signal));
    }

    TEST_CASE("a test takes a feature away and gives it back as it was")
    {
        {
            const feature_off outer(&kernel_features::clone3);
            {
                const feature_off inner(&kernel_features::clone3);
                CHECK_FALSE(has(kernel().clone3));
            }
            CHECK_FALSE(has(kernel().clone3));
        }
        CHECK(has(kernel().clone3));
    }
}
