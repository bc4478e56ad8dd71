// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_CLIENT_HANDSHAKE_HPP
#define PROCYARD_IPC_SRC_CLIENT_HANDSHAKE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>

#include <procyard/ipc/channel_listen_options.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/applicant.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_peer.hpp>

#include "accept_fsm.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What accept_fsm decides about one client, done. Waits for nothing itself: it says on which
// descriptor, and its owner does; and it is told of the deadline.
class client_handshake {
public:
    enum class progress : std::uint8_t {
        waiting,  // for watched()
        ready,    // its cores are connected, or it waits for the program
        over,     // refusal() says why
    };

    client_handshake(const asio::any_io_executor& ex, unique_fd connection, const unix_peer& peer,
                     std::shared_ptr<const end_plan> plan);
    client_handshake(const client_handshake&) = delete;
    client_handshake& operator=(const client_handshake&) = delete;
    ~client_handshake();

    // Never throws: an event that there is no memory for ends the handshake.
    progress resume(accept_event event,
                    connection_status why = connection_status::bad_hello) noexcept;

    // The descriptor that has to become readable.
    [[nodiscard]] asio::posix::stream_descriptor& watched() noexcept { return watch_; }
    [[nodiscard]] asio::steady_timer& timer() noexcept { return timer_; }
    [[nodiscard]] connection_status status() const noexcept { return fsm_.status(); }
    [[nodiscard]] bool is_silent() const noexcept { return fsm_.is_silent(); }
    [[nodiscard]] accepted_client take() noexcept
    {
        return {std::move(cores_), refusal_.peer, std::move(request_)};
    }
    [[nodiscard]] channel_refusal& refusal() noexcept { return refusal_; }

private:
    // What an action has led to, and what an unfit client is told.
    struct found {
        accept_event event;
        connection_status why = connection_status::bad_hello;
    };

    progress run(accept_event event, connection_status why);
    found read_request();
    found open_rings();
    found look_for_rings();
    found fail(const error_code& why, std::string explanation);
    std::shared_ptr<channel_core> open_ring(ring_role role, const channel_terms& terms,
                                            unique_fd& others, error_code& ec);
    void watch(int fd);
    void stop_watching() noexcept;
    bool confirm() noexcept;
    void refuse() noexcept;

    const asio::any_io_executor executor_;
    const std::shared_ptr<const end_plan> plan_;
    accept_fsm fsm_;
    unique_fd connection_;
    end_cores cores_;
    applicant request_;
    channel_refusal refusal_;
    int watched_ = -1;
    asio::posix::stream_descriptor watch_;  // watches a descriptor but does not own it
    asio::steady_timer timer_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
