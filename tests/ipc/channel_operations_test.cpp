// SPDX-License-Identifier: BSL-1.0
// The common contract of asynchronous operations, for those of sender and receiver: with messages
// in cells, and in records.
#include <procyard/ipc/channel.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "channel_fixture.hpp"
#include "operation_contract.hpp"

namespace asio = boost::asio;
using procyard::error_code;

namespace {

constexpr procyard::channel_options one_number{.capacity_messages = 1};
constexpr procyard::channel_options few_bytes{.capacity_bytes = 64};

template <class T>
struct channel_operation {
    explicit channel_operation(asio::io_context& ctx)
        : channel(ctx.get_executor(), std::is_same_v<T, std::string> ? few_bytes : one_number),
          sender(std::move(channel.sender)),
          receiver(std::move(channel.receiver))
    {
    }

    static T message()
    {
        if constexpr (std::is_same_v<T, std::string>)
            return std::string(40, 'x');
        else
            return 7;
    }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void send_one() { REQUIRE(sender->try_send(message())); }
    void receive_one() { REQUIRE(receiver->try_receive() == message()); }

    procyard::channel<T> channel;
    std::optional<procyard::sender<T>> sender;
    std::optional<procyard::receiver<T>> receiver;
};

template <class T>
struct receive : channel_operation<T> {
    using channel_operation<T>::channel_operation;
    template <class Token>
    void start(Token&& token)
    {
        this->receiver->async_receive(std::forward<Token>(token));
    }
    void satisfy() { this->send_one(); }
    void break_it() { this->receiver->close(); }
    void destroy() { this->receiver.reset(); }
};

template <class T>
struct wait_readable : channel_operation<T> {
    using channel_operation<T>::channel_operation;
    template <class Token>
    void start(Token&& token)
    {
        this->receiver->async_wait_readable(std::forward<Token>(token));
    }
    void satisfy() { this->send_one(); }
    void break_it() { this->receiver->close(); }
    void destroy() { this->receiver.reset(); }
};

template <class T>
struct send : channel_operation<T> {
    explicit send(asio::io_context& ctx) : channel_operation<T>(ctx) { this->send_one(); }
    template <class Token>
    void start(Token&& token)
    {
        this->sender->async_send(this->message(), std::forward<Token>(token));
    }
    void satisfy() { this->receive_one(); }
    void break_it() { this->sender->close(); }
    void destroy() { this->sender.reset(); }
};

template <class T>
struct wait_writable : channel_operation<T> {
    explicit wait_writable(asio::io_context& ctx) : channel_operation<T>(ctx)
    {
        procyard_test::fill(*this->sender, T{});
    }
    template <class Token>
    void start(Token&& token)
    {
        this->sender->async_wait_writable(std::forward<Token>(token));
    }
    void satisfy() { REQUIRE(this->receiver->try_receive()); }
    void break_it() { this->sender->close(); }
    void destroy() { this->sender.reset(); }
};

using async_receive = receive<std::uint64_t>;
using async_receive_string = receive<std::string>;
using async_wait_readable = wait_readable<std::uint64_t>;
using async_wait_readable_string = wait_readable<std::string>;
using async_send = send<std::uint64_t>;
using async_send_string = send<std::string>;
using async_wait_writable = wait_writable<std::uint64_t>;
using async_wait_writable_string = wait_writable<std::string>;

}  // namespace

TEST_SUITE("receiver"){PROCYARD_OPERATION_CONTRACT(async_receive)
                           PROCYARD_OPERATION_CONTRACT(async_receive_string)
                               PROCYARD_OPERATION_CONTRACT(async_wait_readable)
                                   PROCYARD_OPERATION_CONTRACT(async_wait_readable_string)}

TEST_SUITE("sender")
{
    PROCYARD_OPERATION_CONTRACT(async_send)
    PROCYARD_OPERATION_CONTRACT(async_send_string)
    PROCYARD_OPERATION_CONTRACT(async_wait_writable)
    PROCYARD_OPERATION_CONTRACT(async_wait_writable_string)
}
