// SPDX-License-Identifier: BSL-1.0
// kill -9 between two machine instructions of what a peer does: what it had committed by then
// arrives, whole; then it is peer_died. (stepped_walk.hpp says which instructions.)
#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/fan_in.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "numbered_messages.hpp"
#include "shared_array.hpp"
#include "single_step.hpp"
#include "stepped_walk.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unopened;
using procyard_test::begin_coroutine;
using procyard_test::drain;
using procyard_test::finish_here;
using procyard_test::is_numbered;
using procyard_test::kill_everywhere;
using procyard_test::numbered;
using procyard_test::outcome;
using procyard_test::poll_until_done;
using procyard_test::receive_numbered;
using procyard_test::run;
using procyard_test::sides;
using procyard_test::single_stepped;
using procyard_test::step_marks;
using procyard_test::stop_here;
using procyard_test::walk;
using procyard_test::walk_and_kill;
using procyard_test::whole;

namespace {

constexpr auto without_end = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t first = 4;  // the number of the first message of an operation
constexpr std::uint64_t full = 8;   // messages in a full ring
constexpr channel_options few_bytes{.capacity_bytes = 4096};
constexpr channel_options very_few_bytes{.capacity_bytes = 128};
constexpr std::uint64_t long_one = 23;  // a message of 163 bytes

// An operation that the peer does with its end, and what was before.
template <class End>
struct operation {
    void (*body)(End&, asio::io_context&, step_marks&);
    channel_options options{.capacity_messages = full};
    std::uint64_t begin = 0;  // the number of the first message
    std::uint64_t sent_before = 0;
    std::uint64_t received_before = 0;
    std::uint64_t drops = 0;
    bool survivor_sleeps = false;
    bool closes = false;
    bool is_in_parts = false;
};

// One that has closed may be killed before it has; afterwards only that it has closed is right.
template <class End>
bool is_an_end(const error_code& ec, const operation<End>& what, bool is_over)
{
    if (what.closes && is_over)
        return ec == channel_errc::closed;
    return ec == channel_errc::peer_died || (what.closes && ec == channel_errc::closed);
}

// --- those who survive --------------------------------------------------------------------------

template <class T>
class surviving_receiver {
public:
    surviving_receiver(procyard::unopened_channel<T>& ends, const operation<sender<T>>& what)
        : end_(ctx_.get_executor(), std::move(ends.receiver)),
          what_(what),
          next_(what.begin)
    {
    }

    void prepare()
    {
        while (next_ < what_.received_before)
            receive_one();
        if (what_.survivor_sleeps)
            receive_all();
    }
    void act()
    {
        if (what_.is_in_parts)
            REQUIRE_FALSE(end_.try_receive());  // what it takes makes room for the others
        else
            receive_one();
    }
    // The peer is dead. How many messages have arrived.
    std::uint64_t settle(bool is_over)
    {
        const auto committed = end_.statistics().depth;
        const auto before = next_;
        if (!what_.survivor_sleeps)
            receive_all();
        run(ctx_);
        REQUIRE_MESSAGE(is_an_end(ec_, what_, is_over), ec_.message());
        if (procyard::fixed_bytes<T> != 0)
            REQUIRE(next_ == before + committed);
        REQUIRE(end_.statistics().depth == 0);
        const auto dropped = end_.statistics().dropped;
        REQUIRE(dropped <= what_.drops);
        if (is_over || next_ > what_.begin + what_.sent_before)
            REQUIRE(dropped == what_.drops);
        return next_;
    }

private:
    void receive_one()
    {
        const auto message = end_.try_receive();
        REQUIRE(message);
        REQUIRE(is_numbered(*message, next_));
        ++next_;
    }
    void receive_all()
    {
        begin_coroutine(ctx_, [this] { return receive_numbered(end_, without_end, next_, ec_); });
    }

    asio::io_context ctx_;
    receiver<T> end_;
    const operation<sender<T>>& what_;
    std::uint64_t next_;
    error_code ec_;
};

// Of a sender that drops the oldest: what has come and what is lost is what was sent.
template <class T>
class overtaken_receiver {
public:
    overtaken_receiver(procyard::unopened_channel<T>& ends, const operation<sender<T>>&)
        : end_(ctx_.get_executor(), std::move(ends.receiver))
    {
    }

    void prepare() { }
    void act() { }
    std::uint64_t settle(bool)
    {
        std::uint64_t received = 0;
        error_code ec;
        for (T message{}; !ec || ec == channel_errc::lapped;) {
            if (!end_.try_receive(message, ec))
                continue;
            REQUIRE(is_numbered(message, received + end_.lost()));
            ++received;
        }
        REQUIRE(ec == asio::error::would_block);
        outcome<error_code> ended;
        end_.async_wait_readable(ended.handler());
        run(ctx_);
        REQUIRE_MESSAGE(ended.error() == channel_errc::peer_died, ended.error().message());
        return received + end_.lost();
    }

private:
    asio::io_context ctx_;
    receiver<T> end_;
};

// Its ring is full when the peer begins. It always sleeps: who finds room hears of no death.
template <class T>
class surviving_sender {
public:
    surviving_sender(procyard::unopened_channel<T>& ends, const operation<receiver<T>>& what)
        : end_(ctx_.get_executor(), std::move(ends.sender)),
          what_(what)
    {
    }

    void prepare()
    {
        while (end_.try_send(numbered<T>(next_)))
            ++next_;
        if (what_.survivor_sleeps)
            send_all();
    }
    void act() { REQUIRE(end_.try_send(numbered<T>(next_++))); }
    // How many messages have gone.
    std::uint64_t settle(bool is_over)
    {
        const auto capacity = end_.statistics().capacity;
        const auto room = capacity - end_.statistics().depth;
        const auto before = next_;
        if (!what_.survivor_sleeps)
            send_all();
        run(ctx_);
        REQUIRE_MESSAGE(is_an_end(ec_, what_, is_over), ec_.message());
        if (procyard::fixed_bytes<T> != 0)
            REQUIRE(next_ <= before + room);
        return next_;
    }

private:
    void send_all()
    {
        begin_coroutine(ctx_, [this]() -> asio::awaitable<void> {
            while (!ec_) {
                co_await end_.async_send(numbered<T>(next_),
                                         asio::redirect_error(asio::use_awaitable, ec_));
                next_ += ec_ ? 0U : 1U;
            }
        });
    }

    asio::io_context ctx_;
    sender<T> end_;
    const operation<receiver<T>>& what_;
    std::uint64_t next_ = 0;
    error_code ec_;
};

// One of two sources is the peer's.
template <class T>
class surviving_fan_in {
public:
    surviving_fan_in(procyard::unopened_channel<T>& ends, const operation<sender<T>>& what)
        : from_(ctx_.get_executor()),
          other_(ctx_.get_executor(), what.options),
          what_(what)
    {
        id_ = from_.add(std::move(ends.receiver));
        other_id_ = from_.add(std::move(other_.receiver));
    }

    void prepare()
    {
        if (what_.survivor_sleeps)
            receive_all();
    }
    void act() { }
    // How many messages of the dead peer have come; the other one is heard as before.
    std::uint64_t settle(bool is_over)
    {
        if (!what_.survivor_sleeps)
            receive_all();
        run(ctx_);
        REQUIRE_MESSAGE(is_an_end(ended_, what_, is_over), ended_.message());
        REQUIRE(from_.source_count() == 1);
        REQUIRE(other_.sender.try_send(numbered<T>(0)));
        procyard::arrival<T> got;
        error_code ec;
        REQUIRE(from_.try_receive(got, ec));
        REQUIRE(got.source == other_id_);
        REQUIRE(is_numbered(got.message, 0));
        return next_;
    }

private:
    void receive_all()
    {
        begin_coroutine(ctx_, [this]() -> asio::awaitable<void> {
            while (!ended_) {
                const auto got = co_await from_.async_receive(asio::use_awaitable);
                REQUIRE(got.source == id_);
                ended_ = got.ended;
                if (!ended_)
                    REQUIRE(is_numbered(got.message, next_++));
            }
        });
    }

    asio::io_context ctx_;
    procyard::fan_in<T> from_;
    procyard::channel<T> other_;
    const operation<sender<T>>& what_;
    procyard::source_id id_{};
    procyard::source_id other_id_{};
    std::uint64_t next_ = 0;
    error_code ended_;
};

// --- those who are killed -----------------------------------------------------------------------

template <class T>
void begin(sender<T>& end, const operation<sender<T>>& what)
{
    for (std::uint64_t n = 0; n < what.sent_before; ++n)
        (void)end.try_send(numbered<T>(what.begin + n));
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
template <class Survivor, class End>
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
        return finish_here(marks);
    });
    if (!copy.reach_stop())
        return std::nullopt;
    Survivor survivor(ends, what);
    ends = {};  // the peer's own, of which this was a copy
    copy.go_on_to_stop();
    survivor.prepare();
    if (!walk_and_kill(copy, limit, known, [&] { survivor.act(); }))
        return 0;
    return survivor.settle(copy.marks().finished.load() != 0);
}

template <class Survivor, class End>
void kill(const operation<End>& what, std::uint64_t done)
{
    kill_everywhere(
        [&](std::size_t limit, walk& known) { return kill_after<Survivor>(limit, what, known); },
        done);
}
template <class T>
void kill_sender(const operation<sender<T>>& what, std::uint64_t done)
{
    kill<surviving_receiver<T>>(what, done);
}
template <class T>
void kill_receiver(const operation<receiver<T>>& what, std::uint64_t done)
{
    kill<surviving_sender<T>>(what, done);
}

template <class T>
void send_one(sender<T>& end, asio::io_context&, step_marks&)
{
    error_code ec;
    (void)end.try_send(numbered<T>(first), ec);
}

template <class T>
void send_over(sender<T>& end, asio::io_context&, step_marks&)
{
    error_code ec;
    (void)end.try_send(numbered<T>(2 * full), ec);
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

void commit_bytes(sender<std::string>& end, asio::io_context&, step_marks&)
{
    const auto text = numbered<std::string>(first);
    error_code ec;
    auto room = end.try_loan_bytes(text.size() + 100, ec);
    if (!room)
        return;
    std::memcpy(room.bytes().data(), text.data(), text.size());
    room.commit(text.size());
}

void await_loan(sender<whole>& end, asio::io_context& ctx, step_marks& marks)
{
    outcome<error_code, procyard::message_loan<whole>> lent;
    end.async_loan(2, lent.handler());
    poll_until_done(ctx, marks, lent);
    if (!lent.done())
        return;
    auto& room = lent.result();
    for (std::size_t i = 0; i < room.size(); ++i)
        room[i].words.fill(full + i);
    room.commit();
}

// Four find room, and the fifth waits.
void send_all_of_five(sender<whole>& end, asio::io_context& ctx, step_marks& marks)
{
    std::vector<whole> five;
    for (std::uint64_t n = 0; n < 5; ++n)
        five.push_back(numbered<whole>(first + n));
    outcome<error_code, std::size_t> sent;
    end.async_send_all(std::move(five), sent.handler());
    ctx.poll();
    poll_until_done(ctx, marks, sent);
}

void send_in_parts(sender<std::string>& end, asio::io_context& ctx, step_marks& marks)
{
    outcome<error_code> sent;
    end.async_send(numbered<std::string>(long_one), sent.handler());
    ctx.poll();
    poll_until_done(ctx, marks, sent);
}

void drop_one_and_send(sender<whole>& end, asio::io_context&, step_marks& marks)
{
    (void)end.try_send(numbered<whole>(0));
    marks.started.store(1);
    (void)end.try_send(numbered<whole>(full));
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

void receive_three(receiver<whole>& end, asio::io_context&, step_marks&)
{
    std::array<whole, 3> some;
    error_code ec;
    (void)end.try_receive_some(some, ec);
}

void close_it(receiver<whole>& end, asio::io_context&, step_marks&)
{
    end.close();
}

template <class T>
void await_message(receiver<T>& end, asio::io_context& ctx, step_marks& marks)
{
    (void)drain(end);
    outcome<error_code, T> received;
    end.async_receive(received.handler());
    poll_until_done(ctx, marks, received);
}

// A sender goes on with a second receiver, which is killed, and with a third one. How many messages
// the second has released: as many as it has noted, or the one besides that it was about to note.
std::optional<std::uint64_t> kill_successor(std::size_t limit, bool as_it_opens, walk& known)
{
    const procyard_test::descriptor_check no_leak;
    asio::io_context ctx;
    procyard::channel<whole> c(ctx.get_executor(), {.capacity_messages = full});
    for (std::uint64_t n = 0; n < full; ++n)
        REQUIRE(c.sender.try_send(numbered<whole>(n)));
    for (std::uint64_t n = 0; n < first; ++n)
        REQUIRE(is_numbered(c.receiver.try_receive().value(), n));
    c.receiver.close();
    auto second = c.sender.resume();
    const procyard_test::shared_array<std::uint64_t> noted(1);
    single_stepped copy([&](step_marks& marks) {
        asio::io_context there;
        if (as_it_opens)
            stop_here();
        receiver<whole> end(there.get_executor(), std::move(second));
        if (!as_it_opens)
            stop_here();
        for (std::uint64_t n = 0; n < 2; ++n) {
            const auto message = end.try_receive();
            noted[0].store(message && is_numbered(*message, first + n) ? n + 1 : without_end);
        }
        return finish_here(marks);
    });
    if (!copy.reach_stop())
        return std::nullopt;
    second = {};
    REQUIRE(c.sender.try_send(numbered<whole>(full)));  // meets it, if it has come
    if (!walk_and_kill(copy, limit, known, [] { }))
        return 0;
    error_code ec;
    receiver<whole> third(ctx.get_executor(), c.sender.resume(ec));
    REQUIRE_MESSAGE(!ec, ec.message());
    auto next = first + noted[0].load();
    auto message = third.try_receive();
    REQUIRE(message);
    if (!is_numbered(*message, next))
        ++next;
    const auto released = next - first;
    for (; next <= full; ++next, message = third.try_receive()) {
        REQUIRE(message);
        REQUIRE(is_numbered(*message, next));
    }
    REQUIRE_FALSE(message);
    return released;
}

}  // namespace

TEST_SUITE("channel: killed between two instructions (cases 29 to 31, 34)")
{
    TEST_CASE("of try_send, to a receiver that is awake")
    {
        kill_sender<whole>({.body = &send_one<whole>, .sent_before = first}, 1);
    }

    TEST_CASE("of try_send that drops the oldest: what has come and what is lost is what was sent")
    {
        kill<overtaken_receiver<whole>>(
            operation<sender<whole>>{
                .body = &send_over<whole>,
                .options = {.capacity_messages = full, .full = procyard::when_full::drop_oldest},
                .sent_before = 2 * full},
            1);
        kill<overtaken_receiver<std::string>>(
            operation<sender<std::string>>{
                .body = &send_over<std::string>,
                .options = {.capacity_bytes = 512, .full = procyard::when_full::drop_oldest},
                .sent_before = 2 * full},
            1);
    }

    TEST_CASE("of try_send, and of the doorbell, to a receiver that sleeps")
    {
        kill_sender<whole>(
            {.body = &send_one<whole>, .sent_before = first, .survivor_sleeps = true}, 1);
    }

    TEST_CASE("of try_send of a string")
    {
        kill_sender<std::string>(
            {.body = &send_one<std::string>, .options = few_bytes, .sent_before = first}, 1);
    }

    TEST_CASE("of try_send of a string that goes to the ring's beginning, after a padding")
    {
        kill_sender<std::string>({.body = &send_one<std::string>,
                                  .options = very_few_bytes,
                                  .sent_before = first,
                                  .received_before = first},
                                 1);
    }

    TEST_CASE("of try_send_some")
    {
        kill_sender<whole>(
            {.body = &send_three<whole>, .sent_before = first, .survivor_sleeps = true}, 3);
        kill_sender<std::string>({.body = &send_three<std::string>,
                                  .options = few_bytes,
                                  .sent_before = first,
                                  .survivor_sleeps = true},
                                 3);
    }

    TEST_CASE("of a loan and its commit")
    {
        kill_sender<whole>({.body = &commit_two, .sent_before = first, .survivor_sleeps = true}, 2);
    }

    TEST_CASE("of a loan of bytes of which a part is committed")
    {
        for (const bool asleep : {true, false}) {
            CAPTURE(asleep);
            kill_sender<std::string>({.body = &commit_bytes,
                                      .options = few_bytes,
                                      .sent_before = first,
                                      .survivor_sleeps = asleep},
                                     1);
        }
    }

    TEST_CASE("of async_loan that waits for room, is woken, and commits")
    {
        kill_sender<whole>({.body = &await_loan, .sent_before = full}, 1);
    }

    TEST_CASE("of async_send_all that waits for room in the middle")
    {
        kill_sender<whole>({.body = &send_all_of_five, .sent_before = first}, 5);
    }

    TEST_CASE("of a message that goes in parts: it arrives whole or not at all")
    {
        kill_sender<std::string>({.body = &send_in_parts,
                                  .options = very_few_bytes,
                                  .begin = long_one,
                                  .is_in_parts = true},
                                 1);
    }

    TEST_CASE("of a message that is dropped, and the next, which knows of it")
    {
        kill_sender<whole>(
            {.body = &drop_one_and_send,
             .options = {.capacity_messages = full, .full = procyard::when_full::drop_newest},
             .sent_before = full,
             .drops = 1},
            1);
    }

    TEST_CASE("of a close after the last message")
    {
        kill_sender<whole>({.body = &send_and_close,
                            .sent_before = first,
                            .survivor_sleeps = true,
                            .closes = true},
                           1);
    }

    TEST_CASE("of async_send that waits for room, is woken, and sends")
    {
        kill_sender<whole>({.body = &await_room<whole>, .sent_before = full}, 1);
    }

    TEST_CASE("of try_receive, from a sender that waits for room")
    {
        kill_receiver<whole>({.body = &receive_one<whole>, .survivor_sleeps = true}, 1);
        kill_receiver<std::string>(
            {.body = &receive_one<std::string>, .options = few_bytes, .survivor_sleeps = true}, 0);
    }

    TEST_CASE("of try_receive, from a sender that is awake")
    {
        kill_receiver<whole>({.body = &receive_one<whole>}, 1);
    }

    TEST_CASE("of try_receive_some")
    {
        kill_receiver<whole>({.body = &receive_three, .survivor_sleeps = true}, 3);
        kill_receiver<whole>({.body = &receive_three}, 3);
    }

    TEST_CASE("of a receiver's close, with a sender that waits for room, and one that is awake")
    {
        kill_receiver<whole>({.body = &close_it, .survivor_sleeps = true, .closes = true}, 0);
        kill_receiver<whole>({.body = &close_it, .closes = true}, 0);
    }

    TEST_CASE("of a batch that is looked at in part, and released")
    {
        kill_receiver<whole>({.body = &receive_batch<whole>, .survivor_sleeps = true}, 3);
    }

    TEST_CASE("of async_receive that waits, is woken, and receives")
    {
        kill_receiver<whole>({.body = &await_message<whole>}, full + 1);
    }
}

TEST_SUITE("fan_in: a sender killed between two instructions (cases 29, 31)")
{
    TEST_CASE("of try_send, to one that sleeps, and to one that is awake")
    {
        for (const bool asleep : {true, false}) {
            CAPTURE(asleep);
            kill<surviving_fan_in<whole>>(operation<sender<whole>>{.body = &send_one<whole>,
                                                                   .sent_before = first,
                                                                   .survivor_sleeps = asleep},
                                          1);
        }
    }

    TEST_CASE("of a close after the last message")
    {
        kill<surviving_fan_in<whole>>(operation<sender<whole>>{.body = &send_and_close,
                                                               .sent_before = first,
                                                               .survivor_sleeps = true,
                                                               .closes = true},
                                      1);
    }
}

TEST_SUITE("channel: killed between two instructions after a resume")
{
    TEST_CASE("of try_receive: the next one begins with the first that was not released")
    {
        kill_everywhere(
            [](std::size_t limit, walk& known) { return kill_successor(limit, false, known); }, 2);
    }

    TEST_CASE("of opening the end, and then of try_receive")
    {
        kill_everywhere(
            [](std::size_t limit, walk& known) { return kill_successor(limit, true, known); }, 2);
    }
}
