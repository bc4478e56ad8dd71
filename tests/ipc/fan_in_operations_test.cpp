// SPDX-License-Identifier: BSL-1.0
// The common contract of asynchronous operations, for those of a fan-in.
#include <procyard/ipc/fan_in.hpp>

#include <optional>
#include <utility>

#include "channel_fixture.hpp"
#include "operation_contract.hpp"

namespace asio = boost::asio;
using procyard::error_code;

namespace {

struct fan_in_operation {
    explicit fan_in_operation(asio::io_context& ctx) : from(std::in_place, ctx.get_executor())
    {
        for (int i = 0; i < 3; ++i) {
            procyard::channel<int> c(ctx.get_executor(), {.capacity_messages = 4});
            from->add(std::move(c.receiver));
            senders.push_back(std::move(c.sender));
        }
    }
    void satisfy() { REQUIRE(senders[1].try_send(7)); }
    void break_it() { from->close(); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void destroy() { from.reset(); }

    std::vector<procyard::sender<int>> senders;
    std::optional<procyard::fan_in<int>> from;
};

struct async_receive : fan_in_operation {
    using fan_in_operation::fan_in_operation;
    template <class Token>
    void start(Token&& token)
    {
        from->async_receive(std::forward<Token>(token));
    }
};

struct async_receive_some : fan_in_operation {
    using fan_in_operation::fan_in_operation;
    template <class Token>
    void start(Token&& token)
    {
        from->async_receive_some(std::forward<Token>(token));
    }
};

struct async_wait_readable : fan_in_operation {
    using fan_in_operation::fan_in_operation;
    template <class Token>
    void start(Token&& token)
    {
        from->async_wait_readable(std::forward<Token>(token));
    }
};

// The end of a source is received as a message is.
struct async_receive_an_end : async_receive {
    using async_receive::async_receive;
    void satisfy() { senders[2].close(); }
};

}  // namespace

TEST_SUITE("fan_in")
{
    PROCYARD_OPERATION_CONTRACT(async_receive)
    PROCYARD_OPERATION_CONTRACT(async_receive_some)
    PROCYARD_OPERATION_CONTRACT(async_wait_readable)
    PROCYARD_OPERATION_CONTRACT(async_receive_an_end)
}
