// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/spawn_error.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <set>
#include <sstream>
#include <string>

using namespace procyard;
namespace errc = boost::system::errc;

namespace {

// All steps but `none`.
template <class F>
void for_each_step(F f)
{
    for (int step = 1; step <= static_cast<int>(spawn_step::exec); ++step)
        f(static_cast<spawn_step>(step));
}

}  // namespace

TEST_SUITE("spawn_category")
{
    TEST_CASE("each step has a name and a category of its own")
    {
        std::set<std::string> names;
        std::set<const boost::system::error_category*> categories;
        for_each_step([&](spawn_step step) {
            const std::string name(to_string(step));
            CHECK_FALSE(name.empty());
            CHECK_MESSAGE(names.insert(name).second, name, " is there twice");
            CHECK_MESSAGE(categories.insert(&spawn_category(step)).second, name);
        });
        CHECK(to_string(spawn_step::working_directory) == "working directory");
        CHECK(to_string(spawn_step::exec) == "exec");
    }

    TEST_CASE("a code has the errno, and the step, and compares like the errno")
    {
        for_each_step([](spawn_step step) {
            const auto ec = make_spawn_error(step, ENOENT);
            CHECK(ec.value() == ENOENT);
            CHECK(step_of(ec) == step);
            CHECK(ec == errc::no_such_file_or_directory);
            CHECK(ec != errc::permission_denied);
            CHECK(ec.category() == spawn_category(step));
            CHECK(ec.message() == std::string(to_string(step)) + ": No such file or directory");
        });
        CHECK(make_spawn_error(spawn_step::exec, EACCES)
              != make_spawn_error(spawn_step::lookup, EACCES));
        CHECK(step_of(error_code()) == spawn_step::none);
        CHECK(step_of(make_error_code(errc::permission_denied)) == spawn_step::none);
    }

    TEST_CASE("a failure prints what was to be run, which step failed, on what, and why")
    {
        spawn_failure failure;
        CHECK_FALSE(failure);
        failure.code = make_spawn_error(spawn_step::working_directory, ENOENT);
        failure.step = spawn_step::working_directory;
        failure.program = "frob";
        failure.operand = "/nope";
        CHECK(failure);
        const std::string text =
            R"(spawn "frob": working directory "/nope": No such file or directory)";
        CHECK(failure.to_string() == text);
        std::ostringstream out;
        out << failure;
        CHECK(out.str() == text);
        const spawn_error error(failure);
        CHECK(error.what() == text);
        CHECK(error.code() == failure.code);
        CHECK(error.failure().operand == "/nope");
        failure.stage = 1;
        CHECK(failure.to_string() == "stage 2: " + text);
    }
}
