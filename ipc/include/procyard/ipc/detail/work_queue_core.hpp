// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_WORK_QUEUE_CORE_HPP
#define PROCYARD_IPC_DETAIL_WORK_QUEUE_CORE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/error.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/fan_in_core.hpp>
#include <procyard/ipc/detail/fan_in_operations.hpp>
#include <procyard/ipc/detail/message_transport.hpp>
#include <procyard/ipc/detail/operation_queue.hpp>
#include <procyard/ipc/detail/work_broker.hpp>
#include <procyard/ipc/detail/work_records.hpp>
#include <procyard/ipc/fan_in_options.hpp>
#include <procyard/ipc/unopened.hpp>
#include <procyard/ipc/work_options.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// What of a work queue depends on the type of its items.
template <class T>
class work_queue_core final : public work_broker {
public:
    [[nodiscard]] static std::shared_ptr<work_queue_core>
    open(const asio::any_io_executor& ex, const work_queue_options& options, error_code& ec)
    {
        ec = check(options);
        if (ec)
            return nullptr;
        auto producers = fan_in_core::open(ex, {}, transport_of<T>::busy_after, ec);
        if (ec)
            return nullptr;
        auto answers = fan_in_core::open(ex, {}, transport_of<work_answer>::busy_after, ec);
        if (ec)
            return nullptr;
        return std::shared_ptr<work_queue_core>(
            new work_queue_core(ex, options, std::move(producers), std::move(answers)));
    }

    [[nodiscard]] error_code push(T& value)
    {
        const auto ec = room();
        if (!ec) {
            has_pushed();
            add(std::move(value));
        }
        return ec;
    }
    /// A push has ended without having had its turn.
    void push_has_gone() { has_pushed(); }
    [[nodiscard]] error_code collect(dead_letter<T>& letter)
    {
        dead_item dead;
        const auto ec = work_broker::collect(dead);
        if (ec)
            return ec;
        const auto at = items_.find(dead.id);
        letter = {dead.id, std::move(at->second.value), dead.attempts, dead.reason};
        items_.erase(at);
        return {};
    }

    [[nodiscard]] unopened<sender<T>> make_producer(const source_options& options, error_code& ec)
    {
        ec = room();
        if (ec && ec != asio::error::would_block)
            return {};
        if (this->options().channels.full == when_full::drop_oldest) {
            ec = channel_errc::bad_option;
            return {};
        }
        auto ends = make_channel<T>(this->options().channels, ec);
        if (ec)
            return {};
        receiver<T> opened(executor(), std::move(ends.receiver), ec);
        if (!ec)
            producers().add(take_core(opened), options, ec);
        if (ec)
            return {};
        pump_later();
        return std::move(ends.sender);
    }

    /// The descriptor that goes to the consumer.
    [[nodiscard]] unique_fd make_consumer(error_code& ec)
    {
        ec = room();
        if (ec && ec != asio::error::would_block)
            return {};
        work_hello hello{this->options().leases_per_consumer, this->options().channels};
        hello.channels.full = when_full::suspend;  // an item on its way out is never dropped
        auto items = make_channel<work_item<T>>(hello.channels, ec);
        if (ec)
            return {};
        auto answers = make_channel<work_answer>(answer_options(hello), ec);
        if (ec)
            return {};
        auto packed = pack_consumer(hello, items.receiver.native_handle(),
                                    answers.sender.native_handle(), ec);
        if (ec)
            return {};
        sender<work_item<T>> out(executor(), std::move(items.sender), ec);
        if (ec)
            return {};
        receiver<work_answer> back(executor(), std::move(answers.receiver), ec);
        if (ec)
            return {};
        const auto number = attach(std::move(back), ec);
        if (!ec)
            consumers_.try_emplace(number, std::move(out));
        return ec ? unique_fd() : std::move(packed);
    }

private:
    using work_broker::work_broker;

    void add(T&& value)
    {
        // What throws here leaves a place for the next one, of which the book knows nothing.
        items_.try_emplace(next_item()).first->second.value = std::move(value);
        add_item();
        pump_later();
    }

    bool admit() override
    {
        arrival<T> got;
        while (!receive_now(producers(), got, fan_in_look::awake)) {
            if (got.ended)
                continue;  // whoever has ended, its items are here
            add(std::move(got.message));
            return true;
        }
        return false;
    }
    error_code send(const hand_out& what, std::uint64_t refused) override
    {
        const auto to = consumers_.find(what.consumer);
        if (to == consumers_.end())
            return channel_errc::closed;
        auto& item = items_.find(what.item)->second;
        item.item = what.item;
        item.lease = what.lease;
        item.deadline_ns = std::chrono::nanoseconds(what.deadline.time_since_epoch()).count();
        item.refused = refused;
        item.attempt = what.attempt;
        error_code ec;
        to->second.try_send(item, ec);
        return ec;
    }
    void wait_for_room(std::uint64_t consumer) override
    {
        const auto to = consumers_.find(consumer);
        if (to == consumers_.end())
            return;
        to->second.async_wait_writable([self = this->shared_from_this(), this, consumer](
                                           const error_code& ec) { has_room(consumer, ec); });
    }
    void forget(std::uint64_t item) noexcept override { items_.erase(item); }
    void let_go(std::uint64_t consumer) noexcept override { consumers_.erase(consumer); }
    void let_all_go() noexcept override { consumers_.clear(); }

    std::unordered_map<std::uint64_t, work_item<T>> items_;
    std::unordered_map<std::uint64_t, sender<work_item<T>>> consumers_;
};

template <class T>
class push_operation final : public queued_operation<work_queue_core<T>> {
    using base = queued_operation<work_queue_core<T>>;

public:
    push_operation(std::shared_ptr<work_queue_core<T>> core, typename base::handler_type handler,
                   T&& value)
        : base(std::move(core), std::move(handler)),
          value_(std::move(value))
    {
    }

    channel_operation::progress attempt() override
    {
        return base::after(base::core().push(value_));
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        if (instead)
            base::core().push_has_gone();
        base::finish(std::move(self), instead);
    }

private:
    T value_;
};

template <class T>
class letter_operation final : public queued_operation<work_queue_core<T>, dead_letter<T>> {
    using base = queued_operation<work_queue_core<T>, dead_letter<T>>;

public:
    using base::base;

    channel_operation::progress attempt() override
    {
        return base::after(base::core().collect(letter_));
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        base::finish(std::move(self), instead, std::move(letter_));
    }

private:
    dead_letter<T> letter_;
};

class drain_operation final : public queued_operation<work_broker> {
public:
    using queued_operation<work_broker>::queued_operation;

    progress attempt() override { return after(core().drained()); }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        finish(std::move(self), instead);
    }
};

template <class T>
struct initiate_push {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<work_queue_core<T>>& core, T value) const
    {
        PROCYARD_ASSERT(core && "a work queue that was never opened, or moved from, has nothing");
        queue_operation<push_operation<T>>(core->pushes(), core, std::move(handler),
                                           std::move(value));
    }
};

template <class T>
struct initiate_dead_letter {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<work_queue_core<T>>& core) const
    {
        PROCYARD_ASSERT(core && "a work queue that was never opened, or moved from, has nothing");
        queue_operation<letter_operation<T>>(core->letters(), core, std::move(handler));
    }
};

struct initiate_drain {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<work_broker>& core) const
    {
        PROCYARD_ASSERT(core && "a work queue that was never opened, or moved from, has nothing");
        queue_operation<drain_operation>(core->drains(), core, std::move(handler));
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
