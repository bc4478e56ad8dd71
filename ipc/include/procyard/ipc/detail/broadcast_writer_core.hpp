// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_BROADCAST_WRITER_CORE_HPP
#define PROCYARD_IPC_DETAIL_BROADCAST_WRITER_CORE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <procyard/ipc/broadcast_options.hpp>
#include <procyard/ipc/channel_statistics.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/broadcast_memory.hpp>
#include <procyard/ipc/detail/broadcast_ring.hpp>
#include <procyard/ipc/detail/doorbell.hpp>
#include <procyard/ipc/detail/end_sort.hpp>
#include <procyard/ipc/detail/operation_line.hpp>
#include <procyard/ipc/detail/record_ring.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/type_description.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// What both sides of a broadcast must agree upon, and how this one behaves.
struct broadcast_terms {
    ring_shape shape;
    const type_description* type = nullptr;
    end_sort sort = end_sort::broadcast;
    std::chrono::nanoseconds spin{0};
    doorbell_kind bell = doorbell_kind::pipe;  ///< a reader's
    std::uint64_t max_peer_bytes = 0;          ///< a reader's: beyond what the shape needs
    std::uint64_t first_position = 0;          ///< the writer's; for tests of what comes after 2^64
};

/// What stands before a message of no fixed length: a record_header, whose length counts what
/// comes after it, and the message's number (u64).
inline constexpr std::size_t numbered_header_bytes = sizeof(record_header) + sizeof(std::uint64_t);

/// The longest message in a broadcast of so many bytes.
[[nodiscard]] constexpr std::uint64_t longest_broadcast(std::uint64_t capacity_bytes) noexcept
{
    return capacity_bytes / broadcast_longest_part - numbered_header_bytes;
}

/// The writer of a broadcast, all but the type of its messages: the ring, and its readers.
///
///     subscribed --the reader's hello--> known --its bell hangs up, or it breaks the rules--> gone
///
/// The bell of a reader, which it presses to say that there is room, hangs up when it has gone,
/// also before it has come. All bells, and the sockets of those who have not come, lie in one epoll
/// set, which is looked at only when the writer would have to wait for somebody, when a
/// subscription is made, and after each publication as long as somebody has not come.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, turns of the operations
///                      included.
class PROCYARD_IPC_EXPORT broadcast_writer_core final : public operation_line {
public:
    /// @par Errors   As broadcaster's constructor.
    [[nodiscard]] static std::shared_ptr<broadcast_writer_core>
    open(const asio::any_io_executor& ex, const broadcast_terms& terms, error_code& ec);
    ~broadcast_writer_core();

    // --- the hot path ---------------------------------------------------------------------------

    [[nodiscard]] const broadcast_writer_side& side() const noexcept { return side_; }
    /// Room for a message that is to be written: the longest.
    [[nodiscard]] std::byte* scratch() noexcept { return scratch_.get(); }
    [[nodiscard]] std::byte* units() noexcept { return units_; }
    /// Of the message that comes next.
    [[nodiscard]] std::uint64_t next_number() const noexcept { return messages_; }

    /// Whether so many units can be written: would_block, or EBADF.
    [[nodiscard]] error_code find_room(std::uint64_t count)
    {
        if (!closed_ && room() >= count) [[likely]]
            return {};
        return wait_for_room(count);
    }
    /// Everything that has to give way to `count` more units is overwritten from now on. @pre there
    /// is room
    void claim_cells(std::uint64_t count) noexcept { side_.claim(side_.floor_for(count)); }
    void claim_records(std::uint64_t count) noexcept;
    /// So many units have been written, which are one message.
    void advance(std::uint64_t count) noexcept
    {
        side_.advance(count);
        ++messages_;
    }
    /// Lets the readers see it. Those that sleep are to be woken, once for as many as there are.
    void publish() noexcept { side_.publish(); }
    void wake_readers() noexcept
    {
        if (readers_.empty())
            return;
        side_.fence();
        if (unknown_ > 0) [[unlikely]]
            look_at_bells();
        ring_sleepers();
    }

    // --- the rest -------------------------------------------------------------------------------

    /// Makes a subscription; the descriptor that it is opened with.
    /// @par Errors   As broadcaster::subscribe.
    [[nodiscard]] unique_fd subscribe(const subscription_options& options, error_code& ec);
    void close() noexcept;
    [[nodiscard]] bool is_open() const noexcept { return !closed_; }
    /// Of the memory that each reader maps.
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return own_.memory().size(); }
    [[nodiscard]] std::size_t readers() noexcept;
    [[nodiscard]] std::uint64_t cut_off() const noexcept { return cut_off_; }
    [[nodiscard]] channel_statistics statistics() const noexcept;

private:
    // One of the readers. Movable, and known to the set of bells by its name.
    struct reader {
        std::uint64_t name = 0;
        slow_reader manner = slow_reader::loses;
        std::uint64_t start = 0;  // where its first message is
        std::uint64_t start_number = 0;
        std::optional<known_reader> known{};  // none as long as it has not come
        unique_fd socket{};                   // until then
        doorbell bell{};                      // which it presses
        doorbell_button button{};
        broadcast_memory memory{};
        bool is_short = false;  // it has come, and there was no descriptor or memory for it
    };

    broadcast_writer_core(const asio::any_io_executor& ex, const broadcast_terms& terms,
                          broadcast_memory own, unique_fd bells);

    [[nodiscard]] std::uint64_t room() const noexcept
    {
        return holding_ == 0 ? side_.capacity() : slowest_ + side_.capacity() - side_.position();
    }
    [[nodiscard]] error_code wait_for_room(std::uint64_t count);
    void find_slowest() noexcept;
    void ring_sleepers() noexcept;
    void look_at_bells() noexcept;
    void hear_hello(std::size_t index) noexcept;
    [[nodiscard]] bool looks_again() noexcept;
    void hear_reader(std::uint64_t token) noexcept;
    void welcome(reader& who, error_code& ec);
    [[nodiscard]] error_code watch(int fd, std::uint64_t token) noexcept;
    void unwatch(int fd) noexcept;
    void remove(std::size_t index) noexcept;
    void let_go_of_readers() noexcept;
    void find_start(std::uint64_t history, reader& who) const noexcept;

    bool lacks(std::uint64_t wanted) override;
    void announce(std::uint64_t wanted) noexcept override { side_.announce(wanted); }
    void withdraw() noexcept override { side_.withdraw(); }
    void hear(const error_code& wait_error) noexcept override;
    int wait_handle() const noexcept override { return bells_.get(); }
    void show_counts() noexcept override;
    void fail_to_wait(const error_code& why) noexcept override;

    // Hot.
    broadcast_writer_side side_;
    std::byte* units_;
    std::unique_ptr<std::byte[]> scratch_;
    bool closed_ = false;
    std::uint64_t messages_;
    std::uint64_t slowest_ = 0;  // of those that hold back, as it was when it was last looked at
    std::size_t holding_ = 0;    // how many do
    std::size_t unknown_ = 0;    // how many have not come
    std::size_t short_ = 0;      // of these, for how many something was missing
    bool is_looking_again_ = false;
    std::optional<asio::steady_timer> again_;
    std::vector<reader> readers_;
    std::uint64_t oldest_number_;  // of the message at side_.oldest()

    broadcast_terms terms_;
    broadcast_memory own_;
    unique_fd bells_;  // an epoll set
    pid_t owner_;      // a copy of this process, made by fork(), leaves everything alone
    error_code failure_;
    std::uint64_t last_name_ = 0;
    std::uint64_t rung_ = 0;
    std::uint64_t woken_ = 0;
    std::uint64_t cut_off_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
