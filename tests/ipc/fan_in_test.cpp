// SPDX-License-Identifier: BSL-1.0
// Many senders, one receiver: whose turn it is, who has ended, and what is waited for.
#include <procyard/ipc/fan_in.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fcntl.h>
#include <sys/resource.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "limit_guard.hpp"
#include "mapped_segments.hpp"
#include "message_samples.hpp"
#include "skip.hpp"

namespace asio = boost::asio;
using procyard::arrival;
using procyard::arrivals;
using procyard::channel;
using procyard::channel_errc;
using procyard::error_code;
using procyard::fan_in;
using procyard::fixed_bytes;
using procyard::make_channel;
using procyard::sender;
using procyard::source_id;
using procyard_test::mapped_segments;
using procyard_test::outcome;
using procyard_test::run;

namespace {

constexpr procyard::channel_options few{.capacity_messages = 64};
constexpr procyard::channel_options few_bytes{.capacity_bytes = 4096};

template <class T>
struct many {
    many(asio::io_context& ctx, std::size_t count, const procyard::fan_in_options& options = {})
        : from(ctx.get_executor(), options)
    {
        for (std::size_t i = 0; i < count; ++i) {
            channel<T> c(ctx.get_executor(), fixed_bytes<T> != 0 ? few : few_bytes);
            ids.push_back(from.add(std::move(c.receiver), {.name = std::to_string(i)}));
            senders.push_back(std::move(c.sender));
        }
    }

    fan_in<T> from;
    std::vector<sender<T>> senders;
    std::vector<source_id> ids;
};

std::vector<int> take_all(fan_in<int>& from)
{
    std::vector<int> all;
    arrival<int> got;
    error_code ec;
    while (from.try_receive(got, ec))
        all.push_back(got.ended ? -1 : got.message);
    CHECK(ec == asio::error::would_block);
    return all;
}

}  // namespace

TEST_SUITE("fan_in: turns")
{
    TEST_CASE("a burst of each, in the order of each")
    {
        asio::io_context ctx;
        many<int> m(ctx, 3, {.burst = 2});
        for (int i = 0; i < 4; ++i)
            CHECK(m.senders[0].try_send(i));
        for (int i = 10; i < 13; ++i)
            CHECK(m.senders[1].try_send(i));
        CHECK(m.senders[2].try_send(20));
        CHECK(take_all(m.from) == std::vector<int>{0, 1, 10, 11, 20, 2, 3, 12});
    }

    TEST_CASE("one who floods keeps nobody waiting for more than a burst of each (case 11)")
    {
        asio::io_context ctx;
        many<int> m(ctx, 8, {.burst = 4});
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (int round = 0; round < 200; ++round) {
                error_code ec;
                while (m.senders[0].try_send(0, ec)) { }
                const auto other = static_cast<std::size_t>(1 + round % 7);
                CHECK(m.senders[other].try_send(1));
                int before = 0;
                for (;; ++before) {
                    const auto got = co_await m.from.async_receive();
                    if (got.source == m.ids[other])
                        break;
                    (void)m.senders[0].try_send(0);
                }
                CHECK(before <= 7 + 4);
            }
        });
    }

    TEST_CASE("lanes: what is above goes first, also what comes later")
    {
        asio::io_context ctx;
        fan_in<int> from(ctx.get_executor());
        channel<int> urgent(ctx.get_executor(), few);
        channel<int> usual(ctx.get_executor(), few);
        from.add(std::move(usual.receiver), {.lane = 3});
        from.add(std::move(urgent.receiver), {.lane = 0});
        for (int i = 0; i < 3; ++i)
            CHECK(usual.sender.try_send(i));
        arrival<int> got;
        error_code ec;
        CHECK(from.try_receive(got, ec));
        CHECK(got.message == 0);
        CHECK(urgent.sender.try_send(100));
        CHECK(urgent.sender.try_send(101));
        CHECK(take_all(from) == std::vector<int>{100, 101, 1, 2});
    }

    TEST_CASE("the same with operations that wait: a source wakes, whichever it is")
    {
        asio::io_context ctx;
        many<std::string> m(ctx, 5);
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (std::size_t round = 0; round < 100; ++round) {
                const auto who = round * 7 % 5;
                auto text = std::to_string(round);
                // In a turn after the one in which it goes to sleep.
                asio::post(ctx,
                           [&] { asio::post(ctx, [&] { CHECK(m.senders[who].try_send(text)); }); });
                const auto got = co_await m.from.async_receive();
                CHECK(got.source == m.ids[who]);
                CHECK(got.message == text);
                CHECK(m.from.name(got.source) == std::to_string(who));
            }
        });
    }
}

TEST_SUITE("fan_in: who only tries")
{
    TEST_CASE("sees what comes to sources that an operation has put to sleep: messages and ends")
    {
        asio::io_context ctx;
        many<int> m(ctx, 3);
        asio::cancellation_signal signal;
        outcome<error_code, arrival<int>> cancelled;
        m.from.async_receive(asio::bind_cancellation_slot(signal.slot(), cancelled.handler()));
        ctx.poll();
        signal.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(cancelled.error() == asio::error::operation_aborted);
        CHECK(m.senders[1].try_send(7));
        CHECK(take_all(m.from) == std::vector<int>{7});
        CHECK(m.senders[0].try_send(8));
        m.senders[2].close();
        const auto rest = take_all(m.from);
        CHECK(std::multiset<int>(rest.begin(), rest.end()) == std::multiset<int>{-1, 8});
        CHECK(m.from.source_count() == 2);
    }

    TEST_CASE("takes nothing away from operations that wait but what it takes")
    {
        asio::io_context ctx;
        many<int> m(ctx, 3);
        outcome<error_code, arrival<int>> waits;
        m.from.async_receive(waits.handler());
        for (int i = 0; i < 20; ++i) {
            ctx.poll();
            CHECK(m.senders[1].try_send(i));
            CHECK(take_all(m.from) == std::vector<int>{i});
        }
        ctx.poll();
        CHECK_FALSE(waits.done());
        CHECK(m.senders[1].try_send(20));
        run(ctx);
        CHECK(waits.result().message == 20);
    }
}

TEST_SUITE("fan_in: sources")
{
    TEST_CASE("one that is closed is told of once, after all of its messages; the others go on")
    {
        asio::io_context ctx;
        many<int> m(ctx, 2);
        CHECK(m.senders[0].try_send(1));
        CHECK(m.senders[0].try_send(2));
        m.senders[0].close();
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            CHECK((co_await m.from.async_receive()).message == 1);
            CHECK((co_await m.from.async_receive()).message == 2);
            const auto end = co_await m.from.async_receive();
            CHECK(end.ended == channel_errc::closed);
            CHECK(end.source == m.ids[0]);
            CHECK(m.from.name(end.source) == "0");
            CHECK(m.from.source_count() == 1);
            CHECK_FALSE(m.from.remove(end.source));
            CHECK(m.senders[1].try_send(3));
            CHECK((co_await m.from.async_receive()).message == 3);
        });
        CHECK(take_all(m.from).empty());
    }

    TEST_CASE(
        "one that has gone leaves nothing mapped, and can be asked about until the next one's")
    {
        asio::io_context ctx;
        many<int> m(ctx, 3);
        CHECK(m.senders[0].try_send(1));
        m.senders[0] = {};
        const auto before = mapped_segments().mappings;
        CHECK(take_all(m.from) == std::vector<int>{1, -1});
        CHECK(mapped_segments().mappings == before - 2);  // its own, and that of its sender
        CHECK(m.from.name(m.ids[0]) == "0");
        CHECK(m.from.statistics(m.ids[0]).messages == 1);
        m.senders[1] = {};
        CHECK(take_all(m.from) == std::vector<int>{-1});
        CHECK(m.from.name(m.ids[0]).empty());
        CHECK(m.from.name(m.ids[1]) == "1");
    }

    TEST_CASE("one that is removed after a batch of it leaves nothing mapped")
    {
        asio::io_context ctx;
        many<int> m(ctx, 2);
        CHECK(m.senders[0].try_send(1));
        m.senders[0] = {};
        const auto before = mapped_segments().mappings;
        outcome<error_code, arrivals<int>> got;
        m.from.async_receive_some(got.handler());
        ctx.poll();
        REQUIRE(got.done());
        got.result() = arrivals<int>();
        CHECK(m.from.remove(m.ids[0]));
        CHECK(mapped_segments().mappings == before - 2);
    }

    TEST_CASE("an end is not lost by a cancellation, nor by a race")
    {
        using namespace asio::experimental::awaitable_operators;
        asio::io_context ctx;
        many<int> m(ctx, 3);
        asio::cancellation_signal signal;
        outcome<error_code, arrival<int>> first;
        m.from.async_receive(asio::bind_cancellation_slot(signal.slot(), first.handler()));
        ctx.poll();
        m.senders[1].close();
        signal.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(first.error() == asio::error::operation_aborted);
        m.senders[2].close();
        std::set<source_id> told;
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            asio::steady_timer at_once(ctx, std::chrono::milliseconds(0));
            while (told.size() < 2) {
                auto either = co_await (m.from.async_receive(asio::use_awaitable)
                                        || at_once.async_wait(asio::use_awaitable));
                if (either.index() == 0) {
                    CHECK(std::get<0>(either).ended == channel_errc::closed);
                    CHECK(told.insert(std::get<0>(either).source).second);
                }
            }
        });
        CHECK(told == std::set<source_id>{m.ids[1], m.ids[2]});
        CHECK(m.from.source_count() == 1);
    }

    TEST_CASE("they come while it waits, and bring what they had")
    {
        asio::io_context ctx;
        fan_in<int> from(ctx.get_executor());
        outcome<error_code, arrival<int>> got;
        from.async_receive(got.handler());
        ctx.poll();
        CHECK_FALSE(got.done());
        channel<int> c(ctx.get_executor(), few);
        CHECK(c.sender.try_send(5));
        const auto id = from.add(std::move(c.receiver));
        run(ctx);
        CHECK(got.result().message == 5);
        CHECK(got.result().source == id);
    }

    TEST_CASE("an end that is not opened yet, and a sender that comes later")
    {
        asio::io_context ctx;
        fan_in<int> from(ctx.get_executor());
        auto first = make_channel<int>(few);
        auto second = make_channel<int>(few);
        from.add(std::move(first.receiver));
        const auto id = from.add(std::move(second.receiver));
        outcome<error_code, arrival<int>> got;
        from.async_receive(got.handler());
        ctx.poll();
        CHECK_FALSE(got.done());
        sender<int> s(ctx.get_executor(), std::move(second.sender));
        ctx.poll();
        CHECK_FALSE(got.done());
        CHECK(s.try_send(9));
        run(ctx);
        CHECK(got.result().message == 9);
        CHECK(got.result().source == id);
    }

    TEST_CASE("a sender that comes and goes unseen, and one that never comes, are told of")
    {
        asio::io_context ctx;
        fan_in<int> from(ctx.get_executor());
        auto first = make_channel<int>(few);
        auto second = make_channel<int>(few);
        const auto never = from.add(std::move(first.receiver));
        const auto brief = from.add(std::move(second.receiver));
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            {
                sender<int> s(ctx.get_executor(), std::move(second.sender));
                CHECK(s.try_send(1));
            }
            CHECK((co_await from.async_receive()).message == 1);
            auto end = co_await from.async_receive();
            CHECK(end.source == brief);
            CHECK(end.ended == channel_errc::closed);
            first.sender = {};
            end = co_await from.async_receive();
            CHECK(end.source == never);
            CHECK(end.ended == channel_errc::peer_died);
        });
    }

    TEST_CASE("no descriptor for one that comes: an error, and no end; the others go on meanwhile")
    {
        const procyard_test::descriptor_check no_leak;
        asio::io_context ctx;
        fan_in<int> from(ctx.get_executor());
        channel<int> there(ctx.get_executor(), few);
        from.add(std::move(there.receiver), {.lane = 1});
        auto ends = make_channel<int>(few);
        const auto late = from.add(std::move(ends.receiver), {.lane = 0});
        sender<int> comes(ctx.get_executor(), std::move(ends.sender));
        CHECK(comes.try_send(100));
        CHECK(there.sender.try_send(0));
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            const procyard::unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
            const auto next = static_cast<rlim_t>(probe.get()) + 1;
            std::optional<procyard_test::limit_guard> none(std::in_place, RLIMIT_NOFILE, next);
            error_code ec;
            int missing = 0;
            for (int n = 0; n < 5;) {
                const auto got =
                    co_await from.async_receive(asio::redirect_error(asio::use_awaitable, ec));
                if (ec) {
                    CHECK(ec == boost::system::errc::too_many_files_open);
                    REQUIRE(++missing < 100);
                    continue;
                }
                CHECK_FALSE(got.ended);
                CHECK(got.message == n);
                CHECK(there.sender.try_send(++n));
            }
            CHECK(missing > 0);
            CHECK(from.source_count() == 2);
            none.reset();
            for (int i = 0; i < 2; ++i) {
                const auto got = co_await from.async_receive(asio::use_awaitable);
                CHECK_FALSE(got.ended);
                CHECK((got.source == late) == (got.message == 100));
            }
        });
    }

    TEST_CASE("another type is told of as an end, with an explanation")
    {
        asio::io_context ctx;
        fan_in<int> from(ctx.get_executor());
        auto ends = make_channel<int>(few);
        procyard::unopened<sender<double>> wrong(std::move(ends.sender).take(), few);
        from.add(std::move(ends.receiver));
        const sender<double> s(ctx.get_executor(), std::move(wrong));
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            const auto end = co_await from.async_receive();
            CHECK(end.ended == channel_errc::other_type);
            CHECK_FALSE(from.explanation(end.source).empty());
        });
    }

    TEST_CASE("removed: nothing more of it; its sender hears of it")
    {
        asio::io_context ctx;
        many<int> m(ctx, 2);
        CHECK(m.senders[0].try_send(1));
        CHECK(m.from.remove(m.ids[0]));
        CHECK_FALSE(m.from.remove(m.ids[0]));
        CHECK_FALSE(m.from.remove(source_id{99}));
        CHECK(take_all(m.from).empty());
        error_code ec;
        CHECK_FALSE(m.senders[0].try_send(1, ec));
        CHECK(ec == channel_errc::closed);
    }

    TEST_CASE("without any it waits, or ends, as it was told")
    {
        asio::io_context ctx;
        arrival<int> got;
        error_code ec;
        fan_in<int> service(ctx.get_executor());
        CHECK_FALSE(service.try_receive(got, ec));
        CHECK(ec == asio::error::would_block);
        many<int> m(ctx, 1, {.ends_with_last_source = true});
        outcome<error_code, arrival<int>> last;
        outcome<error_code, arrival<int>> none;
        m.from.async_receive(last.handler());
        m.from.async_receive(none.handler());
        ctx.poll();
        m.senders[0].close();
        run(ctx);
        CHECK(last.result().ended == channel_errc::closed);
        CHECK(none.error() == channel_errc::closed);
        many<int> removed(ctx, 1, {.ends_with_last_source = true});
        outcome<error_code> readable;
        removed.from.async_wait_readable(readable.handler());
        ctx.restart();
        ctx.poll();
        CHECK(removed.from.remove(removed.ids[0]));
        run(ctx);
        CHECK(readable.error() == channel_errc::closed);
    }

    TEST_CASE("what cannot be a source is refused, and nothing is left of it")
    {
        asio::io_context ctx;
        asio::io_context other;
        fan_in<int> from(ctx.get_executor());
        error_code ec;
        {
            const procyard_test::descriptor_check no_leak;
            channel<int> here(ctx.get_executor(), few);
            channel<int> there(other.get_executor(), few);
            channel<int> closed(ctx.get_executor(), few);
            closed.receiver.close();
            from.add(std::move(closed.receiver), {}, ec);
            CHECK(ec == boost::system::errc::bad_file_descriptor);
            from.add(std::move(there.receiver), {}, ec);
            CHECK(ec == boost::system::errc::invalid_argument);
            from.add(std::move(here.receiver), {.lane = 8}, ec);
            CHECK(ec == boost::system::errc::invalid_argument);
            from.add(procyard::receiver<int>(), {}, ec);
            CHECK(ec == boost::system::errc::bad_file_descriptor);
            channel<int> lends(ctx.get_executor(), few);
            CHECK(lends.sender.try_send(1));
            const auto batch = lends.receiver.try_receive_batch(ec);
            from.add(std::move(lends.receiver), {}, ec);
            CHECK(ec == channel_errc::lent);
        }
        CHECK(from.source_count() == 0);
        from.close();
        channel<int> late(ctx.get_executor(), few);
        CHECK_THROWS_AS(from.add(std::move(late.receiver)), boost::system::system_error);
    }
}

TEST_SUITE("fan_in: batches")
{
    TEST_CASE("of one source each, then of the next; messages that borrow are received so")
    {
        asio::io_context ctx;
        fan_in<std::string_view> from(ctx.get_executor());
        std::vector<sender<std::string_view>> senders;
        for (int i = 0; i < 2; ++i) {
            channel<std::string_view> c(ctx.get_executor());
            from.add(std::move(c.receiver));
            senders.push_back(std::move(c.sender));
        }
        for (const char* text : {"a", "b", "c"})
            CHECK(senders[0].try_send(text));
        CHECK(senders[1].try_send("d"));
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            std::string all;
            for (int i = 0; i < 2; ++i) {
                auto got = co_await from.async_receive_some();
                CHECK_FALSE(got.ended);
                for (const auto text : got.messages)
                    all += text;
                all += '|';
            }
            CHECK(all == "abc|d|");
            senders[1].close();
            const auto end = co_await from.async_receive_some();
            CHECK(end.ended == channel_errc::closed);
        });
    }

    TEST_CASE("nothing else is received while one is held, and nothing is lost by that")
    {
        asio::io_context ctx;
        many<int> m(ctx, 2);
        CHECK(m.senders[0].try_send(1));
        CHECK(m.senders[1].try_send(2));
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            auto held = co_await m.from.async_receive_some();
            arrival<int> got;
            error_code ec;
            CHECK_FALSE(m.from.try_receive(got, ec));
            CHECK(ec == channel_errc::lent);
            held.messages.release();
            CHECK(take_all(m.from) == std::vector<int>{2, 1});
        });
    }
}

TEST_SUITE("fan_in: many")
{
    TEST_CASE("a thousand sources: one at a time, and all at once (case 28)")
    {
        if (!procyard_test::can_open(5000))
            return procyard_test::skip("not so many descriptors may be open here");
        constexpr std::size_t count = 1000;
        const procyard_test::descriptor_check no_leak;
        asio::io_context inner;
        std::optional<many<int>> m(std::in_place, inner, count);
        procyard_test::fixed_random random(3);
        procyard_test::run_coroutine(inner, [&]() -> asio::awaitable<void> {
            for (int round = 0; round < 500; ++round) {
                const auto who = random.below(count);
                asio::post(inner, [&, who, round] {
                    asio::post(inner, [&, who, round] { CHECK(m->senders[who].try_send(round)); });
                });
                const auto got = co_await m->from.async_receive();
                CHECK(got.source == m->ids[who]);
                CHECK(got.message == round);
            }
            for (auto& s : m->senders)
                CHECK(s.try_send(1));
            std::set<source_id> heard;
            for (std::size_t i = 0; i < count; ++i)
                heard.insert((co_await m->from.async_receive()).source);
            CHECK(heard.size() == count);
            for (auto& s : m->senders)
                s.close();
            heard.clear();
            for (std::size_t i = 0; i < count; ++i)
                heard.insert((co_await m->from.async_receive()).source);
            CHECK(heard.size() == count);
        });
        CHECK(m->from.source_count() == 0);
        m.reset();
    }
}
