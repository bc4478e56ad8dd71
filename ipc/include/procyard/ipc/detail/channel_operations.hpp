// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_CHANNEL_OPERATIONS_HPP
#define PROCYARD_IPC_DETAIL_CHANNEL_OPERATIONS_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/prefer.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <span>
#include <utility>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_core.hpp>
#include <procyard/ipc/detail/channel_operation.hpp>
#include <procyard/ipc/detail/message_transport.hpp>
#include <procyard/ipc/detail/record_ring.hpp>

// The channel's operations: what each does in a turn. Their waiting is channel_core's.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// --- at once ------------------------------------------------------------------------------------

/// Several messages in one call: publishes and counts those that went through, also when a codec
/// throws in the middle.
class publication {
public:
    explicit publication(channel_core& core) noexcept : core_(core) { }
    publication(const publication&) = delete;
    publication& operator=(const publication&) = delete;
    ~publication()
    {
        if (count_ == 0)
            return;
        core_.publish();
        core_.count_messages(count_);
    }

    void add(std::size_t messages = 1) noexcept { count_ += messages; }
    [[nodiscard]] std::size_t count() const noexcept { return count_; }

private:
    channel_core& core_;
    std::size_t count_ = 0;
};

/// What has been done has no error. Nothing is written where there is none: message_transport.hpp.
inline bool succeed(error_code& ec) noexcept
{
    if (ec) [[unlikely]]
        ec.clear();
    return true;
}

/// False, and `ec` says why; with would_block, it takes room for `wanted` units.
template <class Transport, class T>
bool send_now(channel_core& core, const T& message, std::uint64_t& wanted, error_code& ec)
{
    if (core.side().peer_closed()) [[unlikely]] {
        ec = core.closed_by_peer();
        if (ec)
            return false;
    }
    if (Transport::put(core, message, wanted, ec)) [[likely]] {
        core.publish();
        core.count_messages(1);
        return succeed(ec);
    }
    if (ec == asio::error::would_block) {
        if (core.drops(1))
            return succeed(ec);
        core.note_refusal(wanted);
    }
    return false;
}
/// Where a message costs more than an error_code.
template <class Transport, class T>
error_code send_now(channel_core& core, const T& message, std::uint64_t& wanted)
{
    error_code ec;
    (void)send_now<Transport>(core, message, wanted, ec);
    return ec;
}

template <class Transport, class T>
std::size_t send_some_now(channel_core& core, std::span<const T> messages, error_code& ec)
{
    ec.clear();
    if (core.side().peer_closed()) [[unlikely]] {
        ec = core.closed_by_peer();
        if (ec)
            return 0;
    }
    std::uint64_t wanted = 0;
    std::size_t sent = 0;
    {
        publication sending(core);
        if constexpr (in_place_message<T>) {
            sent = Transport::put_some(core, messages, ec);
            sending.add(sent);
            wanted = 1;
            if (ec == asio::error::would_block && core.drops(messages.size() - sent)) [[unlikely]] {
                ec.clear();
                sent = messages.size();
            }
        } else {
            for (const auto& message : messages) {
                if (Transport::put(core, message, wanted, ec)) [[likely]]
                    sending.add();
                else if (ec != asio::error::would_block || !core.drops(1))
                    break;
                else
                    ec.clear();
                ++sent;
            }
        }
    }
    if (ec == asio::error::would_block)
        core.note_refusal(wanted);
    return sent;
}

/// False, and `ec` says why.
template <class Transport, class T>
bool receive_now(channel_core& core, T& message, error_code& ec)
{
    if (!Transport::take(core, message, ec)) [[unlikely]]
        return false;
    core.publish();
    core.count_messages(1);
    return succeed(ec);
}
/// Where a message costs more than an error_code.
template <class Transport, class T>
error_code receive_now(channel_core& core, T& message)
{
    error_code ec;
    (void)receive_now<Transport>(core, message, ec);
    return ec;
}

template <class Transport, class T>
std::size_t receive_some_now(channel_core& core, std::span<T> messages, error_code& ec)
{
    ec.clear();
    publication receiving(core);
    if constexpr (in_place_message<T>) {
        receiving.add(Transport::take_some(core, messages, ec));
    } else {
        for (auto& message : messages) {
            if (!Transport::take(core, message, ec)) [[unlikely]]
                break;
            receiving.add();
        }
    }
    if (receiving.count() > 0 && ec) {  // what comes after them is told when it is looked at
        if (ec == channel_errc::lapped)
            core.put_off_loss();
        ec.clear();
    }
    return receiving.count();
}

/// What a batch is of: all that there is.
inline constexpr std::uint64_t all_messages = ~std::uint64_t{0};

/// Whether there is room for a lease. False: `ec` is would_block, or what has ended the channel.
inline bool has_room_now(channel_core& core, bool to_send, std::uint64_t busy_after,
                         std::uint64_t most, error_code& ec)
{
    ec.clear();
    if (to_send && core.side().peer_closed()) [[unlikely]] {
        ec = core.closed_by_peer();
        if (ec)
            return false;
    }
    std::uint64_t passed = 0;
    do
        (void)find_room(core, 1, ec, busy_after, most);
    while (!ec && core.pass_no_message(passed, ec));
    return !ec;
}
/// The same as an error_code.
inline error_code room_now(channel_core& core, bool to_send, std::uint64_t busy_after,
                           std::uint64_t most = all_messages)
{
    error_code ec;
    (void)has_room_now(core, to_send, busy_after, most, ec);
    return ec;
}

/// Whether there is room to lend for a message of so many bytes.
inline error_code byte_room_now(channel_core& core, std::size_t count, std::uint64_t& wanted)
{
    if (core.side().peer_closed()) [[unlikely]] {
        if (const auto ec = core.closed_by_peer())
            return ec;
    }
    if (count > longest_record(core.side().capacity()))  // before anything is added to it
        return channel_errc::too_long;
    const auto ec = core.make_room(count + sizeof(std::uint32_t), wanted);
    if (ec == asio::error::would_block)
        core.note_refusal(wanted);
    return ec;
}

// --- waiting ------------------------------------------------------------------------------------
//
// What could be done at once completes in a later turn all the same, as everywhere in Asio; who
// wants no turn tries first. Of a message that is there, in one thread, optimized (GCC 12, Asio of
// Boost 1.81): try_receive takes 3 ns; async_receive 66 ns if it is awaited as it is, 88 ns by
// use_awaitable; an asio::post by use_awaitable, with nothing in it, 58 ns.
//
// Rejected: a member beside async_receive that returns an asio::awaitable, tries, and awaits only
// if nothing is there. It takes 13 ns, as long as a coroutine that does nothing, so two lines that
// try first are four times as fast; it has no other token, and no executor of a handler; and a loop
// around it never lets others of its executor have their turn, which is easier to see of a loop
// around try_receive. Also rejected: an awaiter whose await_ready says that it is there. The
// promise of asio::awaitable takes none but by what is in its namespace detail. And the handler's
// immediate executor: Asio has one from Boost 1.82 on, and it posts unless it is told otherwise.

template <class... Results>
class channel_operation_of : public channel_operation {
public:
    using handler_type = asio::any_completion_handler<void(error_code, Results...)>;

    channel_operation_of(channel_core& core, handler_type handler)
        : core_(core),
          handler_(std::move(handler))
    {
    }

    [[nodiscard]] asio::cancellation_slot get_cancellation_slot() const noexcept
    {
        return handler_.get_cancellation_slot();
    }

protected:
    channel_core& core_;  // alive as long as a turn is: that holds it
    handler_type handler_;
    error_code ec_;

    [[nodiscard]] progress after(const error_code& ec) noexcept
    {
        ec_ = ec;
        return ec == asio::error::would_block && !at_once ? progress::blocked : progress::done;
    }
    // swap: in Boost 1.81 the move assignment of any_completion_handler calls itself for ever.
    [[nodiscard]] handler_type take_handler() noexcept
    {
        handler_type handler;
        handler.swap(handler_);
        return handler;
    }
};

/// Publishes what has been written or read, if that has not been done.
class publishing {
public:
    explicit publishing(channel_core& core) noexcept : core_(core) { }
    publishing(const publishing&) = delete;
    publishing& operator=(const publishing&) = delete;
    ~publishing()
    {
        if (!core_.side().is_published())
            core_.publish();
    }

private:
    channel_core& core_;
};

/// Sends the messages of an operation, one after the other, in parts if one is longer than the
/// ring. Counts them, and does not publish what has gone in one piece.
template <class T>
class message_sending {
public:
    /// @par Errors   As those of put, and of message_parts. After would_block: the same again.
    error_code send(channel_core& core, const T& message, std::uint64_t& wanted)
    {
        if (!parts_.is_under_way()) {
            error_code ec;
            (void)transport_of<T>::put(core, message, wanted, ec);
            if (ec == asio::error::would_block && core.drops(1))
                return {};
            if (ec != channel_errc::too_long) {
                core.count_messages(ec ? 0 : 1);
                return ec;
            }
            if (const auto cannot = parts_.begin(core, message))
                return cannot;
        }
        const auto ec = parts_.send(core, wanted);
        core.count_messages(ec ? 0 : 1);
        return ec;
    }
    /// What is under way will not be finished.
    void give_up(channel_core& core) noexcept { parts_.drop(core); }

private:
    message_parts parts_;
};

/// Those of one length are never longer than the ring.
template <class T>
    requires(fixed_bytes<T> != 0)
class message_sending<T> {
public:
    error_code send(channel_core& core, const T& message, std::uint64_t& wanted)
    {
        error_code ec;
        (void)transport_of<T>::put(core, message, wanted, ec);
        if (ec == asio::error::would_block && core.drops(1))
            return {};
        core.count_messages(ec ? 0 : 1);
        return ec;
    }
    void give_up(channel_core&) noexcept { }
};

template <class T>
class send_operation final : public channel_operation_of<> {
public:
    send_operation(channel_core& core, handler_type handler, T&& message)
        : channel_operation_of(core, std::move(handler)),
          message_(std::move(message))
    {
        wanted = transport_of<T>::needs(message_);
        at_once = core.options().full != when_full::suspend;
        // What can never go through, or goes in parts, does not wait for room before its first
        // turn.
        if constexpr (fixed_bytes<T> == 0) {
            if (encoded_size(message_) > longest_record(core.side().capacity()))
                wanted = 0;
        }
    }

    progress attempt() override
    {
        if (core_.side().peer_closed()) [[unlikely]] {
            if (const auto ec = core_.closed_by_peer())
                return after(ec);
        }
        const publishing at_last(core_);
        const auto ec = sending_.send(core_, message_, wanted);
        if (ec == asio::error::would_block)
            core_.note_refusal(wanted);
        return after(ec);
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto handler = take_handler();
        const auto ec = instead ? instead : ec_;
        if (ec)
            sending_.give_up(core_);
        self.reset();
        std::move(handler)(ec);
    }

private:
    T message_;
    [[no_unique_address]] message_sending<T> sending_;
};

template <class T>
class receive_operation final : public channel_operation_of<T> {
    using base = channel_operation_of<T>;

public:
    using base::base;

    channel_operation::progress attempt() override
    {
        return base::after(receive_now<transport_of<T>>(base::core_, message_));
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto handler = base::take_handler();
        const auto ec = instead ? instead : base::ec_;
        T message = std::move(message_);
        self.reset();
        std::move(handler)(ec, std::move(message));
    }

private:
    T message_{};
};

/// Readable or writable: there is a message, or room for the one that was refused.
class wait_operation final : public channel_operation_of<> {
public:
    wait_operation(channel_core& core, handler_type handler)
        : channel_operation_of(core, std::move(handler))
    {
        wanted = core.wanted_room();
    }

    progress attempt() override
    {
        error_code ec;
        if (core_.is_producer() && core_.side().peer_closed()) [[unlikely]] {
            ec = core_.closed_by_peer();
            if (ec)
                return after(ec);
        }
        std::uint64_t passed = 0;
        do
            (void)find_room(core_, wanted, ec, busy_after_bytes);
        while (!ec && core_.pass_no_message(passed, ec));
        if (ec == channel_errc::lapped) {  // there is something: that, and what follows
            core_.put_off_loss();
            ec.clear();
        }
        return after(ec);
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto handler = take_handler();
        const auto ec = instead ? instead : ec_;
        self.reset();
        std::move(handler)(ec);
    }
};

/// The end of the channel, and how it has come.
class end_operation final : public channel_operation_of<error_code> {
public:
    end_operation(channel_core& core, handler_type handler)
        : channel_operation_of(core, std::move(handler))
    {
        for_end = true;
    }

    progress attempt() override { return after(core_.look_for_end(how_)); }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto handler = take_handler();
        const auto ec = instead ? instead : ec_;
        const auto how = ec ? error_code() : how_;
        self.reset();
        std::move(handler)(ec, how);
    }

private:
    error_code how_;
};

template <class T, class Range>
class send_all_operation final : public channel_operation_of<std::size_t> {
public:
    send_all_operation(channel_core& core, handler_type handler, Range&& messages)
        : channel_operation_of(core, std::move(handler)),
          messages_(std::move(messages)),
          next_(std::ranges::begin(messages_))
    {
        wanted = 0;  // there may be nothing to send, or what can never go through
        at_once = core.options().full != when_full::suspend;
    }

    progress attempt() override
    {
        error_code ec;
        if (core_.side().peer_closed()) [[unlikely]] {
            ec = core_.closed_by_peer();
            if (ec)
                return after(ec);
        }
        const publishing at_last(core_);
        for (; next_ != std::ranges::end(messages_); ++next_, ++sent_) {
            ec = sending_.send(core_, *next_, wanted);
            if (ec)
                break;
        }
        return after(ec);
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto handler = take_handler();
        const auto ec = instead ? instead : ec_;
        const auto sent = sent_;
        if (ec)
            sending_.give_up(core_);
        self.reset();
        std::move(handler)(ec, sent);
    }

private:
    Range messages_;
    std::ranges::iterator_t<Range> next_;
    std::size_t sent_ = 0;
    [[no_unique_address]] message_sending<T> sending_;
};

/// A batch or a loan: a lease, once there is room.
template <class Lent>
class lease_operation final : public channel_operation_of<Lent> {
    using base = channel_operation_of<Lent>;

public:
    using transport = transport_of<typename Lent::message_type>;
    static constexpr bool to_send = requires(Lent lent) { lent.commit(); };

    lease_operation(channel_core& core, typename base::handler_type handler, std::size_t most = 0)
        : base(core, std::move(handler)),
          most_(most)
    {
        base::at_once = to_send && core.options().full == when_full::fail;
    }

    channel_operation::progress attempt() override
    {
        return base::after(room_now(base::core_, to_send, transport::busy_after));
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto handler = base::take_handler();
        const auto ec = instead ? instead : base::ec_;
        auto lent = ec || (to_send && most_ == 0) ? Lent() : lend();
        self.reset();
        std::move(handler)(ec, std::move(lent));
    }

private:
    [[nodiscard]] Lent lend()
    {
        channel_lease lease(base::core_.shared_from_this());
        if constexpr (to_send)
            return Lent(std::move(lease), most_);
        else
            return Lent(std::move(lease));
    }

    std::size_t most_;
};

template <class Loan>
class byte_loan_operation final : public channel_operation_of<Loan> {
    using base = channel_operation_of<Loan>;

public:
    byte_loan_operation(channel_core& core, typename base::handler_type handler, std::size_t count)
        : base(core, std::move(handler)),
          count_(count)
    {
        base::wanted = 0;  // what can never be lent does not wait
        base::at_once = core.options().full == when_full::fail;
    }

    channel_operation::progress attempt() override
    {
        return base::after(byte_room_now(base::core_, count_, base::wanted));
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto handler = base::take_handler();
        const auto ec = instead ? instead : base::ec_;
        auto loan = ec ? Loan() : Loan(channel_lease(base::core_.shared_from_this()), count_);
        self.reset();
        std::move(handler)(ec, std::move(loan));
    }

private:
    std::size_t count_;
};

/// Makes an operation of a handler, and starts it.
template <class Operation, class Handler, class... Args>
void start_operation(const std::shared_ptr<channel_core>& core, Handler&& handler, Args&&... args)
{
    PROCYARD_ASSERT(core && "an end that was never opened, or moved from, has no operations");
    const auto place = place_of(handler, core->executor());
    asio::any_completion_executor work;
    if (place == handler_place::elsewhere)
        work = work_of(handler, core->executor());
    auto operation = channel_operation::make<Operation>(
        core->operation_memory(), *core,
        typename Operation::handler_type(std::forward<Handler>(handler)),
        std::forward<Args>(args)...);
    operation->place = place;
    operation->handler_work = std::move(work);
    const auto slot = operation->get_cancellation_slot();
    core->start(std::move(operation), slot);
}

template <class T>
struct initiate_send {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<channel_core>& core, T message) const
    {
        start_operation<send_operation<T>>(core, std::move(handler), std::move(message));
    }
};

template <class T>
struct initiate_receive {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<channel_core>& core) const
    {
        start_operation<receive_operation<T>>(core, std::move(handler));
    }
};

template <class T, class Range>
struct initiate_send_all {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<channel_core>& core,
                    Range messages) const
    {
        start_operation<send_all_operation<T, Range>>(core, std::move(handler),
                                                      std::move(messages));
    }
};

template <class Loan>
struct initiate_loan {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<channel_core>& core,
                    std::size_t most) const
    {
        start_operation<lease_operation<Loan>>(core, std::move(handler), most);
    }
};

template <class Loan>
struct initiate_byte_loan {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<channel_core>& core,
                    std::size_t count) const
    {
        start_operation<byte_loan_operation<Loan>>(core, std::move(handler), count);
    }
};

template <class Batch>
struct initiate_batch {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<channel_core>& core) const
    {
        start_operation<lease_operation<Batch>>(core, std::move(handler));
    }
};

struct initiate_wait_for_room {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<channel_core>& core) const
    {
        start_operation<wait_operation>(core, std::move(handler));
    }
};

struct initiate_wait_for_end {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<channel_core>& core) const
    {
        start_operation<end_operation>(core, std::move(handler));
    }
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
