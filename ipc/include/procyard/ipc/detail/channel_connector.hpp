// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_CHANNEL_CONNECTOR_HPP
#define PROCYARD_IPC_DETAIL_CHANNEL_CONNECTOR_HPP

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <procyard/ipc/channel_address.hpp>
#include <procyard/ipc/channel_connect_options.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/end_plan.hpp>
#include <procyard/ipc/detail/reactor_watch.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_peer.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

struct connection_answer;

// An async_connect, all but the type of its end.
//
//   knocking --connected--> asking --accepted--> entering --confirmed--> done
//      | \--its queue is full: a pause, and again
//      +---- failed, refused, cancelled --------------------------------> done
//
//   knocking: there is no connection yet.
//   asking:   the request has been sent; the answer is awaited.
//   entering: the rings are open at this side; that the listener has them, too, is awaited.
//   done:     what there is goes with the operation, or is the user's.
//
// All of it runs where the handler does, as a composed operation of Asio's; the reactor owns it.
class PROCYARD_IPC_EXPORT channel_connector
    : public std::enable_shared_from_this<channel_connector> {
public:
    // `where` is the executor of the handler; `failure` may be null.
    channel_connector(const asio::any_io_executor& ex, asio::any_completion_executor where,
                      channel_address address, channel_connect_options options, end_plan plan,
                      connect_failure* failure);
    channel_connector(const channel_connector&) = delete;
    channel_connector& operator=(const channel_connector&) = delete;
    virtual ~channel_connector();

    // `slot` is that of the handler.
    void start(asio::cancellation_slot slot);

private:
    enum class state : std::uint8_t { knocking, asking, entering };
    struct turn;

    // Calls the handler, after it has let go of `self`, that is of *this.
    virtual void complete(std::shared_ptr<channel_connector> self, const error_code& ec,
                          end_cores cores) = 0;

    // Opens an end that is none of a channel.
    virtual void make_end(const asio::any_io_executor& ex, unique_fd socket,
                          const channel_options& options, error_code& ec,
                          std::string& explanation) = 0;

    // How a step has ended: nothing, if it waits; a success is a failure without a code.
    using ending = std::optional<connect_failure>;

    static void go_on(std::shared_ptr<channel_connector> self);
    void cancel() noexcept;
    [[nodiscard]] ending try_step() noexcept;
    [[nodiscard]] ending step();
    [[nodiscard]] ending knock();
    [[nodiscard]] ending ask();
    [[nodiscard]] ending hear_answer();
    [[nodiscard]] ending enter(const connection_answer& answer, std::span<unique_fd> sockets);
    [[nodiscard]] ending open_given(const connection_answer& answer, std::span<unique_fd> sockets);
    [[nodiscard]] ending hear_confirmation();
    [[nodiscard]] ending wait_for_packet();

    const asio::any_io_executor executor_;
    const asio::any_completion_executor where_;
    const channel_address address_;
    const channel_connect_options options_;
    end_plan plan_;
    connect_failure* const failure_;
    state state_ = state::knocking;
    bool aborted_ = false;
    unique_fd connection_;
    end_cores cores_;
    unix_peer peer_;
    reactor_watch watch_;  // of connection_
    asio::steady_timer pause_;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
