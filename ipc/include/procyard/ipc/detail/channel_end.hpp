// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_CHANNEL_END_HPP
#define PROCYARD_IPC_DETAIL_CHANNEL_END_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/ipc/channel_statistics.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_core.hpp>
#include <procyard/ipc/detail/channel_operations.hpp>
#include <procyard/ipc/detail/message_transport.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/type_description.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

[[nodiscard]] PROCYARD_IPC_EXPORT std::shared_ptr<channel_core>
open_end(const asio::any_io_executor& ex, ring_role role, unique_fd socket,
         const channel_terms& terms, error_code& ec);
[[nodiscard]] PROCYARD_IPC_EXPORT std::shared_ptr<channel_core>
open_end(const asio::any_io_executor& ex, ring_role role, unique_fd socket,
         const channel_terms& terms);

/// What no channel can have.
/// @par Errors   `channel_errc::bad_option`.
[[nodiscard]] PROCYARD_IPC_EXPORT error_code check_options(const channel_options& options) noexcept;

/// Throws boost::system::system_error.
[[nodiscard]] PROCYARD_IPC_EXPORT unique_fd resume_end(channel_core& core);

/// The two descriptors by which the ends of a channel find each other.
[[nodiscard]] PROCYARD_IPC_EXPORT std::pair<unique_fd, unique_fd>
make_hello_sockets(const channel_terms& terms, error_code& ec);
[[nodiscard]] PROCYARD_IPC_EXPORT std::pair<unique_fd, unique_fd>
make_hello_sockets(const channel_terms& terms);

template <class T>
[[nodiscard]] channel_terms terms_of(const channel_options& options)
{
    channel_terms terms;
    const auto& type = describe<T>();
    terms.shape = transport_of<T>::shape(options.capacity_messages, options.capacity_bytes);
    terms.shape.type = type.fingerprint;
    terms.type = &type;
    terms.spin = options.spin;
    terms.max_peer_bytes = options.max_peer_bytes;
    terms.options = options;
    if (options.across_users)
        terms.bell = doorbell_kind::socket;
    return terms;
}

/// What a sender and a receiver have in common.
class PROCYARD_IPC_EXPORT channel_end {
public:
    using executor_type = asio::any_io_executor;

    channel_end(channel_end&&) noexcept = default;
    channel_end& operator=(channel_end&& other) noexcept;
    /// Closes. Never blocks.
    ~channel_end();

    /// @pre not moved from, and not made by the default constructor
    [[nodiscard]] executor_type get_executor() const noexcept { return core().executor(); }

    /// What the channel is called at this end: channel_options::name. Valid as long as this end.
    [[nodiscard]] std::string_view name() const noexcept
    {
        return core_ ? core_->options().name.view() : std::string_view();
    }
    /// Whether this end has been opened, has not been closed, and does not know of anything that
    /// has ended the channel.
    [[nodiscard]] bool is_open() const noexcept { return core_ && core_->is_open(); }
    /// Whether the peer has opened its end, as far as this end knows.
    [[nodiscard]] bool is_connected() const noexcept { return core_ && core_->is_connected(); }
    /// The error that has ended the channel, as far as this end knows; what the next operation
    /// would say.
    [[nodiscard]] error_code failure() const noexcept
    {
        return core_ ? core_->failure() : error_code();
    }

    /// After an attempt that would block: looks again and again, for at most channel_options::spin,
    /// whether the next one would go through. True: try again; there is something, or an error to
    /// be told. False: start an operation that waits, which then does not spin once more.
    ///
    /// For round trips: an operation that spins has given its turn to the executor before, and that
    /// takes longer than a message. Adapts, as operations do: less, when it is in vain.
    /// @par Limits   Blocks the thread meanwhile. A coroutine whose attempts always go through
    ///               never gives its turn away: let others have one now and then, by asio::post.
    /// @par Cost     No system call once the peer has come.
    [[nodiscard]] bool spin() { return core().spin(); }

    /// Says that this end is done. Pending operations complete with operation_aborted. What was
    /// sent can still be received, and after that the peer's operations say `channel_errc::closed`;
    /// a sender's say so at once when the receiver closes. Nothing happens when it is closed
    /// already.
    void close() noexcept;

    /// Completes every pending operation with operation_aborted. None of them has sent or received
    /// anything.
    void cancel() noexcept;

    /// Waits until the channel has ended, for a program that has nothing to send or does not want
    /// to receive, and would not hear of it otherwise. Takes nothing: what has been sent can be
    /// received before and after. Other operations go on meanwhile.
    ///
    /// `how`: `channel_errc::closed` or `peer_died`, of the peer; or what failure() says.
    /// @par Completion    void(error_code, error_code how)
    /// @par Errors        EBADF: this end is closed. EMFILE, ENFILE, ENOMEM: the peer has come, and
    ///                    there is no descriptor or memory for what it brings; try again when there
    ///                    is.
    /// @par Cancellation  terminal, partial and total: nothing has changed.
    /// @par Cost          Two system calls. While it waits, each sleep of another operation of this
    ///                    end takes one more.
    template <asio::completion_token_for<void(error_code, error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_closed(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code, error_code)>(initiate_wait_for_end{},
                                                                         token, core_);
    }

    /// What has gone through this end so far, and what is in the ring now.
    /// @par Cost   Of messages that differ in length: a look at each that is in the ring.
    [[nodiscard]] channel_statistics statistics() const noexcept;

    /// A sentence about the error that ended the channel, for a person: of `other_type`, both
    /// sides' types and what is different; of `other_direction`, what both are. Empty where the
    /// error says it all.
    [[nodiscard]] std::string explanation() const;

protected:
    friend struct end_access;

    channel_end() noexcept = default;
    explicit channel_end(std::shared_ptr<channel_core> core) noexcept : core_(std::move(core)) { }

    [[nodiscard]] channel_core& core() const noexcept
    {
        PROCYARD_ASSERT(core_ && "an end that was never opened, or moved from, has no operations");
        return *core_;
    }

    std::shared_ptr<channel_core> core_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
