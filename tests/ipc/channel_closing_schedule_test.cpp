// SPDX-License-Identifier: BSL-1.0
// A receiver that has closed while a batch was out gives that back, and its sender resumes: one of
// them between two machine instructions of the other. (stepped_walk.hpp says which instructions;
// docs/memory-model.md, account_words, why it comes out right.)
#include <procyard/ipc/channel.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/detail/overwriting.hpp>

#include "channel_fixture.hpp"
#include "next_receiver.hpp"
#include "numbered_messages.hpp"
#include "single_step.hpp"
#include "skip.hpp"
#include "stepped_walk.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::make_channel;
using procyard::message_batch;
using procyard::receiver;
using procyard::sender;
using procyard::when_full;
using procyard_test::add_other_points;
using procyard_test::ask_next;
using procyard_test::finish_here;
using procyard_test::go_on;
using procyard_test::never;
using procyard_test::numbered;
using procyard_test::play_at;
using procyard_test::single_stepped;
using procyard_test::step_marks;
using procyard_test::stop_here;
using procyard_test::told_next;
using procyard_test::walk;
using procyard_test::walk_through;
using procyard_test::whole;

namespace {

constexpr channel_options cells{.capacity_messages = 8, .full = when_full::drop_oldest};
constexpr channel_options records{.capacity_bytes = 1024, .full = when_full::drop_oldest};
constexpr std::uint64_t sent_before = 20;
constexpr std::uint64_t sent_in_all = 40;
constexpr std::uint64_t taken = 3;

template <class T>
void send(sender<T>& end, std::uint64_t from, std::uint64_t to)
{
    for (auto n = from; n < to; ++n)
        (void)end.try_send(numbered<T>(n));
}

// The receiver that closes: it is told of a loss, and has a batch, of which it has taken some.
template <class T>
class closing_receiver {
public:
    explicit closing_receiver(procyard::unopened<receiver<T>> end)
        : end_(ctx_.get_executor(), std::move(end))
    {
        (void)end_.try_receive();  // meets the peer
    }
    void take()
    {
        error_code ec;
        (void)end_.try_receive_batch(ec);
        batch_ = end_.try_receive_batch(ec);
        std::uint64_t count = 0;
        for ([[maybe_unused]] const T& message : batch_) {
            if (++count == taken)
                break;
        }
    }
    void close() { end_.close(); }
    void give_back() { batch_ = message_batch<T>(); }

private:
    asio::io_context ctx_;
    receiver<T> end_;
    message_batch<T> batch_;
};

constexpr int wrong = 255;

// How many messages are the old one's, by what the next one is told.
int judge(const told_next& told)
{
    const bool is_right = told.ec == asio::error::would_block && told.is_in_order && told.known
        && *told.known + told.received + told.lost == sent_in_all;
    return is_right ? static_cast<int>(*told.known) : wrong;
}

// The sender, a copy of this process, resumes; after `at` steps of that the receiver gives its
// batch back. How many messages the next receiver takes to be the old one's.
template <class T>
std::optional<int> give_back_after(std::size_t at, const channel_options& options, walk& known)
{
    auto ends = make_channel<T>(options);
    single_stepped copy([&](step_marks& marks) {
        ends.receiver = {};
        asio::io_context ctx;
        sender<T> end(ctx.get_executor(), std::move(ends.sender));
        stop_here();
        send(end, 0, sent_before);
        stop_here();
        send(end, sent_before, sent_in_all);
        stop_here();
        error_code ec;
        auto made = end.resume(ec);
        marks.finished.store(1);
        if (marks.let_go.load() == 0)
            stop_here();
        if (ec)
            return wrong;
        receiver<T> next(ctx.get_executor(), std::move(made));
        return judge(ask_next(next));
    });
    if (!copy.reach_stop())
        return std::nullopt;
    closing_receiver<T> old(std::move(ends.receiver));
    ends = {};
    copy.go_on_to_stop();
    old.take();
    copy.go_on_to_stop();
    old.close();
    if (at == never)
        known = walk_through(copy, [] { });
    else
        go_on(copy, known, 0, at);
    old.give_back();
    return copy.let_go();
}

// The receiver, a copy, gives its batch back; after `at` steps of that the sender resumes.
template <class T>
std::optional<int> resume_after(std::size_t at, const channel_options& options, walk& known)
{
    auto ends = make_channel<T>(options);
    single_stepped copy([&](step_marks& marks) {
        ends.sender = {};
        stop_here();
        closing_receiver<T> old(std::move(ends.receiver));
        stop_here();
        old.take();
        stop_here();
        old.close();
        stop_here();
        old.give_back();
        return finish_here(marks);
    });
    if (!copy.reach_stop())
        return std::nullopt;
    asio::io_context ctx;
    sender<T> end(ctx.get_executor(), std::move(ends.sender));
    ends = {};
    copy.go_on_to_stop();
    send(end, 0, sent_before);
    copy.go_on_to_stop();
    send(end, sent_before, sent_in_all);
    copy.go_on_to_stop();
    if (at == never)
        known = walk_through(copy, [] { });
    else
        go_on(copy, known, 0, at);
    receiver<T> next(ctx.get_executor(), end.resume());
    const auto told = ask_next(next);
    copy.kill_hard();
    return judge(told);
}

// Where a member function that is not virtual lies.
template <class Function>
std::uintptr_t address_of(Function function)
{
    std::uintptr_t address = 0;
    static_assert(sizeof function >= sizeof address);
    std::memcpy(&address, &function, sizeof address);
    return address;
}

// The sender's look at the position, and then at the places, which nobody notices.
void add_reckoning(walk& known)
{
    // Where no instruction's address is known, the walk goes one step after the other anyway.
    if (known.instructions.empty() || known.instructions.front() == 0)
        return;
    const auto begin = known.instructions.begin();
    const auto from = std::find(begin, known.instructions.end(),
                                address_of(&procyard::detail::ring_staging::reckon));
    const auto to = std::find(from, known.instructions.end(),
                              address_of(&procyard::detail::ring_staging::receiver_left));
    // An optimizer may make it a part of its caller: PROCYARD_EVERY_STEP=1 plays it there.
    if (to == known.instructions.end())
        return;
#if defined(__SANITIZE_ADDRESS__)
    constexpr std::ptrdiff_t stride = 5;
#else
    constexpr std::ptrdiff_t stride = 1;
#endif
    for (auto n = from - begin; n <= to - begin; n += stride)
        known.points.insert(static_cast<std::size_t>(n));
}

void add_nothing(walk&) { }

// Everywhere; and both of the two answers are given somewhere.
void play_everywhere(std::optional<int> (*play)(std::size_t, const channel_options&, walk&),
                     const channel_options& options, void (*add_points)(walk&))
{
    walk known;
    const auto first = play(0, options, known);
    if (!first)
        return procyard_test::skip("nobody may be traced here");
    const auto last = play(never, options, known);
    REQUIRE(last);
    const std::set<int> ends{*first, *last};
    CHECK(ends.size() == 2);
    CHECK(*ends.rbegin() - *ends.begin() == taken);
    add_other_points(known);
    add_points(known);
    for (const auto n : known.points) {
        CAPTURE(n);
        const auto told =
            play_at([&](std::size_t at, walk& way) { return play(at, options, way); }, n, known);
        REQUIRE(told);
        REQUIRE_MESSAGE(ends.contains(*told), *told, " instead of ", *first, " or ", *last);
    }
    CHECK(known.missed == 0);
}

}  // namespace

TEST_SUITE("channel: drop_oldest, a batch of a closed receiver and a resume (case 30)")
{
    TEST_CASE("given back between two instructions of the resume: it counts as a whole, or not")
    {
        play_everywhere(&give_back_after<std::string>, records, &add_reckoning);
        play_everywhere(&give_back_after<whole>, cells, &add_reckoning);
    }

    TEST_CASE("resumed between two instructions of the giving back: the same")
    {
        play_everywhere(&resume_after<std::string>, records, &add_nothing);
        play_everywhere(&resume_after<whole>, cells, &add_nothing);
    }
}
