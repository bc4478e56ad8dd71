// SPDX-License-Identifier: BSL-1.0
// What happens between two machine instructions of a peer: what it waits for comes, while it goes
// to sleep; or its own death, while it opens its end. (stepped_walk.hpp says which instructions.)
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>

#include <unistd.h>

#include <cstddef>
#include <optional>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "single_step.hpp"
#include "skip.hpp"
#include "stepped_walk.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard_test::add_other_points;
using procyard_test::descriptor_check;
using procyard_test::finish_here;
using procyard_test::go_on;
using procyard_test::never;
using procyard_test::outcome;
using procyard_test::play_at;
using procyard_test::run;
using procyard_test::sides;
using procyard_test::single_stepped;
using procyard_test::step_marks;
using procyard_test::step_stride;
using procyard_test::stop_here;
using procyard_test::walk;
using procyard_test::walk_through;

namespace {

constexpr procyard::channel_options few{.capacity_messages = 4};

// Meets the peer, and leaves nothing that it could have at once.
void begin(receiver<int>& end)
{
    (void)end.try_receive();
}
void begin(sender<int>& end)
{
    while (end.try_send(0)) { }
}

void wait_for_one(receiver<int>& end, outcome<error_code>& woken)
{
    end.async_wait_readable(woken.handler());
}
void wait_for_one(sender<int>& end, outcome<error_code>& woken)
{
    end.async_wait_writable(woken.handler());
}

// What the other one waits for.
void give_one(sender<int>& end)
{
    REQUIRE(end.try_send(1));
}
void give_one(receiver<int>& end)
{
    REQUIRE(end.try_receive());
}

// The peer gets what it waits for after `at` steps on its way to sleep. Its exit code, 0: it has
// been woken; none, where nobody may be traced.
template <class End>
std::optional<int> give_after(std::size_t at, walk& known)
{
    auto ends = make_channel<int>(few);
    single_stepped copy([&](step_marks& marks) {
        sides<End>::other(ends) = {};
        asio::io_context ctx;
        End end(ctx.get_executor(), std::move(sides<End>::own(ends)));
        outcome<error_code> woken;
        stop_here();
        begin(end);
        stop_here();
        wait_for_one(end, woken);
        ctx.poll();
        marks.finished.store(1);
        if (marks.let_go.load() == 0)
            stop_here();
        ctx.restart();
        ctx.run_for(procyard_test::deadlock_guard);
        return woken.done() && !woken.error() ? 0 : 1;
    });
    if (!copy.reach_stop())
        return std::nullopt;
    asio::io_context ctx;
    typename sides<End>::other_end end(ctx.get_executor(), std::move(sides<End>::other(ends)));
    ends = {};
    copy.go_on_to_stop();
    if (at == never)
        known = walk_through(copy, [] { });
    else
        go_on(copy, known, 0, at);
    give_one(end);
    return copy.let_go();
}

template <class End>
void give_everywhere()
{
    walk known;
    // The first also for what this process does but once, and its copies would do each time.
    const auto first = give_after<End>(0, known);
    if (!first)
        return procyard_test::skip("nobody may be traced here");
    CHECK(*first == 0);
    CHECK(give_after<End>(never, known) == 0);
    add_other_points(known);
    for (const auto n : known.points) {
        CAPTURE(n);
        const auto result = play_at(give_after<End>, n, known);
        REQUIRE(result);
        REQUIRE(*result == 0);
    }
    CHECK(known.missed == 0);
}

// How far a peer gets that opens its end: to the n-th place where it enters a system call or leaves
// one, which is all that we can notice; or to an instruction, if PROCYARD_EVERY_STEP says so.
class way {
public:
    // False: it has been to the end.
    bool go(single_stepped& copy, std::size_t n)
    {
        if (const auto stride = step_stride(); stride != 0) {
            if (n == 0) {
                known_ = walk_through(copy, [] { });
                return true;
            }
            go_on(copy, known_, 0, (n - 1) * stride);
            return (n - 1) * stride < known_.instructions.size();
        }
        for (std::size_t i = 0; i < n; ++i) {
            if (!copy.run_to_system_call())
                return false;
        }
        return true;
    }

private:
    walk known_;
};

// The peer is killed on its way, while we wait or before we come; we are told of it. False: it had
// opened its end. None, where nobody may be traced.
template <class End>
std::optional<bool> kill_opener(std::size_t n, bool waiting, way& there)
{
    const descriptor_check no_leak;
    auto ends = make_channel<int>(few);
    asio::io_context ctx;
    single_stepped copy([&](step_marks& marks) {
        sides<End>::other(ends) = {};
        asio::io_context its_own;
        stop_here();
        const End end(its_own.get_executor(), std::move(sides<End>::own(ends)));
        return finish_here(marks);
    });
    if (!copy.reach_stop())
        return std::nullopt;
    sides<End>::own(ends) = {};
    std::optional<typename sides<End>::other_end> end;
    outcome<error_code> told;
    const auto open = [&] {
        end.emplace(ctx.get_executor(), std::move(sides<End>::other(ends)));
        begin(*end);  // a sender with room would not wait, and not hear of it
        wait_for_one(*end, told);
        ctx.poll();
    };
    if (waiting)
        open();
    const bool more = there.go(copy, n);
    copy.kill_hard();
    if (!waiting)
        open();
    run(ctx);
    CHECK_MESSAGE(told.error() == channel_errc::peer_died, told.error().message());
    return more;
}

template <class End>
void kill_opener_everywhere()
{
    for (const bool waiting : {true, false}) {
        CAPTURE(waiting);
        way there;
        std::size_t n = 0;
        for (bool more = true; more; ++n) {
            CAPTURE(n);
            const auto went_on = kill_opener<End>(n, waiting, there);
            if (!went_on)
                return procyard_test::skip("nobody may be traced here");
            more = *went_on;
        }
        CHECK(n > 20);
    }
}

}  // namespace

TEST_SUITE("channel: between two instructions of one that goes to sleep (cases 17, 26)")
{
    TEST_CASE("a message comes: a receiver is woken")
    {
        give_everywhere<receiver<int>>();
    }

    TEST_CASE("room comes: a sender is woken")
    {
        give_everywhere<sender<int>>();
    }
}

TEST_SUITE("channel: between two instructions of one that opens its end (case 39)")
{
    TEST_CASE("a sender is killed: the receiver hears of it, before and after it has opened")
    {
        kill_opener_everywhere<sender<int>>();
    }

    TEST_CASE("a receiver is killed: the sender hears of it, before and after it has opened")
    {
        kill_opener_everywhere<receiver<int>>();
    }
}
