// SPDX-License-Identifier: BSL-1.0
// The common contract of asynchronous operations, for async_send_descriptors and
// async_receive_descriptors, and what else is theirs.
#include <procyard/ipc/descriptor_passing.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <procyard/ipc/socket_error.hpp>
#include <procyard/ipc/unix_listener.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "operation_contract.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using procyard::async_receive_descriptors;
using procyard::async_send_descriptors;
using procyard::error_code;
using procyard::received_descriptors;
using procyard::socket_errc;
using procyard::unix_datagram;
using procyard::unix_seqpacket;
using procyard::unix_stream;
using procyard_test::descriptor_check;
using procyard_test::outcome;
using procyard_test::run;

namespace {

template <class Protocol>
struct socket_operation {
    explicit socket_operation(asio::io_context& ctx)
        : pair(procyard::make_socket_pair<Protocol>(ctx.get_executor())),
          ours(std::move(pair.first)),
          theirs(std::move(pair.second))
    {
    }

    error_code breakage() const { return asio::error::bad_descriptor; }
    void break_it() { ours->close(); }
    void destroy() { ours.reset(); }

    procyard::unix_socket_pair<Protocol> pair;
    std::optional<typename Protocol::socket> ours;
    std::optional<typename Protocol::socket> theirs;
    std::array<char, 4096> block{};
};

template <class Protocol>
struct send_operation : socket_operation<Protocol> {
    using base = socket_operation<Protocol>;
    explicit send_operation(asio::io_context& ctx) : base(ctx)
    {
        error_code ec;
        while (!ec)
            (void)procyard::try_send_descriptors(this->ours->native_handle(),
                                                 std::as_bytes(std::span(this->block)), {}, ec);
        REQUIRE(ec == asio::error::would_block);
    }
    template <class Token>
    void start(Token&& token)
    {
        async_send_descriptors(*this->ours, asio::buffer("x", 1), std::array{0},
                               std::forward<Token>(token));
    }
    void satisfy()
    {
        error_code ec;
        while (!ec)
            (void)procyard::try_receive_descriptors(this->theirs->native_handle(),
                                                    std::as_writable_bytes(std::span(this->block)),
                                                    {}, ec);
    }
};

template <class Protocol>
struct receive_operation : socket_operation<Protocol> {
    using socket_operation<Protocol>::socket_operation;
    template <class Token>
    void start(Token&& token)
    {
        async_receive_descriptors(*this->ours, asio::buffer(this->block), 1,
                                  std::forward<Token>(token));
    }
    void satisfy()
    {
        error_code ec;
        (void)procyard::try_send_descriptors(this->theirs->native_handle(),
                                             std::as_bytes(std::span("x", 1)), std::array{0}, ec);
        REQUIRE_FALSE(ec);
    }
};

using send_on_stream = send_operation<unix_stream>;
using send_packet = send_operation<unix_seqpacket>;
using send_datagram = send_operation<unix_datagram>;
using receive_on_stream = receive_operation<unix_stream>;
using receive_packet = receive_operation<unix_seqpacket>;
using receive_datagram = receive_operation<unix_datagram>;

}  // namespace

TEST_SUITE("async_send_descriptors")
{
    PROCYARD_OPERATION_CONTRACT(send_on_stream)
    PROCYARD_OPERATION_CONTRACT(send_packet)
    PROCYARD_OPERATION_CONTRACT(send_datagram)

    TEST_CASE("what cannot be sent is told in a later turn")
    {
        asio::io_context ctx;
        auto [here, there] = procyard::make_socket_pair<unix_stream>(ctx.get_executor());
        outcome<error_code, std::size_t> got;
        async_send_descriptors(here, {}, std::array{0}, got.handler());
        CHECK_FALSE(got.done());
        run(ctx);
        CHECK(got.error() == socket_errc::no_payload);
    }

    TEST_CASE("waits for a named receiver whose queue is full")
    {
        const procyard_test::temporary_directory directory;
        asio::io_context ctx;
        auto receiver =
            procyard::bind_unix_datagram(ctx.get_executor(), (directory.path() / "s").native());
        unix_datagram::socket sender(ctx);
        sender.connect(receiver.socket.local_endpoint());
        const auto byte = std::as_bytes(std::span("x", 1));
        error_code ec;
        while (!ec)
            (void)procyard::try_send_descriptors(sender.native_handle(), byte, {}, ec);
        REQUIRE(ec == asio::error::would_block);
        outcome<error_code, std::size_t> sent;
        async_send_descriptors(sender, asio::buffer("d", 1), std::array{0}, sent.handler());
        ctx.poll();
        CHECK_FALSE(sent.done());
        std::array<char, 8> block{};
        receiver.socket.receive(asio::buffer(block));
        run(ctx);
        CHECK(sent.result() == 1);
    }

    TEST_CASE("the list of descriptors need not outlive the call, even when it starts later")
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        auto [here, there] = procyard::make_socket_pair<unix_stream>(ctx.get_executor());
        auto later = [&socket = here] {
            const std::vector<int> fds(2, 0);
            return async_send_descriptors(socket, asio::buffer("x", 1), fds);
        }();
        outcome<error_code, std::size_t> sent;
        std::move(later)(sent.handler());
        outcome<error_code, received_descriptors> got;
        std::array<char, 8> block{};
        async_receive_descriptors(there, asio::buffer(block), 2, got.handler());
        run(ctx);
        CHECK(sent.result() == 1);
        CHECK(got.result().descriptors.size() == 2);
    }
}

TEST_SUITE("async_receive_descriptors")
{
    PROCYARD_OPERATION_CONTRACT(receive_on_stream)
    PROCYARD_OPERATION_CONTRACT(receive_packet)
    PROCYARD_OPERATION_CONTRACT(receive_datagram)

    TEST_CASE("more than were asked for are an error, and nothing stays open")
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        auto [here, there] = procyard::make_socket_pair<unix_seqpacket>(ctx.get_executor());
        outcome<error_code, std::size_t> sent;
        async_send_descriptors(here, asio::buffer("x", 1), std::array{0, 1, 2}, sent.handler());
        outcome<error_code, received_descriptors> got;
        std::array<char, 8> block{};
        async_receive_descriptors(there, asio::buffer(block), 2, got.handler());
        run(ctx);
        CHECK(got.error() == socket_errc::too_many_received);
        CHECK(got.result().descriptors.empty());
    }

    TEST_CASE("the socket's cancel() and close() end it")
    {
        asio::io_context ctx;
        for (const bool close : {false, true}) {
            auto [here, there] = procyard::make_socket_pair<unix_stream>(ctx.get_executor());
            outcome<error_code, received_descriptors> got;
            std::array<char, 8> block{};
            async_receive_descriptors(here, asio::buffer(block), 1, got.handler());
            ctx.poll();
            if (close)
                here.close();
            else
                here.cancel();
            run(ctx);
            CHECK(got.error() == asio::error::operation_aborted);
        }
    }

    TEST_CASE("works as a coroutine, on sockets of any executor")
    {
        const descriptor_check no_leak;
        asio::io_context ctx;
        using strand = asio::strand<asio::io_context::executor_type>;
        using socket = asio::basic_stream_socket<unix_stream, strand>;
        auto pair = procyard::make_socket_pair<unix_stream>(ctx.get_executor());
        const auto ex = asio::make_strand(ctx);
        socket here(ex, unix_stream(), pair.first.release());
        socket there(ex, unix_stream(), pair.second.release());
        std::string result;
        asio::co_spawn(
            ex,
            [](socket& from, socket& to, std::string& said) -> asio::awaitable<void> {
                const std::array fds{0, 1};
                (void)co_await async_send_descriptors(from, asio::buffer("two", 3), fds,
                                                      asio::use_awaitable);
                std::array<char, 8> block{};
                auto got = co_await async_receive_descriptors(to, asio::buffer(block), 2,
                                                              asio::use_awaitable);
                said =
                    std::string(block.data(), got.bytes) + std::to_string(got.descriptors.size());
            }(here, there, result),
            [](std::exception_ptr e) { CHECK(e == nullptr); });
        run(ctx);
        CHECK(result == "two2");
    }

    TEST_CASE("in a strand, on several threads, nothing is lost by those that lose a race")
    {
        const descriptor_check no_leak;
        constexpr std::size_t count = 500;
        asio::io_context ctx(3);
        auto [here, there] = procyard::make_socket_pair<unix_seqpacket>(ctx.get_executor());
        asio::co_spawn(
            asio::make_strand(ctx),
            [](unix_seqpacket::socket& to) -> asio::awaitable<void> {
                for (std::size_t i = 0; i < count; ++i)
                    (void)co_await async_send_descriptors(to, asio::buffer(&i, sizeof i),
                                                          std::array{0}, asio::use_awaitable);
                to.shutdown(unix_seqpacket::socket::shutdown_send);
            }(here),
            [](std::exception_ptr e) { CHECK(e == nullptr); });
        std::vector<std::size_t> received;
        std::size_t descriptors = 0;
        asio::co_spawn(
            asio::make_strand(ctx),
            [](unix_seqpacket::socket& from, std::vector<std::size_t>& numbers,
               std::size_t& fds) -> asio::awaitable<void> {
                using namespace asio::experimental::awaitable_operators;
                const auto ex = co_await asio::this_coro::executor;
                for (error_code ec; ec != asio::error::eof;) {
                    std::size_t number = 0;
                    auto first = co_await (
                        async_receive_descriptors(from, asio::buffer(&number, sizeof number), 1,
                                                  asio::as_tuple(asio::use_awaitable))
                        || asio::post(ex, asio::use_awaitable));
                    if (first.index() == 1)
                        continue;
                    auto& [failure, got] = std::get<0>(first);
                    ec = failure;
                    if (!ec)
                        numbers.push_back(number);
                    fds += got.descriptors.size();
                }
                from.close();
            }(there, received, descriptors),
            [](std::exception_ptr e) { CHECK(e == nullptr); });
        {
            std::vector<std::jthread> threads;
            for (int n = 0; n < 2; ++n)
                threads.emplace_back([&] { ctx.run_for(procyard_test::deadlock_guard); });
            run(ctx);
        }
        REQUIRE(received.size() == count);
        CHECK(std::is_sorted(received.begin(), received.end()));
        CHECK(descriptors == count);
    }
}
