// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_BROADCAST_READER_CORE_HPP
#define PROCYARD_IPC_DETAIL_BROADCAST_READER_CORE_HPP

#include <boost/asio/any_io_executor.hpp>

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <procyard/ipc/broadcast_options.hpp>
#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/channel_statistics.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/broadcast_memory.hpp>
#include <procyard/ipc/detail/broadcast_ring.hpp>
#include <procyard/ipc/detail/broadcast_writer_core.hpp>
#include <procyard/ipc/detail/doorbell.hpp>
#include <procyard/ipc/detail/operation_line.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// A reader of a broadcast, all but the type of its messages.
///
/// The writer's hello was sent when the subscription was made, so a reader is connected as soon as
/// it is open, or fails. The writer may be hostile.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, turns of the operations
///                      included.
class PROCYARD_IPC_EXPORT broadcast_reader_core final : public operation_line {
public:
    /// @par Errors   As subscriber's constructor. `explanation` is a sentence about it, if there is
    ///               more to say.
    [[nodiscard]] static std::shared_ptr<broadcast_reader_core>
    open(const asio::any_io_executor& ex, unique_fd socket, const broadcast_terms& terms,
         std::string& explanation, error_code& ec);
    ~broadcast_reader_core();

    // --- the hot path ---------------------------------------------------------------------------

    /// Copies the next message of one length, or record. It is not passed.
    /// @par Errors   would_block: there is none, or the writer overwrites them as fast as they are
    ///               copied; what has ended the broadcast; `channel_errc::lapped`, once for each
    ///               time, and then what is still there.
    [[nodiscard]] error_code look_at_cell(std::span<const std::byte>& message);
    [[nodiscard]] error_code look_at_record(std::span<const std::byte>& message);
    /// The latest message, of which it does not matter how many there were before it. It is passed.
    /// @pre cells
    [[nodiscard]] error_code take_latest(std::span<const std::byte>& message);
    /// The message that was looked at has been taken. To be published, once for as many as there
    /// are.
    void pass() noexcept
    {
        side_.advance(looked_at_);
        ++expected_;
        ++messages_;
    }
    /// Lets the writer know, if it waits for this reader.
    void publish() noexcept
    {
        if (manner_ != slow_reader::holds_back)
            side_.show();
        else if (side_.publish())
            ring();
    }
    /// It is no value of its type.
    void fail(error_code why) noexcept;

    /// No error: there is something to look at.
    [[nodiscard]] error_code find_any()
    {
        if (!usable_ || side_.room() == 0) [[unlikely]]
            return wait_for_any();
        return {};
    }

    // --- the rest -------------------------------------------------------------------------------

    void close() noexcept;
    [[nodiscard]] bool is_open() const noexcept { return usable_; }
    [[nodiscard]] error_code failure() const noexcept { return failure_; }
    [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }
    /// How many messages there were up to the last that was received.
    [[nodiscard]] std::uint64_t number() const noexcept { return expected_; }
    [[nodiscard]] channel_statistics statistics() const noexcept;

private:
    broadcast_reader_core(const asio::any_io_executor& ex, const broadcast_terms& terms,
                          broadcast_memory own, broadcast_memory writer, std::uint64_t start);

    void ring() noexcept { button_.press(), ++rung_, show_counts(); }
    [[nodiscard]] error_code wait_for_any();
    enum class copied : std::uint8_t { record, padding, overtaken, violation };
    [[nodiscard]] bool copy_cell() noexcept;
    [[nodiscard]] copied copy_record(record_header& header) noexcept;
    [[nodiscard]] error_code skip_lost(bool to_middle);
    [[nodiscard]] error_code note_number(std::uint64_t number);
    void let_go_of_writer() noexcept;
    [[nodiscard]] std::uint64_t count_messages(broadcast_reader_side look) const noexcept;

    bool lacks(std::uint64_t wanted) override;
    void announce(std::uint64_t wanted) noexcept override;
    void withdraw() noexcept override;
    void hear(const error_code& wait_error) noexcept override;
    int wait_handle() const noexcept override { return bell_.native_handle(); }
    void show_counts() noexcept override;
    void fail_to_wait(const error_code& why) noexcept override { fail(why); }

    // Hot.
    broadcast_reader_side side_;
    const std::byte* units_;
    std::unique_ptr<std::byte[]> scratch_;
    std::size_t cell_bytes_;
    bool usable_ = true;  // neither closed nor failed
    bool writer_gone_ = false;
    slow_reader manner_ = slow_reader::loses;
    std::uint64_t looked_at_ = 0;  // units of the message that was looked at
    std::uint64_t expected_ = 0;   // the number of the next message
    std::uint64_t messages_ = 0;
    std::uint64_t lost_ = 0;

    broadcast_memory own_;
    broadcast_memory writer_;
    pid_t owner_;  // a copy of this process, made by fork(), leaves everything alone
    doorbell bell_;
    doorbell_button button_;
    error_code failure_;
    bool closed_ = false;
    std::uint64_t rung_ = 0;
    std::uint64_t woken_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
