// SPDX-License-Identifier: BSL-1.0
// The code of docs/channels.md, the part about what is given to any process. Checks itself.
#include <boost/asio/post.hpp>

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/channel_connect.hpp>
#include <procyard/ipc/end_listener.hpp>

#include "guide.hpp"

namespace {

struct tick {
    std::uint64_t time_ns;
    double price;
};
struct order {
    std::uint64_t id;
};

// [broadcast]
// Not each error is the end: at EMFILE the clients wait, and the next accept takes its time.
template <class End>
asio::awaitable<end_request<End>> next_client(end_listener<End>& listener)
{
    for (;;) {
        auto [ec, client] = co_await listener.async_accept(asio::as_tuple(asio::use_awaitable));
        if (!ec)
            co_return std::move(client);
        if (ec == asio::error::operation_aborted || !listener.is_open())
            throw boost::system::system_error(ec, "accept");
        std::cerr << "no client: " << ec.message() << '\n';
    }
}

asio::awaitable<void> let_subscribe(end_listener<subscriber<tick>>& listener,
                                    broadcaster<tick>& ticks)
{
    for (;;) {
        auto client = co_await next_client(listener);
        error_code ec;
        client.give(ticks.subscribe(), ec);  // an error is this client's: it has gone meanwhile
    }
}
// [broadcast]

// [subscribe]
asio::awaitable<double> last_price(std::string path)
{
    auto executor = co_await asio::this_coro::executor;
    auto ticks = co_await async_connect<subscriber<tick>>(executor, path, asio::use_awaitable);
    tick t = co_await ticks.async_receive(asio::use_awaitable);
    co_return t.price;
}
// [subscribe]

// [returning]
constexpr std::size_t most_clients = 100;

asio::awaitable<void> hand_out(end_listener<receiver<order>>& listener,
                               std::map<std::uint64_t, sender<order>>& clients)
{
    auto executor = co_await asio::this_coro::executor;
    for (;;) {
        auto client = co_await next_client(listener);
        if (clients.size() >= most_clients && !clients.contains(client.ticket())) {
            client.refuse();  // anybody can make up a ticket; erase those that are done
            continue;
        }
        auto [known, is_new] = clients.try_emplace(client.ticket());
        unopened<receiver<order>> end;
        error_code ec;
        if (is_new) {
            auto ends = make_channel<order>();
            known->second = sender<order>(executor, std::move(ends.sender));
            end = std::move(ends.receiver);
        } else {
            end = known->second.resume(ec);  // not_ended: the one before is still there
        }
        if (ec)
            client.refuse();
        else
            client.give(std::move(end), ec);  // and if it dies first, it may come again
    }
}
// [returning]

// [ticket]
asio::awaitable<receiver<order>> ask_for_orders(std::string path, std::uint64_t number)
{
    auto executor = co_await asio::this_coro::executor;
    channel_connect_options options{.ticket = number};  // the same, whenever it is started again
    co_return co_await async_connect<receiver<order>>(executor, path, options, asio::use_awaitable);
}
// [ticket]

asio::awaitable<void> publish(broadcaster<tick>& ticks)
{
    while (ticks.readers() == 0)
        co_await asio::post(asio::use_awaitable);
    ticks.try_send({1, 99.5});
}

asio::awaitable<void> to_readers(std::string path)
{
    using namespace asio::experimental::awaitable_operators;
    auto executor = co_await asio::this_coro::executor;
    broadcaster<tick> ticks(executor);
    end_listener<subscriber<tick>> listener(executor, path);
    auto all = co_await ((publish(ticks) && last_price(path)) || let_subscribe(listener, ticks));
    expect(all.index() == 0 && std::get<0>(all) == 99.5, "what was broadcast");
}

asio::awaitable<void> work(std::string path, std::map<std::uint64_t, sender<order>>& clients)
{
    for (std::uint64_t id = 1; id <= 3; ++id) {
        auto orders = co_await ask_for_orders(path, 7);
        for (std::uint64_t n = 1; id == 1 && n <= 3; ++n)
            clients.at(7).try_send({n});
        order next = co_await orders.async_receive(asio::use_awaitable);
        expect(next.id == id, "each goes on where the last was");
    }
}

asio::awaitable<void> to_those_who_come_again(std::string path)
{
    using namespace asio::experimental::awaitable_operators;
    auto executor = co_await asio::this_coro::executor;
    std::map<std::uint64_t, sender<order>> clients;
    end_listener<receiver<order>> listener(executor, path);
    auto all = co_await (work(path, clients) || hand_out(listener, clients));
    expect(all.index() == 0, "the workers were done");
}

asio::awaitable<void> co_main()
{
    const auto path = "/tmp/procyard-guide-giving-" + std::to_string(::getpid());
    co_await to_readers(path);
    co_await to_those_who_come_again(path);
}

}  // namespace

int main()
{
    return run_main(co_main());
}
