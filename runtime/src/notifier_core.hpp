// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_NOTIFIER_CORE_HPP
#define PROCYARD_RUNTIME_SRC_NOTIFIER_CORE_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/socket_base.hpp>

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_socket.hpp>
#include <procyard/runtime/service_manager.hpp>
#include <procyard/runtime/service_notice.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// A message as it goes out.
struct outgoing_notice {
    std::string text;
    std::vector<std::shared_ptr<const unique_fd>> owned;
    std::vector<int> descriptors;  // the numbers of `owned`

    explicit outgoing_notice(const service_notice& notice);
    outgoing_notice(std::string what, unique_fd descriptor);

    // What a manager would not read.
    [[nodiscard]] error_code fault() const noexcept;
};

// An operation that goes on for longer than one message.
class notifier_attendant {
public:
    notifier_attendant() = default;
    notifier_attendant(const notifier_attendant&) = delete;
    notifier_attendant& operator=(const notifier_attendant&) = delete;
    virtual ~notifier_attendant();

    // The user's object has gone.
    virtual void abandon() noexcept = 0;
};

// A socket of Asio's for operations that do not share a strand: the user's run where he says, and
// the long ones in strands of their own.
//
// The mutex orders all that touches Asio's object: the start of a wait, its cancellation, the end.
// (A strand would do so as well, and cost each notice a turn or two of the loop.) The number stays
// open and the same until *this goes, with the last operation, so that one in the middle of sending
// never sends into a descriptor that somebody else has got meanwhile.
class shared_socket {
public:
    explicit shared_socket(const asio::any_io_executor& ex) : socket_(ex) { }
    shared_socket(const shared_socket&) = delete;
    shared_socket& operator=(const shared_socket&) = delete;
    ~shared_socket();

    // Before anything else.
    void assign(unique_fd fd, error_code& ec);
    // Ends the waits, those to come as well.
    void close() noexcept;

    // As a socket of Asio's has them (socket_operation.hpp).

    [[nodiscard]] bool is_open() const noexcept
    {
        const std::lock_guard lock(mutex_);
        return !closed_;
    }
    [[nodiscard]] int native_handle() const noexcept { return number_; }

    template <class Handler>
    void async_wait(asio::socket_base::wait_type what, Handler handler)
    {
        auto wake = std::make_shared<asio::cancellation_signal>();
        // Whoever can emit it is an operation that keeps *this.
        if (auto slot = asio::get_associated_cancellation_slot(handler); slot.is_connected())
            slot.assign([this, wake](asio::cancellation_type type) {
                const std::lock_guard lock(mutex_);
                wake->emit(type);
            });
        const auto slot = wake->slot();
        auto waiting = asio::bind_cancellation_slot(
            slot, owning<Handler>{std::move(handler), std::move(wake)});
        const std::lock_guard lock(mutex_);
        socket_.async_wait(what, std::move(waiting));
        if (closed_)
            cancel();
    }

private:
    // Keeps the signal as long as Asio has its slot.
    template <class Handler>
    struct owning {
        using executor_type = asio::associated_executor_t<Handler>;

        Handler handler;
        std::shared_ptr<asio::cancellation_signal> wake;

        [[nodiscard]] executor_type get_executor() const noexcept
        {
            return asio::get_associated_executor(handler);
        }
        void operator()(const error_code& ec) { std::move(handler)(ec); }
    };

    void cancel() noexcept;

    mutable std::mutex mutex_;
    unix_datagram::socket socket_;
    int number_ = -1;
    bool closed_ = true;
};

// The socket of a notifier, which all its operations share.
//
// It is connected: only then does a wait for room in it wait for room in the manager's queue
// (unix(7) polls the peer of a connected datagram socket alone), and a process that has run out of
// descriptors, or has left the place where the manager's path leads to it, can still say so.
class notifier_core : public std::enable_shared_from_this<notifier_core> {
public:
    notifier_core(const asio::any_io_executor& ex, service_manager manager);
    notifier_core(const notifier_core&) = delete;
    notifier_core& operator=(const notifier_core&) = delete;
    ~notifier_core() = default;

    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
    [[nodiscard]] const service_manager& manager() const noexcept { return manager_; }
    [[nodiscard]] bool is_supervised() const noexcept { return !manager_.socket.empty(); }
    [[nodiscard]] shared_socket& socket() noexcept { return socket_; }

    // One system call that does not wait; would_block: there is no room. From any thread.
    [[nodiscard]] error_code send(const outgoing_notice& what) noexcept;

    // These two by the user's thread alone.

    void attend(std::weak_ptr<notifier_attendant> one);
    // Ends all operations. The descriptor goes with the last of them.
    void close() noexcept;

private:
    void connect(error_code& ec) noexcept;

    asio::any_io_executor executor_;
    service_manager manager_;
    unix_datagram::endpoint address_;
    shared_socket socket_;
    std::vector<std::weak_ptr<notifier_attendant>> attendants_;
};

// Sends it when there is room. `handler` runs where it belongs; cancelled, nothing was sent.
void start_sending(const std::shared_ptr<notifier_core>& core,
                   std::shared_ptr<const outgoing_notice> what,
                   asio::any_completion_handler<void(error_code)> handler);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
