// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_WORK_QUEUE_HPP
#define PROCYARD_IPC_WORK_QUEUE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/system/system_error.hpp>

#include <memory>
#include <utility>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/work_queue_core.hpp>
#include <procyard/ipc/unopened.hpp>
#include <procyard/ipc/work_options.hpp>
#include <procyard/ipc/work_source.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Items that are dealt with once, by whoever is free: many producers, many consumers, here or in
/// other processes.
///
/// An item is *leased* to a consumer. If that acknowledges it in time, it is done. If it gives it
/// back, dies, or keeps it for too long, somebody else gets it; after `max_attempts` it is a dead
/// letter. At no time have two consumers a lease of the same item; but who overruns a lease may
/// still be at work when the next one begins.
///
/// The items are in this process, the queue's owner, and in the memory of nobody else: a consumer
/// that is killed or hostile harms nothing but its own leases. If the owner dies, producers and
/// consumers hear `peer_died`, and the items are gone.
///
/// After a move: is_open() is false; may be assigned to or destroyed.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe, and the handlers of
///                      operations count as its use: a strand for all of them, or one thread.
/// @par Lifetime        Works as long as it exists, in its executor. While it has producers or
///                      consumers, `run()` does not return. Operations do not need the object. Its
///                      destructor ends everything.
/// @par Fork            As sender.
/// @par Cost            Two descriptors; for each producer two, for each consumer four.
/// @par Limits          Deadlines are of CLOCK_MONOTONIC: a consumer in another time namespace than
///                      the queue's takes them wrong.
/// @par Example         @snippet examples/14_work_queue.cpp owner
template <work_message T>
class work_queue {
public:
    using item_type = T;
    using executor_type = asio::any_io_executor;

    /// None: is_open() is false.
    work_queue() noexcept = default;

    /// Empty, without producers or consumers.
    /// @par Errors   EINVAL: options that make no sense; EMFILE, ENFILE, ENOMEM.
    work_queue(const asio::any_io_executor& ex, const work_queue_options& options, error_code& ec)
        : core_(detail::work_queue_core<T>::open(ex, options, ec))
    {
    }
    /// The same; throws boost::system::system_error.
    explicit work_queue(const asio::any_io_executor& ex, const work_queue_options& options = {})
    {
        error_code ec;
        core_ = detail::work_queue_core<T>::open(ex, options, ec);
        if (ec)
            throw boost::system::system_error(ec, "work_queue");
    }
    work_queue(work_queue&&) noexcept = default;
    work_queue& operator=(work_queue&& other) noexcept
    {
        if (this != &other) {
            stop();
            core_ = std::move(other.core_);
        }
        return *this;
    }
    ~work_queue() { stop(); }

    /// @pre not moved from, and not made by the default constructor
    [[nodiscard]] executor_type get_executor() const noexcept { return core().executor(); }
    /// Takes items.
    [[nodiscard]] bool is_open() const noexcept { return core_ && core_->is_open(); }

    /// An end for somebody who sends items, here or elsewhere (`command::pass`). It waits when the
    /// queue is full. Items of one producer are taken in their order; what it had sent is taken
    /// also when it dies.
    /// @par Errors   Those of make_channel and receiver's constructor; ENOSPC, ENOMEM: the kernel
    ///               has no room to watch it; EBADF or `channel_errc::closed`: the queue is closed.
    ///               Of a producer `bad_option`: work_queue_options::channels has drop_oldest.
    [[nodiscard]] unopened<sender<T>> producer(error_code& ec)
    {
        return core().make_producer({}, ec);
    }
    /// The same; throws boost::system::system_error.
    [[nodiscard]] unopened<sender<T>> producer()
    {
        error_code ec;
        auto made = producer(ec);
        if (ec)
            throw boost::system::system_error(ec, "work_queue: producer");
        return made;
    }

    /// An end for somebody who deals with items, here or elsewhere. It is one descriptor, as that
    /// of a channel, and goes the same ways.
    /// @par Errors   As producer's.
    [[nodiscard]] unopened<work_source<T>> consumer(error_code& ec)
    {
        return {core().make_consumer(ec), core().options().channels};
    }
    /// The same; throws boost::system::system_error.
    [[nodiscard]] unopened<work_source<T>> consumer()
    {
        error_code ec;
        auto made = consumer(ec);
        if (ec)
            throw boost::system::system_error(ec, "work_queue: consumer");
        return made;
    }

    /// Adds an item, if there is room. False: nothing was added, and `ec` says why;
    /// `asio::error::would_block` is no error but a full queue.
    /// @par Errors   `channel_errc::closed`: it has been closed; EBADF: it has ended. An item that
    ///               is too long for its consumers' channels is added, and becomes a dead letter.
    bool try_push(T value, error_code& ec)
    {
        ec = core().push(value);
        return !ec;
    }

    /// Adds an item, and waits until there is room if there is none.
    /// @par Completion    void(error_code)
    /// @par Errors        As try_push, but would_block.
    /// @par Cancellation  terminal, partial and total: nothing has been added.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_push(T value, Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code)>(detail::initiate_push<T>{}, token,
                                                             core_, std::move(value));
    }

    /// The next item that nobody could deal with. It takes room in the queue until it is collected.
    /// @par Completion    void(error_code, dead_letter<T>)
    /// @par Errors        `channel_errc::closed`: the queue was closed, all is done, and no dead
    ///                    letter is left; EBADF: it has ended.
    /// @par Cancellation  terminal, partial and total: it stays for the next.
    template <asio::completion_token_for<void(error_code, dead_letter<T>)> Token = asio::deferred_t>
    [[nodiscard]] auto async_dead_letter(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code, dead_letter<T>)>(
            detail::initiate_dead_letter<T>{}, token, core_);
    }
    /// The same, if there is one. @par Errors   Also would_block.
    bool try_dead_letter(dead_letter<T>& letter, error_code& ec)
    {
        ec = core().collect(letter);
        return !ec;
    }

    /// Waits until every item is done, or a dead letter.
    /// @par Completion    void(error_code)
    /// @par Errors        EBADF: the queue has ended.
    /// @par Cancellation  terminal, partial and total: the items are where they were.
    template <asio::completion_token_for<void(error_code)> Token = asio::deferred_t>
    [[nodiscard]] auto async_drain(Token&& token = {})
    {
        return asio::async_initiate<Token, void(error_code)>(detail::initiate_drain{}, token,
                                                             core_);
    }

    /// Takes no more items. Those that are here are dealt with; after that the consumers hear
    /// `channel_errc::closed`. What producers have sent and the queue has not taken yet is lost, as
    /// with any channel that is closed; they hear of it at once.
    void close()
    {
        if (core_)
            core_->close();
    }
    /// Ends everything: the items are lost, and producers and consumers hear `closed`. Pending
    /// operations complete with operation_aborted.
    void stop() noexcept
    {
        if (core_)
            core_->stop();
    }
    /// Completes every pending operation with operation_aborted.
    void cancel() noexcept
    {
        if (core_)
            core_->cancel();
    }

    [[nodiscard]] work_queue_statistics statistics() const noexcept { return core().statistics(); }

private:
    [[nodiscard]] detail::work_queue_core<T>& core() const noexcept
    {
        PROCYARD_ASSERT(core_ && "a work queue that was never opened, or moved from, has nothing");
        return *core_;
    }

    std::shared_ptr<detail::work_queue_core<T>> core_;
};

PROCYARD_NAMESPACE_END

#endif
