// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/ring_memory.hpp>

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include <procyard/ipc/detail/record_ring.hpp>

#include "procyard_test.hpp"

using namespace procyard::detail;
using procyard::channel_errc;
using procyard::error_code;
using procyard::segment;
using procyard::segment_errc;
using procyard::unique_fd;

namespace {

constexpr ring_shape bytes_64k{65536, 1, 7};
constexpr auto much = std::numeric_limits<std::uint64_t>::max();

unique_fd copy_of(const segment& memory)
{
    error_code ec;
    auto fd = memory.duplicate(ec);
    REQUIRE_FALSE(ec);
    return fd;
}

/// What the peer would map, of a segment whose header somebody else has written.
error_code attach_forged(const ring_header& header, ring_role role, const ring_shape& shape)
{
    error_code ec;
    auto memory = segment::create(ring_memory::size_bytes(role, shape, ec));
    std::memcpy(memory.writable_data(), &header, sizeof header);
    memory.seal_for_peer();
    (void)ring_memory::attach(copy_of(memory), memory.size(), role, shape, ec);
    return ec;
}

/// The header of an honest one.
ring_header honest(ring_role role, const ring_shape& shape)
{
    error_code ec;
    const auto made = ring_memory::create(role, shape, feature_none, ec);
    REQUIRE_FALSE(ec);
    ring_header header;
    std::memcpy(&header, made.memory().data(), sizeof header);
    return header;
}

}  // namespace

TEST_SUITE("ring_memory")
{
    TEST_CASE("shapes that no ring can have are refused (case 5)")
    {
        error_code ec;
        for (const auto role : {ring_role::producer, ring_role::consumer}) {
            for (const ring_shape& shape :
                 {ring_shape{0, 1}, ring_shape{8, 1}, ring_shape{48, 1}, ring_shape{0, 8},
                  ring_shape{3, 8}, ring_shape{much, 8}, ring_shape{4, 0}, ring_shape{4, 12},
                  ring_shape{4, much - 7}, ring_shape{std::uint64_t{1} << 62, 8},
                  ring_shape{std::uint64_t{1} << 63, 1}}) {
                CAPTURE(shape.unit_count);
                CAPTURE(shape.unit_bytes);
                CHECK(ring_memory::size_bytes(role, shape, ec) == 0);
                CHECK(ec == channel_errc::bad_shape);
                CHECK_FALSE(ring_memory::create(role, shape, feature_none, ec));
                CHECK(ec == boost::system::errc::invalid_argument);
            }
        }
        for (const ring_shape& shape : {ring_shape{16, 1}, ring_shape{1, 8}, ring_shape{2, 24}}) {
            CHECK(ring_memory::size_bytes(ring_role::producer, shape, ec)
                  == 4096 + shape.unit_count * shape.unit_bytes);
            CHECK_FALSE(ec);
        }
    }

    TEST_CASE("a channel of 64 KiB takes 64 KiB and two pages")
    {
        error_code ec;
        const auto producer = ring_memory::create(ring_role::producer, bytes_64k, 0, ec);
        REQUIRE_FALSE(ec);
        const auto consumer = ring_memory::create(ring_role::consumer, bytes_64k, 0, ec);
        REQUIRE_FALSE(ec);
        const auto page = producer.memory().page_bytes();
        CHECK(producer.memory().size() + consumer.memory().size() == 65536 + 2 * page);
    }

    TEST_CASE("says for people what is sent, and with whom")
    {
        error_code ec;
        auto own = ring_memory::create(ring_role::producer, bytes_64k, 0, ec);
        REQUIRE_FALSE(ec);
        const auto peer = ring_memory::create(ring_role::consumer, bytes_64k, 0, ec);
        REQUIRE_FALSE(ec);
        const auto label = [&] {
            ring_label found;
            std::memcpy(&found, own.memory().data() + ring_label_offset, sizeof found);
            return found;
        };
        CHECK(label().peer_inode == 0);
        CHECK(std::string(label().type).empty());
        own.label_type("tick");
        CHECK(std::string(label().type) == "tick");
        own.label_type(std::string(1000, 'x'));
        CHECK(std::string(label().type) == std::string(63, 'x'));
        own.label_peer(peer);
        struct stat file{};
        REQUIRE(::fstat(peer.memory().native_handle(), &file) == 0);
        CHECK(label().peer_inode == file.st_ino);
        // And nothing else was written.
        CHECK(own.own_words().position.load() == 0);
        const auto copy = ring_memory::attach(copy_of(own.memory()), own.memory().size(),
                                              ring_role::producer, bytes_64k, ec);
        CHECK_FALSE(ec);
    }

    TEST_CASE("records go through two segments of which each side writes one")
    {
        error_code ec;
        auto producer =
            ring_memory::create(ring_role::producer, bytes_64k, feature_barrier_target, ec);
        REQUIRE_FALSE(ec);
        auto consumer =
            ring_memory::create(ring_role::consumer, bytes_64k, feature_barrier_caller, ec);
        REQUIRE_FALSE(ec);
        const auto of_producer =
            ring_memory::attach(copy_of(producer.memory()), producer.memory().size(),
                                ring_role::producer, bytes_64k, ec);
        REQUIRE_FALSE(ec);
        const auto of_consumer =
            ring_memory::attach(copy_of(consumer.memory()), consumer.memory().size(),
                                ring_role::consumer, bytes_64k, ec);
        REQUIRE_FALSE(ec);
        CHECK(of_producer.features() == feature_barrier_target);
        CHECK(of_consumer.features() == feature_barrier_caller);
        CHECK_FALSE(of_producer.memory().is_writable());

        ring_side sending(ring_role::producer, producer.own_words(), of_consumer.words(),
                          bytes_64k.unit_count);
        ring_side receiving(ring_role::consumer, consumer.own_words(), of_producer.words(),
                            bytes_64k.unit_count);
        record_producer sender(sending, producer.own_units());
        record_consumer receiver(receiving, of_producer.units());
        for (int i = 0; i < 5000; ++i) {
            const std::string text(static_cast<std::size_t>(i) % 300,
                                   static_cast<char>('a' + i % 26));
            bool good = false;
            const auto at = sender.place(text.size(), good);
            REQUIRE(good);
            REQUIRE(at.what == record_place::answer::ready);
            std::memcpy(sender.payload(at), text.data(), text.size());
            sender.commit(at, static_cast<std::uint32_t>(text.size()));
            sending.publish();
            std::span<const std::byte> payload;
            REQUIRE(receiver.next(payload) == record_consumer::answer::record);
            REQUIRE(std::string(reinterpret_cast<const char*>(payload.data()), payload.size())
                    == text);
            receiving.publish();
        }
    }

    TEST_CASE("a peer with another type, capacity, version or role is refused (cases 51 and 52)")
    {
        const procyard_test::descriptor_check descriptors;
        const auto role = ring_role::producer;
        const ring_shape shape{64, 16, 7};
        const auto good = honest(role, shape);
        CHECK_FALSE(attach_forged(good, role, shape));
        auto header = good;
        header.shape.type = 8;
        CHECK(attach_forged(header, role, shape) == channel_errc::other_type);
        header = good;
        header.shape.unit_count = 128;
        CHECK(attach_forged(header, role, shape) == channel_errc::other_type);
        header = good;
        header.shape.unit_bytes = 8;
        CHECK(attach_forged(header, role, shape) == channel_errc::other_type);
        header = good;
        ++header.version;
        CHECK(attach_forged(header, role, shape) == channel_errc::other_version);
        header = good;
        header.magic ^= 1;
        CHECK(attach_forged(header, role, shape) == channel_errc::not_a_channel);
        header = good;
        header.role = static_cast<std::uint32_t>(ring_role::consumer);
        CHECK(attach_forged(header, role, shape) == channel_errc::not_a_channel);
        CHECK(attach_forged({}, role, shape) == boost::system::errc::bad_message);
    }

    TEST_CASE("memory of another size than the shape needs is refused, and nothing is kept")
    {
        const procyard_test::descriptor_check descriptors;
        error_code ec;
        auto small = segment::create(4096);
        small.seal_for_peer();
        const auto producer = ring_role::producer;
        for (const std::size_t announced : {std::size_t{4096}, std::size_t{69632}}) {
            CAPTURE(announced);
            CHECK_FALSE(ring_memory::attach(copy_of(small), announced, producer, bytes_64k, ec));
            CHECK(ec == segment_errc::wrong_size);
        }
        CHECK_FALSE(ring_memory::attach(unique_fd(), 69632, producer, bytes_64k, ec));
        CHECK(ec);
    }
}
