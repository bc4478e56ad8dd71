// SPDX-License-Identifier: BSL-1.0
// kill -9 between two machine instructions of a receiver whose sender drops the oldest: the sender
// hears of it, and the next receiver and the sender know exactly what was lost, and by whom.
// (stepped_walk.hpp says which instructions.)
#include <procyard/ipc/channel.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "next_receiver.hpp"
#include "numbered_messages.hpp"
#include "single_step.hpp"
#include "stepped_walk.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::when_full;
using procyard_test::ask_next;
using procyard_test::finish_here;
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

constexpr channel_options cells{.capacity_messages = 8, .full = when_full::drop_oldest};
constexpr channel_options records{.capacity_bytes = 1024, .full = when_full::drop_oldest};

// What the receiver does, and how much is sent before it does it, and when it says that it waits.
template <class T>
struct reading {
    void (*body)(receiver<T>&, asio::io_context&, step_marks&);
    channel_options options;
    std::uint64_t sent_before = 20;
    std::uint64_t sent_meanwhile = 20;
    std::uint64_t sent_after = 0;  // when it is dead
};

template <class T>
class surviving_sender {
public:
    surviving_sender(procyard::unopened<sender<T>> end, const reading<T>& what)
        : end_(ctx_.get_executor(), std::move(end)),
          what_(what)
    {
    }

    void prepare() { send(what_.sent_before); }
    void act() { send(what_.sent_meanwhile); }
    // The receiver is dead. How many messages there were before what it had not released, lost ones
    // among them; `lost` are these.
    std::uint64_t settle(std::uint64_t& lost)
    {
        send(what_.sent_after);
        outcome<error_code, error_code> ended;
        end_.async_wait_closed(ended.handler());
        run(ctx_);
        REQUIRE_MESSAGE(ended.result() == channel_errc::peer_died, ended.result().message());
        receiver<T> next(ctx_.get_executor(), end_.resume());
        send(1);  // over the next one, if need be
        const auto told = ask_next(next);
        REQUIRE(told.ec == asio::error::would_block);
        REQUIRE(told.is_in_order);
        REQUIRE(told.known);
        REQUIRE(*told.known + told.received + told.lost == sent_);
        REQUIRE(end_.statistics().dropped >= told.lost);
        lost = end_.statistics().dropped - told.lost;
        return *told.known;
    }

private:
    void send(std::uint64_t count)
    {
        for (; count > 0; --count)
            REQUIRE(end_.try_send(numbered<T>(sent_++)));
    }
    asio::io_context ctx_;
    sender<T> end_;
    const reading<T>& what_;
    std::uint64_t sent_ = 0;
};

// Of each number of messages that the receiver may have come to know of, how many of them are lost.
using accounts = std::map<std::uint64_t, std::uint64_t>;

// As far as it comes, or until it is killed after `limit` steps of what is known of it. How many
// messages it has left no other to know of.
template <class T>
std::optional<std::uint64_t> kill_after(std::size_t limit, const reading<T>& what, walk& known,
                                        accounts& seen)
{
    const procyard_test::descriptor_check no_leak;
    auto ends = make_channel<T>(what.options);
    single_stepped copy([&](step_marks& marks) {
        ends.sender = {};
        asio::io_context ctx;
        receiver<T> end(ctx.get_executor(), std::move(ends.receiver));
        stop_here();
        error_code ec;
        T message{};
        (void)end.try_receive(message, ec);  // meets the peer
        stop_here();
        what.body(end, ctx, marks);
        return finish_here(marks);
    });
    if (!copy.reach_stop())
        return std::nullopt;
    surviving_sender<T> survivor(std::move(ends.sender), what);
    ends = {};
    copy.go_on_to_stop();
    survivor.prepare();
    if (!walk_and_kill(copy, limit, known, [&] { survivor.act(); }))
        return 0;
    std::uint64_t lost = 0;
    const auto number = survivor.settle(lost);
    // The same number, by whatever instruction it was killed, has the same losses: no gap is
    // counted twice, and none by nobody.
    REQUIRE_MESSAGE(seen.try_emplace(number, lost).first->second == lost, "of ", number,
                    " messages ", lost, " are lost, and were ", seen.at(number));
    return number;
}

template <class T>
accounts kill(const reading<T>& what, std::uint64_t done)
{
    accounts seen;
    kill_everywhere(
        [&](std::size_t limit, walk& known) { return kill_after(limit, what, known, seen); }, done);
    return seen;
}

template <class T>
void receive_over(receiver<T>& from, asio::io_context&, step_marks& marks)
{
    error_code ec;
    T message{};
    for (int times = 0; times < 3; ++times)  // a loss, and two messages
        (void)from.try_receive(message, ec);
    marks.started.store(1);
    for (int times = 0; times < 3; ++times)
        (void)from.try_receive(message, ec);
}

template <class T>
void receive_batches(receiver<T>& from, asio::io_context&, step_marks& marks)
{
    error_code ec;
    (void)from.try_receive_batch(ec);  // a loss
    for (int times = 0; times < 2; ++times) {
        auto batch = from.try_receive_batch(ec);
        int taken = 0;
        for ([[maybe_unused]] const T& message : batch) {
            if (++taken == 2)
                break;
        }
    }
    marks.started.store(1);
    (void)from.try_receive();  // of what has been copied
    (void)from.try_receive();
}

// What has been copied lies on both sides of the end of the ring, with a padding between.
void receive_over_padding(receiver<std::string>& from, asio::io_context&, step_marks& marks)
{
    error_code ec;
    (void)from.try_receive_batch(ec);  // a loss
    (void)from.try_receive_batch(ec);  // copies all, and leaves it there
    marks.started.store(1);
    for (int times = 0; times < 4; ++times)
        (void)from.try_receive();
}

template <class T>
void await_message(receiver<T>& from, asio::io_context& ctx, step_marks& marks)
{
    outcome<error_code, T> received;
    from.async_receive(received.handler());
    poll_until_done(ctx, marks, received);
}

}  // namespace

TEST_SUITE("channel: drop_oldest, a receiver killed between two instructions (case 30)")
{
    TEST_CASE("of try_receive, over two gaps: what it has found to be lost, and the next one")
    {
        // 20 are sent, of which the ring holds 8; 20 more, when 14 are known.
        const auto seen =
            kill<whole>({.body = &receive_over<whole>, .options = cells, .sent_after = 3}, 34);
        const accounts honest{{0, 0}, {12, 12}, {13, 12}, {14, 12}, {32, 30}, {33, 30}, {34, 30}};
        for (const auto& [number, lost] : seen) {
            CAPTURE(number);
            REQUIRE(honest.contains(number));
            CHECK(honest.at(number) == lost);
        }
        CHECK(seen.size() == honest.size());
    }

    TEST_CASE("of try_receive of strings, over two gaps")
    {
        kill<std::string>({.body = &receive_over<std::string>, .options = records}, 40);
    }

    TEST_CASE("of a batch of which a part is taken, and of what is left of it")
    {
        kill<whole>({.body = &receive_batches<whole>, .options = cells}, 18);
        kill<std::string>({.body = &receive_batches<std::string>, .options = records}, 19);
    }

    TEST_CASE("of what a batch has left, message by message, over the end of the ring")
    {
        kill<std::string>({.body = &receive_over_padding, .options = records}, 17);
    }

    TEST_CASE("of async_receive that waits, is woken, and receives")
    {
        kill<whole>({.body = &await_message<whole>,
                     .options = cells,
                     .sent_before = 0,
                     .sent_meanwhile = 1,
                     .sent_after = 30},
                    1);
        kill<std::string>({.body = &await_message<std::string>,
                           .options = records,
                           .sent_before = 0,
                           .sent_meanwhile = 1,
                           .sent_after = 30},
                          1);
    }
}
