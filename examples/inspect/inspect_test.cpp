// SPDX-License-Identifier: BSL-1.0
// What procyard-inspect makes of what it reads. The processes that it looks into may be hostile.
#include <procyard/ipc/detail/broadcast_memory.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_rows.hpp"
#include "channel_text.hpp"
#include "maps_line.hpp"
#include "ring_view.hpp"

using namespace inspect;
using procyard::error_code;
using procyard::detail::broadcast_memory;
using procyard::detail::broadcast_role;
using procyard::detail::ring_header;
using procyard::detail::ring_label;
using procyard::detail::ring_memory;
using procyard::detail::ring_shape;
using memory_role = procyard::detail::ring_role;

namespace {

constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
using page = std::array<std::byte, ring_view_bytes>;

template <class Value>
void put(page& bytes, std::size_t at, Value value)
{
    std::memcpy(bytes.data() + at, &value, sizeof value);
}

template <class Memory>
page first_bytes(Memory memory, const error_code& ec)
{
    REQUIRE_FALSE(ec);
    memory.label_type("tick");
    page bytes;
    std::memcpy(bytes.data(), memory.memory().data(), bytes.size());
    return bytes;
}

// The first bytes of an honest one.
page honest(memory_role role, const ring_shape& shape)
{
    error_code ec;
    auto memory = ring_memory::create(role, shape, 0, ec);
    return first_bytes(std::move(memory), ec);
}

page honest(broadcast_role role, const ring_shape& shape)
{
    error_code ec;
    auto memory = broadcast_memory::create(role, shape, 0, ec);
    return first_bytes(std::move(memory), ec);
}

// What both kinds of memory have in the same places: asleep, at 5, after so many sleeps as they are
// counted there.
void sleep_at_five(page& bytes, std::uint64_t counted)
{
    put(bytes, 48, std::uint64_t{77});
    put(bytes, 128, std::uint64_t{5});
    put(bytes, 256, counted + 1);
}

void check_sleeps_at_five(const ring_view& view, const ring_shape& shape)
{
    CHECK(view.units == shape.unit_count);
    CHECK(view.unit_bytes == shape.unit_bytes);
    CHECK(view.fingerprint == shape.type);
    CHECK(view.peer_inode == 77);
    CHECK(view.type == "tick");
    CHECK(view.position == 5);
    CHECK(view.sleeps == 3);
    CHECK(view.asleep);
}

seen_memory memory(std::uint64_t inode, bool writable, ring_role role, std::uint64_t peer,
                   std::uint64_t position)
{
    seen_memory result;
    result.place.inode = inode;
    result.place.writable = writable;
    result.view.role = role;
    result.view.units = 16;
    result.view.unit_bytes = 24;
    result.view.peer_inode = peer;
    result.view.position = position;
    return result;
}

// 1 sends to 2: ends 10 and 20.
std::vector<seen_process> two_processes()
{
    std::vector<seen_process> all(2);
    all[0] = {1,
              "one",
              {memory(10, true, ring_role::producer, 20, 7),
               memory(20, false, ring_role::consumer, 10, 4)}};
    all[1] = {2,
              "two",
              {memory(20, true, ring_role::consumer, 10, 4),
               memory(10, false, ring_role::producer, 20, 7)}};
    return all;
}

// 1 writes; two readers, of whom one is in the same process.
std::vector<seen_process> broadcast_processes()
{
    std::vector<seen_process> all(2);
    all[0] = {
        1,
        "one",
        {memory(10, true, ring_role::writer, 0, 20), memory(20, false, ring_role::reader, 10, 18),
         memory(30, false, ring_role::reader, 10, 7), memory(20, true, ring_role::reader, 10, 18),
         memory(10, false, ring_role::writer, 0, 20)}};
    all[1] = {
        2,
        "two",
        {memory(30, true, ring_role::reader, 10, 7), memory(10, false, ring_role::writer, 0, 20)}};
    all[1].memories[0].view.dropped = 4;
    return all;
}

}  // namespace

TEST_SUITE("inspect")
{
    TEST_CASE("a line of maps is taken apart")
    {
        const auto found = parse_maps_line(
            "7f12a000-7f12b000 rw-s 00001000 00:01 1234                       /memfd:procyard "
            "(deleted)");
        REQUIRE(found);
        CHECK((*found
               == mapping{0x7f12a000, 0x7f12b000, true, true, true, 0x1000, 0, 1, 1234,
                          "/memfd:procyard (deleted)"}));
        CHECK(found->size() == 0x1000);
        const auto bare = parse_maps_line("7f12a000-7f12b000 ---p 00000000 fd:0a 0");
        REQUIRE(bare);
        CHECK_FALSE(bare->readable);
        CHECK_FALSE(bare->shared);
        CHECK(bare->device_major == 0xfd);
        CHECK(bare->device_minor == 0x0a);
        CHECK(bare->path.empty());
    }

    TEST_CASE("what is no line of maps is none")
    {
        const std::string_view good = "7f12a000-7f12b000 rw-s 00000000 00:01 1234";
        REQUIRE(parse_maps_line(good));
        for (std::size_t n = 0; n < good.size() - 3; ++n)
            CHECK_FALSE(parse_maps_line(good.substr(0, n)));
        for (const char* line : {"", "-", "7f12b000-7f12a000 rw-s 00000000 00:01 1234",
                                 "7f12a000-7f12a000 rw-s 00000000 00:01 1234", "x-y rw-s 0 00:01 1",
                                 "7f12a000-7f12b000 qq-s 00000000 00:01 1234",
                                 "7f12a000-7f12b000 rw-z 00000000 00:01 1234",
                                 "7f12a000-7f12b000 rw-s 00000000 0001 1234",
                                 "11112222333344445-7f12b000 rw-s 00000000 00:01 1234",
                                 "7f12a000-7f12b000 rw-s 00000000 00:01 99999999999999999999999"})
            CHECK_MESSAGE(!parse_maps_line(line), line);
    }

    TEST_CASE("memory of this library is told by its name")
    {
        CHECK(memory_name("/memfd:procyard (deleted)") == "");
        CHECK(memory_name("/memfd:procyard:orders (deleted)") == "orders");
        CHECK(memory_name("/memfd:procyard:a (deleted) (deleted)") == "a (deleted)");
        for (const char* path :
             {"", "/memfd:procyard", "/memfd:procyardx (deleted)", "/memfd:other (deleted)",
              "/tmp/memfd:procyard (deleted)", " (deleted)", "/memfd:procyard(deleted)"})
            CHECK_MESSAGE(!memory_name(path), path);
    }

    TEST_CASE("a stranger's text cannot command a terminal")
    {
        CHECK(printable("a\x1b[2J\n\t\x7f\xc3\xa4z") == "a?[2J?????z");
    }

    TEST_CASE("the memory of both sides, of cells and of records")
    {
        for (const auto role : {memory_role::producer, memory_role::consumer})
            for (const ring_shape shape : {ring_shape{16, 24, 99}, ring_shape{65536, 1, 99}}) {
                auto bytes = honest(role, shape);
                sleep_at_five(bytes, 4 * 3);
                put(bytes, 272, std::uint32_t{1});
                const auto view = parse_ring(bytes, 1U << 20U);
                REQUIRE(view);
                CHECK((view->role == ring_role::producer) == (role == memory_role::producer));
                check_sleeps_at_five(*view, shape);
                CHECK(view->closed);
            }
    }

    TEST_CASE("memory that is no channel's, or lies about it")
    {
        const auto good = honest(memory_role::producer, {16, 24, 99});
        REQUIRE(parse_ring(good, 8192));
        CHECK_FALSE(parse_ring(good, 4096 + 16 * 24 - 1));  // more than is mapped
        CHECK_FALSE(parse_ring(page{}, 8192));
        const auto broken = [&](std::size_t at, auto value) {
            auto bytes = good;
            put(bytes, at, value);
            return !parse_ring(bytes, most);
        };
        CHECK(broken(0, std::uint64_t{0}));   // magic
        CHECK(broken(8, std::uint32_t{2}));   // version
        CHECK(broken(12, std::uint32_t{2}));  // role
        CHECK(broken(12, std::uint32_t{0xffffffff}));
        for (const std::uint64_t units : {std::uint64_t{0}, std::uint64_t{3}, most, most / 2 + 1})
            CHECK(broken(16, units));
        for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{12}, most, most - 7})
            CHECK(broken(24, bytes));
    }

    TEST_CASE("the memory of a broadcast, the writer's and a reader's")
    {
        for (const auto role : {broadcast_role::writer, broadcast_role::reader}) {
            constexpr ring_shape shape{16, 24, 99};
            auto bytes = honest(role, shape);
            sleep_at_five(bytes, 2 * 3);
            put(bytes, 384, std::uint64_t{1});
            put(bytes, 392, std::uint64_t{6});
            put(bytes, 408, std::uint64_t{7});
            put(bytes, 416, std::uint64_t{8});
            const auto view = parse_ring(bytes, 1U << 20U);
            REQUIRE(view);
            CHECK((view->role == ring_role::writer) == (role == broadcast_role::writer));
            check_sleeps_at_five(*view, shape);
            CHECK_FALSE(view->closed);
            CHECK(view->counts.stalls == 6);
            CHECK(view->counts.rung == 7);
            CHECK(view->dropped == 8);
            put(bytes, 8, std::uint32_t{2});
            CHECK_FALSE(parse_ring(bytes, 1U << 20U));  // of another version
        }
        const auto small = honest(broadcast_role::writer, {16, 24, 99});
        CHECK_FALSE(parse_ring(small, 4096 + 16 * 24 - 1));
    }

    TEST_CASE("a writer has all its readers, and the lag of the last of them")
    {
        const auto rows = find_channels(broadcast_processes(), {1, 2});
        REQUIRE(rows.size() == 3);
        CHECK(rows[0].role == ring_role::writer);
        CHECK(rows[0].readers == 2);
        CHECK(rows[0].depth == 13);
        CHECK(rows[0].peers == std::vector<pid_t>{1, 2});
        CHECK(rows[1].role == ring_role::reader);
        CHECK(rows[1].depth == 2);
        CHECK(rows[1].peers == std::vector<pid_t>{1});
        CHECK(rows[2].depth == 13);
        CHECK(rows[2].dropped == 4);
        CHECK(rows[2].peers == std::vector<pid_t>{1});

        auto all = broadcast_processes();
        all[0].memories[1].view.position = 21;  // ahead of the writer
        CHECK_FALSE(find_channels(all, {1})[0].depth);
        all[0].memories[1].view.fingerprint = 5;
        all[0].memories[2].view.peer_inode = 11;
        const auto lonely = find_channels(all, {1})[0];
        CHECK_FALSE(lonely.connected);
        CHECK(lonely.readers == 0);
    }

    TEST_CASE("an end of a channel and one of a broadcast do not fit")
    {
        auto all = two_processes();
        all[0].memories[1].view.role = ring_role::reader;
        CHECK_FALSE(find_channels(all, {1})[0].connected);
    }

    TEST_CASE("a label without an end, and one for a terminal")
    {
        auto bytes = honest(memory_role::consumer, {16, 24, 99});
        for (std::size_t i = 0; i < sizeof(ring_label::type); ++i)
            put(bytes, 56 + i, '\x1b');
        const auto view = parse_ring(bytes, 8192);
        REQUIRE(view);
        CHECK(view->type == std::string(sizeof(ring_label::type), '?'));
    }

    TEST_CASE("a depth is one that can be, or none")
    {
        CHECK(depth_of(7, 4, 16) == 3);
        CHECK(depth_of(7, 7, 16) == 0);
        CHECK(depth_of(2, most, 16) == 3);  // positions wrap
        CHECK(depth_of(40, 4, 16) == 16);   // read one after the other
        CHECK_FALSE(depth_of(4, 7, 16));
        CHECK_FALSE(depth_of(0, most / 2, 16));
    }

    TEST_CASE("the two ends of a channel find each other")
    {
        const auto rows = find_channels(two_processes(), {1, 2});
        REQUIRE(rows.size() == 2);
        CHECK(rows[0].role == ring_role::producer);
        CHECK(rows[0].position == 7);
        CHECK(rows[1].role == ring_role::consumer);
        CHECK(rows[1].position == 4);
        for (const auto& row : rows) {
            CHECK(row.connected);
            CHECK(row.depth == 3);
            CHECK(row.capacity == 16);
        }
        CHECK(rows[0].peers == std::vector<pid_t>{2});
        CHECK(rows[1].peers == std::vector<pid_t>{1});
        CHECK(find_channels(two_processes(), {2}).size() == 1);
        CHECK(find_channels(two_processes(), {}).empty());
    }

    TEST_CASE("what a sender that drops the oldest has lost is counted by its receiver")
    {
        auto all = two_processes();
        all[0].memories[1].view.dropped = 5;
        CHECK(find_channels(all, {1})[0].dropped == 0);
        all[0].memories[0].view.overwrites = true;
        CHECK(find_channels(all, {1})[0].dropped == 5);
    }

    TEST_CASE("what a sender has overwritten is not in the ring, wherever its receiver stands")
    {
        auto all = two_processes();
        for (auto& process : all) {
            for (auto& memory : process.memories) {
                const bool is_sender = sends(memory.view.role);
                memory.view.overwrites = is_sender;
                memory.view.oldest = is_sender ? 64 : 0;
                memory.view.position = is_sender ? 67 : 0;  // as after a resume
            }
        }
        for (const auto& row : find_channels(all, {1, 2}))
            CHECK(row.depth == 3);
        for (auto& process : all)
            for (auto& memory : process.memories)
                memory.view.oldest = 70;  // read later than its position
        for (const auto& row : find_channels(all, {1, 2}))
            CHECK(row.depth == 16);
    }

    TEST_CASE("where the oldest message begins is what the last claim says")
    {
        error_code ec;
        auto memory = ring_memory::create(memory_role::producer, {16, 24, 99},
                                          procyard::detail::feature_overwrites, ec);
        auto bytes = first_bytes(std::move(memory), ec);
        put(bytes, 520, std::uint64_t{4});
        put(bytes, 536, std::uint64_t{6});
        for (const std::uint64_t claims : std::to_array<std::uint64_t>({2, 3})) {
            put(bytes, 512, claims);
            const auto view = parse_ring(bytes, 1U << 20U);
            REQUIRE(view);
            CHECK(view->overwrites);
            CHECK(view->oldest == 2 * claims);
        }
    }

    TEST_CASE("an end that names a peer which is none has no peer")
    {
        auto all = two_processes();
        all[0].memories[0].view.peer_inode = 10;  // itself
        CHECK_FALSE(find_channels(all, {1})[0].connected);
        all = two_processes();
        all[0].memories[1].view.fingerprint = 5;  // of another channel
        CHECK_FALSE(find_channels(all, {1})[0].connected);
        all = two_processes();
        all[0].memories.pop_back();  // not there
        CHECK_FALSE(find_channels(all, {1})[0].connected);
        all = two_processes();
        all[0].memories[0].view.peer_inode = 0;  // not yet
        const auto row = find_channels(all, {1})[0];
        CHECK_FALSE(row.connected);
        CHECK_FALSE(row.depth);
        CHECK(row.peers.empty());
    }

    TEST_CASE("rates come with the second reading, and the greatest depth stays")
    {
        history past;
        auto all = two_processes();
        auto rows = find_channels(all, {1});
        const history::time_point start{};
        past.note(rows, start);
        CHECK_FALSE(rows[0].units_per_second);
        CHECK(rows[0].deepest == 3);

        all[0].memories[0].view.position = 27;
        all[0].memories[1].view.position = 26;
        rows = find_channels(all, {1});
        past.note(rows, start + std::chrono::seconds(2));
        CHECK(rows[0].units_per_second == 10.0);
        CHECK(rows[0].depth == 1);
        CHECK(rows[0].deepest == 3);

        // Nobody has sent a message back in time, or taken a stall back.
        all[0].memories[0].view.position = 26;
        rows = find_channels(all, {1});
        past.note(rows, start + std::chrono::seconds(3));
        CHECK_FALSE(rows[0].units_per_second);
    }

    TEST_CASE("what a receiver was too slow for it has passed: that counts as getting on")
    {
        history past;
        auto all = two_processes();
        all[0].memories[0].view.overwrites = true;
        auto rows = find_channels(all, {2});
        REQUIRE(rows.size() == 1);
        REQUIRE(rows[0].role == ring_role::consumer);
        const auto position = rows[0].position;
        const history::time_point start{};
        past.note(rows, start);
        all[1].memories[0].view.position += 10;
        all[1].memories[0].view.dropped += 4;
        rows = find_channels(all, {2});
        past.note(rows, start + std::chrono::seconds(2));
        CHECK(rows[0].position == position + 10);
        CHECK(rows[0].units_per_second == 5.0);
        CHECK(rows[0].dropped == 4);
    }

    TEST_CASE("stalls are counted, and told by the second; a side that does not count says nothing")
    {
        history past;
        auto all = two_processes();
        all[0].memories[0].view.counts = {10, 3};
        auto rows = find_channels(all, {1, 2});
        history::time_point start{};
        past.note(rows, start);
        CHECK(rows[0].counts.stalls == 10);
        CHECK(rows[0].counts.rung == 3);
        CHECK_FALSE(rows[0].stalls_per_second);
        CHECK_FALSE(rows[0].peer_counts.stalls);
        CHECK_FALSE(rows[1].counts.stalls);

        using step = std::pair<std::uint64_t, double>;
        for (const auto& [stalls, expected] : {step{14, 2.0}, step{14, 0.0}, step{13, -1.0}}) {
            all[0].memories[0].view.counts.stalls = stalls;
            rows = find_channels(all, {1, 2});
            past.note(rows, start += std::chrono::seconds(2));
            CHECK(rows[0].stalls_per_second.value_or(-1.0) == expected);
            CHECK_FALSE(rows[1].stalls_per_second);
        }
    }

    TEST_CASE("what a side has counted is read, whatever it says")
    {
        auto bytes = honest(memory_role::producer, {16, 24, 1});
        auto view = parse_ring(bytes, 8192);
        REQUIRE(view);
        CHECK_FALSE(view->counts.stalls);  // of an older library
        put(bytes, 384, std::uint64_t{1});
        put(bytes, 392, std::uint64_t{5});
        put(bytes, 408, most);
        put(bytes, 280, std::uint64_t{7});
        view = parse_ring(bytes, 8192);
        REQUIRE(view);
        CHECK(view->counts.stalls == 5);
        CHECK(view->counts.rung == most);
        CHECK(view->dropped == 7);
    }

    TEST_CASE("JSON has a line for each end, and null for what is not known")
    {
        CHECK(to_json({}) == "[]\n");
        auto all = two_processes();
        all[0].program = R"(a "b\)";
        all[0].memories[0].view.type = "tick";
        all[0].memories[0].view.counts = {4, 5};
        auto rows = find_channels(all, {1});
        rows[0].units_per_second = 2.5;
        CHECK(to_json(rows)
              == "[\n"
                 R"({"pid": 1, "program": "a \"b\\", "name": null, "role": "sender", )"
                 R"("type": "tick", "unit": "message", "message_bytes": 24, "capacity": 16, )"
                 R"("depth": 3, "deepest": 3, "position": 7, "messages_per_second": 2.5, )"
                 R"("bytes_per_second": 60, "dropped": 0, "stalls": 4, "stalls_per_second": null, )"
                 R"("peer_stalls": null, "rings": 5, "sleeps": 0, "peer_sleeps": 0, )"
                 R"("state": "awake", "readers": null, )"
                 R"("peers": [2]})"
                 "\n]\n");
        rows[0].unit_bytes = 1;
        CHECK(to_json(rows).find(R"("messages_per_second": null, "bytes_per_second": 2.5)")
              != std::string::npos);
    }

    TEST_CASE("a table has a line for each end, under its titles")
    {
        const auto table = to_table(find_channels(two_processes(), {1, 2}));
        CHECK(table.find("PID PROGRAM") != std::string::npos);
        CHECK(std::count(table.begin(), table.end(), '\n') == 3);
    }
}
