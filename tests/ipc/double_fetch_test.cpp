// SPDX-License-Identifier: BSL-1.0
// A peer that changes a word of its memory between any two loads of ours, so also between a check
// and the use of what was checked: what comes of a receive is the message that was sent, or an
// error.
#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/channel.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/detail/record_ring.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>

#include "load_trap.hpp"
#include "message_samples.hpp"
#include "skip.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::detail::record_header;
using procyard::detail::record_kind;
using procyard::detail::ring_accounts_offset;
using procyard::detail::ring_claims_offset;
using procyard::detail::ring_tally_offset;
using procyard::detail::ring_units_offset;
using procyard::detail::ring_words_offset;
using procyard_test::load_trap;

namespace {

constexpr std::size_t word_bytes = 8;
using cell = std::array<std::uint64_t, 2>;

// The memory of the one side, as each of both sees it.
struct views {
    std::byte* read = nullptr;
    std::byte* written = nullptr;
    std::size_t bytes = 0;
};

// Of each side of what is open.
std::vector<views> all_views()
{
    std::map<std::string, views> by_inode;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        if (line.find("/memfd:procyard") == line.npos)
            continue;
        std::istringstream text(line);
        std::uintptr_t begin = 0;
        std::uintptr_t end = 0;
        char dash = 0;
        std::string rights;
        std::string offset;
        std::string device;
        std::string inode;
        text >> std::hex >> begin >> dash >> end >> rights >> offset >> device >> inode;
        auto& both = by_inode[inode];
        (rights == "r--s" ? both.read : both.written) = reinterpret_cast<std::byte*>(begin);
        both.bytes = end - begin;
    }
    std::vector<views> found;
    for (const auto& [inode, both] : by_inode) {
        REQUIRE(both.read != nullptr);
        REQUIRE(both.written != nullptr);
        found.push_back(both);
    }
    REQUIRE_FALSE(found.empty());
    std::ranges::sort(found, {}, &views::bytes);
    return found;
}

// The side that sends alone has more than a page.
views views_of_sender()
{
    return all_views().back();
}
views views_of_receiver()
{
    return all_views().front();
}

template <class T>
T sample()
{
    if constexpr (std::is_same_v<T, std::string>)
        return "twenty characters...";
    else if constexpr (std::is_same_v<T, std::vector<std::string>>)
        return {"one", "", "three"};
    else
        return {0x1122334455667788, 0x99aabbccddeeff00};
}

// Both sides of a channel, in the middle of it; one message is there.
template <class T, procyard::when_full Full = procyard::when_full::suspend>
struct through_channel {
    using message_type = T;
    static constexpr std::size_t header_bytes =
        procyard::fixed_bytes<T> != 0 ? 0 : sizeof(record_header);
    static constexpr bool is_in_place = Full != procyard::when_full::drop_oldest;
    static constexpr bool has_more = false;

    through_channel() : both(ctx.get_executor(), {.capacity_bytes = 4096, .full = Full})
    {
        REQUIRE(both.sender.try_send(sample<T>()));
        REQUIRE(both.receiver.try_receive() == sample<T>());
        REQUIRE(both.sender.try_send(sample<T>()));
    }
    bool receive(T& message, error_code& ec) { return both.receiver.try_receive(message, ec); }
    [[nodiscard]] std::uint64_t lost() const { return both.receiver.lost(); }

    asio::io_context ctx;
    procyard::channel<T> both;
};

constexpr auto drop_oldest = procyard::when_full::drop_oldest;

// Room for two; the first of three has been overwritten, and its loss is told on the way.
template <class T>
struct over_gap {
    using message_type = T;
    static constexpr std::size_t header_bytes = through_channel<T>::header_bytes;
    static constexpr bool is_in_place = false;
    static constexpr bool has_more = true;

    over_gap();
    bool receive(T& message, error_code& ec)
    {
        return both.receiver.try_receive(message, ec)
            || (ec == channel_errc::lapped && both.receiver.try_receive(message, ec));
    }
    [[nodiscard]] std::uint64_t lost() const { return both.receiver.lost(); }

    asio::io_context ctx;
    procyard::channel<T> both;
};

template <class T>
struct through_broadcast {
    using message_type = T;
    static constexpr std::size_t header_bytes =
        procyard::fixed_bytes<T> != 0 ? 0 : procyard::detail::numbered_header_bytes;
    static constexpr bool is_in_place = true;
    static constexpr bool has_more = false;

    through_broadcast()
        : to(ctx.get_executor(), {.capacity_bytes = 4096}),
          from(ctx.get_executor(), to.subscribe())
    {
        REQUIRE(to.try_send(sample<T>()));
        REQUIRE(from.try_receive() == sample<T>());
        REQUIRE(to.try_send(sample<T>()));
    }
    bool receive(T& message, error_code& ec) { return from.try_receive(message, ec); }
    [[nodiscard]] std::uint64_t lost() const { return from.lost(); }

    asio::io_context ctx;
    procyard::broadcaster<T> to;
    procyard::subscriber<T> from;
};

std::uint64_t header_word(std::uint32_t length)
{
    const record_header header{length, static_cast<std::uint32_t>(record_kind::data)};
    std::uint64_t word = 0;
    std::memcpy(&word, &header, sizeof word);
    return word;
}

// Where the message lies that is received.
template <class Way>
struct place {
    static std::size_t payload_bytes()
    {
        return procyard_test::encoded(sample<typename Way::message_type>()).size();
    }
    static std::size_t end() { return begin() + stride(); }
    static std::size_t begin() { return ring_units_offset + stride(); }
    static std::size_t payload() { return begin() + Way::header_bytes; }
    static std::size_t stride()
    {
        return (Way::header_bytes + payload_bytes() + word_bytes - 1) / word_bytes * word_bytes;
    }
};

template <class T>
over_gap<T>::over_gap()
    : both(ctx.get_executor(),
           {.capacity_bytes = 2 * place<over_gap>::stride(), .full = drop_oldest})
{
    CHECK_FALSE(both.receiver.try_receive());  // they know each other
    for (int n = 0; n < 3; ++n)
        REQUIRE(both.sender.try_send(sample<T>()));
}

// What has come of a receive.
template <class T>
struct result {
    error_code ec{};
    T message{};         // if there is no error
    error_code after{};  // and of the next receive
    std::uint64_t lost = 0;
    std::size_t loads = 0;

    [[nodiscard]] bool is_as(const result& other) const
    {
        return ec == other.ec && message == other.message && after == other.after
            && lost == other.lost;
    }
};

// One receive, in which a word is changed; then it is as it was, and another one.
template <class Way>
auto receive_once(std::size_t when, std::size_t offset, std::uint64_t value)
{
    Way way;
    const auto seen = views_of_sender();
    auto* const word = seen.written + offset;
    std::uint64_t honest = 0;
    std::memcpy(&honest, word, sizeof honest);
    typename Way::message_type message{};
    result<typename Way::message_type> got;
    got.loads = load_trap::count_loads(seen.read, seen.bytes, {when, word, value},
                                       [&] { (void)way.receive(message, got.ec); });
    std::memcpy(word, &honest, sizeof honest);
    if (!got.ec) {
        got.message = message;
        (void)way.receive(message, got.after);
    }
    got.lost = way.lost();
    return got;
}

bool is_an_error_of_the_peer(const error_code& ec)
{
    return ec == asio::error::would_block || ec == channel_errc::peer_broke_rules
        || ec == channel_errc::bad_message || ec == channel_errc::closed
        || ec == channel_errc::lapped;
}

// Changes one word to one value, after each load. What is used is what was checked: so it was
// changed before it mattered, or after it. Only of the message itself, where it is decoded where it
// lies, half of a word may be the old one; it has no more bytes for that.
template <class Way>
void change(std::size_t offset, std::uint64_t value)
{
    using message_type = typename Way::message_type;
    const auto unchanged = receive_once<Way>(load_trap::never, offset, value);
    REQUIRE_FALSE(unchanged.ec);
    REQUIRE(unchanged.message == sample<message_type>());
    const auto then = Way::has_more ? error_code() : error_code(asio::error::would_block);
    REQUIRE(unchanged.after == then);
    REQUIRE(unchanged.lost == (Way::has_more ? 1 : 0));
    REQUIRE(unchanged.loads > 1);
    const auto before = receive_once<Way>(0, offset, value);
    REQUIRE_MESSAGE((!before.ec || is_an_error_of_the_peer(before.ec)), before.ec.message());
    for (std::size_t when = 1; when <= unchanged.loads; ++when) {
        CAPTURE(when);
        const auto got = receive_once<Way>(when, offset, value);
        CAPTURE(got.ec.message());
        CAPTURE(got.after.message());
        if (offset < place<Way>::payload() || !Way::is_in_place) {
            REQUIRE((got.is_as(unchanged) || got.is_as(before)));
        } else if (got.ec) {
            REQUIRE(got.ec == channel_errc::bad_message);
        } else {
            REQUIRE(procyard_test::encoded(got.message).size() == place<Way>::payload_bytes());
            REQUIRE(got.after == asio::error::would_block);
        }
    }
}

void add_words(std::vector<std::size_t>& offsets, std::size_t begin, std::size_t end)
{
    for (auto at = begin; at < end; at += word_bytes)
        offsets.push_back(at);
}

// Of a ring: there is nothing behind its words up to the next line.
void add_ring_words(std::vector<std::size_t>& offsets)
{
    using procyard::detail::ring_line_bytes;
    add_words(offsets, ring_words_offset, ring_words_offset + word_bytes);
    add_words(offsets, ring_words_offset + ring_line_bytes,
              ring_words_offset + offsetof(procyard::detail::ring_words, dropped) + word_bytes);
}

// The number, and the two places.
constexpr std::size_t claim_bytes = word_bytes + sizeof(procyard::detail::claim_words::places);

// Each word that the other side writes, to each of some values.
template <class Way>
void change_everything()
{
    if (!load_trap::is_possible)
        return procyard_test::skip("no trap flag on this processor");
    std::vector<std::size_t> offsets;
    if (Way::is_in_place) {
        add_words(offsets, ring_words_offset, ring_tally_offset);
    } else {
        add_ring_words(offsets);
        add_words(offsets, ring_claims_offset, ring_claims_offset + claim_bytes);
    }
    add_words(offsets, place<Way>::begin(), place<Way>::end());
    const auto length = static_cast<std::uint32_t>(place<Way>::payload_bytes());
    const std::array values{std::uint64_t{0}, ~std::uint64_t{0}, header_word(length - 8),
                            header_word(length + 64)};
    for (const auto offset : offsets) {
        CAPTURE(offset);
        for (const auto value : values) {
            CAPTURE(value);
            change<Way>(offset, value);
        }
    }
}

// --- the other direction ------------------------------------------------------------------------

// What a sender that drops the oldest does while a word of its receiver's changes, and what comes
// of it for who receives then.
struct consequence {
    error_code ec;
    std::uint64_t received = 0;
    std::uint64_t lost = 0;
    std::uint64_t dropped = 0;
    std::size_t loads = 0;

    [[nodiscard]] bool is_as(const consequence& other) const
    {
        return ec == other.ec && received == other.received && lost == other.lost
            && dropped == other.dropped;
    }
};

template <class T>
void receive_all(procyard::receiver<T>& from, consequence& got)
{
    error_code ec;
    for (T message{}; !ec || ec == channel_errc::lapped;) {
        if (!from.try_receive(message, ec))
            continue;
        REQUIRE(message == sample<T>());
        ++got.received;
    }
    got.lost = from.lost();
}

// Three messages have been received, of which the receiver has lost one, and then five are sent.
template <class T>
struct overwriting_sender {
    overwriting_sender()
    {
        REQUIRE(both.receiver.try_receive() == std::nullopt);  // tells the loss
        while (both.receiver.try_receive()) { }
        send(5);
    }
    void send(int count)
    {
        for (int n = 0; n < count; ++n)
            REQUIRE(both.sender.try_send(sample<T>()));
    }

    over_gap<T> way;
    procyard::channel<T>& both = way.both;
};

// Three messages were sent where there is room for two, so the last has waited for the receiver,
// which has received one more since; and now there is room for another one.
template <class T>
struct waiting_sender {
    waiting_sender()
        : both(ctx.get_executor(), {.capacity_bytes = 2 * place<over_gap<T>>::stride()})
    {
        REQUIRE(both.receiver.try_receive() == std::nullopt);
        error_code ec;
        for (int n = 0; n < 2; ++n)
            REQUIRE(both.sender.try_send(sample<T>()));
        REQUIRE_FALSE(both.sender.try_send(sample<T>(), ec));
        REQUIRE(both.receiver.try_receive() == sample<T>());
        REQUIRE(both.sender.try_send(sample<T>()));
        REQUIRE(both.receiver.try_receive() == sample<T>());
    }

    asio::io_context ctx;
    procyard::channel<T> both;
};

template <class From, class T>
consequence send_once(std::size_t when, std::size_t offset, std::uint64_t value)
{
    From from;
    const auto seen = views_of_receiver();
    auto* const word = seen.written + offset;
    std::uint64_t honest = 0;
    std::memcpy(&honest, word, sizeof honest);
    consequence got;
    got.loads = load_trap::count_loads(seen.read, seen.bytes, {when, word, value}, [&] {
        (void)from.both.sender.try_send(sample<T>(), got.ec);
    });
    std::memcpy(word, &honest, sizeof honest);
    receive_all(from.both.receiver, got);
    return got;
}

template <class T>
consequence resume_once(std::size_t when, std::size_t offset, std::uint64_t value)
{
    overwriting_sender<T> from;
    from.both.receiver.close();
    const auto seen = views_of_receiver();
    consequence got;
    procyard::unopened<procyard::receiver<T>> end;
    got.loads = load_trap::count_loads(seen.read, seen.bytes, {when, seen.written + offset, value},
                                       [&] { end = from.both.sender.resume(got.ec); });
    if (got.ec)
        return got;
    procyard::receiver<T> next(from.way.ctx.get_executor(), std::move(end));
    receive_all(next, got);
    got.dropped = from.both.sender.statistics().dropped;
    return got;
}

template <class Once>
void change_words_of_receiver(Once once)
{
    if (!load_trap::is_possible)
        return procyard_test::skip("no trap flag on this processor");
    std::vector<std::size_t> offsets;
    add_ring_words(offsets);
    add_words(offsets, ring_accounts_offset,
              ring_accounts_offset + sizeof(procyard::detail::account_words::places));
    const auto unchanged = once(load_trap::never, ring_words_offset, 0);
    REQUIRE_FALSE(unchanged.ec);
    REQUIRE(unchanged.received == 2);
    REQUIRE(unchanged.loads > 0);
    std::size_t differences = 0;
    for (const auto offset : offsets) {
        CAPTURE(offset);
        for (const auto value :
             std::to_array<std::uint64_t>({0, 1, 5, 32, 64, 256, ~std::uint64_t{0}})) {
            CAPTURE(value);
            const auto before = once(0, offset, value);
            differences += before.is_as(unchanged) ? 0 : 1;
            for (std::size_t when = 1; when <= unchanged.loads; ++when) {
                CAPTURE(when);
                const auto got = once(when, offset, value);
                CAPTURE(got.ec.message());
                CAPTURE(got.received);
                CAPTURE(got.lost);
                REQUIRE((got.is_as(unchanged) || got.is_as(before)));
            }
        }
    }
    CHECK(differences > 0);  // else it has looked at nothing
}

}  // namespace

TEST_SUITE("channel hostile: a word changes between two loads (case 44)")
{
    TEST_CASE("of a string, its record, or the position")
    {
        change_everything<through_channel<std::string>>();
    }

    TEST_CASE("of strings in a vector, with lengths within the message")
    {
        change_everything<through_channel<std::vector<std::string>>>();
    }

    TEST_CASE("of a cell, or the position")
    {
        change_everything<through_channel<std::array<std::uint64_t, 2>>>();
    }

    TEST_CASE("of a sender that drops the oldest: of a string, its record, the position, a claim")
    {
        change_everything<through_channel<std::string, drop_oldest>>();
        change_everything<over_gap<std::string>>();
    }

    TEST_CASE("of a sender that drops the oldest: of a cell, the position, a claim")
    {
        change_everything<through_channel<std::array<std::uint64_t, 2>, drop_oldest>>();
        change_everything<over_gap<std::array<std::uint64_t, 2>>>();
    }

    TEST_CASE("of the receiver of a sender that waits for room, which sends")
    {
        change_words_of_receiver(&send_once<waiting_sender<std::string>, std::string>);
        change_words_of_receiver(&send_once<waiting_sender<cell>, cell>);
    }

    TEST_CASE("of the receiver of a sender that drops the oldest, which sends")
    {
        change_words_of_receiver(&send_once<overwriting_sender<std::string>, std::string>);
        change_words_of_receiver(&send_once<overwriting_sender<cell>, cell>);
    }

    TEST_CASE("of the receiver of a sender that drops the oldest, which goes on with another")
    {
        change_words_of_receiver(&resume_once<std::string>);
        change_words_of_receiver(&resume_once<std::array<std::uint64_t, 2>>);
    }
}

TEST_SUITE("broadcast hostile: a word changes between two loads (case 44)")
{
    TEST_CASE("of a string, its record, or what is the oldest")
    {
        change_everything<through_broadcast<std::string>>();
    }

    TEST_CASE("of a cell, or what is the oldest")
    {
        change_everything<through_broadcast<std::array<std::uint64_t, 2>>>();
    }
}
