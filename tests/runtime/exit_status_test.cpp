// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/exit_status.hpp>

#include <doctest/doctest.h>
#include <signal.h>

#include <sstream>

using namespace procyard;

TEST_SUITE("exit_status")
{
    TEST_CASE("is unknown until it is known, and unknown is no success")
    {
        const exit_status status;
        CHECK(status.is_unknown());
        CHECK(status == exit_status::unknown());
        CHECK_FALSE(status.success());
        CHECK_FALSE(status.is_exited());
        CHECK_FALSE(status.is_signaled());
        CHECK(status.code() == std::nullopt);
        CHECK(status.signal() == std::nullopt);
        CHECK(status.shell_code() == 255);
    }

    TEST_CASE("15 and SIGTERM are different things (case 42)")
    {
        CHECK(exit_status::exited(15) != exit_status::signaled(15));
        CHECK(exit_status::exited(15).code() == 15);
        CHECK(exit_status::exited(15).signal() == std::nullopt);
        CHECK(exit_status::signaled(15).signal() == 15);
        CHECK(exit_status::signaled(15).code() == std::nullopt);
        CHECK(exit_status::exited(15).shell_code() == 15);
        CHECK(exit_status::signaled(15).shell_code() == 143);
        CHECK_FALSE(exit_status::signaled(SIGTERM).success());
        CHECK_FALSE(exit_status::exited(1).success());
        CHECK(exit_status::exited(0).success());
        CHECK(exit_status::exited(256) == exit_status::exited(0));
    }

    TEST_CASE("reads the kernel's word (case 42)")
    {
        CHECK(exit_status::from_wait_status(0x0000) == exit_status::exited(0));
        CHECK(exit_status::from_wait_status(0xff00) == exit_status::exited(255));
        CHECK(exit_status::from_wait_status(SIGKILL) == exit_status::signaled(SIGKILL));
        CHECK(exit_status::from_wait_status(SIGSEGV | 0x80)
              == exit_status::signaled(SIGSEGV, true));
        CHECK(exit_status::signaled(SIGSEGV, true) != exit_status::signaled(SIGSEGV));
    }

    TEST_CASE("prints as what happened")
    {
        CHECK(exit_status::exited(3).to_string() == "exit 3");
        CHECK(exit_status::signaled(SIGSEGV, true).to_string()
              == "killed by SIGSEGV (core dumped)");
        CHECK(exit_status::signaled(SIGKILL).to_string() == "killed by SIGKILL");
        CHECK(exit_status::signaled(SIGKILL).with_out_of_memory().to_string()
              == "killed by SIGKILL (out of memory)");
        CHECK(exit_status::signaled(SIGRTMIN + 2).to_string() == "killed by SIGRTMIN+2");
        CHECK(exit_status::unknown().to_string() == "unknown exit status");
        std::ostringstream out;
        out << exit_status::exited(0);
        CHECK(out.str() == "exit 0");
        CHECK(signal_name(SIGTERM) == "SIGTERM");
        CHECK(signal_name(99) == "signal 99");
    }

    TEST_CASE("keeps the usage beside the status, which alone is compared")
    {
        resource_usage usage;
        usage.max_rss_bytes = 1 << 20;
        const auto status = exit_status::exited(3).with_usage(usage);
        CHECK(status == exit_status::exited(3));
        CHECK(status.usage().max_rss_bytes == 1 << 20);
        const auto killed = exit_status::signaled(SIGKILL).with_usage(usage).with_out_of_memory();
        CHECK(killed.usage() == usage);
        CHECK(killed.out_of_memory());
        CHECK(killed != exit_status::signaled(SIGKILL));
    }
}
