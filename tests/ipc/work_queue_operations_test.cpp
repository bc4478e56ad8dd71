// SPDX-License-Identifier: BSL-1.0
// The common contract of asynchronous operations, for those of a work queue and its consumers.
#include <procyard/ipc/work_queue.hpp>

#include <cstddef>
#include <optional>
#include <utility>

#include "channel_fixture.hpp"
#include "operation_contract.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::leased;
using procyard::work_queue;
using procyard::work_source;

namespace {

// A queue with room for one item, which a consumer has.
struct queue_operation {
    explicit queue_operation(asio::io_context& ctx)
        : queue(std::in_place, ctx.get_executor(),
                procyard::work_queue_options{.capacity = 1, .max_attempts = 1}),
          consumer(std::in_place, ctx.get_executor(), queue->consumer())
    {
        error_code ec;
        REQUIRE(queue->try_push(7, ec));
        REQUIRE_FALSE(consumer->try_take(item, ec));
        ctx.poll();
        ctx.restart();
        REQUIRE(consumer->try_take(item, ec));
    }
    // Nobody is left for whom the queue would stay busy.
    void leave() { consumer.reset(); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void break_it()
    {
        queue->stop();
        leave();
    }
    void destroy() { queue.reset(); }

    std::optional<work_queue<int>> queue;
    std::optional<work_source<int>> consumer;
    leased<int> item;
};

struct async_push : queue_operation {
    using queue_operation::queue_operation;
    template <class Token>
    void start(Token&& token)
    {
        queue->async_push(8, std::forward<Token>(token));
    }
    void satisfy()
    {
        item.acknowledge();
        leave();
    }
};

struct async_dead_letter : queue_operation {
    using queue_operation::queue_operation;
    template <class Token>
    void start(Token&& token)
    {
        queue->async_dead_letter(std::forward<Token>(token));
    }
    void satisfy()
    {
        item.reject();
        leave();
    }
};

struct async_drain : queue_operation {
    using queue_operation::queue_operation;
    template <class Token>
    void start(Token&& token)
    {
        queue->async_drain(std::forward<Token>(token));
    }
    void satisfy()
    {
        item.acknowledge();
        leave();
    }
};

// The queue in a context of its own, so that it does not keep the consumer's busy.
struct async_take {
    explicit async_take(asio::io_context& ctx)
        : queue(there.get_executor()),
          consumer(std::in_place, ctx.get_executor(), queue.consumer())
    {
    }
    ~async_take()
    {
        queue.stop();
        there.restart();
        there.poll();
    }
    template <class Token>
    void start(Token&& token)
    {
        consumer->async_take(std::forward<Token>(token));
    }
    void satisfy()
    {
        error_code ec;
        REQUIRE(queue.try_push(1, ec));
        REQUIRE_FALSE(consumer->try_take(none, ec));  // asks, where the first turn has not yet
        there.restart();
        there.poll();
    }
    void break_it() { consumer->close(); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void destroy() { consumer.reset(); }

    asio::io_context there;
    work_queue<int> queue;
    std::optional<work_source<int>> consumer;
    leased<int> none;
};

// The same, with two items in hand. The queue hears nothing before satisfy().
struct async_acknowledge {
    explicit async_acknowledge(asio::io_context& ctx)
        : queue(there.get_executor()),
          consumer(std::in_place, ctx.get_executor(), queue.consumer())
    {
        error_code ec;
        consumer->prefetch(2);
        REQUIRE_FALSE(consumer->try_take(items[0], ec));
        for (auto& item : items) {
            REQUIRE(queue.try_push(1, ec));
            hear();
            REQUIRE(consumer->try_take(item, ec));
        }
    }
    ~async_acknowledge()
    {
        queue.stop();
        hear();
    }
    template <class Token>
    void start(Token&& token)
    {
        items[started++].async_acknowledge(std::forward<Token>(token));
        if (hears)
            hear();
    }
    void satisfy()
    {
        hears = true;
        hear();
    }
    void break_it() { consumer->close(); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void destroy() { consumer.reset(); }
    void hear()
    {
        there.restart();
        there.poll();
    }

    asio::io_context there;
    work_queue<int> queue;
    std::optional<work_source<int>> consumer;
    leased<int> items[2];
    std::size_t started = 0;
    bool hears = false;
};

}  // namespace

TEST_SUITE("work_queue"){PROCYARD_OPERATION_CONTRACT(async_push)
                             PROCYARD_OPERATION_CONTRACT(async_dead_letter)
                                 PROCYARD_OPERATION_CONTRACT(async_drain)}

TEST_SUITE("work_source")
{
    PROCYARD_OPERATION_CONTRACT(async_take)
    PROCYARD_OPERATION_CONTRACT(async_acknowledge)
}
