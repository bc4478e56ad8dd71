// SPDX-License-Identifier: BSL-1.0
//
// What one writes with Boost.Asio and coroutines today: messages over a Unix socket, or a queue in
// shared memory with an eventfd in each direction. And Asio's own channel, which stays within a
// process.

#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <utility>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/lockfree/spsc_queue.hpp>

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../channel/flow.hpp"
#include "../channel/message.hpp"
#include "../channel/pair.hpp"

namespace asio = boost::asio;

namespace {

using asio::use_awaitable;

// Messages one after the other in a Unix stream socket.
template <std::size_t Bytes>
class socket_link {
public:
    static constexpr std::size_t batch = std::max<std::size_t>(65536 / Bytes, 1);

    explicit socket_link(const bench::round_options&)
    {
        bench::require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends_.data()) == 0,
                       "socketpair");
    }

    void open_receiver(asio::io_context& context) { open(context, 0); }
    void open_sender(asio::io_context& context) { open(context, 1); }

    auto write(std::span<const bench::message<Bytes>> messages)
    {
        return asio::async_write(socket_[0], asio::buffer(messages.data(), messages.size_bytes()),
                                 use_awaitable);
    }

    auto read_some(std::span<bench::message<Bytes>> messages)
    {
        return socket_[0].async_read_some(asio::buffer(messages.data(), messages.size_bytes()),
                                          use_awaitable);
    }

    // Of the last message, of which a part has been read.
    auto read_rest(std::span<bench::message<Bytes>> messages, std::size_t have)
    {
        auto* to = reinterpret_cast<char*>(messages.data()) + have;
        return asio::async_read(socket_[0], asio::buffer(to, Bytes - have % Bytes), use_awaitable);
    }

private:
    void open(asio::io_context& context, std::size_t end)
    {
        ::close(ends_[1 - end]);
        socket_.emplace_back(context, asio::local::stream_protocol(), ends_[end]);
    }

    std::array<int, 2> ends_{-1, -1};
    std::vector<asio::local::stream_protocol::socket> socket_;  // one, after the fork
};

// Boost.Lockfree's queue in shared memory; one eventfd counts what has been sent, another what has
// been taken. Both sides keep a count of their own and read the eventfd when it is used up, so no
// wake-up can be lost.
template <std::size_t Bytes>
class eventfd_link {
public:
    static constexpr std::size_t batch = bench::batch_of<Bytes>;

    explicit eventfd_link(const bench::round_options&) : queue_(bench::make_shared_object<queue>())
    {
        for (int& event : events_) {
            event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
            bench::require(event != -1, "eventfd");
        }
    }

    void open_receiver(asio::io_context& context) { open(context, 0); }
    void open_sender(asio::io_context& context)
    {
        open(context, 1);
        count_ = capacity;
    }

    std::size_t try_send_some(std::span<const bench::message<Bytes>> messages)
    {
        const auto sent = queue_.push(messages.data(), std::min(messages.size(), count_));
        if (sent != 0)
            tell(sent);
        count_ -= sent;
        return sent;
    }

    std::size_t try_receive_some(std::span<bench::message<Bytes>> messages)
    {
        const auto received = queue_.pop(messages.data(), std::min(messages.size(), count_));
        count_ -= received;
        taken_ += received;
        if (taken_ >= capacity / 2)  // the sender need not hear of each
            tell(std::exchange(taken_, 0));
        return received;
    }

    // Until there is something, or room for something.
    auto wait()
    {
        return own_[0].async_read_some(asio::buffer(&more_, sizeof more_), use_awaitable);
    }
    void waited() { count_ += more_; }

private:
    static constexpr std::size_t capacity = bench::capacity_of<Bytes>;
    using queue =
        boost::lockfree::spsc_queue<bench::message<Bytes>, boost::lockfree::capacity<capacity>>;

    void open(asio::io_context& context, std::size_t own)
    {
        own_.emplace_back(context, events_[own]);
        other_ = events_[1 - own];
    }

    void tell(std::uint64_t count)
    {
        bench::require(::write(other_, &count, sizeof count) == sizeof count, "write");
    }

    queue& queue_;
    std::array<int, 2> events_{-1, -1};  // the receiver's, the sender's
    int other_ = -1;
    std::vector<asio::posix::stream_descriptor> own_;  // one, after the fork
    std::uint64_t more_ = 0;
    std::size_t count_ = 0;  // messages that are there, or that there is room for
    std::size_t taken_ = 0;  // and not told of yet
};

template <class Link>
concept waiting_link = requires(Link link) { link.wait(); };

// The loops are written out where one would write them: a coroutine around each call would cost as
// much as some of the calls.

template <std::size_t Bytes, class Link>
asio::awaitable<void> send_all(Link& link, bench::outgoing& out, std::size_t together)
{
    const auto messages = bench::make_messages<Bytes>(together);
    do {
        auto left = out.number(std::span(messages.get(), together));
        if constexpr (waiting_link<Link>) {
            while (!left.empty()) {
                const auto sent = link.try_send_some(left);
                left = left.subspan(sent);
                if (sent == 0) {
                    co_await link.wait();
                    link.waited();
                }
            }
        } else {
            co_await link.write(left);
        }
    } while (!out.ended());
}

template <std::size_t Bytes, class Link>
asio::awaitable<void> receive_all(Link& link, bench::incoming& in, std::size_t together)
{
    const auto messages = bench::make_messages<Bytes>(together);
    const std::span to(messages.get(), together);
    std::size_t received = 0;
    do {
        if constexpr (waiting_link<Link>) {
            while ((received = link.try_receive_some(to)) == 0) {
                co_await link.wait();
                link.waited();
            }
        } else {
            std::size_t have = co_await link.read_some(to);
            if (have % Bytes != 0)
                have += co_await link.read_rest(to, have);
            received = have / Bytes;
        }
    } while (in.take(std::span<const bench::message<Bytes>>(to.first(received))));
}

template <class Link>
asio::awaitable<void> send_one(Link& link, const bench::message<64>& m)
{
    if constexpr (waiting_link<Link>) {
        while (link.try_send_some(std::span(&m, 1)) == 0) {
            co_await link.wait();
            link.waited();
        }
    } else {
        co_await link.write(std::span(&m, 1));
    }
}

template <class Link>
asio::awaitable<void> receive_one(Link& link, bench::message<64>& m)
{
    if constexpr (waiting_link<Link>) {
        while (link.try_receive_some(std::span(&m, 1)) == 0) {
            co_await link.wait();
            link.waited();
        }
    } else {
        const auto have = co_await link.read_some(std::span(&m, 1));
        if (have != sizeof m)
            co_await link.read_rest(std::span(&m, 1), have);
    }
}

template <class Link>
asio::awaitable<void> ping(Link& there, Link& back, bench::round_trips& trips)
{
    bench::message<64> m{};
    do {
        m.set_number(trips.next_number());
        co_await send_one(there, m);
        co_await receive_one(back, m);
    } while (trips.take(m));
}

template <class Link>
asio::awaitable<void> pong(Link& there, Link& back)
{
    bench::message<64> m{};
    do {
        co_await receive_one(there, m);
        co_await send_one(back, m);
    } while ((m.number() & bench::last_message) == 0);
}

void run(asio::io_context& context, asio::awaitable<void> work)
{
    asio::co_spawn(context, std::move(work), [](const std::exception_ptr& error) {
        if (error)
            std::rethrow_exception(error);
    });
    context.run();
}

template <std::size_t Bytes, class Link>
void send_round(const bench::round_options& options)
{
    const auto way = options.text("way", "one");
    const std::size_t batch = way == "one" ? 1 : Link::batch;
    bench::process_pair pair(options);
    Link link(options);
    pair.run(
        [&] {
            asio::io_context context(1);
            link.open_receiver(context);
            pair.meet();
            bench::incoming in;
            run(context, receive_all<Bytes>(link, in, batch));
            in.print(Bytes);
            pair.meet();
        },
        [&] {
            asio::io_context context(1);
            link.open_sender(context);
            pair.meet();
            bench::outgoing out(options);
            run(context,
                send_all<Bytes>(link, out, way == "bursts" ? bench::burst_messages : batch));
            pair.meet();
        });
}

template <class Link>
void ping_round(const bench::round_options& options)
{
    bench::process_pair pair(options);
    Link there(options);
    Link back(options);
    pair.run(
        [&] {
            asio::io_context context(1);
            there.open_sender(context);
            back.open_receiver(context);
            pair.meet();
            bench::round_trips trips(options);
            run(context, ping(there, back, trips));
            trips.print();
            pair.meet();
        },
        [&] {
            asio::io_context context(1);
            there.open_receiver(context);
            back.open_sender(context);
            pair.meet();
            run(context, pong(there, back));
            pair.meet();
        });
}

using own_channel =
    asio::experimental::channel<void(boost::system::error_code, bench::message<64>)>;

asio::awaitable<void> send_within(own_channel& channel, bench::outgoing& out, bool try_first)
{
    bench::message<64> m{};
    do {
        out.number(m);
        if (!try_first || !channel.try_send(boost::system::error_code(), m))
            co_await channel.async_send(boost::system::error_code(), m, use_awaitable);
    } while (!out.ended());
}

asio::awaitable<void> receive_within(own_channel& channel, bench::incoming& in, bool try_first)
{
    bench::message<64> m{};
    const auto keep = [&m](boost::system::error_code, const bench::message<64>& got) { m = got; };
    do {
        if (!try_first || !channel.try_receive(keep))
            m = co_await channel.async_receive(use_awaitable);
    } while (in.take(m));
}

// Two coroutines of one thread. The second process is there for the round's deadline only.
void within_round(const bench::round_options& options)
{
    const bool try_first = options.number("try_first", 0) != 0;
    bench::process_pair pair(options);
    pair.run(
        [&] {
            asio::io_context context(1);
            own_channel channel(context, bench::capacity_of<64>);
            bench::outgoing out(options);
            bench::incoming in;
            asio::co_spawn(context, send_within(channel, out, try_first), asio::detached);
            run(context, receive_within(channel, in, try_first));
            in.print(sizeof(bench::message<64>));
        },
        [] {});
}

asio::awaitable<void> await_what_is_there(own_channel& channel, bench::outgoing& out,
                                          bench::incoming& in)
{
    bench::message<64> m{};
    bool more = true;
    do {
        std::size_t sent = 0;
        for (; sent < bench::ready_messages && !out.ended(); ++sent) {
            out.number(m);
            bench::require(channel.try_send(boost::system::error_code(), m), "room for all");
        }
        for (; sent > 0; --sent)
            more = in.take(co_await channel.async_receive(use_awaitable));
    } while (more);
}

// The least that an awaitable operation costs which does not complete within its initiation.
asio::awaitable<void> await_turns(bench::outgoing& out, bench::incoming& in)
{
    bench::message<64> m{};
    do {
        out.number(m);
        co_await asio::post(use_awaitable);
    } while (in.take(m));
}

// What a co_await costs when the message is there.
void ready_round(const bench::round_options& options)
{
    const bool turns = options.text("mechanism", "channel") == "post";
    bench::process_pair pair(options);
    pair.run(
        [&] {
            asio::io_context context(1);
            own_channel channel(context, bench::capacity_of<64>);
            bench::outgoing out(options);
            bench::incoming in;
            run(context, turns ? await_turns(out, in) : await_what_is_there(channel, out, in));
            in.print(sizeof(bench::message<64>));
        },
        [] {});
}

template <template <std::size_t> class Link>
void run_link(const bench::round_options& options)
{
    if (options.command() == "ping")
        ping_round<Link<64>>(options);
    else
        bench::for_message_size(options,
                                [&]<std::size_t Bytes>(std::integral_constant<std::size_t, Bytes>) {
                                    send_round<Bytes, Link<Bytes>>(options);
                                });
}

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    const auto mechanism = options.text("mechanism", "socket");
    if (options.command() == "within")
        within_round(options);
    else if (options.command() == "ready")
        ready_round(options);
    else if (mechanism == "socket")
        run_link<socket_link>(options);
    else if (mechanism == "eventfd")
        run_link<eventfd_link>(options);
    else
        bench::require(false, "mechanism=socket|eventfd, or the commands within, ready");
}
