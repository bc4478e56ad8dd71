// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/allowed_peers.hpp>

#include <unistd.h>

#include <doctest/doctest.h>

using procyard::allowed_peers;
using procyard::unix_peer;

namespace {

const unix_peer same{.pid = 10, .uid = ::geteuid(), .gid = ::getegid()};
const unix_peer root{.pid = 1, .uid = 0, .gid = 0};
const unix_peer other{.pid = 20, .uid = 4711, .gid = 4712};
const unix_peer unknown{};

}  // namespace

TEST_SUITE("allowed_peers")
{
    TEST_CASE("nothing given: this user and root, and nobody else")
    {
        const allowed_peers nothing;
        CHECK(nothing.allows(same));
        CHECK(nothing.allows(root));
        CHECK_FALSE(nothing.allows(other));
        CHECK_FALSE(nothing.allows(unknown));
    }

    TEST_CASE("who is named, by any of its numbers, and nobody else")
    {
        for (const auto& allowed :
             {allowed_peers{.uids = {1, 4711}}, allowed_peers{.gids = {4712}},
              allowed_peers{.pids = {20}}, allowed_peers{.uids = {1}, .pids = {20}}}) {
            CHECK(allowed.allows(other));
            CHECK_FALSE(allowed.allows(same));
            CHECK_FALSE(allowed.allows(root));
            CHECK_FALSE(allowed.allows(unknown));
        }
    }

    TEST_CASE("a process without a number here is none that can be named")
    {
        CHECK_FALSE(allowed_peers{.pids = {0}}.allows(unix_peer{.pid = 0, .uid = 5, .gid = 5}));
    }

    TEST_CASE("a predicate, alone or beside the lists")
    {
        const allowed_peers odd{.uids = {2},
                                .predicate = [](const unix_peer& p) { return p.uid % 2 == 1; }};
        CHECK(odd.allows(other));
        CHECK(odd.allows({.pid = 1, .uid = 2, .gid = 0}));
        CHECK_FALSE(odd.allows({.pid = 1, .uid = 4, .gid = 0}));
        CHECK(allowed_peers::everybody().allows(unknown));
    }
}
