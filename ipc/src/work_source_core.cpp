// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/work_source_core.hpp>

#include <boost/asio/error.hpp>

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <string>
#include <utility>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/detail/channel_end.hpp>
#include <procyard/ipc/detail/channel_operations.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>
#include <procyard/ipc/syscall.hpp>

#include "connection_messages.hpp"
#include "hello_sort.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

std::shared_ptr<work_source_core>
work_source_core::open(const asio::any_io_executor& ex, unique_fd from, const channel_options& own,
                       channel_terms (*items_of)(const channel_options&), std::string& explanation,
                       error_code& ec)
{
    if (!from) {
        ec = make_errno(EBADF);
        return nullptr;
    }
    unique_fd items;
    unique_fd answers;
    std::string sender;
    auto hello = unpack_consumer(std::move(from), items, answers, sender, ec);
    const auto here = name_of(end_sort::work_queue, false, true);
    if (ec == channel_errc::other_direction)
        explanation = explain_sorts(here, sender);
    if (ec == channel_errc::already_taken)
        explanation = explain_sorts(
            here, "nothing, as in one that is open already, or a channel whose other end is not");
    if (ec)
        return nullptr;
    std::shared_ptr<work_source_core> made(new work_source_core);
    const auto said = hello.channels;
    hello.channels = own;
    hello.channels.capacity_messages = said.capacity_messages;
    hello.channels.capacity_bytes = said.capacity_bytes;
    hello.channels.across_users = said.across_users;
    hello.channels.full = when_full::suspend;  // answers are never dropped
    const auto terms = items_of(hello.channels);
    // The queue says how large the ring is, and must not have any size mapped here by that.
    error_code ignored;
    const auto needed = ring_memory::size_bytes(ring_role::producer, terms.shape, ec);
    const auto own_needed =
        ring_memory::size_bytes(ring_role::producer, items_of(own).shape, ignored);
    if (!ec && needed > std::max(own.max_peer_bytes, own_needed))
        ec = channel_errc::over_limit;
    if (ec)
        return nullptr;
    made->most_leases_ = static_cast<std::size_t>(hello.most_leases);
    made->items_ = open_end(ex, ring_role::consumer, std::move(items), terms, ec);
    if (ec)
        return nullptr;
    made->answers_ = open_end(ex, ring_role::producer, std::move(answers),
                              terms_of<work_answer>(answer_options(hello)), ec);
    if (ec)
        return nullptr;
    // Nobody else would tell: who takes goes by the channel of items. That tells of a queue that
    // has gone, when all that it had sent has been taken.
    const auto why = made->answers_->failure();
    if (why != channel_errc::closed && why != channel_errc::peer_died)
        ec = why;
    if (ec)
        explanation = made->answers_->explanation();
    return ec ? nullptr : made;
}

work_source_core::work_source_core() noexcept : owner_(::getpid()) { }

work_source_core::~work_source_core()
{
    close();
}

void work_source_core::close() noexcept
{
    // First what tells the queue that nothing more is taken; the answers that were given count.
    if (items_)
        items_->close();
    if (answers_)
        answers_->close();
}

error_code work_source_core::ask()
{
    const auto want = std::max<std::size_t>(1, prefetch);
    while (wanted_ < want) {
        if (wanted_ + held_ >= most_leases_)
            return wanted_ > 0 ? error_code() : make_errno(ENOBUFS);
        std::uint64_t room = 0;
        const auto ec =
            send_now<transport_of<work_answer>>(*answers_, work_answer{work_reply::want, 0}, room);
        if (ec)
            return ec;
        ++wanted_;
    }
    return {};
}

void work_source_core::ask_ahead()
{
    if (prefetch > 0)
        (void)ask();  // what is wrong is told by the next that waits
}

bool work_source_core::has_received(std::uint64_t lease, std::int64_t deadline_ns,
                                    std::uint64_t refused_by_now)
{
    refused = refused_by_now;
    wanted_ -= wanted_ > 0 ? 1 : 0;
    ++held_;
    if (!is_lease_over(deadline_ns))
        return true;
    (void)answer(work_reply::reject, lease, deadline_ns);
    return false;
}

error_code work_source_core::answer(work_reply what, std::uint64_t lease, std::int64_t deadline_ns)
{
    const bool over = is_lease_over(deadline_ns);
    held_ -= held_ > 0 ? 1 : 0;
    std::uint64_t room = 0;
    // Also when it is over: until it is answered, the queue counts it as one that is held here.
    const auto ec = send_now<transport_of<work_answer>>(
        *answers_, work_answer{over ? work_reply::reject : what, lease}, room);
    if (!ec && over)
        return make_errno(ETIMEDOUT);
    if (ec != asio::error::would_block)
        return ec;
    // An honest queue takes what there is before it hands out more, so there is always room. To say
    // would_block would let async_acknowledge wait for ever, since nobody sends this anew. Who
    // takes waits for the channel of items, which has to say the same.
    answers_->fail(channel_errc::peer_broke_rules);
    try {
        items_->fail(channel_errc::peer_broke_rules, "the queue takes no answers");
    } catch (const std::bad_alloc&) {  // a lease may be given back by a destructor
        items_->fail(channel_errc::peer_broke_rules);
    }
    return channel_errc::peer_broke_rules;
}

void work_source_core::drop(std::uint64_t lease, std::int64_t deadline_ns)
{
    const bool is_done = policy == lease_policy::acknowledge;
    if (owner_ == ::getpid())
        (void)answer(is_done ? work_reply::acknowledge : work_reply::reject, lease, deadline_ns);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
