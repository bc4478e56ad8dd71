// SPDX-License-Identifier: BSL-1.0
// kill -9 between two machine instructions of a broadcast's writer, or of a reader that it waits
// for. (stepped_walk.hpp says which instructions.)
#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/latest_value.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "hatch.hpp"
#include "numbered_messages.hpp"
#include "single_step.hpp"
#include "stepped_walk.hpp"

namespace asio = boost::asio;
using procyard::broadcaster;
using procyard::channel_errc;
using procyard::error_code;
using procyard::latest_reader;
using procyard::latest_value;
using procyard::slow_reader;
using procyard::subscriber;
using procyard::unopened;
using procyard_test::begin_coroutine;
using procyard_test::descriptor_check;
using procyard_test::finish_here;
using procyard_test::hatch;
using procyard_test::is_numbered;
using procyard_test::kill_everywhere;
using procyard_test::numbered;
using procyard_test::outcome;
using procyard_test::poll_until_done;
using procyard_test::run;
using procyard_test::single_stepped;
using procyard_test::step_marks;
using procyard_test::stop_here;
using procyard_test::walk;
using procyard_test::walk_and_kill;
using procyard_test::whole;

namespace {

constexpr std::uint64_t kept = 4;  // messages in a full ring
constexpr procyard::broadcast_options few{.capacity_messages = kept};
constexpr procyard::broadcast_options few_bytes{.capacity_bytes = 4096};
constexpr procyard::subscription_options holding{.when_slow = slow_reader::holds_back};

// --- a writer is killed -------------------------------------------------------------------------

// What the writer does, and what was before. `next` is the number of the message that comes next.
template <class T>
struct operation {
    void (*body)(broadcaster<T>&, asio::io_context&, step_marks&, std::uint64_t next);
    procyard::broadcast_options options = few;
    std::uint64_t sent_before = 0;
    bool one_holds_back = true;  // else both subscribers may lose what is too much
    bool survivors_sleep = false;
    bool closes = false;
};

template <class T>
class surviving_subscriber {
public:
    surviving_subscriber(procyard::unique_fd end, const operation<T>& what)
        : end_(ctx_.get_executor(), unopened<subscriber<T>>(std::move(end), {})),
          what_(what)
    {
    }

    void prepare()
    {
        if (what_.survivors_sleep)
            receive_all();
    }
    void act()
    {
        const auto message = end_.try_receive();
        REQUIRE(message);
        take(*message);
    }
    // The writer is dead. How many messages there were, lost ones among them.
    std::uint64_t settle(bool is_over)
    {
        if (!what_.survivors_sleep)
            receive_all();
        run(ctx_);
        const bool has_closed = what_.closes && ec_ == channel_errc::closed;
        const bool has_died = !(what_.closes && is_over) && ec_ == channel_errc::peer_died;
        REQUIRE_MESSAGE((has_closed || has_died), ec_.message());
        return received_ + end_.lost();
    }
    [[nodiscard]] std::uint64_t lost() const { return end_.lost(); }

private:
    void take(const T& message)
    {
        REQUIRE(is_numbered(message, received_ + end_.lost()));
        ++received_;
    }
    void receive_all()
    {
        begin_coroutine(ctx_, [this]() -> asio::awaitable<void> {
            while (!ec_) {
                const auto message =
                    co_await end_.async_receive(asio::redirect_error(asio::use_awaitable, ec_));
                if (!ec_)
                    take(message);
                else if (ec_ == channel_errc::lapped)
                    ec_.clear();
            }
        });
    }

    asio::io_context ctx_;
    subscriber<T> end_;
    const operation<T>& what_;
    std::uint64_t received_ = 0;
    error_code ec_;
};

template <class T>
int write(const operation<T>& what, const hatch& out, step_marks& marks)
{
    asio::io_context ctx;
    broadcaster<T> to(ctx.get_executor(), what.options);
    if (!out.hand_out(to.subscribe().native_handle())
        || !out.hand_out(
            to.subscribe(what.one_holds_back ? holding : procyard::subscription_options())
                .native_handle()))
        return 1;
    stop_here();
    for (std::uint64_t n = 0; n < what.sent_before; ++n)
        (void)to.try_send(numbered<T>(n));
    stop_here();
    what.body(to, ctx, marks, what.sent_before);
    return finish_here(marks);
}

// How many messages both subscribers count; none, where nobody may be traced.
template <class T>
std::optional<std::uint64_t> kill_writer_after(std::size_t limit, const operation<T>& what,
                                               walk& known)
{
    const descriptor_check no_leak;
    const hatch out;
    single_stepped copy([&](step_marks& marks) { return write(what, out, marks); });
    if (!copy.reach_stop())
        return std::nullopt;
    std::deque<surviving_subscriber<T>> survivors;
    survivors.emplace_back(out.take(), what);
    survivors.emplace_back(out.take(), what);
    copy.go_on_to_stop();
    for (auto& each : survivors)
        each.prepare();
    const auto act = [&] {
        for (auto& each : survivors)
            each.act();
    };
    if (!walk_and_kill(copy, limit, known, act))
        return 0;
    const bool is_over = copy.marks().finished.load() != 0;
    const auto counted = survivors[0].settle(is_over);
    REQUIRE(survivors[1].settle(is_over) == counted);
    REQUIRE((survivors[1].lost() == 0) == what.one_holds_back);
    return counted;
}

template <class T>
void kill_writer(const operation<T>& what, std::uint64_t done)
{
    kill_everywhere(
        [&](std::size_t limit, walk& known) { return kill_writer_after(limit, what, known); },
        done);
}

template <class T>
void send_one(broadcaster<T>& to, asio::io_context&, step_marks&, std::uint64_t next)
{
    (void)to.try_send(numbered<T>(next));
}

template <class T>
void send_three(broadcaster<T>& to, asio::io_context&, step_marks&, std::uint64_t next)
{
    const std::vector<T> three{numbered<T>(next), numbered<T>(next + 1), numbered<T>(next + 2)};
    error_code ec;
    (void)to.try_send_some(three, ec);
}

void send_and_close(broadcaster<whole>& to, asio::io_context& ctx, step_marks& marks,
                    std::uint64_t next)
{
    send_one(to, ctx, marks, next);
    to.close();
}

void await_room(broadcaster<whole>& to, asio::io_context& ctx, step_marks& marks,
                std::uint64_t next)
{
    outcome<error_code> sent;
    to.async_send(numbered<whole>(next), sent.handler());
    ctx.poll();
    poll_until_done(ctx, marks, sent);
}

// --- a reader is killed -------------------------------------------------------------------------

// What a subscriber that is waited for does.
struct reading {
    void (*body)(subscriber<whole>&, asio::io_context&, step_marks&);
    bool opens_in_steps = false;
    bool writer_waits = true;
};

// The writer and another subscriber, who must not notice.
class surviving_writer {
public:
    surviving_writer()
        : to_(ctx_.get_executor(), few),
          witness_(ctx_.get_executor(), to_.subscribe(holding)),
          end_(to_.subscribe(holding))
    {
    }

    // In the copy, where all else of this is left alone.
    unopened<subscriber<whole>> take_end()
    {
        to_.close();
        return std::move(end_);
    }
    void prepare(const reading& what)
    {
        end_ = {};
        if (!what.writer_waits)
            return;
        while (to_.try_send(numbered<whole>(sent_)))
            witness_one();
        REQUIRE(sent_ == kept);
        to_.async_send(numbered<whole>(sent_), waiting_.handler());
        ctx_.poll();
        REQUIRE_FALSE(waiting_.done());
    }
    void act()
    {
        REQUIRE(to_.try_send(numbered<whole>(sent_)));
        witness_one();
    }
    // The reader is dead.
    void settle(const reading& what)
    {
        if (what.writer_waits) {
            run(ctx_);
            REQUIRE(waiting_.done());
            REQUIRE_FALSE(waiting_.error());
            witness_one();
        }
        for (std::uint64_t n = 0; n < 3 * kept; ++n) {
            outcome<error_code> sent;
            to_.async_send(numbered<whole>(sent_), sent.handler());
            run(ctx_);
            REQUIRE_FALSE(sent.error());
            witness_one();
        }
        REQUIRE(to_.readers() == 1);
        REQUIRE(to_.cut_off() == 0);
        REQUIRE(witness_.lost() == 0);
    }

private:
    void witness_one() { REQUIRE(is_numbered(witness_.try_receive().value(), sent_++)); }

    asio::io_context ctx_;
    broadcaster<whole> to_;
    subscriber<whole> witness_;
    unopened<subscriber<whole>> end_;
    outcome<error_code> waiting_;
    std::uint64_t sent_ = 0;
};

std::optional<std::uint64_t> kill_reader_after(std::size_t limit, const reading& what, walk& known)
{
    const descriptor_check no_leak;
    surviving_writer survivor;
    single_stepped copy([&](step_marks& marks) {
        auto end = survivor.take_end();
        asio::io_context there;
        if (what.opens_in_steps)
            stop_here();
        subscriber<whole> from(there.get_executor(), std::move(end));
        if (!what.opens_in_steps)
            stop_here();
        what.body(from, there, marks);
        return finish_here(marks);
    });
    if (!copy.reach_stop())
        return std::nullopt;
    survivor.prepare(what);
    if (walk_and_kill(copy, limit, known, [&] { survivor.act(); }))
        survivor.settle(what);
    return 0;
}

void kill_reader(const reading& what)
{
    kill_everywhere(
        [&](std::size_t limit, walk& known) { return kill_reader_after(limit, what, known); }, 0);
}

void receive_one(subscriber<whole>& from, asio::io_context&, step_marks&)
{
    (void)from.try_receive();
}

void receive_and_close(subscriber<whole>& from, asio::io_context&, step_marks&)
{
    (void)from.try_receive();
    from.close();
}

void await_message(subscriber<whole>& from, asio::io_context& ctx, step_marks& marks)
{
    outcome<error_code, whole> received;
    from.async_receive(received.handler());
    ctx.poll();
    poll_until_done(ctx, marks, received);
}

// --- a latest value -----------------------------------------------------------------------------

// The number of the value that is there.
std::optional<std::uint64_t> kill_store_after(std::size_t limit, std::uint64_t stored, bool asleep,
                                              walk& known)
{
    const descriptor_check no_leak;
    const hatch out;
    single_stepped copy([&](step_marks& marks) {
        asio::io_context there;
        latest_value<whole> value(there.get_executor());
        if (!out.hand_out(value.subscribe().native_handle()))
            return 1;
        stop_here();
        for (std::uint64_t n = 1; n <= stored; ++n)
            (void)value.store(numbered<whole>(n));
        stop_here();
        (void)value.store(numbered<whole>(stored + 1));
        return finish_here(marks);
    });
    if (!copy.reach_stop())
        return std::nullopt;
    asio::io_context ctx;
    latest_reader<whole> from(ctx.get_executor(), unopened<latest_reader<whole>>(out.take(), {}));
    copy.go_on_to_stop();
    outcome<error_code> changed;
    if (asleep) {
        REQUIRE(is_numbered(from.load().value(), stored));
        from.async_wait_changed(changed.handler());
        ctx.poll();
        REQUIRE_FALSE(changed.done());
    }
    if (!walk_and_kill(copy, limit, known, [] { }))
        return 0;
    if (asleep)
        run(ctx);
    const auto number = from.load().value().words[0];
    REQUIRE(is_numbered(*from.load(), number));
    if (asleep)
        REQUIRE(changed.error()
                == (number == stored ? error_code(channel_errc::peer_died) : error_code()));
    outcome<error_code> ended;
    from.async_wait_changed(ended.handler());
    run(ctx);
    REQUIRE(ended.error() == channel_errc::peer_died);
    REQUIRE(is_numbered(from.load().value(), number));
    return number;
}

void kill_store(std::uint64_t stored, bool asleep)
{
    kill_everywhere([&](std::size_t limit,
                        walk& known) { return kill_store_after(limit, stored, asleep, known); },
                    1);
}

}  // namespace

TEST_SUITE("broadcaster: killed between two instructions (cases 29, 31)")
{
    TEST_CASE("of try_send, to those who sleep, and to those who are awake")
    {
        for (const bool asleep : {true, false}) {
            CAPTURE(asleep);
            kill_writer<whole>(
                {.body = &send_one<whole>, .sent_before = 2, .survivors_sleep = asleep}, 1);
            kill_writer<std::string>({.body = &send_one<std::string>,
                                      .options = few_bytes,
                                      .sent_before = 2,
                                      .survivors_sleep = asleep},
                                     1);
        }
    }

    TEST_CASE("of try_send over what has not been received: each knows what it has lost (case 13)")
    {
        kill_writer<whole>(
            {.body = &send_one<whole>, .sent_before = 2 * kept, .one_holds_back = false}, 1);
        // Over a padding as well, and over several that are shorter.
        for (const std::uint64_t before : {60U, 61U, 62U, 63U}) {
            CAPTURE(before);
            kill_writer<std::string>({.body = &send_one<std::string>,
                                      .options = few_bytes,
                                      .sent_before = before,
                                      .one_holds_back = false},
                                     1);
        }
    }

    TEST_CASE("of try_send_some")
    {
        kill_writer<whole>({.body = &send_three<whole>, .sent_before = 1, .survivors_sleep = true},
                           3);
        kill_writer<whole>(
            {.body = &send_three<whole>, .sent_before = 2 * kept, .one_holds_back = false}, 3);
    }

    TEST_CASE("of async_send that waits for a subscriber, is woken, and sends")
    {
        kill_writer<whole>({.body = &await_room, .sent_before = kept}, 1);
    }

    TEST_CASE("of a close after the last message")
    {
        kill_writer<whole>(
            {.body = &send_and_close, .sent_before = 2, .survivors_sleep = true, .closes = true},
            1);
    }
}

TEST_SUITE("subscriber: killed between two instructions: it holds nobody back (cases 30, 34)")
{
    TEST_CASE("of try_receive, from a writer that waits for it")
    {
        kill_reader({.body = &receive_one});
    }

    TEST_CASE("of a close after a message")
    {
        kill_reader({.body = &receive_and_close});
    }

    TEST_CASE("of async_receive that waits, is woken, and receives")
    {
        kill_reader({.body = &await_message, .writer_waits = false});
    }

    TEST_CASE("of opening the subscription, and then of try_receive")
    {
        kill_reader({.body = &receive_one, .opens_in_steps = true});
    }
}

TEST_SUITE("latest value: a writer killed between two instructions")
{
    TEST_CASE("of a store: the value before or the one after it, to one that sleeps or is awake")
    {
        kill_store(1, true);
        kill_store(1, false);
        kill_store(9, true);  // over older ones
        kill_store(9, false);
    }
}
