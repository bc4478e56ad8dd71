// SPDX-License-Identifier: BSL-1.0
// A test case of the program that runs, as a process of its own, which is killed: what is left?
#ifndef PROCYARD_TESTS_SUPPORT_KILLED_HOST_HPP
#define PROCYARD_TESTS_SUPPORT_KILLED_HOST_HPP

#include <boost/asio/io_context.hpp>

#include <sys/wait.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <sstream>
#include <string>

#include <doctest/doctest.h>

#include <procyard/runtime/guardian.hpp>
#include <procyard/runtime/spawn.hpp>

#include "procyard_test.hpp"
#include "spawning.hpp"

namespace procyard_test {

inline constexpr const char* place_variable = "PROCYARD_TEST_PLACE";

/// The host's: where it may leave files.
inline std::filesystem::path place()
{
    const char* const name = std::getenv(place_variable);
    REQUIRE(name != nullptr);
    return name;
}

inline std::string text_of(const std::filesystem::path& file)
{
    std::ifstream stream(file);
    return {std::istreambuf_iterator<char>(stream), {}};
}

/// ThreadSanitizer makes a file when a process begins, and removes it: a kill can come in between.
inline bool is_of_sanitizer([[maybe_unused]] const std::filesystem::path& path)
{
#if defined(__SANITIZE_THREAD__)
    return path.filename().string().starts_with("tsan.rodata.");
#else
    return false;
#endif
}

/// Those that became ours, one after the other, if they have ended.
inline void bury_orphans()
{
    std::istringstream pids(text_of("/proc/thread-self/children"));
    for (pid_t pid = 0; pids >> pid;) {
        siginfo_t info{};
        (void)::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG);
    }
}

/// As long as it takes until so many children are left, of those that were a dead host's.
inline void bury_until(std::size_t left)
{
    const auto end = std::chrono::steady_clock::now() + deadlock_guard;
    while (children() > left) {
        REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, children(), " live on");
        bury_orphans();
    }
}

/// A test case of this program, as a process of its own. Its temporary files are at its place, too.
inline procyard::child start_host(boost::asio::io_context& ctx, const std::string& test_case,
                                  const std::filesystem::path& where,
                                  const std::optional<procyard::guardian>& by = std::nullopt)
{
    procyard::command what("/proc/self/exe",
                           {"--test-case=" + test_case, "--no-skip", "--no-intro", "--no-colors"});
    what.env(place_variable, where.string())
        .env("TMPDIR", where.string())
        .env("XDG_RUNTIME_DIR", where.string())
        .tree(procyard::tree_mode::none)
        .std_out(procyard::stdio::pipe());
    if (by)
        what.guarded_by(*by);
    return procyard::spawn(what, ctx.get_executor());
}

/// After at most so many lines that it says, and a while: kills it as nobody can prevent.
inline void kill_some_time(boost::asio::io_context& ctx, procyard::child& host,
                           std::mt19937& random, unsigned most_lines)
{
    std::string buffered;
    for (auto lines = random() % most_lines; lines > 0; --lines)
        (void)read_line(ctx, host.std_out(), buffered);
    // Not by giving the processor away: that takes as long as others like.
    for (auto turns = random() % 200'000; turns > 0; --turns)
        (void)random();
    host.kill();
    CHECK(wait(ctx, host) == procyard::exit_status::signaled(SIGKILL));
}

}  // namespace procyard_test

#endif
