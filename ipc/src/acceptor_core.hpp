// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_ACCEPTOR_CORE_HPP
#define PROCYARD_IPC_SRC_ACCEPTOR_CORE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>

#include <sys/types.h>

#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <procyard/ipc/channel_address.hpp>
#include <procyard/ipc/channel_listen_options.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/applicant.hpp>
#include <procyard/ipc/detail/channel_acceptor.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/owned_name.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_peer.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "client_handshake.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// A listener: its socket, its clients in their handshakes, the ends that are ready, and the accept
// that waits.
//
//   accept: start --> waiting --a client, an end--> (work) --an end is ready--> delivered
//             \--an end is ready-----------------------------------------------/
//
//   waiting:   the reactor watches the socket (after a failure: a timer), and owns the operation.
//   delivered: in the turn in which the handler runs, so a cancelled accept has taken nothing.
//
// Clients are waited for on the listener's executor, whatever its threads, and accepts are made
// where the user is: hence the mutex. Nothing of the user's is called, or destroyed, under it.
class acceptor_core : public std::enable_shared_from_this<acceptor_core> {
public:
    explicit acceptor_core(const asio::any_io_executor& ex);
    acceptor_core(const acceptor_core&) = delete;
    acceptor_core& operator=(const acceptor_core&) = delete;
    ~acceptor_core();

    void listen(const channel_address& address, const end_plan& plan,
                channel_listen_options options, error_code& ec);
    void start(std::shared_ptr<channel_accept> operation, asio::cancellation_slot slot);
    void close() noexcept;

    [[nodiscard]] bool is_open() const noexcept;
    [[nodiscard]] std::string path() const;
    [[nodiscard]] channel_listener_statistics statistics() const;
    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }

private:
    using operation_ptr = std::shared_ptr<channel_accept>;
    using client_ptr = std::shared_ptr<client_handshake>;
    struct turn;
    struct on_cancellation;

    // What listen() was told; shared with turns that look at it without the lock.
    struct setup {
        end_plan plan;
        channel_listen_options options;
    };

    void abort(const operation_ptr& operation) noexcept;
    void wake() noexcept;
    [[nodiscard]] bool is_paused() const;
    [[nodiscard]] bool has_ended(const channel_accept& operation) const;
    void wait(const operation_ptr& operation);
    void work(operation_ptr operation);
    void fail(channel_accept& operation, const error_code& why) noexcept;
    void finish(operation_ptr operation);
    void take_clients(channel_accept& operation);
    [[nodiscard]] unique_fd take_connection(channel_accept& operation);
    void look_at(unique_fd connection, const std::shared_ptr<setup>& told);
    void greet(unique_fd connection, const unix_peer& peer, const std::shared_ptr<setup>& told);
    void turn_away(const unique_fd& connection, const unix_peer& peer,
                   const std::shared_ptr<setup>& told);
    [[nodiscard]] bool find_room(client_ptr& leaving) const;
    void on_client(const client_ptr& client, accept_event event);
    void resume(const client_ptr& client, accept_event event, std::vector<channel_refusal>& gone);
    void start_deadline(const client_ptr& client);
    void wait_for(const client_ptr& client);
    void lose(const client_ptr& client) noexcept;
    void count(connection_status why) noexcept;

    const asio::any_io_executor executor_;
    // In a copy of this process, made by fork(), a listener that is closed stays as it is, for
    // good: clients hear its sockets, and whatever lets go of one of those takes it out of the
    // epoll instance, which is the parent's as well.
    const pid_t owner_;
    std::shared_ptr<acceptor_core> kept_;
    mutable std::mutex mutex_;
    unix_seqpacket::acceptor socket_;
    asio::steady_timer pause_;  // after a failed accept
    owned_name name_;
    std::shared_ptr<setup> setup_;
    std::list<client_ptr> clients_;  // in the order in which they came
    std::deque<accepted_client> ready_;
    channel_listener_statistics counts_;
    std::weak_ptr<channel_accept> pending_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
