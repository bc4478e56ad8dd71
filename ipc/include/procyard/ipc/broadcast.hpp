// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_BROADCAST_HPP
#define PROCYARD_IPC_BROADCAST_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include <procyard/ipc/broadcast_options.hpp>
#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/channel_statistics.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/broadcast_end.hpp>
#include <procyard/ipc/detail/broadcast_operations.hpp>
#include <procyard/ipc/detail/end_sort.hpp>
#include <procyard/ipc/type_description.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What can be broadcast: a message that a subscriber can keep, since what lies in the ring is
/// overwritten. A std::string, and not a std::string_view.
template <class T>
concept broadcast_message = message<T> && !borrows_message<T>;

template <broadcast_message T>
class subscriber;

/// The end of a broadcast that sends: each message goes to all subscribers. It lies once in memory,
/// whatever their number.
///
/// What becomes of a subscriber that is too slow is said when it subscribes (slow_reader); only
/// those that hold back are ever waited for, and one that has died is not.
///
/// After a move: is_open() is false; may be assigned to or destroyed.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, and the handlers of an
///                      end's operations count as its use: a strand for all of them, or one thread.
///                      Each subscriber may be in any thread or process.
/// @par Lifetime        Operations do not need the object: it may be moved while they wait. Its
///                      destructor closes.
/// @par Fork            Not to be used in a child of fork(), where it must be left alone. While
///                      such a child lives, the subscribers do not hear of the death of its parent.
template <broadcast_message T>
class broadcaster : public detail::broadcast_writer_end {
public:
    using message_type = T;
    using subscriber_type = subscriber<T>;

    /// None: is_open() is false.
    broadcaster() noexcept = default;

    /// Makes a broadcast.
    /// @par Errors   `channel_errc::bad_shape`; those of segment::create, where there is no memory
    ///               for the ring; EMFILE, ENFILE.
    /// @par Cost     Two descriptors, a mapping; two descriptors more and a mapping for each
    ///               subscriber, and a third descriptor until it has come.
    broadcaster(const asio::any_io_executor& ex, const broadcast_options& options, error_code& ec)
        : broadcast_writer_end(ex, detail::broadcast_terms_of<T>(options), ec)
    {
    }
    /// The same; throws boost::system::system_error.
    explicit broadcaster(const asio::any_io_executor& ex, const broadcast_options& options = {})
        : broadcast_writer_end(ex, detail::broadcast_terms_of<T>(options))
    {
    }

    /// Makes a subscription, which is opened here, or in another thread or process. It begins with
    /// the next message, or with those of `options.history`, from now on: one that holds back does
    /// so before it is opened.
    /// @par Errors   EMFILE, ENFILE; ENOMEM, ENOBUFS; ENOSPC: the kernel has no room to watch it;
    ///               ETOOMANYREFS; `channel_errc::too_many_subscribers`; EBADF: this end is closed.
    /// @par Cost     Some system calls. As long as a subscription has not been opened, each message
    ///               costs the writer a system call, which looks whether it has.
    [[nodiscard]] unopened<subscriber<T>> subscribe(const subscription_options& options,
                                                    error_code& ec)
    {
        return {core().subscribe(options, ec), detail::passed_options(options, core())};
    }
    /// The same; throws boost::system::system_error.
    [[nodiscard]] unopened<subscriber<T>> subscribe(const subscription_options& options = {})
    {
        error_code ec;
        auto made = subscribe(options, ec);
        if (ec)
            detail::throw_broadcast(ec, "subscribe to ", describe<T>());
        return made;
    }

    /// Sends to all subscribers. False: nothing was sent, and `ec` says why.
    /// @par Errors   `asio::error::would_block`: a subscriber holds back; never if none does.
    ///               `channel_errc::too_long`: more than a quarter of `capacity_bytes`;
    ///               `bad_message`: the value is none that can be sent; EBADF: this end is closed.
    /// @par Limits   Goes ahead of operations that were started before and have not had their turn.
    /// @par Cost     Two copies, a fence, a look at a word of each subscriber's, and a system call
    ///               for each of those that sleep. would_block costs a system call. No allocation.
    bool try_send(const T& message, error_code& ec)
    {
        std::uint64_t wanted = 0;
        ec = detail::broadcast_now(core(), message, wanted);
        return !ec;
    }
    /// The same.
    bool try_send(const T& message)
    {
        error_code ec;
        return try_send(message, ec);
    }

    /// Sends as many as there is room for: all of them, if nobody holds back. How many that were.
    /// @par Errors   As try_send, if not all were sent.
    /// @par Cost     For all of them one fence, and a system call for each subscriber that sleeps.
    std::size_t try_send_some(std::span<const T> messages, error_code& ec)
    {
        return detail::broadcast_some_now(core(), messages, ec);
    }

    /// Sends, and waits for the subscribers that hold back.
    /// @par Completion    void(error_code)
    /// @par Errors        As try_send, but would_block. ENOMEM: a codec had no memory, and nothing
    ///                    has been sent.
    /// @par Cancellation  terminal, partial and total: nothing has been sent then.
    /// @par Limits        As sender::async_send: give the message a name.
    /// @par Cost          A turn of the executor. Where messages come in numbers, try_send first,
    ///                    and this only when it says would_block.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_send(T message, Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code)>(detail::initiate_broadcast<T>{}, token,
                                                             core_, std::move(message));
    }
};

/// An end of a broadcast that receives: every message from its subscription on, in order, once,
/// but for those that it was too slow for. Of these it is told how many they were.
/// @par Thread safety, lifetime, fork   As broadcaster's.
template <broadcast_message T>
class subscriber : public detail::broadcast_reader_end {
public:
    using message_type = T;

    /// None: is_open() is false.
    subscriber() noexcept = default;

    /// Opens a subscription.
    /// @par Errors   `channel_errc::other_type`: the broadcast is of other messages;
    ///               `other_direction`: it is a latest value, or an end of another kind;
    ///               `bad_hello`, `other_version`, `bad_shape`, `not_a_channel`, ENOTSOCK,
    ///               ENOTCONN: it is none; `over_limit`: its memory is larger than
    ///               `end.options().max_peer_bytes`, and nothing of it is mapped; those of
    ///               segment::attach, and of segment::create for this side's words; EMFILE, ENFILE;
    ///               ENOBUFS, ETOOMANYREFS; EBADMSG, EACCES, ENOENT: its doorbell is something
    ///               else, or another user's; EBADF: there is no subscription. explanation() says
    ///               more of the first two.
    /// @par Limits   Of the options `spin`, `across_users` and `max_peer_bytes` count. The latter
    ///               is what the broadcast needs, at least, in a child that the subscription was
    ///               passed to as well; over an end_listener it is the client's. The others are a
    ///               channel's: a subscriber has no capacity, no name, and no messages in parts.
    /// @par Cost     Two descriptors, two mappings; the ring is looked at page by page.
    subscriber(const asio::any_io_executor& ex, unopened<subscriber> end, error_code& ec)
        : broadcast_reader_end(ex, std::move(end).take(), end.options(),
                               detail::broadcast_terms_of<T>({}), ec)
    {
    }
    /// The same; throws boost::system::system_error.
    subscriber(const asio::any_io_executor& ex, unopened<subscriber> end)
        : broadcast_reader_end(ex, std::move(end).take(), end.options(),
                               detail::broadcast_terms_of<T>({}))
    {
    }

    /// Receives, if there is something. False: nothing was received, and `ec` says why;
    /// `asio::error::would_block` is no error: nothing is there, or the writer overwrites it just
    /// now.
    /// @par Errors   `channel_errc::lapped`: messages were lost, lost() has grown by their number,
    ///               and the next call receives the oldest that is still there (or, if the writer
    ///               overwrites that too soon, one in the middle); of a subscription that
    ///               `is_dropped` it is the end. `closed`: the writer has closed, and everything
    ///               has been received; `peer_died`: the same with a writer that has died, or has
    ///               cut this subscriber off; `bad_message`, `peer_broke_rules`: it does not keep
    ///               to the protocol; EBADF: this end is closed.
    /// @par Limits   Who only tries does not hear of the writer's death: that takes an operation
    ///               that waits, as async_wait_readable. Goes ahead of operations that have not had
    ///               their turn.
    /// @par Cost     Two copies; where it holds back a fence, and a system call if the writer waits
    ///               for this message. No allocation, but the codec's.
    bool try_receive(T& message, error_code& ec)
    {
        ec = detail::receive_broadcast_now(core(), message);
        return !ec;
    }
    /// The same. Empty also when messages were lost, or the broadcast has ended; the next operation
    /// that waits says why, but lost() alone tells of a loss.
    [[nodiscard]] std::optional<T> try_receive()
    {
        std::optional<T> message(std::in_place);
        error_code ec;
        if (!try_receive(*message, ec))
            message.reset();
        return message;
    }

    /// Receives as many as there are, at most as many as fit. How many that were.
    /// @par Errors   As try_receive, if there were none; and `channel_errc::lapped` if messages
    ///               were lost after those that it has received.
    /// @par Cost     For all of them one fence, where it holds back.
    std::size_t try_receive_some(std::span<T> messages, error_code& ec)
    {
        return detail::receive_broadcast_some_now(core(), messages, ec);
    }

    /// Receives, and waits until there is something.
    /// @par Completion    void(error_code, T)
    /// @par Errors        As try_receive, but would_block. ENOMEM: a codec had no memory, and the
    ///                    message is still there.
    /// @par Cancellation  terminal, partial and total: nothing has been received then, and what is
    ///                    there stays for the next, or is counted as lost.
    /// @par Cost          A turn of the executor. Where messages come in numbers, try_receive
    ///                    first, and this only when there is nothing.
    template <asio::completion_token_for<void(error_code, T)> Token = asio::deferred_t>
    [[nodiscard]] auto async_receive(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code, T)>(
            detail::initiate_receive_broadcast<T>{}, token, core_);
    }

    /// Waits until there is something to receive, a loss included, or the broadcast has ended.
    /// Takes nothing.
    /// @par Completion    void(error_code)
    /// @par Errors        As try_receive, but would_block and `lapped`.
    /// @par Cancellation  terminal, partial and total.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_readable(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code)>(detail::initiate_wait_for_broadcast{},
                                                             token, core_);
    }

    /// How many messages this subscriber has lost, since it was too slow, as far as it has been
    /// told. What was received and what was lost make up all that was sent since the subscription,
    /// with its history.
    [[nodiscard]] std::uint64_t lost() const noexcept { return core_ ? core_->lost() : 0; }
};

namespace detail {

template <class T>
struct given_kind<subscriber<T>> {
    static constexpr end_sort sort = end_sort::broadcast;
    using item_type = T;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
