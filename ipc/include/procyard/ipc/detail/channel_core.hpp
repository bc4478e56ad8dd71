// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_CHANNEL_CORE_HPP
#define PROCYARD_IPC_DETAIL_CHANNEL_CORE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/channel_statistics.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_operation.hpp>
#include <procyard/ipc/detail/doorbell.hpp>
#include <procyard/ipc/detail/look_pace.hpp>
#include <procyard/ipc/detail/message_parts.hpp>
#include <procyard/ipc/detail/operation_list.hpp>
#include <procyard/ipc/detail/reactor_watch.hpp>
#include <procyard/ipc/detail/record_ring.hpp>
#include <procyard/ipc/detail/ring_core.hpp>
#include <procyard/ipc/detail/ring_memory.hpp>
#include <procyard/ipc/detail/spin_budget.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/type_description.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// What both ends of a channel must agree upon, and how this one behaves.
struct channel_terms {
    ring_shape shape;
    const type_description* type = nullptr;  ///< for whoever has to find out why two do not match
    std::chrono::nanoseconds spin{0};
    doorbell_kind bell = doorbell_kind::pipe;
    std::uint64_t max_peer_bytes = 0;  ///< beyond what the shape needs
    channel_options options{};
};

class fan_in_core;
class ring_mirror;
class ring_staging;

/// An end of a channel, all but the type of its messages: the ring's side, the doorbells, the
/// handshake, the operations that wait.
///
///     unconnected --the peer's hello--> connected --the peer is gone--> drained --> failed
///          \_____________________________________resume_____________________________/
///
/// Unconnected, the peer has not come yet: its process is still to be started, or has not got so
/// far. A sender can fill its ring meanwhile. The hello brings the peer's memory and the button of
/// its doorbell; the socket is not needed after that, since the doorbell tells of the peer's death.
///
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, turns of the operations
///                      included: these run where the operation's handler does.
class PROCYARD_IPC_EXPORT channel_core : public std::enable_shared_from_this<channel_core> {
public:
    /// Makes this side's memory and doorbell, and sends the hello. A hello of the peer that is
    /// there already is dealt with; if that fails, operations will say so.
    /// @par Errors   As sender's constructor.
    [[nodiscard]] static std::shared_ptr<channel_core> open(const asio::any_io_executor& ex,
                                                            ring_role role, unique_fd socket,
                                                            const channel_terms& terms,
                                                            error_code& ec);
    channel_core(const channel_core&) = delete;
    channel_core& operator=(const channel_core&) = delete;
    ~channel_core();

    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
    [[nodiscard]] const channel_terms& terms() const noexcept { return terms_; }
    [[nodiscard]] const channel_options& options() const noexcept { return terms_.options; }

    // --- the hot path ---------------------------------------------------------------------------

    /// False: this end has been closed or has failed; blocked() says what. Or it has to look first,
    /// see look_for_room.
    [[nodiscard]] bool is_usable() const noexcept { return usable_; }
    [[nodiscard]] bool is_lent() const noexcept { return lent_; }
    [[nodiscard]] ring_side& side() noexcept { return side_; }
    [[nodiscard]] const ring_side& side() const noexcept { return side_; }
    /// @pre a producer's
    [[nodiscard]] std::byte* own_units() noexcept { return own_units_; }
    /// @pre a consumer's, and room() > 0
    [[nodiscard]] const std::byte* peer_units() const noexcept { return peer_units_; }

    /// Publishes what has been written or read, and rings where somebody sleeps for it.
    void publish() noexcept
    {
        side_.publish();
        if (side_.must_ring())
            ring();
        else
            ++counts_.elided;
    }
    void count_messages(std::uint64_t n) noexcept { counts_.messages += n; }

    /// A part of the ring is used in place: until take_back, other operations fail.
    /// @pre is_usable()
    void lend() noexcept
    {
        lent_ = true;
        usable_ = false;
    }
    /// Publishes what the lease has advanced.
    void take_back() noexcept;

    /// What has been seen of the ring, for the statistics.
    void note_depth() noexcept
    {
        const auto used = is_producer() ? side_.capacity() - side_.room() : side_.room();
        if (used > counts_.high_water)
            counts_.high_water = used;
    }

    /// A message needs room for so many units, and there is not as much.
    void note_refusal(std::uint64_t wanted) noexcept
    {
        refused_ = wanted;
        refused_after_ = counts_.messages;
    }
    /// The room that a wait is for: that of the last message, if it was refused.
    [[nodiscard]] std::uint64_t wanted_room() const noexcept
    {
        return refused_after_ == counts_.messages ? refused_ : 1;
    }
    /// A producer's, of messages that have found no room. True: they are dropped, and have been
    /// counted.
    [[nodiscard]] bool drops(std::uint64_t count) noexcept
    {
        if (terms_.options.full != when_full::drop_newest)
            return false;
        counts_.dropped += count;
        side_.count_dropped(count);
        return true;
    }

    /// A producer's, whose messages take the place of others instead of waiting.
    [[nodiscard]] bool overwrites() const noexcept { return staging_ != nullptr; }

    /// What a part of a message is to who looks for whole ones.
    enum class part_found : std::uint8_t {
        passed,    ///< look again
        complete,  ///< assembled() is the message; pass the part, and say finish_assembly()
        enough,    ///< so many were passed that others must have their turn: as if none were there
        failed,    ///< the channel has ended
    };
    /// `passed` counts the bytes that one attempt has passed.
    [[nodiscard]] part_found take_part(record_kind kind, std::span<const std::byte> payload,
                                       std::uint64_t& passed);
    [[nodiscard]] std::span<const std::byte> assembled() const noexcept
    {
        return assembly_.message();
    }
    /// What refers to it is good until release_assembly(), or the end of a lease.
    void finish_assembly() noexcept { assembly_.finish(); }
    void release_assembly() noexcept { assembly_.release(); }
    /// A producer's: a message that is longer than the ring has gone through, up to here. Its first
    /// parts have been released; should the peer go before it has released the last, resume() sends
    /// it again.
    void keep(std::vector<std::byte>&& message) noexcept
    {
        kept_ = std::move(message);
        kept_end_ = side_.position();
    }
    /// For a consumer who has found something and wants to know whether it is a message: passes
    /// what is none. True: look again. Else there is a message; or `ec` says that there is none.
    [[nodiscard]] bool pass_no_message(std::uint64_t& passed, error_code& ec);

    // --- the rest -------------------------------------------------------------------------------

    /// find_room's way when what is known of the peer is not enough: an error, or there is room for
    /// `least` units.
    ///
    /// A receiver whose sender overwrites gets `most` messages; or `channel_errc::lapped`, once,
    /// where some have been lost, and then it has what follows them.
    [[nodiscard]] error_code look_for_room(std::uint64_t least, std::uint64_t busy_after,
                                           std::uint64_t most = 1);
    /// That it has lost some is to be told by the next look instead.
    void put_off_loss() noexcept;
    /// A producer's of records: an error, or a payload of `length` bytes can be written at once.
    /// @par Errors   As blocked(): with would_block, it takes room for `wanted` bytes;
    ///               `channel_errc::too_long`.
    [[nodiscard]] error_code make_room(std::uint64_t length, std::uint64_t& wanted);
    /// Why an attempt has not got what it wanted after a refresh: `asio::error::would_block`, or
    /// what ends the channel. No error: look again, there may be something now.
    [[nodiscard]] error_code blocked();
    /// For a sender to whom side().peer_closed() has been said: whether it has. No error: it has
    /// not, and may not even have come.
    [[nodiscard]] error_code closed_by_peer();
    /// Looks again and again, for as long as is sensible, whether there is something for the next
    /// attempt. False: there is nothing, or the channel has ended.
    [[nodiscard]] bool spin();
    /// Whether the channel has ended, and how: closed, peer_died, or whatever has failed; a
    /// receiver's may still have messages then. `asio::error::would_block`: it has not, as far as
    /// this process can know; EBADF: this end has been closed; EMFILE and the like: the peer has
    /// come, and cannot be heard of without a descriptor.
    [[nodiscard]] error_code look_for_end(error_code& how);
    /// The channel has ended: nothing can be done with this end any more but to close it, and the
    /// peer is told that it is closed.
    void fail(error_code why, std::string explanation = {});
    /// A sentence about the error that ended the channel; empty if there is no more to say.
    [[nodiscard]] const std::string& explanation() const noexcept { return explanation_; }

    /// Where its operations are made.
    [[nodiscard]] detail::operation_memory& operation_memory() noexcept { return memory_; }
    /// Starts an operation. If its place is elsewhere, it knows the handler's executor.
    void start(std::unique_ptr<channel_operation> operation, asio::cancellation_slot slot);
    /// Every pending operation completes with operation_aborted, and has done nothing.
    void cancel() noexcept;
    /// Says that this side is done; what was committed can still be read by the peer.
    void close() noexcept;

    /// Goes on with another peer after the first has closed or died: the descriptor of its end.
    /// What the first has not released is sent to it again: what goes into the ring now, the rest
    /// before anything else as soon as there is room. Operations that have not had their turn go on
    /// as well.
    /// @par Errors   `channel_errc::not_ended`; what has ended the channel, if it is not that;
    ///               `lent`; EBADF; as open's. Nothing has changed then.
    [[nodiscard]] unique_fd resume(error_code& ec);

    [[nodiscard]] bool is_open() const noexcept { return !closed_ && !failure_; }
    [[nodiscard]] bool is_producer() const noexcept { return role_ == ring_role::producer; }
    [[nodiscard]] bool is_connected() const noexcept { return connected_; }
    /// Readable when the peer's hello is there, for who waits for that alone: then blocked() takes
    /// it. -1: it has been taken.
    [[nodiscard]] int hello_socket() const noexcept { return socket_.get(); }
    [[nodiscard]] error_code failure() const noexcept { return failure_; }
    /// Of the ring, which is another one after each resume().
    [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
    [[nodiscard]] channel_statistics statistics() const noexcept;
    /// Messages that a receiver will never get, as far as it has found out, of all its senders.
    [[nodiscard]] std::uint64_t lost() const noexcept;

private:
    friend class fan_in_core;  // sleeps for many ends at once: announce, hear, and what to wait for

    using operation_ptr = std::unique_ptr<channel_operation>;
    using turn = operation_turn<channel_core>;
    friend turn;
    friend operation_cancellation<channel_core>;
    class resending;

    channel_core(const asio::any_io_executor& ex, ring_role role, unique_fd socket,
                 const channel_terms& terms, ring_memory own);

    void ring() noexcept;
    void flush_and_ring() noexcept;
    [[nodiscard]] error_code empty_staging() noexcept;
    // The side that the peer knows of.
    [[nodiscard]] ring_side& wire() noexcept;
    [[nodiscard]] error_code look_for_copies(std::uint64_t busy_after, std::uint64_t most);
    [[nodiscard]] error_code look_past_mirror();
    void account() noexcept;
    void await_look() noexcept;
    [[nodiscard]] ring_side first_side() noexcept;
    error_code connect() noexcept;
    void take_hello(error_code& ec);
    void fail_by_peer();
    void let_go_of_peer() noexcept;
    [[nodiscard]] error_code check_resumable();
    [[nodiscard]] std::uint64_t first_unreleased(const ring_side& side) const noexcept;
    [[nodiscard]] const std::byte* ring_units() const noexcept;
    [[nodiscard]] bool move_unreleased(channel_core& to) const;
    [[nodiscard]] bool move_unreleased_records(channel_core& to) const;
    void take_over(channel_core& fresh) noexcept;
    error_code send_owed();
    void send_owed_later() noexcept;
    void forget_kept() noexcept;
    void leave_reactor() noexcept;

    void post(operation_ptr operation);
    void take_turn(operation_ptr operation, bool was_waiting, const error_code& wait_error);
    [[nodiscard]] bool attempt(channel_operation& operation, error_code& ec);
    template <class Look>
    [[nodiscard]] bool spin_while(Look is_blocked);
    [[nodiscard]] bool announce(std::uint64_t wanted, error_code& ec) noexcept;
    template <class Look>
    [[nodiscard]] bool may_sleep(const std::uint64_t& wanted, Look is_blocked, error_code& ec);
    [[nodiscard]] bool lacks(std::uint64_t wanted);
    [[nodiscard]] error_code enter_reactor(channel_operation& starting);
    void wait_in_reactor(operation_ptr operation);
    void hear(const error_code& wait_error) noexcept;
    void finish(operation_ptr operation, const error_code& instead);
    void go_on_after(channel_operation& done);
    [[nodiscard]] operation_list& line_of(const channel_operation& operation) noexcept
    {
        return operation.for_end ? for_end_ : operation.at_once ? at_once_ : for_room_;
    }
    void abort_operation(std::uint64_t serial) noexcept;
    void abort_all() noexcept;
    void forget(operation_ptr operation) noexcept;
    void count_stall() noexcept;
    void show_counts() noexcept;

    // Only the bell tells that the peer has died. Whoever waits hears of it; one that only tries,
    // or drops what finds no room, would never. Asked once in so many looks, which cost less.
    static constexpr std::uint32_t looks_for_a_death = 1024;

    // Hot.
    ring_side side_;
    std::byte* own_units_ = nullptr;
    const std::byte* peer_units_ = nullptr;
    // Neither closed_ nor failure_ nor lent_, and nothing owed_, or to be told, or accounted for.
    bool usable_ = true;
    bool lent_ = false;
    bool connected_ = false;
    bool peer_gone_ = false;
    bool closed_ = false;
    channel_statistics counts_;
    std::uint64_t refused_ = 1;        // what wanted_room() says
    std::uint64_t refused_after_ = 0;  // as long as no other message has gone through

    const asio::any_io_executor executor_;
    const ring_role role_;
    channel_terms terms_;
    ring_memory own_;
    ring_memory peer_;
    std::unique_ptr<ring_staging> staging_;  // a sender's that overwrites
    std::unique_ptr<ring_mirror> mirror_;    // a receiver's whose sender does
    bool loss_to_be_told_ = false;
    std::uint64_t dropped_before_ = 0;  // of peers that others have followed
    part_assembly assembly_;
    std::vector<std::byte> kept_;    // a long message whose last part is not known to be released
    std::uint64_t kept_end_ = 0;     // the position after that
    std::list<message_parts> owed_;  // what comes before all else, since the last peer has gone
    std::uint64_t owed_room_ = 1;    // that the first of them waits for
    ring_words unconnected_;         // the peer's, as long as there is none
    pid_t owner_;  // a copy of this process, made by fork(), leaves everything alone
    spin_budget spin_;
    look_pace pace_;
    std::chrono::steady_clock::time_point looked_{};  // when, of a look that was paced
    bool has_spun_ = false;                           // in vain, and nothing has come since
    std::uint32_t in_vain_ = 0;                       // looks that have found nothing

    unique_fd socket_;  // until the hello has come
    doorbell bell_;
    doorbell_button button_;
    error_code failure_;
    std::string explanation_;

    reactor_watch watch_;              // of socket_ or bell_
    std::array<std::byte, 64> rings_;  // what has been read from bell_: of no interest
    detail::operation_memory memory_;
    operation_list for_room_;
    operation_list at_once_;
    operation_list for_end_;
    std::uint64_t last_serial_ = 0;
    std::uint64_t generation_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
