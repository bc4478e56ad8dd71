// SPDX-License-Identifier: BSL-1.0
// docs/channels.md: many senders, and a queue of work.
#include <boost/asio/redirect_error.hpp>

#include <cstdint>
#include <iostream>
#include <utility>

#include <procyard/ipc/fan_in.hpp>
#include <procyard/ipc/work_queue.hpp>

#include "guide.hpp"

struct reading {
    std::uint32_t sensor;
    double value;
};

namespace {

asio::awaitable<void> many_senders()
{
    auto executor = co_await asio::this_coro::executor;
    auto first = make_channel<reading>();
    auto second = make_channel<reading>();
    // [add]
    fan_in<reading> readings(executor);
    readings.add(std::move(first.receiver), {.name = "cellar"});
    readings.add(std::move(second.receiver), {.name = "roof"});  // at any time
    // [add]
    sender<reading> cellar(executor, std::move(first.sender));
    sender<reading> roof(executor, std::move(second.sender));
    cellar.try_send({1, 14.5});
    roof.try_send({2, -3.0});
    cellar.close();
    roof.close();
    // [receive]
    while (readings.source_count() > 0) {
        arrival<reading> got;
        error_code ec;
        if (!readings.try_receive(got, ec))  // no turn of the executor while there is something
            got = co_await readings.async_receive(asio::use_awaitable);
        if (got.ended)
            std::cout << readings.name(got.source) << ": " << got.ended.message() << '\n';
        else
            std::cout << got.message.sensor << ": " << got.message.value << '\n';
    }
    // [receive]
}

asio::awaitable<void> by_lanes()
{
    auto executor = co_await asio::this_coro::executor;
    // [lanes]
    channel<int> urgent(executor);
    channel<int> usual(executor);
    fan_in<int> orders(executor);
    orders.add(std::move(urgent.receiver), {.lane = 0});
    orders.add(std::move(usual.receiver), {.lane = 1});
    usual.sender.try_send(1);
    urgent.sender.try_send(2);
    auto first = co_await orders.async_receive(asio::use_awaitable);
    expect(first.message == 2, "the urgent one");
    // [lanes]
}

asio::awaitable<void> co_main()
{
    co_await many_senders();
    co_await by_lanes();
}

}  // namespace

int main()
{
    return run_main(co_main());
}
