// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_CHANNEL_ROUND_HPP
#define PROCYARD_BENCH_CHANNEL_ROUND_HPP

#include <cstddef>
#include <span>
#include <string>

#include "flow.hpp"
#include "message.hpp"
#include "pair.hpp"

namespace bench {

// The rounds of contenders whose calls block (or spin), in terms of a link: one way from one
// process to the other for messages of one size.
//
//     explicit link(const round_options&);   // before the processes part
//     void open_receiver();                  // in one of them; must not wait for the other
//     void open_sender();                    // in the other; may wait for the receiver's open
//     void send(const message<Bytes>&);
//     void receive(message<Bytes>&);
//
// and what it can do besides:
//
//     static constexpr std::size_t batch;    // instead of batch_of<Bytes>
//     void send_some(std::span<const message<Bytes>>);            // all of them
//     std::size_t receive_some(std::span<message<Bytes>>);        // at least one
//     void send_in_place(make), receive_in_place(look);           // calls with a message&
//
// Contenders with an event loop have loops of their own, made of the same `outgoing`, `incoming`
// and `round_trips`.

template <class Link, std::size_t Bytes>
concept batching_link = requires(Link link, std::span<message<Bytes>> batch) {
    link.send_some(batch);
    link.receive_some(batch);
};

template <class Link, std::size_t Bytes>
concept in_place_link = requires(Link link) {
    link.send_in_place([](message<Bytes>&) { });
    link.receive_in_place([](const message<Bytes>&) { });
};

template <class Link, std::size_t Bytes>
constexpr std::size_t link_batch()
{
    if constexpr (requires { Link::batch; })
        return Link::batch;
    else
        return batch_of<Bytes>;
}

template <std::size_t Bytes, class Link>
void send_each(Link& link, outgoing& out)
{
    const auto m = make_messages<Bytes>(1);
    do {
        out.number(m[0]);
        link.send(m[0]);
    } while (!out.ended());
}

template <std::size_t Bytes, class Link>
void receive_each(Link& link, incoming& in)
{
    const auto m = make_messages<Bytes>(1);
    do
        link.receive(m[0]);
    while (in.take(m[0]));
}

template <std::size_t Bytes, class Link>
void send_together(Link& link, outgoing& out, std::size_t count)
{
    const auto messages = make_messages<Bytes>(count);
    do
        link.send_some(out.number(std::span(messages.get(), count)));
    while (!out.ended());
}

template <std::size_t Bytes, class Link>
void receive_together(Link& link, incoming& in)
{
    constexpr auto count = link_batch<Link, Bytes>();
    const auto messages = make_messages<Bytes>(count);
    std::size_t received = 0;
    do
        received = link.receive_some(std::span(messages.get(), count));
    while (in.take(std::span<const message<Bytes>>(messages.get(), received)));
}

template <std::size_t Bytes, class Link>
void send_all(Link& link, outgoing& out, const std::string& way)
{
    if constexpr (batching_link<Link, Bytes>) {
        if (way == "batches")
            return send_together<Bytes>(link, out, link_batch<Link, Bytes>());
        if (way == "bursts")
            return send_together<Bytes>(link, out, burst_messages);
    }
    if constexpr (in_place_link<Link, Bytes>) {
        if (way == "in_place") {
            do
                link.send_in_place([&out](message<Bytes>& m) { m.fill(out.next_number()); });
            while (!out.ended());
            return;
        }
    }
    require(way == "one" || way == "bursts", "this contender cannot send in that way");
    send_each<Bytes>(link, out);
}

template <std::size_t Bytes, class Link>
void receive_all(Link& link, incoming& in, const std::string& way)
{
    if constexpr (batching_link<Link, Bytes>)
        if (way == "batches" || way == "bursts")
            return receive_together<Bytes>(link, in);
    if constexpr (in_place_link<Link, Bytes>) {
        if (way == "in_place") {
            bool more = true;
            do
                link.receive_in_place([&](const message<Bytes>& m) { more = in.take_all_of(m); });
            while (more);
            return;
        }
    }
    receive_each<Bytes>(link, in);
}

/// `send bytes= way=one|batches|in_place|bursts seconds=`
template <std::size_t Bytes, class Link>
void send_round(const round_options& options)
{
    const auto way = options.text("way", "one");
    process_pair pair(options);
    Link link(options);
    pair.run(
        [&] {
            link.open_receiver();
            pair.meet();
            incoming in;
            receive_all<Bytes>(link, in, way);
            in.print(Bytes);
            pair.meet();
        },
        [&] {
            link.open_sender();
            pair.meet();
            outgoing out(options);
            send_all<Bytes>(link, out, way);
            pair.meet();  // whoever leaves too early takes what is under way with it
        });
}

/// `ping wait=sleep|spin processors= seconds=`: 64 bytes there and back.
template <std::size_t Bytes, class Link>
void ping_round(const round_options& options)
{
    process_pair pair(options);
    Link there(options);
    Link back(options);
    pair.run(
        [&] {
            back.open_receiver();
            there.open_sender();
            pair.meet();
            round_trips trips(options);
            message<Bytes> m{};
            do {
                m.set_number(trips.next_number());
                there.send(m);
                back.receive(m);
            } while (trips.take(m));
            trips.print();
            pair.meet();
        },
        [&] {
            there.open_receiver();
            back.open_sender();
            pair.meet();
            message<Bytes> m{};
            do {
                there.receive(m);
                back.send(m);
            } while ((m.number() & last_message) == 0);
            pair.meet();
        });
}

/// The round that `options` ask for.
template <template <std::size_t> class Link>
void run_link(const round_options& options)
{
    if (options.command() == "ping")
        ping_round<64, Link<64>>(options);
    else if (options.command() == "send")
        for_message_size(options,
                         [&]<std::size_t Bytes>(std::integral_constant<std::size_t, Bytes>) {
                             send_round<Bytes, Link<Bytes>>(options);
                         });
    else
        require(false, "the commands are send, ping and version");
}

}  // namespace bench

#endif
