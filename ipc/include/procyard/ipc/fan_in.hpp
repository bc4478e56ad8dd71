// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_FAN_IN_HPP
#define PROCYARD_IPC_FAN_IN_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/system/system_error.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include <procyard/ipc/arrival.hpp>
#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/channel_statistics.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/fan_in_core.hpp>
#include <procyard/ipc/detail/fan_in_operations.hpp>
#include <procyard/ipc/fan_in_options.hpp>
#include <procyard/ipc/message_batch.hpp>
#include <procyard/ipc/unopened.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Many receivers as one: what comes from any of them, fairly, and what became of those that ended.
///
/// Each source is a channel of its own, so a sender that dies, breaks the rules or floods harms no
/// other. Among the sources of the lowest lane that have something, it goes round: `burst` messages
/// of one, then the next. Messages of one source stay in their order.
///
/// That a source has ended is received as well: once, after all of its messages, as an arrival with
/// `ended`. The others go on. What a source has lost whose sender drops the oldest is told by its
/// statistics, not by an error.
///
/// After a move: is_open() is false; may be assigned to or destroyed.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, and the handlers of
///                      operations count as its use: a strand for all of them, or one thread.
/// @par Lifetime        Operations do not need the object: it may be moved while they wait. Its
///                      destructor closes.
/// @par Fork            As sender.
/// @par Cost            One descriptor (an epoll set), and those of the sources. A source that has
///                      nothing costs nothing. No allocation, and, while there is something to be
///                      received, no system call for a message.
/// @par Limits          A message of a more urgent lane may be noticed only after as many others as
///                      there are sources that have nothing. A busy fan-in hears of a death
///                      after 1,024 messages of others at most, and by operations that wait only,
///                      not by try_receive.
/// @par Example         @snippet examples/guide/fan_in.cpp receive
template <decodable_message T>
class fan_in {
    using transport = detail::transport_of<T>;

public:
    using message_type = T;
    using executor_type = asio::any_io_executor;

    /// None: is_open() is false.
    fan_in() noexcept = default;

    /// Without any source.
    /// @par Errors   EMFILE, ENFILE, ENOMEM.
    fan_in(const asio::any_io_executor& ex, const fan_in_options& options, error_code& ec)
        : core_(detail::fan_in_core::open(ex, options, transport::busy_after, ec))
    {
    }
    /// The same; throws boost::system::system_error.
    explicit fan_in(const asio::any_io_executor& ex, const fan_in_options& options = {})
    {
        error_code ec;
        core_ = detail::fan_in_core::open(ex, options, transport::busy_after, ec);
        if (ec)
            throw boost::system::system_error(ec, "fan_in");
    }
    fan_in(fan_in&&) noexcept = default;
    fan_in& operator=(fan_in&& other) noexcept
    {
        if (this != &other) {
            close();
            core_ = std::move(other.core_);
        }
        return *this;
    }
    ~fan_in() { close(); }

    /// @pre not moved from, and not made by the default constructor
    [[nodiscard]] executor_type get_executor() const noexcept
    {
        return core().operations().executor();
    }
    [[nodiscard]] bool is_open() const noexcept { return core_ && core_->is_open(); }

    /// Takes a receiver as a source. What had waited at it completes with operation_aborted. Also
    /// while operations of the fan-in wait.
    /// @par Errors   EBADF: it is closed, or the fan-in is; `channel_errc::lent`; EINVAL: it has
    ///               another executor, or there is no such lane; ENOSPC, ENOMEM: the kernel has no
    ///               room to watch it. What has ended the receiver's channel is no error here: it
    ///               is received.
    source_id add(receiver<T> from, const source_options& options, error_code& ec)
    {
        return core().add(detail::take_core(from), options, ec);
    }
    /// The same; throws boost::system::system_error.
    source_id add(receiver<T> from, const source_options& options = {})
    {
        error_code ec;
        const auto id = add(std::move(from), options, ec);
        if (ec)
            throw boost::system::system_error(
                ec, options.name.empty() ? "fan_in: add" : "fan_in: add " + options.name);
        return id;
    }
    /// Opens an end here and takes it. Also the errors of receiver's constructor.
    source_id add(unopened<receiver<T>> from, const source_options& options, error_code& ec)
    {
        receiver<T> opened(get_executor(), std::move(from), ec);
        return ec ? source_id{} : add(std::move(opened), options, ec);
    }
    /// The same; throws boost::system::system_error.
    source_id add(unopened<receiver<T>> from, const source_options& options = {})
    {
        return add(receiver<T>(get_executor(), std::move(from)), options);
    }

    /// Closes a source. What it has sent and has not been received is lost, and its end is not
    /// told. False: there is none of this name, or its end has been told.
    bool remove(source_id id) noexcept { return core_ && core_->remove(id); }

    /// Sources whose end has not been told.
    [[nodiscard]] std::size_t source_count() const noexcept
    {
        return core_ ? core_->source_count() : 0;
    }
    /// What is known of a source; of one that has ended, until the next one's end is told. Empty
    /// for others.
    [[nodiscard]] std::string name(source_id id) const { return core().name(id); }
    [[nodiscard]] std::string explanation(source_id id) const { return core().explanation(id); }
    [[nodiscard]] channel_statistics statistics(source_id id) const noexcept
    {
        return core().statistics(id);
    }

    /// Receives, if anybody has something: a message, or its end. False: nothing was received, and
    /// `ec` says why; `asio::error::would_block` is no error.
    /// @par Errors   `channel_errc::closed`: no source is left, and fan_in_options says so;
    ///               `channel_errc::lent`; EBADF: the fan-in is closed; EMFILE, ENFILE, ENOMEM: a
    ///               sender has come and cannot be met for now, it and what it has sent stay. The
    ///               next call looks at others first. What is wrong with a source is no error but
    ///               arrival::ended.
    /// @par Limits   Goes ahead of operations that have not had their turn. Who only tries does not
    ///               hear of deaths.
    /// @par Cost     A copy out of the ring, a look at one source more for each lane that is at
    ///               least as urgent, and one system call if the sender waits for room. Where no
    ///               source is known to have something, a look at all of them.
    bool try_receive(arrival<T>& got, error_code& ec)
        requires(!borrows_message<T>)
    {
        ec = detail::receive_now(core(), got, detail::fan_in_look::all);
        return !ec;
    }

    /// Receives a message, or the end of a source, and waits until there is one.
    /// @par Completion    void(error_code, arrival<T>)
    /// @par Errors        As try_receive, but would_block. ENOMEM: a codec had no memory, and the
    ///                    message is still there. EPERM: see sender::async_send. ENOSPC, ENOMEM:
    ///                    as add.
    /// @par Cancellation  terminal, partial and total: nothing has been received, neither a message
    ///                    nor an end; both stay for the next.
    /// @par Cost          A turn of the executor. Where messages come in numbers, try_receive
    ///                    first, and this only when there is nothing; or async_receive_some.
    template <asio::completion_token_for<void(error_code, arrival<T>)> Token = asio::deferred_t>
    [[nodiscard]] auto async_receive(Token&& token = {})
        requires(!borrows_message<T>)
    {
        return asio::async_initiate<Token, void(error_code, arrival<T>)>(
            detail::initiate_fan_in<detail::fan_in_receive<T>>{}, token, core_);
    }

    /// Receives all that one source has, to be read in place, and waits until there is something.
    /// The next time it is the next one's turn. Until the batch is destroyed, nothing else can be
    /// received.
    /// @par Completion    void(error_code, arrivals<T>)
    /// @par Errors        As async_receive.
    /// @par Cancellation  terminal, partial and total: nothing has been received.
    template <asio::completion_token_for<void(error_code, arrivals<T>)> Token = asio::deferred_t>
    [[nodiscard]] auto async_receive_some(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code, arrivals<T>)>(
            detail::initiate_fan_in<detail::fan_in_batch<T>>{}, token, core_);
    }

    /// Waits until something can be received at once: a message or an end. Takes nothing.
    /// @par Completion    void(error_code)
    /// @par Errors        As async_receive.
    /// @par Cancellation  terminal, partial and total.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_wait_readable(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code)>(
            detail::initiate_fan_in<detail::fan_in_wait>{}, token, core_);
    }

    /// Completes every pending operation with operation_aborted. None of them has received
    /// anything.
    void cancel() noexcept
    {
        if (core_)
            core_->operations().abort_all();
    }
    /// Closes all sources, and cancels. What was not received is lost.
    void close() noexcept
    {
        if (core_)
            core_->close();
    }

private:
    [[nodiscard]] detail::fan_in_core& core() const noexcept
    {
        PROCYARD_ASSERT(core_ && "a fan-in that was never opened, or moved from, has nothing");
        return *core_;
    }

    std::shared_ptr<detail::fan_in_core> core_;
};

PROCYARD_NAMESPACE_END

#endif
