// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CHANNEL_HPP
#define PROCYARD_IPC_CHANNEL_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>

#include <procyard/ipc/byte_loan.hpp>
#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/channel_statistics.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_core.hpp>
#include <procyard/ipc/detail/channel_end.hpp>
#include <procyard/ipc/detail/channel_operations.hpp>
#include <procyard/ipc/detail/message_transport.hpp>
#include <procyard/ipc/message_batch.hpp>
#include <procyard/ipc/message_loan.hpp>
#include <procyard/ipc/type_description.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

template <decodable_message T>
class receiver;

/// The end of a channel that sends.
///
/// After a move: is_open() is false; may be assigned to or destroyed.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, and the handlers of an
///                      end's operations count as its use: a strand for all of them, or one thread.
///                      The two ends may be in any two threads or processes.
/// @par Lifetime        Operations do not need the object: it may be moved while they wait. Its
///                      destructor closes. As every I/O object of Asio's, it goes before its
///                      io_context does, or with the operations that are destroyed there.
/// @par Fork            Not to be used in a child of fork(), where it must be left alone.
template <encodable_message T>
class sender : public detail::channel_end {
    using transport = detail::transport_of<T>;

public:
    using message_type = T;

    /// None: is_open() is false.
    sender() noexcept = default;

    /// Opens an end. The peer need not have opened its own, nor even exist: up to the capacity,
    /// messages wait for it.
    /// @par Errors   `channel_errc::bad_shape`, `bad_option`; EBADF: there is no end; ENOTSOCK,
    ///               ENOTCONN, `bad_hello`: it is made of something else; those of
    ///               segment::create, where there is no memory for the ring; EMFILE, ENFILE;
    ///               ENOBUFS, ETOOMANYREFS: there is no memory to tell the peer, or too many
    ///               descriptors are on their way to peers. What is wrong with the peer, as
    ///               `other_type` or `other_direction`, is told by failure(), explanation() and the
    ///               operations.
    /// @par Cost     Two descriptors, two mappings.
    sender(asio::any_io_executor ex, unopened<sender> end, error_code& ec)
        : channel_end(detail::open_end(ex, detail::ring_role::producer, std::move(end).take(),
                                       // NOLINTNEXTLINE(bugprone-use-after-move): it keeps those
                                       detail::terms_of<T>(end.options()), ec))
    {
    }
    /// The same; throws boost::system::system_error.
    sender(asio::any_io_executor ex, unopened<sender> end)
        : channel_end(detail::open_end(ex, detail::ring_role::producer, std::move(end).take(),
                                       detail::terms_of<T>(end.options())))
    {
    }

    /// Sends, if there is room. False: nothing was sent, and `ec` says why;
    /// `asio::error::would_block` is no error but a full ring. With when_full::drop_newest it says
    /// true instead, and the message is dropped and counted; with drop_oldest there is always room.
    /// @par Errors   `channel_errc::closed`: the receiver has closed; `peer_died`; `too_long`:
    ///               longer than the ring, which takes an async_send; `peer_broke_rules`;
    ///               `bad_message`: the value is none that can be sent; EBADF: this end is closed.
    /// @par Limits   What was sent to a peer that dies, or closes, before it has received it is
    ///               lost, and a sender that does not wait for room may hear of its death late.
    ///               Goes ahead of operations that were started before and have not had their turn.
    /// @par Cost     A copy into the ring, and one system call if the receiver sleeps. No
    ///               allocation.
    bool try_send(const T& message, error_code& ec)
    {
        std::uint64_t wanted = 0;
        return detail::send_now<transport>(core(), message, wanted, ec);
    }
    /// The same. False also when the channel has ended; the next operation that waits says why.
    bool try_send(const T& message)
    {
        error_code ec;
        return try_send(message, ec);
    }

    /// Sends as many as there is room for, and makes them visible together. How many that were,
    /// those included that drop_newest has dropped.
    /// @par Errors   As try_send, if not all were sent.
    /// @par Cost     For all of them one publication, and one system call if the receiver sleeps.
    std::size_t try_send_some(std::span<const T> messages, error_code& ec)
    {
        return detail::send_some_now<transport>(core(), messages, ec);
    }

    /// Sends, and waits until there is room if there is none; or does what channel_options::full
    /// says. A message that borrows (a std::string_view) must stay valid until it has been sent.
    ///
    /// One that is longer than the ring goes in parts, with an allocation at both ends, and the
    /// receiver gets it when the last has come. It takes a sender that waits
    /// (when_full::suspend). Who dies meanwhile has sent nothing.
    /// @par Completion    void(error_code)
    /// @par Errors        As try_send, but would_block only with when_full::fail. `too_long`: more
    ///                    than channel_options::max_message_bytes. ENOMEM: a codec had no memory,
    ///                    and nothing has been sent. EMFILE, ENFILE, ENOMEM: the peer has come, and
    ///                    there is no descriptor or memory for what it brings; try again when there
    ///                    is. EPERM: membarrier(2) has been forbidden since this end was opened,
    ///                    and the peer could not see that this one sleeps; it passes when the peer
    ///                    has received again. Sandbox first, then open.
    /// @par Cancellation  terminal, partial and total: nothing has been sent then.
    /// @par Limits        GCC 12 and 13 destroy an aggregate that is made within a `co_await`
    ///                    expression twice, whatever function it is for. Give the message a name:
    ///                    `order o{1, "two"}; co_await tx.async_send(std::move(o), …)`.
    /// @par Cost          A turn of the executor. Where messages come in numbers, try_send first,
    ///                    and this only when it says would_block.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_send(T message, Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code)>(detail::initiate_send<T>{}, token,
                                                             core_, std::move(message));
    }

    /// Sends all elements of a range, in order, waiting for room as often as is needed. They become
    /// visible in as large portions as there is room for.
    ///
    /// A range that does not own its elements (std::span, a view) must stay valid; one that is
    /// moved in is kept.
    /// @par Completion    void(error_code, std::size_t sent)
    /// @par Errors        As async_send; `sent` messages have been sent before.
    /// @par Cancellation  terminal, partial and total: `sent` messages have been sent, the others
    ///                    have not.
    template <std::ranges::forward_range Range,
              asio::completion_token_for<void(error_code, std::size_t)> Token = asio::deferred_t>
        requires std::convertible_to<std::ranges::range_reference_t<Range>, const T&>
        && std::is_object_v<Range>
    [[nodiscard]] auto async_send_all(Range messages, Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code, std::size_t)>(
            detail::initiate_send_all<T, Range>{}, token, core_, std::move(messages));
    }

    /// Borrows room for up to `most` messages, to write them in place. Empty, and `ec` says why, if
    /// there is none at once.
    /// @par Errors   As try_send.
    template <detail::in_place_message Message = T>
    [[nodiscard]] message_loan<Message> try_loan(std::size_t most, error_code& ec)
    {
        ec = detail::room_now(core(), true, transport::busy_after);
        if (ec || most == 0)
            return {};
        return message_loan<Message>(detail::channel_lease(core_), most);
    }

    /// The same, and waits until there is room for one message at least; with when_full::fail it
    /// says would_block, while there is nothing that drop_newest could drop.
    /// @par Completion    void(error_code, message_loan<T>)
    /// @par Errors        As async_send.
    /// @par Cancellation  terminal, partial and total: nothing has been lent.
    template <class Token = asio::deferred_t, detail::in_place_message Message = T>
    [[nodiscard]] auto async_loan(std::size_t most, Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code, message_loan<Message>)>(
            detail::initiate_loan<message_loan<Message>>{}, token, core_, most);
    }

    /// Borrows room for a message of up to `most` bytes, to write it in place. Empty, and `ec` says
    /// why, if there is none at once. For messages that are nothing but bytes.
    /// @par Errors   As try_send.
    [[nodiscard]] byte_loan try_loan_bytes(std::size_t most, error_code& ec)
        requires is_byte_message<T>
    {
        std::uint64_t wanted = 0;
        ec = detail::byte_room_now(core(), most, wanted);
        return ec ? byte_loan() : byte_loan(detail::channel_lease(core_), most);
    }

    /// The same, and waits until there is room; with when_full::fail it says would_block.
    /// @par Completion    void(error_code, byte_loan)
    /// @par Errors        As async_send.
    /// @par Cancellation  terminal, partial and total: nothing has been lent.
    template <asio::completion_token_for<void(error_code, byte_loan)> Token = asio::deferred_t>
    [[nodiscard]] auto async_loan_bytes(std::size_t most, Token&& token = {})
        requires is_byte_message<T>
    {
        return asio::async_initiate<Token, void(error_code, byte_loan)>(
            detail::initiate_byte_loan<byte_loan>{}, token, core_, most);
    }

    /// Waits until a message would go through at once, or the channel has ended. Sends nothing. Of
    /// messages that differ in length: until there is room for the one that was refused last.
    /// @par Completion    void(error_code)
    /// @par Errors        As try_send, but would_block.
    /// @par Cancellation  terminal, partial and total.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_writable(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code)>(detail::initiate_wait_for_room{},
                                                             token, core_);
    }

    /// Goes on with another receiver, after the one that was there has closed or died: makes its
    /// end, not opened. This object stays, with its statistics. Operations that are pending when it
    /// is called go on with the new one; those that have heard of the end before have failed, and
    /// sent nothing.
    ///
    /// The new receiver begins with the first message that the old one has not released: what that
    /// had received, and was about to work on, is not sent again, and a batch that it held is. So
    /// nothing is lost, and some may be received twice.
    ///
    /// A message longer than the ring (see async_send) of which the old receiver had released some
    /// parts and not the last is sent again from its beginning: in parts, as the new receiver takes
    /// them, and with what was sent after it. Nothing overtakes it: until it has gone, sends
    /// find no room, and async_wait_writable waits. Meanwhile it is outstanding work of the
    /// executor.
    /// @par Limits   What close() finds on its way is given up, as any operation is. A hostile old
    ///               receiver can have the new one begin within a message, at bytes that look like
    ///               one.
    /// @par Errors   `channel_errc::not_ended`: the receiver is still there; what failure()
    ///               says, if the channel has failed in another way; `lent`; EBADF: this end is
    ///               closed; as those of the constructor. Nothing has changed then.
    /// @par Cost     As a new channel's, and a copy of what is in the ring. For it, a sender keeps
    ///               the last message that was longer than the ring until it sees that it has been
    ///               received, when it looks for room next.
    [[nodiscard]] auto resume(error_code& ec)
        requires decodable_message<T>
    {
        auto socket = core().resume(ec);
        return unopened<receiver<T>>(std::move(socket), core().options());
    }
    /// The same; throws boost::system::system_error.
    [[nodiscard]] auto resume()
        requires decodable_message<T>
    {
        auto socket = detail::resume_end(core());
        return unopened<receiver<T>>(std::move(socket), core().options());
    }
};

/// The end of a channel that receives.
///
/// Messages that borrow (std::string_view, std::span of bytes) are received in batches only, since
/// they are valid as long as their bytes are.
/// @par Thread safety, lifetime, fork   As sender's.
template <decodable_message T>
class receiver : public detail::channel_end {
    using transport = detail::transport_of<T>;

public:
    using message_type = T;

    /// None: is_open() is false.
    receiver() noexcept = default;

    /// Opens an end, as sender's constructor does.
    receiver(asio::any_io_executor ex, unopened<receiver> end, error_code& ec)
        : channel_end(detail::open_end(ex, detail::ring_role::consumer, std::move(end).take(),
                                       // NOLINTNEXTLINE(bugprone-use-after-move): it keeps those
                                       detail::terms_of<T>(end.options()), ec))
    {
    }
    /// The same; throws boost::system::system_error.
    receiver(asio::any_io_executor ex, unopened<receiver> end)
        : channel_end(detail::open_end(ex, detail::ring_role::consumer, std::move(end).take(),
                                       detail::terms_of<T>(end.options())))
    {
    }

    /// Receives, if there is something. False: nothing was received, and `ec` says why;
    /// `asio::error::would_block` is no error but an empty ring.
    /// @par Errors   `channel_errc::lapped`: the sender drops the oldest (when_full), and messages
    ///               have been lost; lost() has grown by their number, and the next call receives
    ///               what follows them. `closed`: the sender has closed, and everything has been
    ///               received; `peer_died`: the same with a sender that has died; `bad_message`,
    ///               `peer_broke_rules`: it does not keep to the protocol; EBADF: this end is
    ///               closed; EMFILE, ENFILE, ENOMEM: see sender::async_send.
    /// @par Limits   Whoever only tries hears of the sender's death after 1,024 looks in vain, at
    ///               the latest; an operation that waits, as async_wait_readable, hears at once.
    ///               Goes ahead of operations that have not had their turn.
    /// @par Cost     A copy out of the ring, and one system call if the sender waits for room. No
    ///               allocation. Where it keeps up with a busy sender it looks for more at most
    ///               once in a microsecond, and waits for that: both are faster so.
    bool try_receive(T& message, error_code& ec)
        requires(!borrows_message<T>)
    {
        return detail::receive_now<transport>(core(), message, ec);
    }
    /// The same. Empty also when the channel has ended; the next operation that waits says why.
    [[nodiscard]] std::optional<T> try_receive()
        requires(!borrows_message<T>)
    {
        std::optional<T> message(std::in_place);
        error_code ec;
        if (!try_receive(*message, ec))
            message.reset();
        return message;
    }
    /// Receives as many as there are, at most as many as fit. How many that were.
    /// @par Errors   As try_receive, if there were none. Behind a loss there are none in one call
    ///               with what is before it.
    /// @par Cost     For all of them one publication, and one system call if the sender waits.
    std::size_t try_receive_some(std::span<T> messages, error_code& ec)
        requires(!borrows_message<T>)
    {
        return detail::receive_some_now<transport>(core(), messages, ec);
    }

    /// Receives, and waits until there is something.
    /// @par Completion    void(error_code, T)
    /// @par Errors        As try_receive, but would_block. ENOMEM: a codec had no memory, and the
    ///                    message is still there. EMFILE, ENFILE, EPERM: see sender::async_send.
    /// @par Cancellation  terminal, partial and total: nothing has been received then, and what is
    ///                    there stays for the next. So `a.async_receive() || b.async_receive()`
    ///                    loses nothing.
    /// @par Cost          A turn of the executor. Where messages come in numbers, try_receive
    ///                    first, and this only when there is nothing.
    template <asio::completion_token_for<void(error_code, T)> Token = asio::deferred_t>
    [[nodiscard]] auto async_receive(Token&& token = {})
        requires(!borrows_message<T>)
    {
        return asio::async_initiate<Token, void(error_code, T)>(detail::initiate_receive<T>{},
                                                                token, core_);
    }

    /// All that is there now, to be read in place. Empty, and `ec` says why, if there is nothing.
    /// @par Errors   As try_receive.
    [[nodiscard]] message_batch<T> try_receive_batch(error_code& ec)
    {
        ec = detail::room_now(core(), false, transport::busy_after);
        return ec ? message_batch<T>() : message_batch<T>(detail::channel_lease(core_));
    }

    /// Receives all that is there, to be read in place, and waits until there is something. The
    /// batch takes a message when it is looked at; the others stay.
    /// @par Completion    void(error_code, message_batch<T>)
    /// @par Errors        As try_receive, but would_block.
    /// @par Cancellation  terminal, partial and total: nothing has been received.
    template <
        asio::completion_token_for<void(error_code, message_batch<T>)> Token = asio::deferred_t>
    [[nodiscard]] auto async_receive_some(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code, message_batch<T>)>(
            detail::initiate_batch<message_batch<T>>{}, token, core_);
    }

    /// Waits until a message can be received at once, a loss be told, or the channel has ended.
    /// Takes nothing.
    /// @par Completion    void(error_code)
    /// @par Errors        As try_receive, but would_block and `lapped`.
    /// @par Cancellation  terminal, partial and total.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_readable(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code)>(detail::initiate_wait_for_room{},
                                                             token, core_);
    }

    /// How many messages this receiver will never get, since the sender has dropped them, as far as
    /// it has been told: `statistics().dropped`. With when_full::drop_oldest, what was received and
    /// what was lost is all that was sent up to there; exactly, whoever was killed, and when. With
    /// each resume() here it goes on: those of all senders so far. A receiver that follows another,
    /// by a resume() of the sender, begins with drop_oldest with those that were overwritten and
    /// the one before had not noticed, a message that it was killed over among them: what all
    /// receivers have released and lost is all that was sent. With drop_newest it begins at 0, and
    /// what was dropped after the last look of the one before is in no receiver's count.
    [[nodiscard]] std::uint64_t lost() const noexcept { return core_ ? core_->lost() : 0; }

    /// Goes on with another sender, after the one that was there has closed or died: makes its
    /// end, not opened. This object stays, with its statistics. Operations that are pending when it
    /// is called go on with the new one; those that have heard of the end before have failed, and
    /// received nothing.
    ///
    /// Everything that the old sender had committed has been received by then.
    /// @par Errors   `channel_errc::not_ended`: the sender is still there, or has left
    ///               messages, which are to be received first; what failure()
    ///               says, if the channel has failed in another way; `lent`; EBADF: this end is
    ///               closed; as those of the constructor. Nothing has changed then.
    /// @par Cost     As a new channel's.
    [[nodiscard]] auto resume(error_code& ec)
        requires encodable_message<T>
    {
        auto socket = core().resume(ec);
        return unopened<sender<T>>(std::move(socket), core().options());
    }
    /// The same; throws boost::system::system_error.
    [[nodiscard]] auto resume()
        requires encodable_message<T>
    {
        auto socket = detail::resume_end(core());
        return unopened<sender<T>>(std::move(socket), core().options());
    }
};

/// Both ends, not opened. Each goes to where it is to be used: an executor of this process, or
/// another process.
template <message T>
struct unopened_channel {
    unopened<procyard::sender<T>> sender;
    unopened<procyard::receiver<T>> receiver;
};

/// Makes a channel.
/// @par Errors   `channel_errc::bad_shape`, `bad_option`; EMFILE, ENFILE; ENOMEM, ENOBUFS.
/// @par Cost     Two descriptors, until the ends are opened.
template <message T>
[[nodiscard]] unopened_channel<T> make_channel(const channel_options& options, error_code& ec)
{
    auto sockets = detail::make_hello_sockets(detail::terms_of<T>(options), ec);
    return {unopened<sender<T>>(std::move(sockets.first), options),
            unopened<receiver<T>>(std::move(sockets.second), options)};
}
/// The same; throws boost::system::system_error.
template <message T>
[[nodiscard]] unopened_channel<T> make_channel(const channel_options& options = {})
{
    auto sockets = detail::make_hello_sockets(detail::terms_of<T>(options));
    return {unopened<sender<T>>(std::move(sockets.first), options),
            unopened<receiver<T>>(std::move(sockets.second), options)};
}

/// Both ends, open.
template <message T>
struct channel {
    procyard::sender<T> sender;
    procyard::receiver<T> receiver;

    /// Within one io_context.
    explicit channel(const asio::any_io_executor& ex, const channel_options& options = {})
        : channel(ex, make_channel<T>(options))
    {
    }

private:
    channel(const asio::any_io_executor& ex, unopened_channel<T> ends)
        : sender(ex, std::move(ends.sender)),
          receiver(ex, std::move(ends.receiver))
    {
    }
};

PROCYARD_NAMESPACE_END

#endif
