// SPDX-License-Identifier: BSL-1.0
// What a child is: the helper's mode "attributes", and the three ways an option can go.
#ifndef PROCYARD_TESTS_SUPPORT_CHILD_ATTRIBUTES_HPP
#define PROCYARD_TESTS_SUPPORT_CHILD_ATTRIBUTES_HPP

#include <cerrno>
#include <map>
#include <sstream>
#include <string>

#include <doctest/doctest.h>

#include "spawning.hpp"

namespace procyard_test {

/// A child that tells what it is.
inline procyard::command attributes()
{
    return helper({"--mode=attributes"});
}

/// "umask" -> "22", …: see the helper's mode.
inline std::map<std::string, std::string> attributes_of(boost::asio::io_context& ctx,
                                                        const procyard::command& what)
{
    std::map<std::string, std::string> all;
    std::istringstream lines(output_of(ctx, what));
    for (std::string line; std::getline(lines, line);) {
        const auto space = line.find(' ');
        all.emplace(line.substr(0, space), line.substr(space + 1));
    }
    return all;
}

/// The command's one bad option fails the spawn by its name; made optional, it is reported and the
/// child runs.
inline void expect_refusal(boost::asio::io_context& ctx, procyard::command what,
                           procyard::spawn_step step, int error_number)
{
    const auto failure = failure_of(ctx, what);
    CHECK_MESSAGE(failure.step == step, failure);
    CHECK_MESSAGE(failure.code.value() == error_number, failure);

    procyard::spawn_failure none;
    auto c = procyard::spawn(what.optional(step), ctx.get_executor(), none);
    REQUIRE_MESSAGE(c, none);
    CHECK(wait(ctx, c).success());
    REQUIRE_FALSE(c.info().not_applied.empty());
    const auto& reported = c.info().not_applied.front();
    CHECK_MESSAGE(reported.step == step, reported);
    CHECK(reported.code == failure.code);
    CHECK(reported.operand == failure.operand);
}

}  // namespace procyard_test

#endif
