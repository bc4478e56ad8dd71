// SPDX-License-Identifier: BSL-1.0
// For tests that start real children: spawn, read to the end, wait.
#ifndef PROCYARD_TESTS_SUPPORT_SPAWNING_HPP
#define PROCYARD_TESTS_SUPPORT_SPAWNING_HPP

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include <procyard/runtime/spawn.hpp>

#include "procyard_test.hpp"

namespace procyard_test {

/// The helper program in one of its modes: `helper({"--mode=exit", "3"})`.
inline procyard::command helper(std::initializer_list<std::string_view> arguments)
{
    procyard::command what(PROCYARD_TEST_HELPER);
    what.args(arguments);
    return what;
}

/// Reads to the end of the stream.
inline std::string read_all(boost::asio::io_context& ctx, procyard::pipe_reader& from)
{
    std::string text;
    outcome<procyard::error_code, std::size_t> got;
    boost::asio::async_read(from, boost::asio::dynamic_buffer(text), got.handler());
    run_until(ctx, [&] { return got.done(); });
    CHECK(got.error() == boost::asio::error::eof);
    return text;
}

/// Reads one line, without its end; the rendez-vous with a helper that reports.
inline std::string read_line(boost::asio::io_context& ctx, procyard::pipe_reader& from,
                             std::string& buffered)
{
    outcome<procyard::error_code, std::size_t> got;
    boost::asio::async_read_until(from, boost::asio::dynamic_buffer(buffered), '\n', got.handler());
    run_until(ctx, [&] { return got.done(); });
    REQUIRE_MESSAGE(!got.error(), got.error().message());
    std::string line = buffered.substr(0, got.result() - 1);
    buffered.erase(0, got.result());
    return line;
}
inline std::string read_line(boost::asio::io_context& ctx, procyard::pipe_reader& from)
{
    std::string buffered;
    return read_line(ctx, from, buffered);
}

inline procyard::exit_status wait(boost::asio::io_context& ctx, procyard::child& c)
{
    outcome<procyard::error_code, procyard::exit_status> got;
    c.async_wait(got.handler());
    run_until(ctx, [&] { return got.done(); });
    CHECK_FALSE(got.error());
    return got.result();
}

/// Runs a command to its end.
inline procyard::exit_status status_of(boost::asio::io_context& ctx, const procyard::command& what)
{
    auto c = procyard::spawn(what, ctx.get_executor());
    return wait(ctx, c);
}

/// Runs a command to its end, which must be a success, and returns what it wrote.
inline std::string output_of(boost::asio::io_context& ctx, procyard::command what)
{
    auto c = procyard::spawn(what.std_out(procyard::stdio::pipe()), ctx.get_executor());
    auto text = read_all(ctx, c.std_out());
    const auto status = wait(ctx, c);
    CHECK_MESSAGE(status.success(), what.to_string(), ": ", status.to_string());
    return text;
}

/// Spawns what must fail.
inline procyard::spawn_failure failure_of(boost::asio::io_context& ctx,
                                          const procyard::command& what)
{
    procyard::spawn_failure failure;
    const auto c = procyard::spawn(what, ctx.get_executor(), failure);
    CHECK_MESSAGE(!c, what.to_string(), " was spawned");
    CHECK_MESSAGE(failure, "no failure is told");
    CHECK(procyard::step_of(failure.code) == failure.step);
    return failure;
}

/// Makes the context's child service, so that what it owns is not taken for a leak later.
inline void warm_up(boost::asio::io_context& ctx)
{
    CHECK(status_of(ctx, procyard::command("true")).success());
}

/// Runs a test case of this very program, one marked `doctest::skip()`, in a process of its own:
/// for what cannot be taken back, such as another user or a lower limit.
inline void check_isolated(const std::string& test_case)
{
    boost::asio::io_context ctx;
    auto c =
        procyard::spawn(procyard::command("/proc/self/exe",
                                          {"--test-case=" + test_case, "--no-skip", "--no-colors"})
                            // The search for leaks clones a thread, which a user without processes
                            // cannot.
                            .env("ASAN_OPTIONS", "detect_leaks=0")
                            .std_out(procyard::stdio::pipe()),
                        ctx.get_executor());
    const auto output = read_all(ctx, c.std_out());
    const auto status = wait(ctx, c);
    // Also against a name that fits no case, which doctest takes for a success.
    const bool one_passed = output.find(" 1 passed") != std::string::npos;
    CHECK_MESSAGE((status.success() && one_passed), status.to_string(), '\n', output);
}

}  // namespace procyard_test

#endif
