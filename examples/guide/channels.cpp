// SPDX-License-Identifier: BSL-1.0
// docs/channels.md: messages through shared memory.
#include <boost/asio/redirect_error.hpp>

#include <unistd.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/channel_connect.hpp>
#include <procyard/ipc/channel_listener.hpp>
#include <procyard/ipc/latest_value.hpp>

#include "guide.hpp"

// [types]
struct tick {
    std::uint64_t time_ns;
    double price;
};
struct order {
    std::uint32_t id;
    std::string customer;
    std::vector<std::uint64_t> items;
};
// [types]

struct picture {
    std::uint64_t number;
    std::array<std::uint8_t, 65536> pixels;
};

namespace {

asio::awaitable<void> first()
{
    auto executor = co_await asio::this_coro::executor;
    // [first]
    channel<order> orders(executor);  // both ends here; docs below: one of them elsewhere
    order sent{7, "Ada", {3, 1, 4}};
    co_await orders.sender.async_send(sent, asio::use_awaitable);
    order got = co_await orders.receiver.async_receive(asio::use_awaitable);
    expect(got.customer == "Ada" && got.items.size() == 3, "what was sent");
    // [first]
}

// [busy]
asio::awaitable<double> mean(receiver<tick> ticks)
{
    double sum = 0;
    std::uint64_t count = 0;
    for (;;) {
        error_code ec;
        std::optional<tick> t = ticks.try_receive();  // a few nanoseconds when one is there
        if (!t)
            t = co_await ticks.async_receive(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::closed)
            co_return sum / static_cast<double>(count);
        if (ec)
            throw boost::system::system_error(ec, "ticks");  // peer_died, …
        sum += t->price;
        ++count;
    }
}
// [busy]

asio::awaitable<void> busy()
{
    auto executor = co_await asio::this_coro::executor;
    channel<tick> ticks(executor);
    // [send_all]
    std::vector<tick> day{{1, 2.0}, {2, 3.0}, {3, 7.0}};
    auto all = co_await ticks.sender.async_send_all(std::move(day), asio::use_awaitable);
    ticks.sender.close();  // the receiver hears of it when it has received everything
    // [send_all]
    expect(all == 3, "all of them");
    expect(co_await mean(std::move(ticks.receiver)) == 4.0, "the mean");
}

asio::awaitable<void> in_batches()
{
    auto executor = co_await asio::this_coro::executor;
    channel<std::string_view> lines(executor);
    lines.sender.try_send("one");
    lines.sender.try_send("two");
    // [batch]
    std::size_t bytes = 0;
    auto batch = co_await lines.receiver.async_receive_some(asio::use_awaitable);
    for (std::string_view line : batch)  // where it lies in the ring: nothing is copied
        bytes += line.size();
    batch.release();  // or by its destructor: the room is the sender's again
    // [batch]
    expect(bytes == 6, "one and two");
}

asio::awaitable<void> in_place()
{
    auto executor = co_await asio::this_coro::executor;
    // [loan]
    channel<picture> pictures(executor, {.capacity_messages = 4});
    auto room = co_await pictures.sender.async_loan(1, asio::use_awaitable);
    room[0].number = 1;
    room[0].pixels.fill(128);  // straight into the shared memory
    room.commit();

    auto arrived = co_await pictures.receiver.async_receive_some(asio::use_awaitable);
    for (const picture& p : arrived.in_place())
        expect(p.pixels[1000] == 128, "grey");
    // [loan]
}

asio::awaitable<void> whichever()
{
    using namespace asio::experimental::awaitable_operators;
    auto executor = co_await asio::this_coro::executor;
    channel<tick> left(executor);
    channel<tick> right(executor);
    right.sender.try_send({1, 2.5});
    // [race]
    auto first = co_await (left.receiver.async_receive(asio::use_awaitable)
                           || right.receiver.async_receive(asio::use_awaitable));
    expect(first.index() == 1, "the right one");  // and the left one has taken nothing
    // [race]
    // [deadline]
    asio::steady_timer timer(executor, 1ms);
    auto late = co_await (left.receiver.async_receive(asio::use_awaitable)
                          || timer.async_wait(asio::use_awaitable));
    expect(late.index() == 1, "nothing came");
    // [deadline]
}

asio::awaitable<void> refused()
{
    auto executor = co_await asio::this_coro::executor;
    // [full]
    channel<tick> ticks(executor, {.capacity_messages = 2});
    error_code ec;
    ticks.sender.try_send({1, 1.0}, ec);
    ticks.sender.try_send({2, 1.0}, ec);
    expect(!ec, "there was room");
    bool sent = ticks.sender.try_send({3, 1.0}, ec);
    expect(!sent && ec == asio::error::would_block, "and now there is none");
    // [full]
    co_return;
}

// [spin]
asio::awaitable<void> answer(receiver<tick>& questions, sender<tick>& answers, int count)
{
    tick t;
    error_code ec;
    while (count-- > 0) {
        bool is_here = questions.try_receive(t, ec);
        if (!is_here && questions.spin())  // up to channel_options::spin, without giving way
            is_here = questions.try_receive(t, ec);
        if (!is_here)
            t = co_await questions.async_receive(asio::use_awaitable);
        t.price *= 2;
        if (!answers.try_send(t, ec))
            co_await answers.async_send(t, asio::use_awaitable);
    }
}
// [spin]

asio::awaitable<void> to_and_fro()
{
    auto executor = co_await asio::this_coro::executor;
    channel<tick> there(executor, {.spin = 1us});
    channel<tick> back(executor);
    there.sender.try_send({1, 1.5});
    co_await answer(there.receiver, back.sender, 1);
    tick t = co_await back.receiver.async_receive(asio::use_awaitable);
    expect(t.price == 3.0, "twice as much");
}

asio::awaitable<void> to_many()
{
    auto executor = co_await asio::this_coro::executor;
    // [broadcast]
    broadcaster<tick> prices(executor, {.capacity_messages = 4});
    auto for_books = prices.subscribe({.when_slow = slow_reader::holds_back});
    auto for_chart = prices.subscribe();                     // loses what it is too slow for
    subscriber<tick> books(executor, std::move(for_books));  // or pass() them to children
    subscriber<tick> chart(executor, std::move(for_chart));

    for (std::uint64_t n = 0; n < 6; ++n) {
        tick t{n, 2.0};
        co_await prices.async_send(t, asio::use_awaitable);  // waits for the books, if need be
        tick booked = co_await books.async_receive(asio::use_awaitable);
        expect(booked.time_ns == n, "every one of them");
    }
    error_code ec;
    tick t{};
    bool got = chart.try_receive(t, ec);
    expect(!got && ec == channel_errc::lapped && chart.lost() == 2, "two are gone");
    expect(chart.try_receive(t, ec) && t.time_ns == 2, "and here are the others");
    // [broadcast]
    // [history]
    subscriber<tick> late(executor, prices.subscribe({.history = 3}));
    tick before = co_await late.async_receive(asio::use_awaitable);
    expect(before.time_ns == 3, "3, 4 and 5, and what is sent from now on");
    // [history]
}

asio::awaitable<void> the_latest()
{
    auto executor = co_await asio::this_coro::executor;
    // [latest]
    latest_value<tick> price(executor);
    latest_reader<tick> display(executor, price.subscribe());
    for (std::uint64_t n = 1; n <= 100; ++n)
        price.store({n, 2.5});  // never waits

    co_await display.async_wait_changed(asio::use_awaitable);
    std::optional<tick> now = display.load();  // nor does this
    expect(now->time_ns == 100 && display.version() == 100, "the last one, whole");
    // [latest]
}

asio::awaitable<void> dropped()
{
    auto executor = co_await asio::this_coro::executor;
    // [drop]
    channel<tick> ticks(executor, {.capacity_messages = 2, .full = when_full::drop_newest});
    for (std::uint64_t n = 0; n < 5; ++n)
        ticks.sender.try_send({n, 1.0});  // always succeeds
    while (ticks.receiver.try_receive()) { }
    expect(ticks.receiver.statistics().dropped == 3, "the receiver knows what it has missed");
    // [drop]
    co_return;
}

asio::awaitable<void> dropped_oldest()
{
    auto executor = co_await asio::this_coro::executor;
    // [oldest]
    channel<tick> ticks(executor, {.capacity_messages = 2, .full = when_full::drop_oldest});
    for (std::uint64_t n = 0; n < 5; ++n)
        ticks.sender.try_send({n, 1.0});  // never waits, for whatever the receiver does
    tick t;
    error_code ec;
    bool got = ticks.receiver.try_receive(t, ec);
    expect(!got && ec == channel_errc::lapped && ticks.receiver.lost() == 3, "three are gone");
    expect(ticks.receiver.try_receive()->time_ns == 3, "and the latest two are there");
    // [oldest]
    co_return;
}

asio::awaitable<void> resumed()
{
    auto executor = co_await asio::this_coro::executor;
    // [resume]
    channel<order> orders(executor);
    for (std::uint32_t n = 0; n < 3; ++n)
        orders.sender.try_send({n, "Ada", {}});
    expect(orders.receiver.try_receive()->id == 0, "the first");
    orders.receiver.close();  // or its process has died

    unopened<receiver<order>> end = orders.sender.resume();  // for another, here or elsewhere
    receiver<order> second(executor, std::move(end));
    order next = co_await second.async_receive(asio::use_awaitable);
    expect(next.id == 1, "the first that the other had not received");
    // [resume]
}

// [sell]
asio::awaitable<void> sell(channel_listener<sender<tick>>& listener)
{
    auto [ticks, peer] = co_await listener.async_accept(asio::use_awaitable);
    tick first{1, 99.5};
    co_await ticks.async_send(first, asio::use_awaitable);  // this client has its own channel
    std::cout << "a client: process " << peer.pid << '\n';
}
// [sell]

// [buy]
asio::awaitable<void> buy(std::string path)
{
    auto executor = co_await asio::this_coro::executor;
    auto ticks = co_await async_connect<receiver<tick>>(executor, path, asio::use_awaitable);
    tick t = co_await ticks.async_receive(asio::use_awaitable);
    expect(t.price == 99.5, "what was sent");
}
// [buy]

asio::awaitable<void> to_anybody()
{
    using namespace asio::experimental::awaitable_operators;
    auto executor = co_await asio::this_coro::executor;
    const auto path = "/tmp/procyard-guide-" + std::to_string(::getpid());
    // [listen]
    channel_listener<sender<tick>> listener(executor, path, {.channel = {.capacity_messages = 64}});
    // [listen]
    co_await (sell(listener) && buy(path));
    connect_failure failure;
    auto refused = async_connect<receiver<order>>(executor, path, {}, failure);
    auto accepting = listener.async_accept();
    auto both = co_await (std::move(refused)(asio::as_tuple(asio::use_awaitable))
                          || std::move(accepting)(asio::use_awaitable));
    expect(failure.code == channel_errc::other_type, "the client is told");
    expect(both.index() == 0, "and the listener goes on");
}

asio::awaitable<void> co_main()
{
    co_await first();
    co_await busy();
    co_await in_batches();
    co_await in_place();
    co_await whichever();
    co_await refused();
    co_await to_and_fro();
    co_await to_many();
    co_await the_latest();
    co_await dropped();
    co_await dropped_oldest();
    co_await resumed();
    co_await to_anybody();
}

}  // namespace

int main()
{
    return run_main(co_main());
}
