// SPDX-License-Identifier: BSL-1.0
// kill -9 between two machine instructions of what a peer does: what it had committed by then
// arrives, whole; then it is peer_died. (stepped_walk.hpp says which instructions.)
#include <procyard/ipc/channel.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "numbered_messages.hpp"
#include "single_step.hpp"
#include "skip.hpp"
#include "stepped_walk.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unopened;
using procyard_test::add_other_points;
using procyard_test::drain;
using procyard_test::go_on;
using procyard_test::is_numbered;
using procyard_test::never;
using procyard_test::numbered;
using procyard_test::outcome;
using procyard_test::receive_numbered;
using procyard_test::run;
using procyard_test::sides;
using procyard_test::single_stepped;
using procyard_test::step_marks;
using procyard_test::stop_here;
using procyard_test::walk;
using procyard_test::walk_through;
using procyard_test::whole;

namespace {

constexpr auto without_end = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t first = 4;  // the number of the first message of an operation
constexpr std::uint64_t full = 8;   // messages in a full ring
constexpr channel_options few_bytes{.capacity_bytes = 4096};
constexpr channel_options very_few_bytes{.capacity_bytes = 128};

bool is_an_end(const error_code& ec, bool may_close)
{
    return ec == channel_errc::peer_died || (may_close && ec == channel_errc::closed);
}

// --- those who survive --------------------------------------------------------------------------

template <class T>
class surviving_receiver {
public:
    surviving_receiver(unopened<receiver<T>> end, std::uint64_t received_before, bool asleep)
        : end_(ctx_.get_executor(), std::move(end)),
          received_before_(received_before),
          asleep_(asleep)
    {
    }

    void prepare()
    {
        while (next_ < received_before_)
            act();
        if (asleep_)
            receive_all();
    }
    void act()
    {
        const auto message = end_.try_receive();
        REQUIRE(message);
        REQUIRE(is_numbered(*message, next_));
        ++next_;
    }
    // The peer is dead. How many messages have arrived.
    std::uint64_t settle(bool may_close)
    {
        const auto committed = end_.statistics().depth;
        const auto before = next_;
        if (!asleep_)
            receive_all();
        run(ctx_);
        REQUIRE_MESSAGE(is_an_end(ec_, may_close), ec_.message());
        if (procyard::fixed_bytes<T> != 0)
            REQUIRE(next_ == before + committed);
        REQUIRE(end_.statistics().depth == 0);
        return next_;
    }

private:
    void receive_all()
    {
        asio::co_spawn(
            ctx_, [this] { return receive_numbered(end_, without_end, next_, ec_); },
            [](std::exception_ptr failure) { REQUIRE_FALSE(failure); });
        ctx_.poll();
    }

    asio::io_context ctx_;
    receiver<T> end_;
    std::uint64_t received_before_;
    bool asleep_;
    std::uint64_t next_ = 0;
    error_code ec_;
};

// Its ring is full when the peer begins. It always sleeps: who finds room hears of no death.
template <class T>
class surviving_sender {
public:
    surviving_sender(unopened<sender<T>> end, bool asleep)
        : end_(ctx_.get_executor(), std::move(end)),
          asleep_(asleep)
    {
    }

    void prepare()
    {
        while (end_.try_send(numbered<T>(next_)))
            ++next_;
        if (asleep_)
            send_all();
    }
    void act() { REQUIRE(end_.try_send(numbered<T>(next_++))); }
    // How many messages have gone.
    std::uint64_t settle(bool may_close)
    {
        const auto capacity = end_.statistics().capacity;
        const auto room = capacity - end_.statistics().depth;
        const auto before = next_;
        if (!asleep_)
            send_all();
        run(ctx_);
        REQUIRE_MESSAGE(is_an_end(ec_, may_close), ec_.message());
        if (procyard::fixed_bytes<T> != 0)
            REQUIRE(next_ <= before + room);
        return next_;
    }

private:
    void send_all()
    {
        asio::co_spawn(
            ctx_,
            [this]() -> asio::awaitable<void> {
                while (!ec_) {
                    co_await end_.async_send(numbered<T>(next_),
                                             asio::redirect_error(asio::use_awaitable, ec_));
                    next_ += ec_ ? 0U : 1U;
                }
            },
            [](std::exception_ptr failure) { REQUIRE_FALSE(failure); });
        ctx_.poll();
    }

    asio::io_context ctx_;
    sender<T> end_;
    bool asleep_;
    std::uint64_t next_ = 0;
    error_code ec_;
};

// --- those who are killed -----------------------------------------------------------------------

// An operation that the peer does with its end, and what was before.
template <class End>
struct operation {
    void (*body)(End&, asio::io_context&, step_marks&);
    channel_options options{.capacity_messages = full};
    std::uint64_t sent_before = 0;
    std::uint64_t received_before = 0;
    bool survivor_sleeps = false;
    bool closes = false;
};

template <class T>
surviving_receiver<T> survivor_of(const operation<sender<T>>& what,
                                  procyard::unopened_channel<T>& ends)
{
    return {std::move(ends.receiver), what.received_before, what.survivor_sleeps};
}
template <class T>
surviving_sender<T> survivor_of(const operation<receiver<T>>& what,
                                procyard::unopened_channel<T>& ends)
{
    return {std::move(ends.sender), what.survivor_sleeps};
}

template <class T>
void begin(sender<T>& end, const operation<sender<T>>& what)
{
    for (std::uint64_t n = 0; n < what.sent_before; ++n)
        (void)end.try_send(numbered<T>(n));
}
template <class T>
void begin(receiver<T>& end, const operation<receiver<T>>&)
{
    error_code ec;
    T message{};
    (void)end.try_receive(message, ec);  // meets the peer
}

// The peer begins the operation, and does it to the end, or is killed after `limit` steps of what
// is known of it. How many messages the survivor counts; none, where nobody may be traced.
template <class End>
std::optional<std::uint64_t> kill_after(std::size_t limit, const operation<End>& what, walk& known)
{
    const procyard_test::descriptor_check no_leak;
    auto ends = make_channel<typename End::message_type>(what.options);
    single_stepped copy([&](step_marks& marks) {
        sides<End>::other(ends) = {};
        asio::io_context ctx;
        End end(ctx.get_executor(), std::move(sides<End>::own(ends)));
        stop_here();
        begin(end, what);
        stop_here();
        what.body(end, ctx, marks);
        marks.finished.store(1);
        stop_here();
        return 0;
    });
    if (!copy.reach_stop())
        return std::nullopt;
    auto survivor = survivor_of(what, ends);
    ends = {};  // the peer's own, of which this was a copy
    copy.go_on_to_stop();
    survivor.prepare();
    if (limit == never) {
        known = walk_through(copy, [&] { survivor.act(); });
    } else if (limit > known.acted_at) {
        go_on(copy, known, 0, known.acted_at);
        survivor.act();
        go_on(copy, known, known.acted_at, limit);
    } else {
        go_on(copy, known, 0, limit);
    }
    copy.kill_hard();
    return survivor.settle(what.closes);
}

// Kills everywhere. `done`: how many messages more it makes when the operation is over.
template <class End>
void kill_everywhere(const operation<End>& what, std::uint64_t done)
{
    walk known;
    // Also for what this process does but once, and its copies would do each time.
    const auto none = kill_after(0, what, known);
    if (!none)
        return procyard_test::skip("nobody may be traced here");
    const auto all = kill_after(never, what, known);
    REQUIRE(all);
    CHECK(*all - *none == done);
    add_other_points(known);
    const auto length = known.instructions.size();
    for (const auto n : known.points) {
        CAPTURE(length);
        CAPTURE(n);
        const auto got = kill_after(n, what, known);
        REQUIRE(got);
        REQUIRE(*got >= *none);
        REQUIRE(*got <= *all);
    }
    CHECK(known.missed <= known.points.size() / 4);
}

// Until a handler has been called. Never sleeps in the kernel, so that each step is one; and not
// for ever, if a step is missed.
template <class Outcome>
void poll_until_done(asio::io_context& ctx, step_marks& marks, Outcome& result)
{
    marks.started.store(1);
    for (int polls = 0; !result.done() && polls < 10'000; ++polls)
        ctx.poll();
}

template <class T>
void send_one(sender<T>& end, asio::io_context&, step_marks&)
{
    error_code ec;
    (void)end.try_send(numbered<T>(first), ec);
}

template <class T>
void send_three(sender<T>& end, asio::io_context&, step_marks&)
{
    const std::vector<T> three{numbered<T>(first), numbered<T>(first + 1), numbered<T>(first + 2)};
    error_code ec;
    (void)end.try_send_some(three, ec);
}

void commit_two(sender<whole>& end, asio::io_context&, step_marks&)
{
    error_code ec;
    auto room = end.try_loan(2, ec);
    for (std::size_t i = 0; i < room.size(); ++i)
        room[i].words.fill(first + i);
    room.commit();
}

template <class T>
void await_room(sender<T>& end, asio::io_context& ctx, step_marks& marks)
{
    outcome<error_code> sent;
    end.async_send(numbered<T>(full), sent.handler());
    poll_until_done(ctx, marks, sent);
}

void send_and_close(sender<whole>& end, asio::io_context& ctx, step_marks& marks)
{
    send_one(end, ctx, marks);
    end.close();
}

template <class T>
void receive_one(receiver<T>& end, asio::io_context&, step_marks&)
{
    (void)end.try_receive();
}

template <class T>
void receive_batch(receiver<T>& end, asio::io_context&, step_marks&)
{
    error_code ec;
    auto batch = end.try_receive_batch(ec);
    int taken = 0;
    for (const T& message : batch) {
        if (message.words[0] != static_cast<std::uint64_t>(taken) || ++taken == 3)
            break;
    }
}

template <class T>
void await_message(receiver<T>& end, asio::io_context& ctx, step_marks& marks)
{
    (void)drain(end);
    outcome<error_code, T> received;
    end.async_receive(received.handler());
    poll_until_done(ctx, marks, received);
}

}  // namespace

TEST_SUITE("channel: killed between two instructions (cases 29 to 31, 34)")
{
    TEST_CASE("of try_send, to a receiver that is awake")
    {
        kill_everywhere<sender<whole>>({.body = &send_one<whole>, .sent_before = first}, 1);
    }

    TEST_CASE("of try_send, and of the doorbell, to a receiver that sleeps")
    {
        kill_everywhere<sender<whole>>(
            {.body = &send_one<whole>, .sent_before = first, .survivor_sleeps = true}, 1);
    }

    TEST_CASE("of try_send of a string")
    {
        kill_everywhere<sender<std::string>>(
            {.body = &send_one<std::string>, .options = few_bytes, .sent_before = first}, 1);
    }

    TEST_CASE("of try_send of a string that goes to the ring's beginning, after a padding")
    {
        kill_everywhere<sender<std::string>>({.body = &send_one<std::string>,
                                              .options = very_few_bytes,
                                              .sent_before = first,
                                              .received_before = first},
                                             1);
    }

    TEST_CASE("of try_send_some")
    {
        kill_everywhere<sender<whole>>(
            {.body = &send_three<whole>, .sent_before = first, .survivor_sleeps = true}, 3);
        kill_everywhere<sender<std::string>>({.body = &send_three<std::string>,
                                              .options = few_bytes,
                                              .sent_before = first,
                                              .survivor_sleeps = true},
                                             3);
    }

    TEST_CASE("of a loan and its commit")
    {
        kill_everywhere<sender<whole>>(
            {.body = &commit_two, .sent_before = first, .survivor_sleeps = true}, 2);
    }

    TEST_CASE("of a close after the last message")
    {
        kill_everywhere<sender<whole>>({.body = &send_and_close,
                                        .sent_before = first,
                                        .survivor_sleeps = true,
                                        .closes = true},
                                       1);
    }

    TEST_CASE("of async_send that waits for room, is woken, and sends")
    {
        kill_everywhere<sender<whole>>({.body = &await_room<whole>, .sent_before = full}, 1);
    }

    TEST_CASE("of try_receive, from a sender that waits for room")
    {
        kill_everywhere<receiver<whole>>({.body = &receive_one<whole>, .survivor_sleeps = true}, 1);
        kill_everywhere<receiver<std::string>>(
            {.body = &receive_one<std::string>, .options = few_bytes, .survivor_sleeps = true}, 0);
    }

    TEST_CASE("of try_receive, from a sender that is awake")
    {
        kill_everywhere<receiver<whole>>({.body = &receive_one<whole>}, 1);
    }

    TEST_CASE("of a batch that is looked at in part, and released")
    {
        kill_everywhere<receiver<whole>>({.body = &receive_batch<whole>, .survivor_sleeps = true},
                                         3);
    }

    TEST_CASE("of async_receive that waits, is woken, and receives")
    {
        kill_everywhere<receiver<whole>>({.body = &await_message<whole>}, full + 1);
    }
}
