// SPDX-License-Identifier: BSL-1.0
#include "proc_text.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>

using namespace procyard::detail;
using namespace std::string_literals;
using namespace std::string_view_literals;

namespace {

// The tail of a real line, from the parent on: ppid 7, pgrp 8, session 9, 3 threads, start 107187.
const std::string tail = " 7 8 9 0 -1 4194304 99 0 0 0 0 0 0 0 20 0 3 0 107187 3133440 394 18446744"
                         "073709551615 1 2 3 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 1 2 3 4 5 6 7 0\n";

std::string stat_line(const std::string& name, char state = 'S')
{
    return "42 (" + name + ") " + state + tail;
}

std::vector<pid_t> pids_of(std::string_view text)
{
    std::vector<pid_t> pids;
    parse_pids(text, pids);
    return pids;
}

}  // namespace

TEST_SUITE("parse_stat")
{
    TEST_CASE("reads who a process is and where it belongs")
    {
        const auto record = parse_stat(stat_line("cat", 'R'));
        REQUIRE(record);
        CHECK(*record == process_record{42, 'R', 7, 8, 9, 3, 107187, 1, 6, 7});
    }

    TEST_CASE("a name may hold anything")
    {
        for (const std::string name :
             {"", " ", ")", "(", ") S 1 1 1", "a) R 1 2 3 4 5", "x) Z 1 1 1 0 -1 0 (y", "a\nb",
              "((((", "))))", "\xff\xfe", "tab\there"}) {
            CAPTURE(name);
            const auto record = parse_stat(stat_line(name, 'T'));
            REQUIRE(record);
            CHECK(record->pid == 42);
            CHECK(record->state == 'T');
            CHECK(record->parent == 7);
            CHECK(record->start_ticks == 107187);
        }
    }

    TEST_CASE("refuses what is not a stat line")
    {
        const auto good = stat_line("cat");
        for (const std::string& text :
             {""s, "\n"s, "42"s, "42 (cat"s, "42 (cat)"s, "42 (cat) "s, "42 (cat) SS 1 1"s,
              "(cat) S 1 1"s, "x (cat) S"s + tail, "0 (cat) S"s + tail, "-1 (cat) S"s + tail,
              "99999999999 (cat) S"s + tail, "42 (cat) S 7 8 9 0 -1 4194304 99"s,
              "42 (cat) S seven 8 9 0 -1 4194304 99 0 0 0 0 0 0 0 20 0 3 0 107187"s,
              "42 (cat) S 7 8 9 0 -1 4194304 99 0 0 0 0 0 0 0 20 0 3 0 99999999999999999999999"s}) {
            CAPTURE(text);
            CHECK_FALSE(parse_stat(text));
        }
        for (std::size_t length = 0; length < good.find("107187"); ++length)
            CHECK_FALSE(parse_stat(std::string_view(good).substr(0, length)));
    }

    TEST_CASE("knows the dead and those at rest")
    {
        CHECK(is_dead(process_record{1, 'Z', 0, 0, 0, 1, 0}));
        CHECK(is_dead(process_record{1, 'X', 0, 0, 0, 1, 0}));
        CHECK_FALSE(is_dead(process_record{1, 'Z', 0, 0, 0, 2, 0}));  // its first thread alone
        CHECK_FALSE(is_dead(process_record{1, 'T', 0, 0, 0, 1, 0}));
        for (const char state : "TtZX"sv)
            CHECK(is_at_rest(state));
        for (const char state : "RSDIPK?"sv)
            CHECK_FALSE(is_at_rest(state));
    }

    TEST_CASE("random bytes are refused or parsed, never read past")
    {
        std::mt19937 random(20260101);
        const std::string alphabet = "0123456789 ()-SZT\n\0ab"s;
        for (int round = 0; round < 20000; ++round) {
            std::string text(random() % 120, ' ');
            for (auto& c : text)
                c = alphabet[random() % alphabet.size()];
            // A copy of the exact size on the heap, so that ASan sees one byte too far.
            const std::vector<char> exact(text.begin(), text.end());
            const std::string_view view(exact.data(), exact.size());
            (void)parse_stat(view);
            (void)pids_of(view);
            (void)has_tree_marker(view, "1");
            (void)parse_keyed(view, "a");
            (void)parse_own_cgroup(view);
            (void)parse_cgroup_mounts(view);
        }
    }
}

TEST_SUITE("parse_pids")
{
    TEST_CASE("takes positive numbers and passes everything else over")
    {
        CHECK(pids_of("").empty());
        CHECK(pids_of(" \n ").empty());
        CHECK(pids_of("1 22 333 ") == std::vector<pid_t>{1, 22, 333});
        CHECK(pids_of("1\n22\n") == std::vector<pid_t>{1, 22});
        CHECK(pids_of("0 -5 x 7x 99999999999 +3 4") == std::vector<pid_t>{4});
        CHECK(pids_of("7\0 8"sv) == std::vector<pid_t>{8});
    }

    TEST_CASE("the name of a process's directory is a positive number and nothing else")
    {
        CHECK(parse_pid("123") == 123);
        for (const auto name : {"", "self", "0", "-1", "+1", " 1", "1 ", "0x1", "2147483648"}) {
            CAPTURE(name);
            CHECK_FALSE(parse_pid(name));
        }
    }
}

TEST_SUITE("has_tree_marker")
{
    TEST_CASE("finds the id as a whole member of the list, wherever the variable stands")
    {
        CHECK(has_tree_marker("A=1\0PROCYARD_TREE=one\0B=2\0"sv, "one"));
        CHECK(has_tree_marker("PROCYARD_TREE=one"sv, "one"));
        CHECK(has_tree_marker("PROCYARD_TREE=outer:one:inner\0"sv, "one"));
        CHECK(has_tree_marker("PROCYARD_TREE=x\0PROCYARD_TREE=one\0"sv, "one"));
    }

    TEST_CASE("is not fooled by something alike")
    {
        for (const auto environment :
             {""sv, "\0\0\0"sv, "PROCYARD_TREE"sv, "PROCYARD_TREE=\0"sv, "PROCYARD_TREE=ones\0"sv,
              "PROCYARD_TREE=on\0"sv, "PROCYARD_TREE_=one\0"sv, "XPROCYARD_TREE=one\0"sv,
              "A=PROCYARD_TREE=one\0"sv, "PROCYARD_TREE=o\0ne\0"sv, "PROCYARD_TREE=::\0"sv}) {
            CAPTURE(environment.size());
            CHECK_FALSE(has_tree_marker(environment, "one"));
        }
        CHECK_FALSE(has_tree_marker("PROCYARD_TREE=\0"sv, ""));
        CHECK_FALSE(has_tree_marker("PROCYARD_TREE=a\0"sv, ""));
    }
}

TEST_SUITE("parse_keyed")
{
    TEST_CASE("finds the number behind a key")
    {
        const auto text = "populated 1\nfrozen 0\n"sv;
        CHECK(parse_keyed(text, "populated") == 1u);
        CHECK(parse_keyed(text, "frozen") == 0u);
        CHECK(parse_keyed("oom_kill 18446744073709551615", "oom_kill") == ~std::uint64_t{0});
    }

    TEST_CASE("a key that is missing, or has no number, gives nothing")
    {
        CHECK_FALSE(parse_keyed("", "populated"));
        CHECK_FALSE(parse_keyed("populated\n", "populated"));
        CHECK_FALSE(parse_keyed("populated yes\n", "populated"));
        CHECK_FALSE(parse_keyed("unpopulated 1\n", "populated"));
        CHECK_FALSE(parse_keyed("oom 3\noom_kill_group 1\n", "oom_kill"));
    }
}

TEST_SUITE("parse_count")
{
    TEST_CASE("reads a file of one number")
    {
        CHECK(parse_count("4096\n") == 4096u);
        CHECK_FALSE(parse_count(""));
        CHECK_FALSE(parse_count("max\n"));
        CHECK_FALSE(parse_count("-1\n"));
        CHECK_FALSE(parse_count("99999999999999999999\n"));
    }
}

TEST_SUITE("own cgroup")
{
    TEST_CASE("is the path on the line of hierarchy 0")
    {
        CHECK(parse_own_cgroup("0::/user.slice/a b\n") == "/user.slice/a b");
        CHECK(parse_own_cgroup("9:name=systemd:/\n4:memory:/x\n0::/\n") == "/");
    }

    TEST_CASE("is none on a v1 machine, and none when it was deleted")
    {
        CHECK_FALSE(parse_own_cgroup("4:memory:/x\n1:cpu:/\n"));
        CHECK_FALSE(parse_own_cgroup(""));
        CHECK_FALSE(parse_own_cgroup("0::\n"));
        CHECK_FALSE(parse_own_cgroup("0::/gone (deleted)\n"));
    }

    TEST_CASE("its mount is found among others, with the kernel's escapes undone")
    {
        const auto mounts = parse_cgroup_mounts(
            "22 1 0:20 / /proc rw,nosuid - proc proc rw\n"
            "30 22 0:26 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
            "31 22 0:27 /a\\040b /mnt/with\\040space\\134\\011 rw master:1 x:2 - cgroup2 none rw\n"
            "32 22 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
            "broken line\n - cgroup2 none\n33 - cgroup2\n");
        REQUIRE(mounts.size() == 2);
        CHECK(mounts[0] == cgroup_mount{"/", "/sys/fs/cgroup"});
        CHECK(mounts[1] == cgroup_mount{"/a b", "/mnt/with space\\\t"});
    }

    TEST_CASE("its directory lies below the mount, or is not visible there")
    {
        CHECK(directory_of({"/", "/cg"}, "/a/b") == "/cg/a/b");
        CHECK(directory_of({"/", "/cg"}, "/") == "/cg");
        CHECK(directory_of({"/a", "/cg"}, "/a/b") == "/cg/b");
        CHECK(directory_of({"/a", "/cg"}, "/a") == "/cg");
        CHECK_FALSE(directory_of({"/a", "/cg"}, "/ab"));
        CHECK_FALSE(directory_of({"/a", "/cg"}, "/b"));
        CHECK_FALSE(directory_of({"/", "/cg"}, "/../outside"));
        CHECK_FALSE(directory_of({"/../..", "/cg"}, "/"));
    }

    TEST_CASE("only names that a leaf of ours can have are taken for leaves")
    {
        CHECK(is_leaf_name("procyard-1-0"));
        CHECK(is_leaf_name("procyard-4194304-18446744073709551615"));
        for (const auto name :
             {"", "procyard-", "procyard-1", "procyard-1-", "procyard--1", "procyard-1-2-3",
              "procyard-1-x", "xprocyard-1-2", "procyard-1-2.scope", "system.slice"}) {
            CAPTURE(name);
            CHECK_FALSE(is_leaf_name(name));
        }
    }
}
