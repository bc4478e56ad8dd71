// SPDX-License-Identifier: BSL-1.0
// Peers of a broadcast that keep to no rules: they harm themselves alone.
#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/latest_value.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>

#include <sys/resource.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/segment.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "broadcast_hello.hpp"
#include "channel_fixture.hpp"
#include "limit_guard.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using procyard::broadcaster;
using procyard::channel_errc;
using procyard::error_code;
using procyard::latest_reader;
using procyard::slow_reader;
using procyard::subscriber;
using procyard::unique_fd;
using procyard::unopened;
using procyard::detail::broadcast_hello;
using procyard::detail::broadcast_memory;
using procyard::detail::broadcast_role;
using procyard::detail::doorbell;
using procyard::detail::doorbell_button;
using procyard::detail::doorbell_kind;
using procyard_test::forked;
using procyard_test::outcome;
using procyard_test::run;

namespace {

constexpr procyard::subscription_options holding{.when_slow = slow_reader::holds_back};

// A side that has the memory and the doorbell of one, and says what it likes.
template <class T>
class raw_side {
public:
    raw_side(broadcast_role role, unique_fd socket, const procyard::broadcast_options& options,
             std::uint64_t start = 0)
        : terms_(procyard::detail::broadcast_terms_of<T>(options)),
          socket_(std::move(socket))
    {
        error_code ec;
        memory_ = broadcast_memory::create(role, terms_.shape, start, ec);
        REQUIRE_FALSE(ec);
        bell_ = doorbell::create(doorbell_kind::pipe, button_for_peer_, ec);
        REQUIRE_FALSE(ec);
        hello.role = role;
        hello.shape = terms_.shape;
        hello.memory_bytes = memory_.memory().size();
        hello.start = start;
        hello.start_number = start;
        hello.description = terms_.type->to_bytes();
    }

    broadcast_hello hello;

    void greet()
    {
        error_code ec;
        const auto& memory = large_ ? large_ : memory_.memory();
        procyard::detail::send_broadcast_hello(socket_.get(), hello, memory.native_handle(),
                                               button_for_peer_.get(), ec);
        REQUIRE_FALSE(ec);
        button_for_peer_.reset();
    }
    // Takes the writer's, who is honest; keeps its button, so as to be alive.
    void meet()
    {
        error_code ec;
        auto theirs =
            procyard::detail::receive_broadcast_hello(socket_.get(), broadcast_role::writer, ec);
        REQUIRE_FALSE(ec);
        button_ = doorbell_button::attach(std::move(theirs.button), ec);
        REQUIRE_FALSE(ec);
    }
    // More memory than it needs, with the same at its beginning.
    void enlarge(std::size_t bytes)
    {
        error_code ec;
        large_ = procyard::segment::create(bytes, {}, ec);
        REQUIRE_FALSE(ec);
        std::memcpy(large_.writable_data(), memory_.memory().data(), memory_.memory().size());
        large_.seal_for_peer(ec);
        REQUIRE_FALSE(ec);
        hello.memory_bytes = large_.size();
    }
    void say_sort(procyard::detail::end_sort sort) { memory_.put_sort(sort); }
    [[nodiscard]] procyard::detail::broadcast_words& words() { return memory_.own_words(); }
    [[nodiscard]] std::span<std::byte> units()
    {
        return {memory_.own_units(),
                static_cast<std::size_t>(terms_.shape.unit_count * terms_.shape.unit_bytes)};
    }
    void press() { button_.press(); }

private:
    procyard::detail::broadcast_terms terms_;
    unique_fd socket_;
    broadcast_memory memory_;
    procyard::segment large_;
    doorbell bell_;
    unique_fd button_for_peer_;
    doorbell_button button_;
};

constexpr procyard::broadcast_options few{.capacity_messages = 4};

// A subscriber of ours with a hostile writer, who has not said hello as yet.
template <class T>
struct against_writer {
    explicit against_writer(const procyard::broadcast_options& options, std::uint64_t start = 0)
        : sockets(make_sockets()),
          writer(broadcast_role::writer, std::move(sockets.first), options, start)
    {
    }
    static std::pair<unique_fd, unique_fd> make_sockets()
    {
        error_code ec;
        auto made = procyard::make_raw_socket_pair(SOCK_SEQPACKET, ec);
        REQUIRE_FALSE(ec);
        return {std::move(made.first), std::move(made.second)};
    }
    template <class End>
    [[nodiscard]] unopened<End> end(const procyard::channel_options& how = {})
    {
        return {std::move(sockets.second), how};
    }

    std::pair<unique_fd, unique_fd> sockets;
    raw_side<T> writer;
};

template <class T>
int scribble_as_writer(raw_side<T>& writer, unsigned seed)
{
    std::mt19937_64 random(seed);
    const auto units = writer.units();
    auto& words = writer.words();
    for (std::uint64_t position = 0;;) {
        for (int i = 0; i < 16; ++i)
            units[random() % units.size()] = static_cast<std::byte>(random());
        // Now and then a header that is one.
        const std::array<std::uint32_t, 2> header{static_cast<std::uint32_t>(random() % 64),
                                                  random() % 4 != 0 ? 0x41544144U : 0x20444150U};
        std::memcpy(units.data() + random() % (units.size() / 8) * 8, &header, sizeof header);
        position += random() % 64 * 8;
        words.position.store(random() % 64 != 0 ? position : random());
        words.oldest.store(random() % 2 != 0 ? position - random() % 256 * 8 : random());
        words.sleep.store(random());
        words.wake_at.store(random());
        words.closed.store(random() % 1024 == 0 ? 1 : 0);
    }
}

}  // namespace

TEST_SUITE("broadcast: hostile reader")
{
    TEST_CASE("a position behind the last one, or beyond the writer's, cuts it off, and it alone")
    {
        for (const std::uint64_t position :
             {std::uint64_t{1}, std::uint64_t{100}, ~std::uint64_t{0}}) {
            CAPTURE(position);
            asio::io_context ctx;
            broadcaster<int> b(ctx.get_executor(), few);
            subscriber<int> honest(ctx.get_executor(), b.subscribe(holding));
            raw_side<int> liar(broadcast_role::reader, std::move(b.subscribe(holding)).take(), few);
            liar.meet();
            liar.greet();
            for (int n = 0; n < 4; ++n)
                CHECK(b.try_send(n));
            liar.words().position.store(2);
            CHECK(!b.try_send(4));
            CHECK(b.readers() == 2);
            liar.words().position.store(position);
            CHECK(!b.try_send(4));
            CHECK(b.readers() == 1);
            CHECK(b.cut_off() == 1);
            CHECK(honest.try_receive() == 0);
            CHECK(b.try_send(4));
            for (int n = 1; n < 5; ++n)
                CHECK(honest.try_receive() == n);
            CHECK(honest.lost() == 0);
        }
    }

    TEST_CASE("a hello that does not fit cuts it off")
    {
        for (int flaw = 0; flaw < 5; ++flaw) {
            CAPTURE(flaw);
            asio::io_context ctx;
            broadcaster<int> b(ctx.get_executor(), few);
            const procyard_test::descriptor_check no_leak;
            {
                raw_side<int> liar(broadcast_role::reader, std::move(b.subscribe(holding)).take(),
                                   few);
                liar.meet();
                switch (flaw) {
                case 0: liar.hello.shape.unit_count *= 2; break;
                case 1: liar.hello.memory_bytes /= 2; break;
                case 2: liar.hello.role = broadcast_role::writer; break;
                case 3: ++liar.hello.shape.type; break;
                case 4: liar.enlarge(1U << 20U); break;
                default: break;
                }
                liar.greet();
                CHECK(b.try_send(1));
                CHECK(b.readers() == 0);
                CHECK(b.cut_off() == 1);
            }
        }
    }

    TEST_CASE("random bytes in all its words, and a doorbell without an end, while we write")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), few);
        subscriber<int> honest(ctx.get_executor(), b.subscribe());
        for (unsigned round = 0; round < 50; ++round) {
            CAPTURE(round);
            raw_side<int> liar(broadcast_role::reader, std::move(b.subscribe(holding)).take(), few,
                               b.statistics().messages);
            liar.meet();
            liar.greet();
            std::mt19937_64 random(round);
            for (int i = 0; i < 200; ++i) {
                liar.words().position.store(
                    random() % 2 == 0 ? b.statistics().messages - random() % 6 : random());
                liar.words().sleep.store(random());
                liar.words().closed.store(random() % 64 == 0 ? 1 : 0);
                liar.press();
                error_code ec;
                if (!b.try_send(i, ec))
                    CHECK(ec == asio::error::would_block);
                int got = 0;
                (void)honest.try_receive(got, ec);
                CHECK((!ec || ec == channel_errc::lapped || ec == asio::error::would_block));
            }
        }
        CHECK(b.try_send(7));
        CHECK(honest.is_open());
    }
}

TEST_SUITE("broadcast: of what it says that it is")
{
    TEST_CASE("nothing, as an older writer: it fits who subscribes, and who reads the latest value")
    {
        const procyard_test::descriptor_check no_leak;
        asio::io_context ctx;
        against_writer<int> first(few);
        first.writer.greet();
        CHECK(subscriber<int>(ctx.get_executor(), first.end<subscriber<int>>()).is_open());
        against_writer<int> second(few);
        second.writer.greet();
        CHECK(latest_reader<int>(ctx.get_executor(), second.end<latest_reader<int>>()).is_open());
    }

    TEST_CASE("something else: refused, and both are named, also by what()")
    {
        using procyard::detail::end_sort;
        const procyard_test::descriptor_check no_leak;
        asio::io_context ctx;
        const auto said_to = [&]<class End>(end_sort sort) {
            against_writer<int> test(few);
            test.writer.say_sort(sort);
            test.writer.greet();
            error_code ec;
            const End end(ctx.get_executor(), test.end<End>(), ec);
            CHECK(ec == channel_errc::other_direction);
            CHECK_FALSE(end.is_open());
            return end.explanation();
        };
        CHECK(said_to.operator()<subscriber<int>>(end_sort::latest_value)
              == "here a subscriber, there a latest value");
        CHECK(said_to.operator()<latest_reader<int>>(end_sort::broadcast)
              == "here a latest_reader, there a broadcast");
        CHECK(said_to.operator()<subscriber<int>>(end_sort{200})
              == "here a subscriber, there something that is not known here");
        procyard::latest_value<int> value(ctx.get_executor());
        const auto open_wrong = [&] {
            auto made = value.subscribe();
            const auto how = made.options();
            const subscriber<int> s(ctx.get_executor(),
                                    unopened<subscriber<int>>(std::move(made).take(), how));
        };
        CHECK_THROWS_WITH_AS(open_wrong(),
                             doctest::Contains("(here a subscriber, there a latest value)"),
                             boost::system::system_error);
        CHECK(value.readers() == 0);
    }
}

TEST_SUITE("broadcast: hostile writer")
{
    TEST_CASE("a position that goes back, an oldest beyond it, a start that is not there")
    {
        for (int flaw = 0; flaw < 3; ++flaw) {
            CAPTURE(flaw);
            asio::io_context ctx;
            against_writer<int> test(few, 10);
            if (flaw == 2)
                test.writer.hello.start = 11;
            test.writer.greet();
            subscriber<int> s(ctx.get_executor(), test.end<subscriber<int>>());
            error_code ec;
            int n = 0;
            if (flaw == 0) {
                test.writer.words().position.store(12);
                CHECK(s.try_receive(n, ec));
                test.writer.words().position.store(9);
                CHECK(s.try_receive(n, ec));  // what was there before is
            } else if (flaw == 1) {
                test.writer.words().position.store(12);
                test.writer.words().oldest.store(13);
            }
            CHECK(!s.try_receive(n, ec));
            CHECK(ec == channel_errc::peer_broke_rules);
            CHECK(!s.is_open());
        }
    }

    TEST_CASE("a record that cannot be: too short for its number, too long, of a kind that is none")
    {
        using procyard::detail::record_kind;
        struct flaw {
            std::uint32_t length;
            record_kind kind;
        };
        std::vector<flaw> flaws;
        for (std::uint32_t length = 0; length < 8; ++length)
            flaws.push_back({length, record_kind::data});
        for (const std::uint32_t length : {249U, 1000U, 1017U, ~0U})  // of 1024, a quarter
            flaws.push_back({length, record_kind::data});
        for (const auto kind : {record_kind::first_part, record_kind::part, record_kind::last_part,
                                record_kind::dropped_parts, static_cast<record_kind>(0)})
            flaws.push_back({16, kind});
        flaws.push_back({1016, record_kind::padding});  // all that there is
        for (const auto& each : flaws) {
            CAPTURE(each.length);
            CAPTURE(static_cast<std::uint32_t>(each.kind));
            asio::io_context ctx;
            against_writer<std::string> test({.capacity_bytes = 1024});
            test.writer.greet();
            subscriber<std::string> s(ctx.get_executor(), test.end<subscriber<std::string>>());
            const procyard::detail::record_header header{each.length,
                                                         static_cast<std::uint32_t>(each.kind)};
            std::memcpy(test.writer.units().data(), &header, sizeof header);
            test.writer.words().position.store(1024);
            std::string text = "before";
            error_code ec;
            CHECK(!s.try_receive(text, ec));
            CHECK(ec == channel_errc::peer_broke_rules);
            CHECK(text == "before");
            CHECK(!s.is_open());
        }
    }

    TEST_CASE(
        "who overtakes again and again, and says it is far ahead, leads no further than it is")
    {
        constexpr std::uint64_t last = 1U << 22U;
        asio::io_context ctx;
        against_writer<int> test(few);
        test.writer.greet();
        subscriber<int> s(ctx.get_executor(), test.end<subscriber<int>>());
        auto& words = test.writer.words();
        words.position.store(std::uint64_t{1} << 40U);
        forked writer([&] {
            for (std::uint64_t oldest = 0; oldest < last; ++oldest)
                words.oldest.store(oldest);
            words.oldest.store(last);
            return 0;
        });
        error_code ec;
        int n = 0;
        while (words.oldest.load() < last)
            (void)s.try_receive(n, ec);
        CHECK(s.is_open());
        CHECK(s.lost() <= last + 2);  // two cells beyond the oldest are the middle
    }

    TEST_CASE("another type: both are named; a start between two records; no hello at all")
    {
        asio::io_context ctx;
        error_code ec;
        {
            against_writer<int> test(few);
            test.writer.greet();
            const subscriber<double> s(ctx.get_executor(), test.end<subscriber<double>>(), ec);
            CHECK(ec == channel_errc::other_type);
            CHECK(s.explanation().find("f64") != std::string::npos);
        }
        {
            against_writer<std::string> test({.capacity_bytes = 1024}, 1020);
            test.writer.greet();
            const subscriber<std::string> s(ctx.get_executor(), test.end<subscriber<std::string>>(),
                                            ec);
            CHECK(ec == channel_errc::bad_hello);
        }
        {
            against_writer<int> test(few);
            const subscriber<int> s(ctx.get_executor(), test.end<subscriber<int>>(), ec);
            CHECK(ec == channel_errc::bad_hello);
        }
        {
            const subscriber<int> s(ctx.get_executor(), unopened<subscriber<int>>(), ec);
            CHECK(ec == boost::system::errc::bad_file_descriptor);
        }
    }

    TEST_CASE("more memory than is allowed is refused unmapped; what was subscribed to here is not")
    {
        asio::io_context ctx;
        error_code ec;
        {
            against_writer<std::string> test({.capacity_bytes = 1U << 20U});
            test.writer.greet();
            const subscriber<std::string> s(
                ctx.get_executor(), test.end<subscriber<std::string>>({.max_peer_bytes = 4096}),
                ec);
            CHECK(ec == channel_errc::over_limit);
            CHECK(s.explanation()
                  == "the broadcast has 1052672 bytes, and at most 266240 are allowed");
        }
        {
            against_writer<std::uint64_t> test({.capacity_messages = 1U << 16U});
            test.writer.greet();
            const latest_reader<std::uint64_t> r(
                ctx.get_executor(),
                test.end<latest_reader<std::uint64_t>>({.max_peer_bytes = 4096}), ec);
            CHECK(ec == channel_errc::over_limit);
        }
        constexpr std::size_t much = procyard::channel_options().max_peer_bytes;
        broadcaster<std::string> b(ctx.get_executor(), {.capacity_bytes = much});
        const subscriber<std::string> s(ctx.get_executor(), b.subscribe(), ec);
        CHECK(!ec);
    }

    TEST_CASE("a subscription is no channel's end, nor the other way round")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), few);
        procyard::receiver<int> r(
            ctx.get_executor(),
            unopened<procyard::receiver<int>>(std::move(b.subscribe()).take(), {}));
        CHECK(r.failure() == channel_errc::other_direction);
        auto ends = procyard::make_channel<int>();
        const procyard::sender<int> sender(ctx.get_executor(), std::move(ends.sender));
        error_code ec;
        const subscriber<int> s(ctx.get_executor(),
                                unopened<subscriber<int>>(std::move(ends.receiver).take(), {}), ec);
        CHECK(ec == channel_errc::other_direction);
    }

    TEST_CASE("a process that writes random bytes over all of it, while we read: errors only")
    {
        for (unsigned round = 0; round < 60; ++round) {
            CAPTURE(round);
            asio::io_context ctx;
            const auto read = [&](auto& test, auto receive) {
                test.writer.greet();
                forked writer([&] { return scribble_as_writer(test.writer, round); });
                for (int i = 0; i < 3000; ++i) {
                    if (receive())
                        break;
                }
            };
            if (round % 3 == 0) {
                against_writer<std::uint64_t> test({.capacity_messages = 32});
                std::optional<subscriber<std::uint64_t>> s;
                std::uint64_t n = 0;
                error_code ec;
                read(test, [&] {
                    if (!s)
                        s.emplace(ctx.get_executor(), test.end<subscriber<std::uint64_t>>());
                    (void)s->try_receive(n, ec);
                    return !s->is_open();
                });
            } else if (round % 3 == 1) {
                against_writer<std::string> test({.capacity_bytes = 1024});
                std::optional<subscriber<std::string>> s;
                std::string text;
                error_code ec;
                read(test, [&] {
                    if (!s)
                        s.emplace(ctx.get_executor(), test.end<subscriber<std::string>>());
                    (void)s->try_receive(text, ec);
                    return !s->is_open();
                });
            } else {
                against_writer<std::uint64_t> test({.capacity_messages = 4});
                std::optional<latest_reader<std::uint64_t>> r;
                read(test, [&] {
                    if (!r)
                        r.emplace(ctx.get_executor(), test.end<latest_reader<std::uint64_t>>());
                    (void)r->load();
                    return !r->is_open();
                });
            }
        }
    }
}

TEST_SUITE("broadcast: limits")
{
    TEST_CASE("shapes that cannot be, and messages that are too long")
    {
        asio::io_context ctx;
        error_code ec;
        const broadcaster<std::string> by_number(ctx.get_executor(), {.capacity_messages = 4}, ec);
        CHECK(ec == channel_errc::bad_shape);
        const broadcaster<int> endless(ctx.get_executor(), {.capacity_messages = ~std::size_t{0}},
                                       ec);
        CHECK(ec == channel_errc::bad_shape);
        broadcaster<std::string> b(ctx.get_executor(), {.capacity_bytes = 1024}, ec);
        REQUIRE(!ec);
        CHECK(b.try_send(std::string(236, 'x'), ec));
        CHECK(!b.try_send(std::string(237, 'x'), ec));
        CHECK(ec == channel_errc::too_long);
        outcome<error_code> sent;
        b.async_send(std::string(237, 'x'), sent.handler());
        run(ctx);
        CHECK(sent.error() == channel_errc::too_long);
    }

    TEST_CASE("no more subscriptions than there can be, until one goes")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), few);
        std::vector<unopened<subscriber<int>>> all;
        for (std::size_t i = 0; i < procyard::max_subscribers; ++i)
            all.push_back(b.subscribe());
        error_code ec;
        (void)b.subscribe({}, ec);
        CHECK(ec == channel_errc::too_many_subscribers);
        all.pop_back();
        all.push_back(b.subscribe({}, ec));
        CHECK(!ec);
        CHECK(b.readers() == procyard::max_subscribers);
        // Also of one that has rung as it went.
        all.pop_back();
        outcome<error_code> sent;
        {
            const subscriber<int> slow(ctx.get_executor(), b.subscribe(holding, ec));
            REQUIRE(!ec);
            while (b.try_send(1, ec)) { }
            CHECK(ec == asio::error::would_block);
            b.async_send(2, sent.handler());
            ctx.poll();
            CHECK(!sent.done());
        }
        all.push_back(b.subscribe({}, ec));
        CHECK_MESSAGE(!ec, ec.message());
        run(ctx);
        CHECK(!sent.error());
    }

    TEST_CASE("no descriptors: each step fails cleanly, and what was there goes on (case 55)")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), few);
        subscriber<int> s(ctx.get_executor(), b.subscribe());
        CHECK(b.try_send(1));
        auto end = b.subscribe({.history = 1});
        const procyard_test::descriptor_check no_leak;
        {
            const procyard_test::limit_guard none(RLIMIT_NOFILE, 0);
            error_code ec;
            const broadcaster<int> another(ctx.get_executor(), few, ec);
            CHECK(ec == boost::system::errc::too_many_files_open);
            (void)b.subscribe({}, ec);
            CHECK(ec == boost::system::errc::too_many_files_open);
            CHECK(b.try_send(2));
        }
        CHECK(s.try_receive() == 1);
        CHECK(s.try_receive() == 2);
        CHECK(b.readers() == 2);
    }

    TEST_CASE("no descriptors for the event loop: who waits is told that, and not aborted")
    {
        asio::io_context ctx;  // makes its reactor when somebody waits
        asio::io_context elsewhere;
        broadcaster<int> b(ctx.get_executor(), few);
        subscriber<int> s(elsewhere.get_executor(), b.subscribe(holding));
        for (int n = 0; n < 4; ++n)
            CHECK(b.try_send(n));
        std::array<outcome<error_code>, 2> sent;
        {
            const procyard_test::limit_guard none(RLIMIT_NOFILE, 0);
            for (auto& each : sent)
                b.async_send(4, each.handler());
            run(ctx);
        }
        for (auto& each : sent)
            CHECK(each.error() == boost::system::errc::too_many_files_open);
        error_code ec;
        CHECK(!b.try_send(5, ec));
        CHECK(ec == boost::system::errc::too_many_files_open);
        CHECK(!b.is_open());
        for (int n = 0; n < 4; ++n)
            CHECK(s.try_receive() == n);
        outcome<error_code, int> got;
        s.async_receive(got.handler());
        run(elsewhere);
        CHECK(got.error() == channel_errc::closed);
    }

    TEST_CASE("no descriptors when a subscriber comes: it is kept, and loses nothing")
    {
        asio::io_context ctx;
        const asio::steady_timer reactor(ctx);
        broadcaster<int> b(ctx.get_executor(), few);
        subscriber<int> s(ctx.get_executor(), b.subscribe(holding));
        {
            const procyard_test::limit_guard none(RLIMIT_NOFILE, 0);
            for (int n = 0; n < 4; ++n)
                CHECK(b.try_send(n));
            CHECK_FALSE(b.try_send(4));
        }
        CHECK(b.cut_off() == 0);
        CHECK(b.readers() == 1);
        CHECK(s.try_receive() == 0);
        CHECK(b.try_send(4));
        for (int n = 1; n <= 4; ++n)
            CHECK(s.try_receive() == n);
        // It is known now, and rung for.
        outcome<error_code, int> got;
        s.async_receive(got.handler());
        ctx.poll();
        CHECK_FALSE(got.done());
        CHECK(b.try_send(5));
        run(ctx);
        CHECK(got.result() == 5);
    }

    TEST_CASE("no descriptors when a subscriber comes: it is met later, with no other message")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), few);
        subscriber<int> s(ctx.get_executor(), b.subscribe(holding));
        outcome<error_code, int> got;
        s.async_receive(got.handler());
        ctx.poll();
        {
            const procyard_test::limit_guard none(RLIMIT_NOFILE, 0);
            CHECK(b.try_send(1));
        }
        ctx.poll();
        CHECK_FALSE(got.done());
        run(ctx);
        CHECK(got.result() == 1);
    }

    TEST_CASE("no descriptors for a subscriber that comes, nor for an event loop: it is cut off")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), few);
        subscriber<int> s(ctx.get_executor(), b.subscribe(holding));
        {
            const procyard_test::limit_guard none(RLIMIT_NOFILE, 0);
            CHECK(b.try_send(1));
        }
        CHECK(b.cut_off() == 1);
        CHECK(b.readers() == 0);
        CHECK(s.try_receive() == 1);
        outcome<error_code, int> got;
        s.async_receive(got.handler());
        run(ctx);
        CHECK(got.error() == channel_errc::peer_died);
    }

    TEST_CASE("no descriptors when a subscriber comes, and it goes: it is not held for ever")
    {
        asio::io_context ctx;
        const asio::steady_timer reactor(ctx);
        broadcaster<int> b(ctx.get_executor(), few);
        {
            const subscriber<int> s(ctx.get_executor(), b.subscribe(holding));
            const procyard_test::limit_guard none(RLIMIT_NOFILE, 0);
            CHECK(b.try_send(1));
        }
        for (int n = 0; n < 9; ++n)
            CHECK(b.try_send(n));
        CHECK(b.readers() == 0);
    }
}
