// SPDX-License-Identifier: BSL-1.0
// The bytes between a pool and its workers, without either.
#include "pool_wire.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "nanoseconds.hpp"
#include "resident_memory.hpp"
#include "worker_record.hpp"

using namespace procyard::detail;

namespace {

pool_header header_of(pool_record kind, std::uint64_t task = 0, std::uint32_t attempt = 0)
{
    pool_header header{};
    header.kind = static_cast<std::uint8_t>(kind);
    header.task = task;
    header.attempt = attempt;
    return header;
}

bool parses(const pool_header& header, pool_side from, std::size_t payload = 0)
{
    auto record = make_record(header);
    record.resize(record.size() + payload);
    parsed_record parsed;
    return parse_record(record, from, parsed);
}

}  // namespace

TEST_SUITE("pool_wire")
{
    TEST_CASE("a time in a variable is a number that is not negative, and nothing else")
    {
        for (const auto* const text :
             {"", " ", "soon", "5x", "5 ", " 5", "+5", "-1", "1e3", "0x5", "9223372036854775808"}) {
            CAPTURE(text);
            CHECK_FALSE(parse_nanoseconds(text));
        }
        CHECK(parse_nanoseconds("0")->count() == 0);
        CHECK(parse_nanoseconds("5")->count() == 5);
        CHECK(parse_nanoseconds("9223372036854775807") == std::chrono::nanoseconds::max());
    }

    TEST_CASE("a header is where the description of the protocol says")
    {
        pool_header header = header_of(pool_record::task, 0x0102030405060708, 0x11121314);
        header.flags = pool_flag_stream | pool_flag_beats;
        header.trace_bytes = 0x2122;
        header.run_ns = 0x3132333435363738;
        header.credits = 0x41424344;
        const auto record = make_record(header);
        REQUIRE(record.size() == 32);
        CHECK(record[0] == std::byte{2});
        CHECK(record[1] == std::byte{3});
        const auto at = [&](std::size_t place, auto number) {
            std::memcpy(&number, record.data() + place, sizeof number);
            return number;
        };
        CHECK(at(2, std::uint16_t{}) == 0x2122);
        CHECK(at(4, std::uint32_t{}) == 0x11121314);
        CHECK(at(8, std::uint64_t{}) == 0x0102030405060708);
        CHECK(at(16, std::uint64_t{}) == 0x3132333435363738);
        CHECK(at(24, std::uint32_t{}) == 0x41424344);
        CHECK(at(28, std::uint32_t{}) == 0);
    }

    TEST_CASE("each kind is taken from its own side alone")
    {
        using enum pool_record;
        for (const auto kind : {setup, stop}) {
            CHECK(parses(header_of(kind), pool_side::pool));
            CHECK_FALSE(parses(header_of(kind), pool_side::worker));
        }
        CHECK(parses(header_of(hello), pool_side::worker));
        CHECK_FALSE(parses(header_of(hello), pool_side::pool));
        for (const auto kind : {result, item, failed, cancelled}) {
            CHECK(parses(header_of(kind, 1, 1), pool_side::worker));
            CHECK_FALSE(parses(header_of(kind, 1, 1), pool_side::pool));
        }
        for (const auto kind : {task, cancel}) {
            CHECK(parses(header_of(kind, 1, 1), pool_side::pool));
            CHECK_FALSE(parses(header_of(kind, 1, 1), pool_side::worker));
        }
        pool_header unknown{};
        for (unsigned kind = 0; kind < 256; ++kind) {
            unknown.kind = static_cast<std::uint8_t>(kind);
            if ((kind >= 1 && kind <= 5) || (kind >= 16 && kind <= 20))
                continue;
            CHECK_FALSE(parses(unknown, pool_side::pool));
            CHECK_FALSE(parses(unknown, pool_side::worker));
        }
    }

    TEST_CASE("a field that a kind does not have is refused, and so is one that it lacks")
    {
        using enum pool_record;
        CHECK_FALSE(parses(header_of(task, 0, 1), pool_side::pool));
        CHECK_FALSE(parses(header_of(task, 1, 0), pool_side::pool));
        CHECK_FALSE(parses(header_of(stop, 1), pool_side::pool));
        CHECK_FALSE(parses(header_of(stop), pool_side::pool, 1));
        CHECK_FALSE(parses(header_of(cancel, 1, 1), pool_side::pool, 1));
        CHECK_FALSE(parses(header_of(cancelled, 1, 1), pool_side::worker, 1));
        CHECK_FALSE(parses(header_of(credit, 1, 1), pool_side::pool));  // none
        auto header = header_of(credit, 1, 1);
        header.credits = 3;
        CHECK(parses(header, pool_side::pool));
        header = header_of(task, 1, 1);
        header.credits = 3;
        CHECK_FALSE(parses(header, pool_side::pool));  // no stream
        header.flags = pool_flag_stream;
        CHECK(parses(header, pool_side::pool));
        header.flags = pool_flag_unbegun;
        CHECK_FALSE(parses(header, pool_side::pool));
        header = header_of(cancel, 1, 1);
        header.flags = pool_flag_unbegun;
        CHECK(parses(header, pool_side::pool));
        header.flags = pool_flag_stream;
        CHECK_FALSE(parses(header, pool_side::pool));
        header = header_of(result, 1, 1);
        header.flags = pool_flag_stream;
        CHECK(parses(header, pool_side::worker));
        CHECK_FALSE(parses(header, pool_side::worker, 1));
        header = header_of(result, 1, 1);
        header.run_ns = 1;
        CHECK_FALSE(parses(header, pool_side::worker));
        header = header_of(result, 1, 1);
        header.zero = 1;
        CHECK_FALSE(parses(header, pool_side::worker));
        header = header_of(result, 1, 1);
        header.trace_bytes = 1;
        CHECK_FALSE(parses(header, pool_side::worker, 1));
        header = header_of(task, 1, 1);
        header.trace_bytes = 2;
        CHECK_FALSE(parses(header, pool_side::pool, 1));
        CHECK(parses(header, pool_side::pool, 2));
    }

    TEST_CASE("trace context and payload are cut where the header says")
    {
        procyard::trace_context trace;
        trace.traceparent = "00-ab";
        trace.baggage = "a=b";
        const auto size = trace_size(trace);
        CHECK(trace_size({}) == 0);
        auto header = header_of(pool_record::task, 1, 1);
        header.trace_bytes = static_cast<std::uint16_t>(size);
        auto record = make_record(header);
        record.resize(pool_header_bytes + size + 5, std::byte{7});
        write_trace(trace, std::span(record).subspan(pool_header_bytes, size));
        parsed_record parsed;
        REQUIRE(parse_record(record, pool_side::pool, parsed));
        CHECK(parsed.payload.size() == 5);
        CHECK(parsed.payload.front() == std::byte{7});
        procyard::trace_context got;
        CHECK(parse_trace(parsed.trace, got));
        CHECK(got == trace);
        CHECK_FALSE(parse_trace(parsed.trace.first(size - 1), got));
    }

    TEST_CASE("random bytes are records or none, and nothing beyond them is read")
    {
        std::mt19937_64 random(7);
        std::size_t good = 0;
        for (int round = 0; round < 100'000; ++round) {
            std::vector<std::byte> bytes(random() % 80);
            for (auto& one : bytes)
                one = static_cast<std::byte>(random() % 4 == 0 ? random() % 256 : random() % 3);
            for (const auto from : {pool_side::pool, pool_side::worker}) {
                parsed_record parsed;
                if (!parse_record(bytes, from, parsed))
                    continue;
                ++good;
                CHECK(pool_header_bytes + parsed.trace.size() + parsed.payload.size()
                      == bytes.size());
                procyard::trace_context trace;
                (void)parse_trace(parsed.trace, trace);
                hello_message hello;
                (void)procyard::decode_message(parsed.payload, hello);
            }
        }
        CHECK(good > 0);
    }

    TEST_CASE("what a worker says of itself is one line of a sensible length")
    {
        CHECK(to_printable("a\nb\x7f\tc") == "a b  c");
        CHECK(to_printable(std::string(5000, 'x')).size() == 2000);
        CHECK(to_printable("\xc3\xa4") == "\xc3\xa4");
    }

    TEST_CASE("a worker's record tells what it has begun and counted, and clamps nothing")
    {
        procyard::error_code ec;
        auto own = own_worker_record::create(2, ec);
        REQUIRE_FALSE(ec);
        peer_worker_record peer;
        CHECK(peer.begun() == 0);
        REQUIRE(peer_worker_record::attach(own.memory().duplicate(ec), own.memory().size(), peer));
        own.begin();
        own.begin();
        own.beat();
        own.count(0, 5);
        own.count(1, 7);
        own.count(2, 9);  // there is none
        own.count(1'000'000, 9);
        CHECK(peer.begun() == 2);
        CHECK(peer.begun_after_cancel() == 2);
        CHECK(peer.beats() == 1);
        CHECK(peer.counter(0) == 5);
        CHECK(peer.counter(1) == 7);
        CHECK(peer.counter(2) == 0);
        CHECK(peer.counter(1'000'000) == 0);
    }

    TEST_CASE("memory that is no record is refused")
    {
        procyard::error_code ec;
        auto other = procyard::segment::create(4096, {}, ec);
        other.seal_for_peer(ec);
        peer_worker_record peer;
        CHECK_FALSE(peer_worker_record::attach(other.duplicate(ec), other.size(), peer));
        auto own = own_worker_record::create(0, ec);
        CHECK_FALSE(peer_worker_record::attach(own.memory().duplicate(ec), 8, peer));
        CHECK_FALSE(
            peer_worker_record::attach(own.memory().duplicate(ec), std::size_t{1} << 40U, peer));
        CHECK_FALSE(static_cast<bool>(peer));
    }

    TEST_CASE("resident memory is the second number of statm")
    {
        CHECK(resident_pages("6521 1023 900 1 0 2 0\n") == 1023);
        CHECK(resident_pages("") == 0);
        CHECK(resident_pages("6521") == 0);
        CHECK(resident_pages("6521 x") == 0);
        CHECK(resident_bytes(::getpid()) > 100'000);
    }
}
