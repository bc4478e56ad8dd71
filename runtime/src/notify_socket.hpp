// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_NOTIFY_SOCKET_HPP
#define PROCYARD_RUNTIME_SRC_NOTIFY_SOCKET_HPP

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// One `NAME=value` of a message.
struct notification {
    std::string_view name;
    std::string_view value;
};

// Takes a message of sd_notify(3) apart: assignments, one in a line. What is none is left out.
[[nodiscard]] std::vector<notification> parse_notifications(std::string_view message);

// What was sent at once; the texts are valid while it is heard.
struct notify_message {
    std::vector<notification> assignments;
    // Those that are not taken out are closed.
    std::vector<unique_fd> descriptors;

    // The last value of a name; empty when it has none.
    [[nodiscard]] std::string_view value_of(std::string_view name) const;
};

// The number of a value that is one, decimal and whole.
[[nodiscard]] std::optional<std::uint64_t> parse_notified_number(std::string_view value);

// The other side of sd_notify(3), for one incarnation of one service: a datagram socket of its own,
// so that nobody can speak for another service. The kernel says who sends; only processes of the
// service are listened to.
//
// A sender that asks for a barrier passes a descriptor and waits until we close it: then all it has
// said before was heard.
class notify_socket {
public:
    using listener = std::function<void(notify_message&)>;

    explicit notify_socket(const asio::any_io_executor& ex) : descriptor_(ex) { }
    notify_socket(const notify_socket&) = delete;
    notify_socket& operator=(const notify_socket&) = delete;
    ~notify_socket() { close(); }

    // Makes the socket; address() is what NOTIFY_SOCKET has to be then.
    void open(error_code& ec);
    [[nodiscard]] const std::string& address() const noexcept { return address_; }

    // Hands what comes to `hear`, until close(). `owner` is kept alive meanwhile.
    void start(pid_t service, listener hear, std::weak_ptr<void> owner);
    // What is there by now: a process may have said it just before it ended.
    void drain();
    void close() noexcept;

private:
    void wait(std::weak_ptr<void> owner);
    [[nodiscard]] bool receive();
    [[nodiscard]] bool is_of_service(pid_t sender) const;

    asio::posix::stream_descriptor descriptor_;
    std::string address_{};
    pid_t service_ = 0;
    listener hear_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
