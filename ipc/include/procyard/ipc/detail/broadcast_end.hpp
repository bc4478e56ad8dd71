// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_BROADCAST_END_HPP
#define PROCYARD_IPC_DETAIL_BROADCAST_END_HPP

#include <boost/asio/any_io_executor.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <procyard/ipc/channel_statistics.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/broadcast_operations.hpp>
#include <procyard/ipc/detail/broadcast_reader_core.hpp>
#include <procyard/ipc/detail/broadcast_writer_core.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unopened.hpp>

// What a broadcaster and the writer of a latest value have in common, and their readers.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

[[noreturn]] PROCYARD_IPC_EXPORT void throw_broadcast(const error_code& ec, const char* what,
                                                      const type_description& type);

/// What a broadcaster and a latest_value have in common.
class PROCYARD_IPC_EXPORT broadcast_writer_end {
public:
    using executor_type = asio::any_io_executor;

    broadcast_writer_end(broadcast_writer_end&&) noexcept = default;
    broadcast_writer_end& operator=(broadcast_writer_end&& other) noexcept;
    /// Closes. Never blocks.
    ~broadcast_writer_end();

    /// @pre not moved from, and not made by the default constructor
    [[nodiscard]] executor_type get_executor() const noexcept { return core().executor(); }
    [[nodiscard]] bool is_open() const noexcept { return core_ && core_->is_open(); }
    /// Says that this is all. Pending operations complete with operation_aborted. Subscribers
    /// receive what is there, and after that their operations say `channel_errc::closed`. Nothing
    /// happens when it is closed already.
    void close() noexcept;
    /// Completes every pending operation with operation_aborted. None of them has sent anything.
    void cancel() noexcept;

    /// How many subscriptions there are, opened or not, but for those whose holder has gone.
    /// @par Cost   Two system calls, and more for each that has rung (one), gone (some six) or come
    ///             (a dozen, and a mapping) since the last look.
    [[nodiscard]] std::size_t readers() const noexcept { return core_ ? core_->readers() : 0; }
    /// How many subscribers have been cut off, since they did not keep to the protocol. One that
    /// has come while there was no descriptor or no memory for it is looked at again with each
    /// message.
    [[nodiscard]] std::uint64_t cut_off() const noexcept { return core_ ? core_->cut_off() : 0; }
    /// `messages`: that were sent; `depth`: of these, those that are kept for who comes, and `used`
    /// the units that they take; `woken`: by readers that it waited for. `dropped`, `high_water`
    /// and `elided` stay 0: a writer drops nothing, keeps what it has until that is overwritten,
    /// and looks at each reader anew each time.
    [[nodiscard]] channel_statistics statistics() const noexcept;

protected:
    broadcast_writer_end() noexcept = default;
    broadcast_writer_end(const asio::any_io_executor& ex, const broadcast_terms& terms,
                         error_code& ec)
        : core_(broadcast_writer_core::open(ex, terms, ec))
    {
    }
    broadcast_writer_end(const asio::any_io_executor& ex, const broadcast_terms& terms);

    [[nodiscard]] broadcast_writer_core& core() const noexcept
    {
        PROCYARD_ASSERT(core_ && "an end that was never opened, or moved from, has no operations");
        return *core_;
    }

    std::shared_ptr<broadcast_writer_core> core_;
};

/// What a subscriber and a latest_reader have in common.
class PROCYARD_IPC_EXPORT broadcast_reader_end {
public:
    using executor_type = asio::any_io_executor;

    broadcast_reader_end(broadcast_reader_end&&) noexcept = default;
    broadcast_reader_end& operator=(broadcast_reader_end&& other) noexcept;
    /// Closes. Never blocks.
    ~broadcast_reader_end();

    /// @pre not moved from, and not made by the default constructor
    [[nodiscard]] executor_type get_executor() const noexcept { return core().executor(); }
    /// Whether this end has been opened, has not been closed, and does not know of anything that
    /// has ended it.
    [[nodiscard]] bool is_open() const noexcept { return core_ && core_->is_open(); }
    /// The error that has ended it, as far as this end knows; what the next operation would say.
    [[nodiscard]] error_code failure() const noexcept
    {
        return core_ ? core_->failure() : error_code();
    }
    /// Says that this end is done. Pending operations complete with operation_aborted. Nothing
    /// happens when it is closed already.
    void close() noexcept;
    /// Completes every pending operation with operation_aborted. None of them has received
    /// anything.
    void cancel() noexcept;

    /// `messages`: that were received; `dropped`: that were lost, as lost() says; `depth`: that are
    /// there and have not been received, and `used` the units that they take; `rung`: the writer,
    /// when it waited for this one. `high_water` and `elided` stay 0: what is there, the writer
    /// decides, and one that holds nobody back rings for nobody.
    /// @par Cost   Of messages that differ in length: a look at each that is there.
    [[nodiscard]] channel_statistics statistics() const noexcept;
    /// A sentence about the error with which it could not be opened, for a person: of `other_type`,
    /// both sides' types and what is different; of `other_direction`, what both are. Empty where
    /// the error says it all.
    [[nodiscard]] const std::string& explanation() const noexcept { return explanation_; }

protected:
    broadcast_reader_end() noexcept = default;
    broadcast_reader_end(const asio::any_io_executor& ex, unique_fd socket,
                         const channel_options& options, broadcast_terms terms, error_code& ec);
    broadcast_reader_end(const asio::any_io_executor& ex, unique_fd socket,
                         const channel_options& options, const broadcast_terms& terms);

    [[nodiscard]] broadcast_reader_core& core() const noexcept
    {
        PROCYARD_ASSERT(core_ && "an end that was never opened, or moved from, has no operations");
        return *core_;
    }

    std::shared_ptr<broadcast_reader_core> core_;

private:
    std::string explanation_;
};

/// A subscription's way to where it is opened: as that of a channel's end. The memory of the
/// broadcast that it is made of is never too large.
[[nodiscard]] inline channel_options passed_options(const subscription_options& options,
                                                    const broadcast_writer_core& writer) noexcept
{
    channel_options passed;
    passed.spin = options.spin;
    passed.across_users = options.across_users;
    passed.max_peer_bytes = std::max(passed.max_peer_bytes, writer.memory_bytes());
    return passed;
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
