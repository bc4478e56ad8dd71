// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_UNOPENED_HPP
#define PROCYARD_IPC_UNOPENED_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <procyard/ipc/channel_name.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/segment.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What a sender does with a message that finds no room. A send that does not wait for room waits
/// for no other operation either: it goes ahead of those that do. That the receiver has died it
/// hears after 1,024 messages that found no room, at the latest; `async_wait_closed` hears at once.
enum class when_full : std::uint8_t {
    suspend,      ///< async_send waits, try_send says would_block
    fail,         ///< both say would_block; async_wait_writable still waits
    drop_newest,  ///< the message is dropped and counted, and its send has succeeded
    /// The oldest messages that have not been received make room, and the send has succeeded. The
    /// receiver is told by `channel_errc::lapped`, once for each gap, and by lost() exactly how
    /// many there were. As many as the capacity holds are still there, whoever is slow.
    ///
    /// Everything is copied twice more: what is in the ring can be overwritten at any time. Loans,
    /// batches and in_place() work on the copies, and a batch is of what was there when it was
    /// made. Both ends have private memory of the capacity's size beside the ring; a message longer
    /// than the ring is `too_long`. A message that is being copied as it is overwritten counts as
    /// lost; where the capacity is one or two messages, and the sender never pauses, that may be
    /// all of them. resume() sends on what the ring still holds; what has been overwritten, and the
    /// old receiver had not noticed, the new one is told of as lost. A receiver whose own options
    /// do not say drop_oldest as well refuses such a sender as `channel_errc::bad_option`, and a
    /// work_queue's never do.
    drop_oldest,
};

/// How a channel is made.
struct channel_options {
    /// How many messages it holds, rounded up to a power of two. 0: as many as `capacity_bytes`
    /// holds. Only for messages of one length (fixed_bytes); for others `channel_errc::bad_shape`.
    std::size_t capacity_messages = 0;
    /// How many bytes of messages it holds, rounded up to a power of two; at least one message of a
    /// fixed length. Others take 8 bytes more than their own, rounded up to 8.
    std::size_t capacity_bytes = 256 * 1024;
    /// How long an operation at this end may look at the ring again and again before it sleeps. It
    /// holds up everything else on its executor meanwhile, and so adapts: less, when it is in vain.
    /// 0 where there is only one processor.
    std::chrono::nanoseconds spin{0};
    /// The peer runs as another user, which may not open this one's pipes: to wake each other takes
    /// a pair of sockets, and three times as long. So it is without /proc, asked for or not.
    bool across_users = false;
    /// Most bytes of the peer's memory that are mapped: a peer that announces more is refused with
    /// `channel_errc::over_limit`, before anything is mapped. What this end's own capacity needs is
    /// never too much. Who connects to a channel_listener, and learns the capacity from it, makes
    /// no larger memory of its own either.
    std::size_t max_peer_bytes = std::size_t{64} * 1024 * 1024;
    /// The sender's: what it does when the ring is full. A receiver is told by its statistics how
    /// many were dropped. The receiver's: whether it allows drop_oldest; the others it does.
    when_full full = when_full::suspend;
    /// The sender's: whether the messages lie in huge pages; see segment_options. What it needs is
    /// rounded up to these, 2 MiB or more for the smallest channel. Where the receiver's options
    /// have huge pages as well, that is what its own capacity needs; else its `max_peer_bytes` must
    /// allow it. What the receiver writes are a few words, which stay in an ordinary page.
    huge_page_policy huge_pages = huge_page_policy::never;
    /// A message that is longer than the ring goes through it in parts, by async_send and
    /// async_send_all, and is put together by the receiver: up to this length, encoded. The sender
    /// refuses a longer one, and the receiver ends a channel in which one comes, both as
    /// `channel_errc::too_long`. What fits into the ring goes through in any case.
    std::size_t max_message_bytes = std::size_t{16} * 1024 * 1024;
    /// What it is called at this end: by errors, by name(), and in /proc/PID/maps, where the memory
    /// of this end is `memfd:procyard:NAME`.
    channel_name name{};
};

/// An end of a channel that has not been opened: it can be opened here, or go to another thread or
/// process to be opened there. `End` is a sender or a receiver.
///
/// Nothing but a descriptor, and how the channel is made. Whoever destroys it unopened is, to the
/// peer, one that has died.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
template <class End>
class unopened {
public:
    using end_type = End;

    /// None.
    unopened() noexcept = default;
    unopened(unique_fd socket, const channel_options& options) noexcept
        : socket_(std::move(socket)),
          options_(options)
    {
    }

    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
    [[nodiscard]] const channel_options& options() const noexcept { return options_; }
    [[nodiscard]] channel_options& options() noexcept { return options_; }
    /// The descriptor; it stays ours.
    [[nodiscard]] int native_handle() const noexcept { return socket_.get(); }
    /// Gives the descriptor up.
    [[nodiscard]] unique_fd take() && noexcept { return std::move(socket_); }

private:
    unique_fd socket_;
    channel_options options_;
};

PROCYARD_NAMESPACE_END

#endif
