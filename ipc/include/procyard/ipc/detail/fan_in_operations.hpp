// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_FAN_IN_OPERATIONS_HPP
#define PROCYARD_IPC_DETAIL_FAN_IN_OPERATIONS_HPP

#include <memory>
#include <utility>

#include <procyard/ipc/arrival.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_lease.hpp>
#include <procyard/ipc/detail/channel_operations.hpp>
#include <procyard/ipc/detail/fan_in_core.hpp>
#include <procyard/ipc/detail/message_transport.hpp>
#include <procyard/ipc/detail/operation_queue.hpp>
#include <procyard/ipc/message_batch.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

template <class T>
error_code receive_now(fan_in_core& core, arrival<T>& got, fan_in_look how)
{
    for (;;) {
        fan_in_found found;
        auto ec = core.find(found, how);
        if (ec)
            return ec;
        got.source = found.source;
        got.ended = found.ended;
        if (found.ended) {
            core.has_told_end(found);
            return {};
        }
        // Fails if it is no value of the type: then that has ended the source, and is found next.
        ec = receive_now<transport_of<T>>(*found.channel, got.message);
        if (!ec) {
            core.has_taken(found);
            return {};
        }
    }
}

template <class T>
class fan_in_receive final : public queued_operation<fan_in_core, arrival<T>> {
    using base = queued_operation<fan_in_core, arrival<T>>;

public:
    using base::base;

    channel_operation::progress attempt() override
    {
        return base::after(receive_now(base::core(), got_, fan_in_look::before_sleep));
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        base::finish(std::move(self), instead, std::move(got_));
    }

private:
    arrival<T> got_;
};

template <class T>
class fan_in_batch final : public queued_operation<fan_in_core, arrivals<T>> {
    using base = queued_operation<fan_in_core, arrivals<T>>;

public:
    using base::base;

    channel_operation::progress attempt() override
    {
        fan_in_found found;
        const auto ec = base::core().find(found, fan_in_look::before_sleep);
        if (!ec) {
            got_.source = found.source;
            got_.ended = found.ended;
            if (found.ended) {
                base::core().has_told_end(found);
            } else {
                got_.messages = message_batch<T>(channel_lease(found.channel->shared_from_this()));
                base::core().lends(found);
            }
        }
        return base::after(ec);
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        base::finish(std::move(self), instead, std::move(got_));
    }

private:
    arrivals<T> got_;
};

class fan_in_wait final : public queued_operation<fan_in_core> {
public:
    using queued_operation<fan_in_core>::queued_operation;

    progress attempt() override
    {
        fan_in_found found;
        return after(core().find(found, fan_in_look::before_sleep));
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        finish(std::move(self), instead);
    }
};

template <class Operation>
struct initiate_fan_in {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<fan_in_core>& core) const
    {
        PROCYARD_ASSERT(core && "a fan-in that was never opened, or moved from, has nothing");
        queue_operation<Operation>(core->operations(), core, std::move(handler));
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
