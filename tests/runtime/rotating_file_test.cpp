// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/rotating_file.hpp>

#include <doctest/doctest.h>

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include <boost/system/system_error.hpp>

#include <procyard/runtime/service.hpp>

#include "temporary_directory.hpp"

using namespace std::chrono_literals;
using procyard::manual_clock;
using procyard::rotating_file;
using procyard_test::temporary_directory;

namespace {

std::string read(const std::filesystem::path& path)
{
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_SUITE("rotating_file")
{
    TEST_CASE("is set aside before it would be too long, and the oldest one goes")
    {
        temporary_directory place;
        const auto path = place.path() / "a.log";
        rotating_file log(path, {.most_bytes = 8, .keep = 2});
        for (const char* line : {"one", "two", "three", "four", "five"})
            log.write(line);
        CHECK(read(path) == "five\n");
        CHECK(read(path.string() + ".1") == "four\n");
        CHECK(read(path.string() + ".2") == "three\n");
        CHECK_FALSE(std::filesystem::exists(path.string() + ".3"));
        CHECK(log.lost() == 0);
    }

    TEST_CASE("a line that is longer than a file may be is alone in one, and whole")
    {
        temporary_directory place;
        const auto path = place.path() / "a.log";
        rotating_file log(path, {.most_bytes = 8});
        log.write("a");
        log.write("a long line, this one");
        log.write("b");
        CHECK(read(path) == "b\n");
        CHECK(read(path.string() + ".1") == "a long line, this one\n");
        CHECK(read(path.string() + ".2") == "a\n");
    }

    TEST_CASE("is set aside when it is old, with the first line after that")
    {
        temporary_directory place;
        const auto path = place.path() / "a.log";
        const auto clock = std::make_shared<manual_clock>();
        rotating_file log(path, {.most_age = 1h, .clock = clock});
        log.write("one");
        clock->advance(1h - 1ns);
        log.write("two");
        clock->advance(1ns);
        CHECK(read(path) == "one\ntwo\n");
        log.write("three");
        CHECK(read(path) == "three\n");
        CHECK(read(path.string() + ".1") == "one\ntwo\n");
    }

    TEST_CASE("goes on where it was, and counts what was there")
    {
        temporary_directory place;
        const auto path = place.path() / "a.log";
        rotating_file(path, {.most_bytes = 8}).write("one");
        rotating_file again(path, {.most_bytes = 8});
        again.write("two");
        CHECK(read(path) == "one\ntwo\n");
        again.write("three");
        CHECK(read(path) == "three\n");
    }

    TEST_CASE("a copy is the same file, and each is a service's log")
    {
        temporary_directory place;
        const auto path = place.path() / "a.log";
        rotating_file log(path);
        const procyard::service_log one = log;
        const procyard::service_log two = log;
        one(procyard::service_output::out, "one");
        two(procyard::service_output::err, "two");
        CHECK(read(path) == "one\ntwo\n");
    }

    TEST_CASE("what cannot be written is counted, and the file tried again")
    {
        temporary_directory place;
        const auto path = place.path() / "there" / "a.log";
        std::filesystem::create_directory(path.parent_path());
        rotating_file log(path);
        std::filesystem::remove_all(path.parent_path());
        log.rotate();
        log.write("one");
        CHECK(log.lost() == 1);
        std::filesystem::create_directory(path.parent_path());
        log.write("two");
        CHECK(read(path) == "two\n");
        CHECK(log.lost() == 1);
    }

    TEST_CASE("a full disk loses lines, and says how many")
    {
        // /dev/full is a disk that is always full.
        rotating_file log("/dev/full");
        log.write("one");
        log.write("two");
        CHECK(log.lost() == 2);
    }

    TEST_CASE("what cannot be opened says so, with its name")
    {
        CHECK_THROWS_WITH_AS(rotating_file("/no/such/place/a.log"),
                             doctest::Contains("\"/no/such/place/a.log\""),
                             boost::system::system_error);
    }
}
