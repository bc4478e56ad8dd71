// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_WORK_SOURCE_HPP
#define PROCYARD_IPC_WORK_SOURCE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/system/system_error.hpp>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_end.hpp>
#include <procyard/ipc/detail/channel_operations.hpp>
#include <procyard/ipc/detail/end_sort.hpp>
#include <procyard/ipc/detail/work_source_core.hpp>
#include <procyard/ipc/unopened.hpp>
#include <procyard/ipc/work_options.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What can be an item of a work queue: any message that does not borrow.
template <class T>
concept work_message = message<T> && !borrows_message<T>;

namespace detail {
template <class T>
class take_operation;
template <class T>
struct initiate_acknowledge;
}  // namespace detail

/// An item that this consumer has, until it answers for it or the lease is over. If it says
/// nothing, the destructor does: it gives the item back, unless work_source::when_dropped() says
/// otherwise.
/// @par Thread safety   As the work_source's, of which it is a part.
/// @par Lifetime        Does not need the work_source. If that is closed first, the item has been
///                      given back. After a move, or an answer: empty, and value() stays.
template <class T>
class leased {
public:
    /// Empty.
    leased() noexcept = default;
    leased(leased&&) noexcept = default;
    leased& operator=(leased&& other) noexcept
    {
        if (this != &other) {
            drop();
            from_ = std::move(other.from_);
            item_ = std::move(other.item_);
        }
        return *this;
    }
    ~leased() { drop(); }

    /// Has not been answered for.
    [[nodiscard]] explicit operator bool() const noexcept { return from_ != nullptr; }

    [[nodiscard]] T& value() noexcept { return item_.value; }
    [[nodiscard]] const T& value() const noexcept { return item_.value; }
    /// The item's number in its queue: the same each time it is handed out.
    [[nodiscard]] std::uint64_t id() const noexcept { return item_.item; }
    /// 1, when nobody has had it before.
    [[nodiscard]] unsigned attempt() const noexcept { return static_cast<unsigned>(item_.attempt); }
    /// When the item goes to somebody else.
    [[nodiscard]] std::chrono::steady_clock::time_point deadline() const noexcept
    {
        return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(item_.deadline_ns));
    }

    /// It is done. False: the queue does not hear that, and `ec` says why.
    /// @par Errors   ETIMEDOUT: the lease is over, and somebody else has the item, or will have it;
    ///               EBADF: empty, or the work_source is closed; `channel_errc::closed`,
    ///               `peer_died`: the queue is gone; `peer_broke_rules`: it does not keep to the
    ///               protocol, as one that takes no answers.
    /// @par Limits   A process that is stopped between the look at the clock and the sending may be
    ///               told true too late: work_source::refused() counts these.
    /// @par Cost     A few nanoseconds, and one system call if the queue sleeps.
    bool acknowledge(error_code& ec) { return answer(detail::work_reply::acknowledge, ec); }
    bool acknowledge()
    {
        error_code ec;
        return acknowledge(ec);
    }
    /// It is done, and the queue knows: waits until it has heard that. Without an error nobody else
    /// will be given the item; `*this` is empty from the call on.
    /// @pre not empty
    /// @par Completion    void(error_code)
    /// @par Errors        ETIMEDOUT: the lease was over before the queue was seen to have heard it,
    ///                    so somebody else may be given the item; `channel_errc::closed`,
    ///                    `peer_died`: the queue is gone; `peer_broke_rules`; EBADF: the
    ///                    work_source is closed; EMFILE, ENFILE, ENOMEM, EPERM, of the wait: see
    ///                    sender::async_send.
    /// @par Cancellation  terminal, partial and total: of the wait. What has been said has been
    ///                    said, and what becomes of it is not known.
    /// @par Cost          As acknowledge(), and a sleep and a wake-up if the queue sleeps.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_acknowledge(Token&& token = {})
    {
        PROCYARD_ASSERT(*this && "what is not leased cannot be acknowledged");
        return asio::async_initiate<Token, void(error_code)>(detail::initiate_acknowledge<T>{},
                                                             token, std::move(*this));
    }
    /// It is to be given to somebody, now.
    /// @par Errors, limits, cost   As acknowledge.
    bool reject(error_code& ec) { return answer(detail::work_reply::reject, ec); }
    bool reject()
    {
        error_code ec;
        return reject(ec);
    }

private:
    friend class detail::take_operation<T>;
    friend struct detail::initiate_acknowledge<T>;
    template <work_message U>
    friend class work_source;

    leased(std::shared_ptr<detail::work_source_core> from, detail::work_item<T>&& item) noexcept
        : from_(std::move(from)),
          item_(std::move(item))
    {
    }

    bool answer(detail::work_reply what, error_code& ec)
    {
        const auto from = std::move(from_);
        ec = from ? from->answer(what, item_.lease, item_.deadline_ns)
                  : error_code(asio::error::bad_descriptor);
        return !ec;
    }
    void drop() noexcept
    {
        if (const auto from = std::move(from_))
            from->drop(item_.lease, item_.deadline_ns);
    }

    std::shared_ptr<detail::work_source_core> from_;
    detail::work_item<T> item_;
};

namespace detail {

/// Takes an item out of the channel. Those whose lease has ended there are given back.
template <class T>
error_code take_now(const std::shared_ptr<work_source_core>& source, work_item<T>& item)
{
    for (;;) {
        const auto ec = receive_now<transport_of<work_item<T>>>(*source->items(), item);
        if (ec == asio::error::would_block) {
            const auto refusal = source->ask();
            // That the queue has gone is said when all that it had sent has been taken.
            return refusal == boost::system::errc::no_buffer_space ? refusal : ec;
        }
        if (ec)
            return ec;
        if (!source->has_asked()) {  // else a queue could keep us here
            source->items()->fail(channel_errc::peer_broke_rules,
                                  "the queue has sent an item that was not asked for");
            return channel_errc::peer_broke_rules;
        }
        if (source->has_received(item.lease, item.deadline_ns, item.refused)) {
            source->ask_ahead();
            return {};
        }
    }
}

template <class T>
class take_operation final : public channel_operation_of<leased<T>> {
    using base = channel_operation_of<leased<T>>;

public:
    take_operation(channel_core& core, typename base::handler_type handler,
                   std::shared_ptr<work_source_core> source)
        : base(core, std::move(handler)),
          source_(std::move(source))
    {
        base::wanted = 0;  // a turn, to ask for an item
    }

    channel_operation::progress attempt() override
    {
        base::wanted = 1;
        work_item<T> item;
        const auto ec = take_now(source_, item);
        if (!ec)
            taken_ = leased<T>(source_, std::move(item));
        return base::after(ec);
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto handler = base::take_handler();
        const auto ec = instead ? instead : base::ec_;
        auto taken = std::move(taken_);
        self.reset();
        std::move(handler)(ec, std::move(taken));
    }

private:
    std::shared_ptr<work_source_core> source_;
    leased<T> taken_;
};

// Waits until the queue has taken an answer out of its channel. That the lease was not over then is
// known by its not being over when that is seen: the queue hears answers before it looks at the
// clock. So no word comes back, and the queue has nothing to do for it.
class confirm_operation final : public channel_operation_of<> {
public:
    // `sent`: whether it has gone into the channel, where it stands now.
    confirm_operation(channel_core& core, handler_type handler, const error_code& sent,
                      std::int64_t deadline_ns)
        : channel_operation_of(core, std::move(handler)),
          sent_(sent),
          end_(core.side().position()),
          deadline_ns_(deadline_ns)
    {
        wanted = 0;  // a turn
    }

    progress attempt() override
    {
        if (sent_)
            return after(sent_);
        const auto& side = core_.side();
        for (;;) {
            const auto since = side.position() - end_;
            if (side.capacity() - side.room() <= since)
                return after(is_lease_over(deadline_ns_)
                                 ? error_code(ETIMEDOUT, boost::system::system_category())
                                 : error_code());
            wanted = side.capacity() - since;
            if (const auto ec = core_.blocked())
                return after(ec);
        }
    }
    void complete(std::unique_ptr<channel_operation> self, const error_code& instead) override
    {
        auto handler = take_handler();
        const auto ec = instead ? instead : ec_;
        self.reset();
        std::move(handler)(ec);
    }

private:
    const error_code sent_;
    const std::uint64_t end_;
    const std::int64_t deadline_ns_;
};

template <class T>
struct initiate_acknowledge {
    template <class Handler>
    void operator()(Handler handler, leased<T> item) const
    {
        const auto from = item.from_;
        error_code ec;
        (void)item.acknowledge(ec);
        start_operation<confirm_operation>(from->answers(), std::move(handler), ec,
                                           item.item_.deadline_ns);
    }
};

template <class T>
struct initiate_take {
    template <class Handler>
    void operator()(Handler handler, const std::shared_ptr<work_source_core>& source) const
    {
        PROCYARD_ASSERT(source && "a source that was never opened, or moved from, has nothing");
        start_operation<take_operation<T>>(source->items(), std::move(handler), source);
    }
};

}  // namespace detail

/// The end of a work queue at which items are dealt with.
///
/// After a move: is_open() is false; may be assigned to or destroyed.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe; its leases and the handlers
///                      of its operations count as its use.
/// @par Lifetime        Operations do not need the object. Its destructor closes: what it has, and
///                      has not answered for, is given back.
/// @par Fork            As sender.
template <work_message T>
class work_source {
public:
    using item_type = T;
    using executor_type = asio::any_io_executor;

    /// None: is_open() is false.
    work_source() noexcept = default;

    /// Opens an end. Of its options, the capacity and `across_users` are what the queue says, and
    /// `full` says nothing; the others count, `max_peer_bytes` for the capacity, too, and
    /// `huge_pages` for the items alone: what this end writes stays in ordinary pages.
    /// @par Errors   As receiver's constructor; EBADF: there is no end. `channel_errc::bad_hello`,
    ///               `other_version`, ENOTSOCK, ENOTCONN: what it was made of is no consumer's end;
    ///               `other_direction`: it is one of another kind, which explanation() names;
    ///               `already_taken`: it has been opened before, or nothing was in it;
    ///               `over_limit`: the queue's ring is larger than `end.options().max_peer_bytes`.
    ///               What is wrong with the channel of answers, as `not_a_channel`; what is wrong
    ///               with that of items, as `other_type`, is told by failure() and explanation(),
    ///               and by the operations.
    work_source(const asio::any_io_executor& ex, unopened<work_source> end, error_code& ec)
        : core_(detail::work_source_core::open(ex, std::move(end).take(), end.options(),
                                               &detail::terms_of<detail::work_item<T>>,
                                               explanation_, ec))
    {
    }
    /// The same; throws boost::system::system_error.
    work_source(const asio::any_io_executor& ex, unopened<work_source> end)
    {
        error_code ec;
        *this = work_source(ex, std::move(end), ec);
        if (ec)
            throw boost::system::system_error(
                ec, "open work_source" + (explanation_.empty() ? "" : " (" + explanation_ + ')'));
    }
    work_source(work_source&&) noexcept = default;
    work_source& operator=(work_source&& other) noexcept
    {
        if (this != &other) {
            close();
            core_ = std::move(other.core_);
            explanation_ = std::move(other.explanation_);
        }
        return *this;
    }
    ~work_source() { close(); }

    /// @pre not moved from, and not made by the default constructor
    [[nodiscard]] executor_type get_executor() const noexcept { return items().executor(); }
    [[nodiscard]] bool is_open() const noexcept { return core_ && items().is_open(); }
    /// As channel_end's.
    [[nodiscard]] error_code failure() const noexcept
    {
        return core_ ? items().failure() : error_code();
    }
    [[nodiscard]] std::string explanation() const
    {
        return core_ ? items().explanation() : explanation_;
    }

    /// How many items may be on their way here while others are dealt with. 0, unless said: an item
    /// is asked for when somebody takes, and comes after a round trip. More are faster for short
    /// work, and wait here behind what takes long; their leases run.
    void prefetch(std::size_t items) noexcept { core().prefetch = items; }
    /// What becomes of a leased item that is destroyed without an answer. give_back, unless said.
    void when_dropped(lease_policy what) noexcept { core().policy = what; }
    /// How many acknowledgements the queue has refused, though they were sent: they came too late.
    /// As of the last item that was taken.
    [[nodiscard]] std::uint64_t refused() const noexcept { return core().refused; }

    /// Takes an item that has come. False: there is none, and `ec` says why;
    /// `asio::error::would_block`: it has been asked for.
    /// @par Errors   As async_take, but EPERM.
    bool try_take(leased<T>& taken, error_code& ec)
    {
        detail::work_item<T> item;
        ec = detail::take_now(core_, item);
        if (!ec)
            taken = leased<T>(core_, std::move(item));
        return !ec;
    }

    /// Takes an item, and waits until there is one.
    /// @par Completion    void(error_code, leased<T>)
    /// @par Errors        `channel_errc::closed`: the queue has been closed, and all is done;
    ///                    `peer_died`: its owner has died; ENOBUFS: this consumer has as many
    ///                    items as work_queue_options::leases_per_consumer; EBADF: this end is
    ///                    closed. `bad_message`, `peer_broke_rules`: the queue does not keep to the
    ///                    protocol, as one that sends what was not asked for; `too_long`: an item
    ///                    of more than channel_options::max_message_bytes; `other_type`,
    ///                    `not_a_channel`, `over_limit`, `bad_option` and those of segment::attach:
    ///                    see failure(). ENOMEM: a codec had no memory, and the item is still
    ///                    there; EMFILE, ENFILE, ENOMEM, EPERM: see sender::async_send.
    /// @par Cancellation  terminal, partial and total: nothing has been taken. What had been asked
    ///                    for still comes, stays for the next, and goes back to the queue if that
    ///                    does not come before the lease is over: a lease begins when the item is
    ///                    handed out. It has used up an attempt then.
    template <asio::completion_token_for<void(error_code, leased<T>)> Token = asio::deferred_t>
    [[nodiscard]] auto async_take(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code, leased<T>)>(detail::initiate_take<T>{},
                                                                        token, core_);
    }

    /// Completes every pending operation with operation_aborted. None of them has taken anything.
    void cancel() noexcept
    {
        if (core_)
            items().cancel();
    }
    /// Gives back what this consumer has. Answers that were given before count.
    void close() noexcept
    {
        if (core_)
            core_->close();
    }

private:
    [[nodiscard]] detail::work_source_core& core() const noexcept
    {
        PROCYARD_ASSERT(core_ && "a source that was never opened, or moved from, has nothing");
        return *core_;
    }
    [[nodiscard]] detail::channel_core& items() const noexcept { return *core().items(); }

    std::string explanation_;  // of one that could not be opened; made before what fills it in
    std::shared_ptr<detail::work_source_core> core_;
};

namespace detail {

template <class T>
struct given_kind<work_source<T>> {
    static constexpr end_sort sort = end_sort::work_queue;
    using item_type = T;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
