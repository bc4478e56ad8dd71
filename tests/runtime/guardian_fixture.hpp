// SPDX-License-Identifier: BSL-1.0
// Hosts that have guardians, for tests that kill them.
#ifndef PROCYARD_TESTS_RUNTIME_GUARDIAN_FIXTURE_HPP
#define PROCYARD_TESTS_RUNTIME_GUARDIAN_FIXTURE_HPP

#include <boost/asio/io_context.hpp>

#include <unistd.h>

#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <optional>
#include <string>

#include <doctest/doctest.h>

#include <procyard/runtime/guardian.hpp>
#include <procyard/runtime/spawn.hpp>

#include "killed_host.hpp"
#include "procyard_test.hpp"
#include "spawning.hpp"

namespace procyard_test {

/// A leader and a daemon in a session of its own, which says its pid before or after that.
struct family {
    family(boost::asio::io_context& ctx, const procyard::command& what)
        : leader(procyard::spawn(procyard::command(what).std_out(procyard::stdio::pipe()),
                                 ctx.get_executor()))
    {
        std::string buffered;
        bool is_ready = false;
        while (!is_ready || daemon == 0) {
            const auto line = read_line(ctx, leader.std_out(), buffered);
            is_ready = is_ready || line.starts_with("ready ");
            if (line.starts_with("member "))
                daemon = static_cast<pid_t>(std::stol(line.substr(7)));
        }
    }

    procyard::child leader;
    pid_t daemon = 0;
};

inline procyard::command daemonizing(procyard::tree_mode mode = procyard::tree_mode::process_group)
{
    return helper({"--mode=daemon"}).tree(mode);
}

/// Says what the test has to know, and does no more until it is killed.
[[noreturn]] inline void say_and_wait(const std::string& what)
{
    std::cout << what << std::endl;
    for (;;)
        (void)::pause();
}

/// A host that says two pids: its daemon's and its guardian's.
struct host {
    host(boost::asio::io_context& ctx, const std::string& test_case,
         const std::filesystem::path& where,
         const std::optional<procyard::guardian>& by = std::nullopt)
        : process(start_host(ctx, test_case, where, by))
    {
        const auto line = read_line(ctx, process.std_out());
        const auto gap = line.find(' ');
        REQUIRE_MESSAGE(gap != std::string::npos, line);
        daemon = static_cast<pid_t>(std::stol(line));
        guard = static_cast<pid_t>(std::stol(line.substr(gap)));
    }

    procyard::child process;
    pid_t daemon = 0;
    pid_t guard = 0;
};

inline std::string to_line(pid_t daemon, pid_t guard)
{
    return std::to_string(daemon) + ' ' + std::to_string(guard);
}

inline std::string text_of_failure(const std::function<void()>& make)
{
    try {
        make();
    } catch (const std::exception& e) {
        return e.what();
    }
    return "nothing was thrown";
}

}  // namespace procyard_test

#endif
