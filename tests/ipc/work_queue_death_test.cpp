// SPDX-License-Identifier: BSL-1.0
// Consumers and producers in other processes that are killed, stand still or lie, and an owner that
// dies.
#include <procyard/ipc/work_queue.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "channel_fixture.hpp"
#include "message_samples.hpp"
#include "raw_peer.hpp"
#include "shared_array.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::leased;
using procyard::receiver;
using procyard::return_reason;
using procyard::sender;
using procyard::unopened;
using procyard::work_queue;
using procyard::work_queue_options;
using procyard::work_source;
using procyard::detail::work_answer;
using procyard::detail::work_item;
using procyard::detail::work_reply;
using procyard_test::fixed_random;
using procyard_test::forked;
using procyard_test::run_until;
using namespace std::chrono_literals;

namespace {

using number = std::uint64_t;

// What the consumers note of each item, whoever is killed meanwhile.
class diary {
public:
    explicit diary(std::size_t items) : items_(items), taken_(items), holder_(items), wrong_(1) { }

    // By the consumer of this number, which is not 0.
    void takes(number item, unsigned who) const
    {
        ++taken_[item];
        wrong_[0] += holder_[item].exchange(who) == 0 ? 0U : 1U;
    }
    // Before it says so: from then on another one may have it.
    void answers(number item, unsigned who) const
    {
        wrong_[0] += holder_[item].exchange(0) == who ? 0U : 1U;
    }
    // It has been killed, and the queue has not heard of it.
    void has_died(unsigned who) const
    {
        for (std::size_t item = 0; item < items_; ++item) {
            auto expected = who;
            (void)holder_[item].compare_exchange_strong(expected, 0);
        }
    }
    [[nodiscard]] unsigned times_taken(number item) const { return taken_[item]; }
    // How often somebody had what another one had not answered for.
    [[nodiscard]] unsigned overlaps() const { return wrong_[0]; }

private:
    std::size_t items_;
    procyard_test::shared_array<unsigned> taken_;
    procyard_test::shared_array<unsigned> holder_;
    procyard_test::shared_array<unsigned> wrong_;
};

// Takes and acknowledges until the queue is closed; gives every seventh back at its first attempt.
int consume(unopened<work_source<number>> end, std::size_t prefetch, const diary* notes,
            unsigned who)
{
    asio::io_context ctx;
    work_source<number> source(ctx.get_executor(), std::move(end));
    source.prefetch(prefetch);
    error_code ec;
    procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
        for (;;) {
            auto item = co_await source.async_take(asio::redirect_error(asio::use_awaitable, ec));
            if (ec)
                co_return;
            if (notes != nullptr) {
                notes->takes(item.value(), who);
                for (auto turns = item.value() % 16; turns > 0; --turns)
                    ::sched_yield();  // has it for a while
                notes->answers(item.value(), who);
            }
            if (item.value() % 7 == 0 && item.attempt() == 1)
                item.reject();
            else
                item.acknowledge();
        }
    });
    return ec == channel_errc::closed ? 0 : 1;
}

// A copy of this process that consumes; this one keeps nothing of the end.
forked& start_consumer(std::deque<forked>& all, work_queue<number>& queue, std::size_t prefetch = 0,
                       const diary* notes = nullptr, unsigned who = 0)
{
    auto end = queue.consumer();
    return all.emplace_back(
        [&end, prefetch, notes, who] { return consume(std::move(end), prefetch, notes, who); });
}

// Until there are no more. Each is dead once.
asio::awaitable<void> collect_dead(work_queue<number>& queue, std::map<number, unsigned>& dead,
                                   error_code& ended)
{
    for (;;) {
        const auto letter =
            co_await queue.async_dead_letter(asio::redirect_error(asio::use_awaitable, ended));
        if (ended)
            co_return;
        CHECK(dead.emplace(letter.value, letter.attempts).second);
    }
}

// One that does what it wants in the place of a consumer.
struct liar {
    liar(asio::io_context& ctx, work_queue<number>& queue)
    {
        error_code ec;
        auto end = queue.consumer();
        procyard::unique_fd items;
        procyard::unique_fd answers;
        std::string other;
        auto hello =
            procyard::detail::unpack_consumer(std::move(end).take(), items, answers, other, ec);
        REQUIRE_FALSE(ec);
        options = procyard::detail::answer_options(hello);
        from = receiver<work_item<number>>(
            ctx.get_executor(),
            unopened<receiver<work_item<number>>>(std::move(items), hello.channels));
        answer_socket = std::move(answers);
    }
    void open(asio::io_context& ctx)
    {
        to = sender<work_answer>(ctx.get_executor(),
                                 unopened<sender<work_answer>>(std::move(answer_socket), options));
    }
    void say(work_reply what, std::uint64_t lease = 0)
    {
        (void)to.try_send(work_answer{what, lease});
    }

    procyard::channel_options options;
    procyard::unique_fd answer_socket;
    receiver<work_item<number>> from;
    sender<work_answer> to;
};

// One that does what it wants in the place of a queue.
struct false_queue {
    explicit false_queue(asio::io_context& ctx, const procyard::channel_options& options)
    {
        auto items = procyard::make_channel<work_item<number>>(options);
        procyard::detail::work_hello hello{4, options};
        auto answers = procyard::make_channel<work_answer>(procyard::detail::answer_options(hello));
        error_code ec;
        consumer = procyard::detail::pack_consumer(hello, items.receiver.native_handle(),
                                                   answers.sender.native_handle(), ec);
        REQUIRE_FALSE(ec);
        to = sender<work_item<number>>(ctx.get_executor(), std::move(items.sender));
        from = receiver<work_answer>(ctx.get_executor(), std::move(answers.receiver));
    }

    procyard::unique_fd consumer;
    sender<work_item<number>> to;
    receiver<work_answer> from;
};

// What one that has the words of a consumer says: often what could be, now and then anything.
int scribble(procyard_test::raw_peer<work_answer>& peer, int round)
{
    fixed_random random(static_cast<std::uint64_t>(round) + 1);
    const auto units = peer.units();
    const bool lies = round % 3 == 0;
    std::uint64_t position = 0;
    for (std::uint64_t turn = 0;; ++turn) {
        const auto at = turn % peer.capacity() * sizeof(work_answer);
        const std::array replies{work_reply::want, work_reply::want, work_reply::acknowledge,
                                 work_reply::reject};
        const work_answer answer{replies[random.below(replies.size())],
                                 lies ? random.below(4) : turn % 8};
        std::memcpy(units.data() + at, &answer, sizeof answer);
        if (lies && random.below(8) == 0)
            units[random.below(units.size())] = static_cast<std::byte>(random.next() >> 40U);
        if (position - peer.peer_words().position.load() < peer.capacity())
            ++position;
        peer.words().position.store(lies && random.below(500) == 0 ? random.next() : position);
        peer.words().sleep.store(random.next());
        peer.words().wake_at.store(random.next());
        peer.press();
        ::sched_yield();
    }
}

}  // namespace

TEST_SUITE("work_queue death")
{
    TEST_CASE("kill -9 of consumers at any moment: each item is done or dead once (case 12)")
    {
        constexpr number items = 6000;
        constexpr int kills = 300;
        fixed_random random(21);
        asio::io_context ctx;
        work_queue<number> queue(ctx.get_executor(), {.capacity = 100, .max_attempts = 3});
        std::deque<forked> consumers;
        std::map<number, unsigned> dead;
        const diary notes(items);
        number pushed = 0;
        unsigned oldest = 1;  // of the consumers that live
        unsigned newest = 0;
        for (int i = 0; i < 3; ++i)
            start_consumer(consumers, queue, static_cast<std::size_t>(i), &notes, ++newest);
        int killed = 0;
        while (killed < kills || pushed < items) {
            error_code ec;
            const auto step = 1 + random.below(40);
            for (std::size_t i = 0; i < step && pushed < items; ++i) {
                if (!queue.try_push(pushed, ec))
                    break;
                ++pushed;
            }
            ctx.restart();
            for (std::size_t turns = random.below(60); turns > 0; --turns)
                ctx.poll_one();
            procyard::dead_letter<number> letter;
            while (queue.try_dead_letter(letter, ec))
                CHECK(dead.emplace(letter.value, letter.attempts).second);
            if (killed < kills && random.below(3) == 0) {
                consumers.front().kill_hard();
                consumers.pop_front();
                notes.has_died(oldest++);
                start_consumer(consumers, queue, random.below(4), &notes, ++newest);
                ++killed;
            }
        }
        queue.close();
        error_code ended;
        procyard_test::run_coroutine(ctx, [&] { return collect_dead(queue, dead, ended); });
        CHECK(ended == channel_errc::closed);
        for (auto& consumer : consumers)
            CHECK(consumer.result() == 0);
        const auto statistics = queue.statistics();
        CHECK(statistics.pushed == items);
        CHECK(statistics.done + dead.size() == items);
        CHECK(statistics.ready + statistics.leased == 0);
        for (const auto& [value, attempts] : dead)
            CHECK(attempts == 3);
        // Nobody had what another one had: leases are long here, so none is overrun.
        CHECK(notes.overlaps() == 0);
        // Each that is done was done by somebody, and none was had more often than it was given.
        for (number value = 0; value < items; ++value) {
            CAPTURE(value);
            const auto times = notes.times_taken(value);
            const bool by_somebody = times >= 1 || dead.contains(value);
            REQUIRE(by_somebody);
            REQUIRE(times <= 3);
        }
        MESSAGE("dead letters: ", dead.size(), ", returned: ", statistics.returned);
        // What came back is as much as was handed out and not done.
        CHECK(statistics.returned >= 3 * dead.size());
    }

    TEST_CASE("a consumer that is killed with an item: the next one has it at once")
    {
        asio::io_context ctx;
        work_queue<number> queue(ctx.get_executor(), {.max_attempts = 2});
        for (unsigned attempt = 1; attempt <= 2; ++attempt) {
            auto end = queue.consumer();
            forked victim([&] {
                asio::io_context there;
                work_source<number> source(there.get_executor(), std::move(end));
                procyard_test::run_coroutine(there, [&]() -> asio::awaitable<void> {
                    const auto item = co_await source.async_take(asio::use_awaitable);
                    ::raise(item.attempt() == attempt ? SIGKILL : SIGABRT);
                });
                return 1;
            });
            end = {};
            error_code ec;
            if (attempt == 1)
                CHECK(queue.try_push(5, ec));
            run_until(ctx, [&] { return queue.statistics().returned == attempt; });
            CHECK(victim.result() == -SIGKILL);
        }
        procyard::dead_letter<number> letter;
        error_code ec;
        CHECK(queue.try_dead_letter(letter, ec));
        CHECK(letter.reason == return_reason::consumer_ended);
        CHECK(letter.attempts == 2);
    }

    TEST_CASE("one that stands still overruns its lease; awake again, it is refused (case 35)")
    {
        asio::io_context ctx;
        work_queue<number> queue(ctx.get_executor(), {.lease = 20ms, .max_attempts = 0});
        auto end = queue.consumer();
        forked sleeper([&] {
            asio::io_context there;
            work_source<number> source(there.get_executor(), std::move(end));
            int result = 2;
            procyard_test::run_coroutine(there, [&]() -> asio::awaitable<void> {
                auto item = co_await source.async_take(asio::use_awaitable);
                ::raise(SIGSTOP);
                error_code ec;
                const bool done = item.acknowledge(ec);
                result = !done && ec == boost::system::errc::timed_out ? 0 : 1;
            });
            return result;
        });
        end = {};
        error_code ec;
        CHECK(queue.try_push(5, ec));
        run_until(ctx, [&] { return queue.statistics().returned == 1; });
        CHECK(queue.statistics().ready == 1);
        ::kill(sleeper.pid(), SIGCONT);
        CHECK(sleeper.result() == 0);
        run_until(ctx, [&] { return queue.statistics().consumers == 0; });
        CHECK(queue.statistics().done == 0);
        CHECK(queue.statistics().ready == 1);
    }

    TEST_CASE("the owner dies: consumers and producers hear of it")
    {
        error_code ec;
        auto pair = procyard::make_raw_socket_pair(SOCK_SEQPACKET, ec);
        REQUIRE_FALSE(ec);
        forked owner([&] {
            asio::io_context ctx;
            work_queue<number> queue(ctx.get_executor());
            {
                auto consumer = queue.consumer();
                auto producer = queue.producer();
                const std::array fds{consumer.native_handle(), producer.native_handle()};
                error_code failure;
                (void)procyard::try_send_descriptors(
                    pair.first.get(), std::as_bytes(std::span("x", 1)), fds, failure);
                if (failure || !queue.try_push(1, failure))
                    return 2;
            }
            run_until(ctx, [&] { return queue.statistics().leased == 1; });
            // Long enough for the item to be received: until we are killed.
            ctx.run();
            return 3;
        });
        pair.first.reset();
        std::array<procyard::unique_fd, 2> fds;
        std::array<std::byte, 1> data{};
        const work_queue_options usual;
        const auto guard = std::chrono::steady_clock::now() + procyard_test::deadlock_guard;
        do
            (void)procyard::try_receive_descriptors(pair.second.get(), data, fds, ec);
        while (ec == asio::error::would_block && std::chrono::steady_clock::now() < guard);
        REQUIRE_FALSE(ec);
        asio::io_context ctx;
        work_source<number> source(
            ctx.get_executor(), unopened<work_source<number>>(std::move(fds[0]), usual.channels));
        sender<number> producer(ctx.get_executor(),
                                unopened<sender<number>>(std::move(fds[1]), usual.channels));
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            auto item = co_await source.async_take(asio::use_awaitable);
            CHECK(item.value() == 1);
            owner.kill_hard();
            (void)co_await source.async_take(asio::redirect_error(asio::use_awaitable, ec));
            CHECK(ec == channel_errc::peer_died);
            do
                co_await producer.async_send(2, asio::redirect_error(asio::use_awaitable, ec));
            while (!ec);
            CHECK(ec == channel_errc::peer_died);
        });
    }

    TEST_CASE("a producer that is killed: all that it had committed is dealt with")
    {
        asio::io_context ctx;
        work_queue<number> queue(ctx.get_executor(), {.capacity = 4});
        auto end = queue.producer();
        forked producer([&] {
            asio::io_context there;
            sender<number> s(there.get_executor(), std::move(end));
            for (number n = 0; n < 100; ++n) {
                if (!s.try_send(n))
                    return 1;
            }
            ::raise(SIGKILL);
            return 2;
        });
        end = {};
        CHECK(producer.result() == -SIGKILL);
        work_source<number> source(ctx.get_executor(), queue.consumer());
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (number n = 0; n < 100; ++n) {
                auto item = co_await source.async_take(asio::use_awaitable);
                CHECK(item.value() == n);
                CHECK(item.acknowledge());
            }
            queue.close();
        });
        CHECK(queue.statistics().done == 100);
    }

    TEST_CASE("a producer that is killed between two parts of an item has sent nothing of it")
    {
        asio::io_context ctx;
        work_queue<std::string> queue(ctx.get_executor(), {.channels = {.capacity_bytes = 1024}});
        auto end = queue.producer();
        forked producer([&] {
            asio::io_context there;
            sender<std::string> s(there.get_executor(), std::move(end));
            if (!s.try_send("whole"))
                return 1;
            procyard_test::outcome<error_code> sent;
            s.async_send(std::string(5000, 'x'), sent.handler());
            there.poll();
            if (!sent.done())
                ::raise(SIGKILL);
            return 2;
        });
        end = {};
        CHECK(producer.result() == -SIGKILL);
        work_source<std::string> source(ctx.get_executor(), queue.consumer());
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            auto item = co_await source.async_take(asio::use_awaitable);
            CHECK(item.value() == "whole");
            CHECK(item.acknowledge());
            co_await queue.async_drain(asio::use_awaitable);
            queue.close();
        });
        CHECK(queue.statistics().pushed == 1);
        CHECK(queue.statistics().dead == 0);
        CHECK(queue.statistics().producers == 0);
    }
}

TEST_SUITE("work_queue hostile")
{
    TEST_CASE("a queue that sends what was not asked for, or without end, is one that lies")
    {
        asio::io_context ctx;
        false_queue queue(ctx, {.capacity_messages = 64});
        work_source<number> source(ctx.get_executor(),
                                   unopened<work_source<number>>(std::move(queue.consumer), {}));
        source.prefetch(3);
        leased<number> item;
        error_code ec;
        CHECK_FALSE(source.try_take(item, ec));
        CHECK(ec == asio::error::would_block);
        const work_item<number> overrun{.item = 1, .lease = 1, .deadline_ns = 1};
        for (int i = 0; i < 3; ++i)
            CHECK(queue.to.try_send(overrun));
        CHECK_FALSE(source.try_take(item, ec));
        CHECK(ec == asio::error::would_block);  // they were given back, and others are asked for
        int rejected = 0;
        work_answer answer;
        while (queue.from.try_receive(answer, ec))
            rejected += answer.what == work_reply::reject ? 1 : 0;
        CHECK(rejected == 3);
        for (int i = 0; i < 50; ++i)
            CHECK(queue.to.try_send(overrun));
        CHECK_FALSE(source.try_take(item, ec));
        CHECK(ec == channel_errc::peer_broke_rules);
        CHECK(source.failure() == channel_errc::peer_broke_rules);
        CHECK_FALSE(source.explanation().empty());
    }

    TEST_CASE("a queue that takes no answers is one that lies: nobody waits until it does")
    {
        std::deque<procyard_test::outcome<error_code>> heard;
        const procyard_test::descriptor_check no_leak;
        asio::io_context ctx;
        const auto run_what_can = [&] {
            ctx.restart();
            ctx.poll();
        };
        false_queue queue(ctx, {.capacity_messages = 64});
        work_source<number> source(ctx.get_executor(),
                                   unopened<work_source<number>>(std::move(queue.consumer), {}));
        source.prefetch(4);
        std::uint64_t lease = 0;
        error_code ec;
        do {
            REQUIRE(heard.size() < 8);  // what there is room for
            leased<number> item;
            while (!source.try_take(item, ec)) {
                REQUIRE(ec == asio::error::would_block);
                const work_item<number> next{.lease = ++lease, .deadline_ns = INT64_MAX};
                CHECK(queue.to.try_send(next));
            }
            procyard_test::outcome<error_code, leased<number>> another;
            source.async_take(another.handler());
            run_what_can();
            REQUIRE_FALSE(another.done());
            std::move(item).async_acknowledge(heard.emplace_back().handler());
            run_what_can();
            const bool is_over = heard.back().done();
            CHECK(another.done() == is_over);
            source.cancel();
            run_what_can();
            CHECK(another.error()
                  == (is_over ? error_code(channel_errc::peer_broke_rules)
                              : error_code(asio::error::operation_aborted)));
        } while (!heard.back().done());
        for (auto& each : heard)
            CHECK(each.error() == channel_errc::peer_broke_rules);
        CHECK(source.failure() == channel_errc::peer_broke_rules);
        CHECK(source.explanation() == "the queue takes no answers");
        leased<number> item;
        CHECK_FALSE(source.try_take(item, ec));
        CHECK(ec == channel_errc::peer_broke_rules);
    }

    TEST_CASE("a queue whose ring is larger than a consumer allows is refused")
    {
        const procyard_test::descriptor_check no_leak;
        asio::io_context ctx;
        constexpr procyard::channel_options large{.capacity_messages = 1U << 16U};
        const auto error_with = [&](const procyard::channel_options& own) {
            false_queue queue(ctx, large);
            error_code ec;
            const work_source<number> source(
                ctx.get_executor(), unopened<work_source<number>>(std::move(queue.consumer), own),
                ec);
            CHECK(source.is_open() == !ec);
            return ec;
        };
        CHECK(error_with({.max_peer_bytes = 1U << 16U}) == channel_errc::over_limit);
        CHECK_FALSE(error_with({}));
        auto own = large;
        own.max_peer_bytes = 0;
        CHECK_FALSE(error_with(own));
    }

    TEST_CASE("who answers for what it does not have, or asks for too much, is cut off (case 41)")
    {
        for (const int lie : {0, 1, 2, 3, 4}) {
            CAPTURE(lie);
            asio::io_context ctx;
            work_queue<number> queue(ctx.get_executor(), {.leases_per_consumer = 4});
            liar bad(ctx, queue);
            bad.open(ctx);
            work_source<number> good(ctx.get_executor(), queue.consumer());
            error_code ec;
            CHECK(queue.try_push(1, ec));
            bad.say(work_reply::want);
            procyard_test::outcome<error_code, work_item<number>> item;
            bad.from.async_receive(item.handler());
            run_until(ctx, [&] { return item.done(); });
            CHECK(queue.statistics().consumers == 2);
            const auto lease = item.result().lease;
            switch (lie) {
            case 0: bad.say(work_reply::acknowledge, lease + 1); break;
            case 1: bad.say(work_reply::reject, ~std::uint64_t{0}); break;
            case 2:
                for (int i = 0; i < 4; ++i)
                    bad.say(work_reply::want);
                break;
            case 3: bad.say(work_reply{77}, lease); break;
            default:
                bad.say(work_reply::acknowledge, lease);
                bad.say(work_reply::acknowledge, lease);
            }
            run_until(ctx, [&] { return queue.statistics().consumers == 1; });
            // What it had is somebody else's, unless it had answered for it.
            CHECK(queue.statistics().done == (lie == 4 ? 1 : 0));
            CHECK(queue.statistics().ready == (lie == 4 ? 0 : 1));
            CHECK(queue.try_push(2, ec));
            procyard_test::outcome<error_code, leased<number>> taken;
            good.async_take(taken.handler());
            run_until(ctx, [&] { return taken.done(); });
            CHECK(taken.result().value() == (lie == 4 ? 2 : 1));
            bad.from.async_receive(item.handler());
            run_until(ctx, [&] { return item.count == 2; });
            CHECK(item.error() == channel_errc::closed);
        }
    }

    TEST_CASE("one that takes no more: what it has, it can still answer for")
    {
        asio::io_context ctx;
        work_queue<number> queue(ctx.get_executor());
        liar half(ctx, queue);
        half.open(ctx);
        error_code ec;
        CHECK(queue.try_push(1, ec));
        half.say(work_reply::want);
        procyard_test::outcome<error_code, work_item<number>> item;
        half.from.async_receive(item.handler());
        run_until(ctx, [&] { return item.done(); });
        half.say(work_reply::want);
        ctx.restart();
        ctx.poll();
        half.from.close();
        CHECK(queue.try_push(2, ec));  // cannot be sent to it
        ctx.restart();
        ctx.poll();
        CHECK(queue.statistics().ready == 1);
        half.say(work_reply::acknowledge, item.result().lease);
        run_until(ctx, [&] { return queue.statistics().done == 1; });
        CHECK(queue.statistics().consumers == 1);
        half.to.close();
        run_until(ctx, [&] { return queue.statistics().consumers == 0; });
        CHECK(queue.statistics().returned == 0);
    }

    TEST_CASE("garbage in the place of answers, and positions that jump: cut off")
    {
        fixed_random random(5);
        for (int round = 0; round < 50; ++round) {
            asio::io_context ctx;
            work_queue<number> queue(ctx.get_executor(), {.leases_per_consumer = 4});
            liar bad(ctx, queue);
            procyard_test::raw_peer<work_answer> peer(procyard::detail::ring_role::producer,
                                                      std::move(bad.answer_socket), bad.options);
            peer.greet();
            for (auto& byte : peer.units())
                byte = static_cast<std::byte>(random.next());
            ctx.poll();
            peer.meet();
            peer.jump_to(round % 2 == 0 ? 1 + random.below(8) : random.next());
            run_until(ctx, [&] { return queue.statistics().consumers == 0; });
        }
    }

    TEST_CASE("a process that writes random answers all the time harms no other consumer")
    {
        constexpr number items = 60;
        for (int round = 0; round < 12; ++round) {
            CAPTURE(round);
            asio::io_context ctx;
            work_queue<number> queue(ctx.get_executor(),
                                     {.lease = 5ms, .max_attempts = 0, .leases_per_consumer = 4});
            liar bad(ctx, queue);
            procyard_test::raw_peer<work_answer> peer(procyard::detail::ring_role::producer,
                                                      std::move(bad.answer_socket), bad.options);
            peer.greet();
            ctx.poll();
            peer.meet();
            const forked other([&] { return scribble(peer, round); });
            std::deque<forked> consumers;
            start_consumer(consumers, queue);
            procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                for (number n = 0; n < items; ++n) {
                    auto item = n;
                    co_await queue.async_push(item, asio::use_awaitable);
                }
                co_await queue.async_drain(asio::use_awaitable);
                queue.close();
            });
            const auto statistics = queue.statistics();
            CHECK(statistics.pushed == items);
            CHECK(statistics.done == items);
            CHECK(consumers.front().result() == 0);
        }
    }

    TEST_CASE("a consumer that is late on purpose is given no more than its share")
    {
        asio::io_context ctx;
        work_queue<number> queue(ctx.get_executor(),
                                 {.lease = 1ms, .max_attempts = 0, .leases_per_consumer = 4});
        liar bad(ctx, queue);
        bad.open(ctx);
        error_code ec;
        for (number n = 0; n < 20; ++n)
            CHECK(queue.try_push(n, ec));
        for (int i = 0; i < 4; ++i)
            bad.say(work_reply::want);
        run_until(ctx, [&] { return queue.statistics().returned == 4; });
        bad.say(work_reply::want);  // it has not answered for any of the four
        run_until(ctx, [&] { return queue.statistics().consumers == 0; });
        CHECK(queue.statistics().ready == 20);
    }
}
