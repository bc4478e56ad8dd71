// SPDX-License-Identifier: BSL-1.0
// A channel whose sender drops the oldest messages, in one thread: every way in and out of it.
#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/fan_in.hpp>
#include <procyard/ipc/work_queue.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "message_samples.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::make_channel;
using procyard::message_batch;
using procyard::receiver;
using procyard::sender;
using procyard::when_full;
using procyard_test::outcome;
using procyard_test::run;

namespace {

constexpr channel_options four{.capacity_messages = 4, .full = when_full::drop_oldest};
constexpr channel_options some_bytes{.capacity_bytes = 256, .full = when_full::drop_oldest};

template <class T>
error_code receive_error(receiver<T>& r)
{
    T message{};
    error_code ec;
    return r.try_receive(message, ec) ? error_code() : ec;
}

template <class T>
T sample(procyard_test::fixed_random& random)
{
    if constexpr (procyard::fixed_bytes<T> != 0)
        return random.below(100);
    else
        return std::string(random.below(60), 'x');
}

// Some messages are received: one by one, several at once, or in a batch of which a part is taken.
template <class T>
std::uint64_t receive_a_few(receiver<T>& from, procyard_test::fixed_random& random)
{
    std::uint64_t received = 0;
    error_code ec;
    switch (random.below(3)) {
    case 0:
        for (T message{}; received < 3 && from.try_receive(message, ec);)
            ++received;
        break;
    case 1: {
        std::array<T, 3> some{};
        received = from.try_receive_some(some, ec);
        break;
    }
    default: {
        auto batch = from.try_receive_batch(ec);
        const auto most = random.below(4);
        if (ec || most == 0)
            break;
        for ([[maybe_unused]] const auto& message : batch) {
            if (++received == most)
                break;
        }
    }
    }
    return received;
}

// One end goes on without the other, again and again: what all receivers have got and lost is what
// all senders have sent.
template <class T>
void go_on_and_on(const channel_options& options)
{
    asio::io_context ctx;
    procyard_test::fixed_random random(21);
    channel<T> c(ctx.get_executor(), options);
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint64_t lost_before = 0;     // by receivers that others have followed
    std::uint64_t dropped_before = 0;  // by senders that others have followed
    for (int round = 0; round < 3000; ++round) {
        CAPTURE(round);
        for (auto n = random.below(12); n > 0; --n, ++sent)
            REQUIRE(c.sender.try_send(sample<T>(random)));
        for (auto n = random.below(3); n > 0; --n)
            received += receive_a_few(c.receiver, random);
        const auto how = random.below(4);
        if (how == 0) {
            lost_before += c.receiver.lost();
            c.receiver.close();
            auto end = c.sender.resume();
            c.receiver = receiver<T>(ctx.get_executor(), std::move(end));
        } else if (how == 1) {
            c.sender.close();
            error_code ec;
            for (T message{}; !ec || ec == channel_errc::lapped;)
                received += c.receiver.try_receive(message, ec) ? 1 : 0;
            REQUIRE(ec == channel_errc::closed);
            REQUIRE(received + lost_before + c.receiver.lost() == sent);
            REQUIRE(dropped_before + c.sender.statistics().dropped
                    == lost_before + c.receiver.lost());
            dropped_before += c.sender.statistics().dropped;
            c.sender = sender<T>(ctx.get_executor(), c.receiver.resume());
        }
        REQUIRE(received + lost_before + c.receiver.lost() <= sent);
        REQUIRE(dropped_before + c.sender.statistics().dropped >= lost_before + c.receiver.lost());
        if (c.receiver.is_connected() && c.receiver.statistics().depth == 0)
            REQUIRE(received + lost_before + c.receiver.lost() == sent);
    }
    CHECK(received > 1000);
    CHECK(lost_before + c.receiver.lost() > 1000);
}

}  // namespace

TEST_SUITE("channel: drop_oldest")
{
    TEST_CASE("sends succeed, and the receiver learns of the gap, how large it is, and the rest")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), four);
        CHECK(c.receiver.try_receive() == std::nullopt);
        for (int n = 0; n < 4; ++n)
            CHECK(c.sender.try_send(n));
        CHECK(c.receiver.try_receive() == 0);
        for (int n = 4; n < 11; ++n)
            CHECK(c.sender.try_send(n));
        CHECK(c.receiver.statistics().depth == 4);
        CHECK(c.sender.statistics().depth == 4);
        CHECK(receive_error(c.receiver) == channel_errc::lapped);
        CHECK(c.receiver.lost() == 6);
        for (int n = 7; n < 11; ++n)
            CHECK(c.receiver.try_receive() == n);
        CHECK(receive_error(c.receiver) == asio::error::would_block);
        CHECK(c.receiver.lost() == 6);
        CHECK(c.receiver.statistics().dropped == 6);
        CHECK(c.sender.statistics().dropped == 6);
        CHECK(c.receiver.statistics().messages == 5);
        CHECK(c.sender.statistics().messages == 11);
        CHECK(c.sender.statistics().depth == 0);
        CHECK(c.sender.statistics().high_water == 4);
    }

    TEST_CASE("every way to send takes what it is given, however much")
    {
        asio::io_context ctx;
        channel<std::uint64_t> c(ctx.get_executor(), four);
        error_code ec;
        const std::vector<std::uint64_t> first{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
        CHECK(c.sender.try_send_some(first, ec) == first.size());
        CHECK_FALSE(ec);
        outcome<error_code> one;
        c.sender.async_send(11, one.handler());
        outcome<error_code, std::size_t> all;
        c.sender.async_send_all(std::vector<std::uint64_t>{12, 13, 14, 15, 16, 17, 18},
                                all.handler());
        outcome<error_code> writable;
        c.sender.async_wait_writable(writable.handler());
        run(ctx);
        CHECK_FALSE(one.error());
        CHECK_FALSE(all.error());
        CHECK(all.result() == 7);
        CHECK_FALSE(writable.error());
        for (int i = 0; i < 3; ++i) {
            auto loan = c.sender.try_loan(2, ec);
            REQUIRE_MESSAGE(loan, ec.message());
            std::uint64_t number = 19 + 2 * static_cast<std::uint64_t>(i);
            for (auto& each : loan.messages())
                each = number++;
            REQUIRE(loan.messages().size() <= 2);
            CHECK_FALSE(c.sender.try_send(0, ec));
            CHECK(ec == channel_errc::lent);
            CHECK(loan.commit());
        }
        CHECK(receive_error(c.receiver) == channel_errc::lapped);
        std::uint64_t next = 0;
        std::uint64_t received = 0;
        while (const auto got = c.receiver.try_receive()) {
            CHECK(*got >= next);
            next = *got + 1;
            ++received;
        }
        CHECK(received == 4);
        CHECK(c.receiver.lost() + received == c.sender.statistics().messages);
        CHECK(c.sender.statistics().stalls == 0);
    }

    TEST_CASE("byte loans, and messages up to the length of the ring; longer ones are too long")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), some_bytes);
        error_code ec;
        for (const auto length : std::to_array<std::size_t>({10, 100, 200, 240, 1, 150, 244})) {
            CAPTURE(length);
            auto loan = c.sender.try_loan_bytes(length, ec);
            REQUIRE_MESSAGE(loan, ec.message());
            std::memset(loan.bytes().data(), 'x', length);
            CHECK(loan.commit(length));
        }
        CHECK(receive_error(c.receiver) == channel_errc::lapped);
        CHECK(c.receiver.lost() == 6);
        CHECK(c.receiver.try_receive() == std::string(244, 'x'));
        CHECK_FALSE(c.sender.try_send(std::string(245, 'x'), ec));
        CHECK(ec == channel_errc::too_long);
        outcome<error_code> sent;
        c.sender.async_send(std::string(300, 'x'), sent.handler());
        run(ctx);
        CHECK(sent.error() == channel_errc::too_long);
        CHECK(c.receiver.lost() == 6);
    }

    TEST_CASE("a batch is what was there when it was made, whatever is sent meanwhile")
    {
        asio::io_context ctx;
        channel<std::string_view> c(ctx.get_executor(), some_bytes);
        for (const char* text : {"one", "two", "three"})
            CHECK(c.sender.try_send(text));
        error_code ec;
        auto batch = c.receiver.try_receive_batch(ec);
        REQUIRE_FALSE(ec);
        for (int i = 0; i < 1000; ++i)
            CHECK(c.sender.try_send("another one, and as many of them as it takes"));
        std::string got;
        for (const auto text : batch)
            got += text;
        CHECK(got == "onetwothree");
        batch.release();
        CHECK(c.receiver.lost() == 0);
        (void)c.receiver.try_receive_batch(ec);
        CHECK(ec == channel_errc::lapped);
        batch = c.receiver.try_receive_batch(ec);
        REQUIRE_FALSE(ec);
        std::uint64_t count = 0;
        for (const auto text : batch)
            count += text.starts_with("another") ? 1 : 0;
        CHECK(count == 4);
        CHECK(c.receiver.lost() == 996);
    }

    TEST_CASE("in place, and some at once")
    {
        asio::io_context ctx;
        channel<std::uint64_t> c(ctx.get_executor(), four);
        for (std::uint64_t n = 0; n < 6; ++n)
            CHECK(c.sender.try_send(n));
        outcome<error_code, message_batch<std::uint64_t>> none;
        c.receiver.async_receive_some(none.handler());
        run(ctx);
        CHECK(none.error() == channel_errc::lapped);
        outcome<error_code, message_batch<std::uint64_t>> got;
        c.receiver.async_receive_some(got.handler());
        run(ctx);
        REQUIRE_FALSE(got.error());
        CHECK(got.result().size() == 4);
        std::uint64_t next = 2;
        for (auto piece = got.result().in_place(); !piece.empty(); piece = got.result().in_place())
            for (const auto number : piece)
                CHECK(number == next++);
        CHECK(next == 6);
        got.result().release();

        CHECK(c.sender.try_send(6));
        CHECK(c.sender.try_send(7));
        CHECK(c.sender.try_send(8));
        error_code ec;
        std::array<std::uint64_t, 2> two{};
        CHECK(c.receiver.try_receive_some(two, ec) == 2);
        CHECK(two == std::array<std::uint64_t, 2>{6, 7});
        for (std::uint64_t n = 9; n < 20; ++n)
            CHECK(c.sender.try_send(n));
        CHECK(c.receiver.try_receive_some(two, ec) == 0);
        CHECK(ec == channel_errc::lapped);
        CHECK(c.receiver.try_receive_some(two, ec) == 2);
        CHECK_FALSE(ec);
        CHECK(c.receiver.lost() == 2 + 8);
    }

    TEST_CASE("who waits is woken, and a loss is told to who receives, not to who waits for it")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), four);
        outcome<error_code, int> got;
        c.receiver.async_receive(got.handler());
        ctx.poll();
        CHECK(c.sender.try_send(0));
        run(ctx);
        CHECK_FALSE(got.error());
        CHECK(got.result() == 0);
        CHECK(c.receiver.statistics().sleeps == 1);
        CHECK(c.receiver.statistics().woken == 1);

        for (int n = 1; n < 10; ++n)
            CHECK(c.sender.try_send(n));
        for (int i = 0; i < 2; ++i) {
            outcome<error_code> readable;
            c.receiver.async_wait_readable(readable.handler());
            run(ctx);
            CHECK_FALSE(readable.error());
        }
        outcome<error_code, int> lapped;
        c.receiver.async_receive(lapped.handler());
        run(ctx);
        CHECK(lapped.error() == channel_errc::lapped);
        CHECK(c.receiver.lost() == 5);
        CHECK(c.receiver.try_receive() == 6);
    }

    TEST_CASE("a receive that is cancelled has taken nothing, and lost nothing")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), four);
        asio::cancellation_signal signal;
        outcome<error_code, int> got;
        c.receiver.async_receive(asio::bind_cancellation_slot(signal.slot(), got.handler()));
        ctx.poll();
        CHECK(c.sender.try_send(1));
        signal.emit(asio::cancellation_type::total);
        run(ctx);
        if (got.error())
            CHECK(c.receiver.try_receive() == 1);
        else
            CHECK(got.result() == 1);
        CHECK(c.receiver.lost() == 0);
    }

    TEST_CASE("records: what is received and what was lost is what was sent, at each step")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), some_bytes);
        std::uint64_t sent = 0;
        std::uint64_t received = 0;
        procyard_test::fixed_random random(11);
        const auto take = [&] {
            std::string message;
            error_code ec;
            bool took = c.receiver.try_receive(message, ec);
            if (ec == channel_errc::lapped)
                took = c.receiver.try_receive(message, ec);
            received += took ? 1 : 0;
            return took;
        };
        for (int round = 0; round < 2000; ++round) {
            CAPTURE(round);
            for (auto n = random.below(9); n > 0; --n, ++sent)
                REQUIRE(c.sender.try_send(std::string(random.below(100), 'x')));
            const auto found = received + c.receiver.lost();
            REQUIRE(found <= sent);
            for (auto n = random.below(6); n > 0 && take(); --n) { }
            if (c.receiver.statistics().depth == 0)
                REQUIRE(received + c.receiver.lost() == sent);
            REQUIRE(c.sender.statistics().messages == sent);
        }
        c.sender.close();
        while (take()) { }
        CHECK(c.receiver.failure() == channel_errc::closed);
        CHECK(received + c.receiver.lost() == sent);
        CHECK(received > 1000);
        CHECK(c.receiver.lost() > 1000);
    }

    TEST_CASE("before the receiver has come, the oldest go, and it is told how many when it has")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>(four);
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        for (int n = 0; n < 100; ++n)
            CHECK(s.try_send(n));
        CHECK(s.statistics().dropped == 96);
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        CHECK(receive_error(r) == channel_errc::lapped);
        CHECK(r.lost() == 96);
        for (int n = 96; n < 100; ++n)
            CHECK(r.try_receive() == n);
        s.close();
        CHECK(receive_error(r) == channel_errc::closed);
    }

    TEST_CASE("the receiver closes: the sender hears of it; the sender closes: what is there comes")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), four);
        outcome<error_code, error_code> end;
        c.sender.async_wait_closed(end.handler());
        CHECK(c.sender.try_send(1));
        c.receiver.close();
        run(ctx);
        CHECK(end.result() == channel_errc::closed);
        error_code ec;
        CHECK_FALSE(c.sender.try_send(2, ec));
        CHECK(ec == channel_errc::closed);

        channel<int> other(ctx.get_executor(), four);
        outcome<error_code, int> got;
        other.receiver.async_receive(got.handler());
        ctx.poll();
        other.sender.close();
        run(ctx);
        CHECK(got.error() == channel_errc::closed);
    }

    TEST_CASE("resume: the next receiver gets what the ring still holds")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), four);
        for (int n = 0; n < 6; ++n)
            CHECK(c.sender.try_send(n));
        CHECK(receive_error(c.receiver) == channel_errc::lapped);
        CHECK(c.receiver.try_receive() == 2);
        c.receiver.close();
        receiver<int> next(ctx.get_executor(), c.sender.resume());
        for (int n = 3; n < 6; ++n)
            CHECK(next.try_receive() == n);
        for (int n = 6; n < 12; ++n)
            CHECK(c.sender.try_send(n));
        CHECK(receive_error(next) == channel_errc::lapped);
        CHECK(next.lost() == 2);
        CHECK(next.try_receive() == 8);
        CHECK(c.sender.statistics().dropped == 2 + 2);

        channel<std::string> texts(ctx.get_executor(), some_bytes);
        for (int n = 0; n < 50; ++n)
            CHECK(texts.sender.try_send(std::to_string(n) + " and more"));
        texts.receiver.close();
        receiver<std::string> reader(ctx.get_executor(), texts.sender.resume());
        CHECK(texts.sender.statistics().dropped == 40);
        CHECK(reader.statistics().used == 10 * 24);
        CHECK(receive_error(reader) == channel_errc::lapped);  // the first had received none
        CHECK(reader.lost() == 40);
        std::string last;
        int count = 0;
        for (; const auto got = reader.try_receive(); ++count)
            last = *got;
        CHECK(last == "49 and more");
        CHECK(count == 10);
        CHECK(reader.lost() == 40);
        CHECK(texts.sender.statistics().dropped == 40);

        texts.sender.close();
        CHECK(receive_error(reader) == channel_errc::closed);
        sender<std::string> writer(ctx.get_executor(), reader.resume());
        for (int n = 0; n < 50; ++n)
            CHECK(writer.try_send("x"));
        CHECK(receive_error(reader) == channel_errc::lapped);
        CHECK(reader.lost() == 40 + 50 - 16);
        CHECK(reader.try_receive() == "x");
    }

    TEST_CASE(
        "resume, at either end, again and again: nothing that was sent is in no count (cells)")
    {
        go_on_and_on<std::uint64_t>(four);
    }

    TEST_CASE(
        "resume, at either end, again and again: nothing that was sent is in no count (records)")
    {
        go_on_and_on<std::string>(some_bytes);
    }

    TEST_CASE("resume: a receiver that has not come has lost what it would have been told of")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>(four);
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        for (int n = 0; n < 10; ++n)
            CHECK(s.try_send(n));
        for (int times = 0; times < 3; ++times) {
            ends.receiver = {};
            ends.receiver = s.resume();
            CHECK(s.statistics().dropped == 6);
            CHECK(s.statistics().depth == 4);
        }
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        CHECK(r.statistics().depth == 4);
        CHECK(receive_error(r) == channel_errc::lapped);
        CHECK(r.lost() == 6);
        for (int n = 6; n < 10; ++n)
            CHECK(r.try_receive() == n);
        CHECK(s.statistics().dropped == 6);
    }

    TEST_CASE("a batch of which a part is taken, and the rest one by one: all is counted")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), some_bytes);
        for (int n = 0; n < 10; ++n)
            CHECK(c.sender.try_send("number " + std::to_string(n)));
        error_code ec;
        {
            auto batch = c.receiver.try_receive_batch(ec);
            REQUIRE_FALSE(ec);
            int taken = 0;
            for (const auto& text : batch) {
                CHECK(text == "number " + std::to_string(taken));
                if (++taken == 3)
                    break;
            }
        }
        for (int n = 10; n < 40; ++n)  // over all that was copied
            CHECK(c.sender.try_send("number " + std::to_string(n)));
        for (int n = 3; n < 5; ++n)
            CHECK(c.receiver.try_receive() == "number " + std::to_string(n));
        CHECK(c.receiver.lost() == 0);
        c.receiver.close();
        receiver<std::string> next(ctx.get_executor(), c.sender.resume());
        CHECK(receive_error(next) == channel_errc::lapped);
        CHECK(next.lost() == 40 - 10 - 5);
        for (int n = 30; n < 40; ++n)
            CHECK(next.try_receive() == "number " + std::to_string(n));
    }

    TEST_CASE("a fan-in goes on over a gap, and its statistics tell of it")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), four);
        procyard::fan_in<int> all(ctx.get_executor());
        const auto id = all.add(std::move(c.receiver));
        outcome<error_code, procyard::arrival<int>> got;
        all.async_receive(got.handler());
        ctx.poll();
        for (int n = 0; n < 10; ++n)
            CHECK(c.sender.try_send(n));
        run(ctx);
        REQUIRE_FALSE(got.error());
        CHECK(got.result().message == 6);
        CHECK(all.statistics(id).dropped == 6);
        procyard::arrival<int> next;
        error_code ec;
        for (int n = 7; n < 10; ++n) {
            REQUIRE(all.try_receive(next, ec));
            CHECK(next.message == n);
            CHECK_FALSE(next.ended);
        }
        c.sender.close();
        REQUIRE(all.try_receive(next, ec));
        CHECK(next.ended == channel_errc::closed);
    }

    TEST_CASE("a queue of work refuses it")
    {
        asio::io_context ctx;
        procyard::work_queue<int> queue(ctx.get_executor(), {.channels = four});
        error_code ec;
        (void)queue.producer(ec);
        CHECK(ec == channel_errc::bad_option);
    }

    TEST_CASE("who receives decides: a sender that drops the oldest by its own options is refused")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>({.capacity_messages = 4});
        ends.sender.options().full = when_full::drop_oldest;
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        for (int n = 0; n < 10; ++n)
            CHECK(s.try_send(n));
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        CHECK(receive_error(r) == channel_errc::bad_option);
        CHECK(r.failure() == channel_errc::bad_option);

        procyard::work_queue<int> queue(ctx.get_executor(), {});
        auto end = queue.producer();
        end.options().full = when_full::drop_oldest;
        sender<int> producer(ctx.get_executor(), std::move(end));
        (void)producer.try_send(1);
        outcome<error_code, error_code> told;
        producer.async_wait_closed(told.handler());
        run(ctx);
        CHECK(told.result());
        CHECK(queue.statistics().pushed == 0);
    }

    TEST_CASE("high_water: what was there unread, also before anything is overwritten, or read")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), four);
        for (int n = 0; n < 3; ++n)
            CHECK(c.sender.try_send(n));
        for (int n = 0; n < 3; ++n)
            CHECK(c.receiver.try_receive() == n);
        CHECK(c.sender.statistics().high_water == 3);
        for (int n = 3; n < 20; ++n) {
            CHECK(c.sender.try_send(n));
            CHECK(c.receiver.try_receive() == n);
        }
        CHECK(c.sender.statistics().high_water == 3);
        for (int n = 0; n < 9; ++n)
            CHECK(c.sender.try_send(n));
        CHECK(c.sender.statistics().high_water == 4);
    }
}
