// SPDX-License-Identifier: BSL-1.0
//
// Procyard: both sides coroutines, each operation tried before it is awaited. An end that finds
// nothing to do looks again for a while before it sleeps, except in the rows that ask for sleep; in
// a ping-pong it does so before it gives its turn away.

#include <chrono>
#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <procyard/ipc/channel.hpp>

#include "../channel/flow.hpp"
#include "../channel/message.hpp"
#include "../channel/pair.hpp"

namespace asio = boost::asio;

namespace {

using asio::use_awaitable;
using procyard::error_code;

template <std::size_t Bytes>
procyard::channel_options options_of(const bench::round_options& options)
{
    procyard::channel_options made;
    made.capacity_messages = bench::capacity_of<Bytes>;
    const long otherwise = options.text("wait", "spin") == "spin" ? 20 : 0;
    made.spin = std::chrono::microseconds(options.number("spin_us", otherwise));
    return made;
}

// One way: the ends are made before the processes part, and each opens its own.
template <std::size_t Bytes>
class link {
public:
    using message = bench::message<Bytes>;

    explicit link(const bench::round_options& options)
        : ends_(procyard::make_channel<message>(options_of<Bytes>(options)))
    {
    }

    procyard::sender<message> open_sender(asio::io_context& context)
    {
        const auto others = std::move(ends_.receiver);
        return {context.get_executor(), std::move(ends_.sender)};
    }

    procyard::receiver<message> open_receiver(asio::io_context& context)
    {
        const auto others = std::move(ends_.sender);
        return {context.get_executor(), std::move(ends_.receiver)};
    }

private:
    procyard::unopened_channel<message> ends_;
};

// Whatever else stops an operation ends the round.
void expect_would_block(const error_code& ec)
{
    if (ec != asio::error::would_block)
        throw boost::system::system_error(ec);
}

// A large message is not carried in a handler.
template <std::size_t Bytes>
constexpr bool is_small = Bytes <= 1024;

template <std::size_t Bytes>
asio::awaitable<void> send_each(procyard::sender<bench::message<Bytes>>& tx, bench::outgoing& out)
{
    const auto m = bench::make_messages<Bytes>(1);
    error_code ec;
    do {
        out.number(m[0]);
        if (tx.try_send(m[0], ec))
            continue;
        expect_would_block(ec);
        if constexpr (is_small<Bytes>) {
            co_await tx.async_send(m[0], use_awaitable);
        } else {
            do
                co_await tx.async_wait_writable(use_awaitable);
            while (!tx.try_send(m[0], ec));
        }
    } while (!out.ended());
}

template <std::size_t Bytes>
asio::awaitable<void> receive_each(procyard::receiver<bench::message<Bytes>>& rx,
                                   bench::incoming& in)
{
    const auto m = bench::make_messages<Bytes>(1);
    error_code ec;
    do {
        if (rx.try_receive(m[0], ec))
            continue;
        expect_would_block(ec);
        if constexpr (is_small<Bytes>) {
            m[0] = co_await rx.async_receive(use_awaitable);
        } else {
            do
                co_await rx.async_wait_readable(use_awaitable);
            while (!rx.try_receive(m[0], ec));
        }
    } while (in.take(m[0]));
}

template <std::size_t Bytes>
asio::awaitable<void> send_together(procyard::sender<bench::message<Bytes>>& tx,
                                    bench::outgoing& out, std::size_t together)
{
    const auto messages = bench::make_messages<Bytes>(together);
    error_code ec;
    do {
        auto left = out.number(std::span(messages.get(), together));
        while (!left.empty()) {
            const auto sent = tx.try_send_some(left, ec);
            left = left.subspan(sent);
            if (sent == 0) {
                expect_would_block(ec);
                co_await tx.async_wait_writable(use_awaitable);
            }
        }
    } while (!out.ended());
}

template <std::size_t Bytes>
asio::awaitable<void> receive_together(procyard::receiver<bench::message<Bytes>>& rx,
                                       bench::incoming& in)
{
    constexpr auto together = bench::batch_of<Bytes>;
    const auto messages = bench::make_messages<Bytes>(together);
    const std::span to(messages.get(), together);
    error_code ec;
    std::size_t received = 0;
    do {
        while ((received = rx.try_receive_some(to, ec)) == 0) {
            expect_would_block(ec);
            co_await rx.async_wait_readable(use_awaitable);
        }
    } while (in.take(std::span<const bench::message<Bytes>>(to.first(received))));
}

template <std::size_t Bytes>
asio::awaitable<void> send_in_place(procyard::sender<bench::message<Bytes>>& tx,
                                    bench::outgoing& out)
{
    error_code ec;
    do {
        auto loan = tx.try_loan(1, ec);
        if (!loan) {
            expect_would_block(ec);
            loan = co_await tx.async_loan(1, use_awaitable);
        }
        loan[0].fill(out.next_number());
        loan.commit();
    } while (!out.ended());
}

template <std::size_t Bytes>
asio::awaitable<void> receive_in_place(procyard::receiver<bench::message<Bytes>>& rx,
                                       bench::incoming& in)
{
    error_code ec;
    bool more = true;
    do {
        auto batch = rx.try_receive_batch(ec);
        if (ec) {
            expect_would_block(ec);
            batch = co_await rx.async_receive_some(use_awaitable);
        }
        for (const auto& m : batch.in_place())
            more = in.take_all_of(m);
    } while (more);
}

template <std::size_t Bytes>
asio::awaitable<void> send_all(procyard::sender<bench::message<Bytes>>& tx, bench::outgoing& out,
                               const std::string& way)
{
    if (way == "batches")
        return send_together(tx, out, bench::batch_of<Bytes>);
    if (way == "bursts")
        return send_together(tx, out, bench::burst_messages);
    return way == "in_place" ? send_in_place(tx, out) : send_each(tx, out);
}

template <std::size_t Bytes>
asio::awaitable<void> receive_all(procyard::receiver<bench::message<Bytes>>& rx,
                                  bench::incoming& in, const std::string& way,
                                  const std::string& style)
{
    if (way == "batches" || style == "batches")
        return receive_together(rx, in);
    return way == "in_place" ? receive_in_place(rx, in) : receive_each(rx, in);
}

// Until the work is done; an open end may have work of its own for the context.
void run(asio::io_context& context, asio::awaitable<void> work)
{
    asio::co_spawn(context, std::move(work), [&context](const std::exception_ptr& error) {
        if (error)
            std::rethrow_exception(error);
        context.stop();
    });
    context.run();
}

template <std::size_t Bytes>
void send_round(const bench::round_options& options)
{
    const auto way = options.text("way", "one");
    bench::process_pair pair(options);
    link<Bytes> there(options);
    pair.run(
        [&] {
            asio::io_context context(1);
            auto rx = there.open_receiver(context);
            pair.meet();
            bench::incoming in;
            run(context, receive_all(rx, in, way, options.text("style")));
            in.print(Bytes);
            pair.meet();
        },
        [&] {
            asio::io_context context(1);
            auto tx = there.open_sender(context);
            pair.meet();
            bench::outgoing out(options);
            run(context, send_all(tx, out, way));
            pair.meet();
        });
}

using small = bench::message<64>;

asio::awaitable<void> ping(procyard::sender<small>& tx, procyard::receiver<small>& rx,
                           bench::round_trips& trips)
{
    small m{};
    error_code ec;
    do {
        m.set_number(trips.next_number());
        if (!tx.try_send(m, ec))
            co_await tx.async_send(m, use_awaitable);
        if (!rx.try_receive(m, ec) && !(rx.spin() && rx.try_receive(m, ec)))
            m = co_await rx.async_receive(use_awaitable);
    } while (trips.take(m));
}

asio::awaitable<void> pong(procyard::sender<small>& tx, procyard::receiver<small>& rx)
{
    small m{};
    error_code ec;
    do {
        if (!rx.try_receive(m, ec) && !(rx.spin() && rx.try_receive(m, ec)))
            m = co_await rx.async_receive(use_awaitable);
        if (!tx.try_send(m, ec))
            co_await tx.async_send(m, use_awaitable);
    } while ((m.number() & bench::last_message) == 0);
}

void ping_round(const bench::round_options& options)
{
    bench::process_pair pair(options);
    link<sizeof(small)> there(options);
    link<sizeof(small)> back(options);
    pair.run(
        [&] {
            asio::io_context context(1);
            auto tx = there.open_sender(context);
            auto rx = back.open_receiver(context);
            pair.meet();
            bench::round_trips trips(options);
            run(context, ping(tx, rx, trips));
            trips.print();
            pair.meet();
        },
        [&] {
            asio::io_context context(1);
            auto rx = there.open_receiver(context);
            auto tx = back.open_sender(context);
            pair.meet();
            run(context, pong(tx, rx));
            pair.meet();
        });
}

// Two coroutines of one thread. The second process is there for the round's deadline only.
void within_round(const bench::round_options& options)
{
    bench::process_pair pair(options);
    pair.run(
        [&] {
            asio::io_context context(1);
            auto made = options_of<sizeof(small)>(options);
            made.spin = {};  // nobody could do anything meanwhile
            procyard::channel<small> ends(context.get_executor(), made);
            bench::outgoing out(options);
            bench::incoming in;
            asio::co_spawn(context, send_each(ends.sender, out), asio::detached);
            run(context, receive_each(ends.receiver, in));
            in.print(sizeof(small));
        },
        [] {});
}

asio::awaitable<void> await_what_is_there(procyard::channel<small>& ends, bench::outgoing& out,
                                          bench::incoming& in)
{
    auto messages = bench::make_messages<sizeof(small)>(bench::ready_messages);
    error_code ec;
    bool more = true;
    do {
        auto left = out.number(std::span(messages.get(), bench::ready_messages));
        const auto sent = ends.sender.try_send_some(left, ec);
        bench::require(sent == left.size(), "room for all");
        for (std::size_t i = 0; i < sent; ++i)
            more = in.take(co_await ends.receiver.async_receive(use_awaitable));
    } while (more);
}

// What a co_await costs when the message is there: nobody waits for anybody.
void ready_round(const bench::round_options& options)
{
    bench::process_pair pair(options);
    pair.run(
        [&] {
            asio::io_context context(1);
            auto made = options_of<sizeof(small)>(options);
            made.spin = {};
            procyard::channel<small> ends(context.get_executor(), made);
            bench::outgoing out(options);
            bench::incoming in;
            run(context, await_what_is_there(ends, out, in));
            in.print(sizeof(small));
        },
        [] {});
}

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    if (options.command() == "ping")
        ping_round(options);
    else if (options.command() == "within")
        within_round(options);
    else if (options.command() == "ready")
        ready_round(options);
    else if (options.command() == "send")
        bench::for_message_size(options,
                                [&]<std::size_t Bytes>(std::integral_constant<std::size_t, Bytes>) {
                                    send_round<Bytes>(options);
                                });
    else
        bench::require(false, "bench_channel_procyard send | ping | within | ready");
}
