// SPDX-License-Identifier: BSL-1.0
// The child of inherited_test: opens what it was passed, and does with it what its argument says.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <signal.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/latest_value.hpp>
#include <procyard/ipc/work_source.hpp>
#include <procyard/runtime/inherited.hpp>

namespace asio = boost::asio;
using namespace procyard;

namespace {

asio::awaitable<void> echo()
{
    auto executor = co_await asio::this_coro::executor;
    auto in = inherited<receiver<std::string>>(executor, "in");
    auto out = inherited<sender<std::string>>(executor, "out");
    for (;;) {
        error_code ec;
        auto text = co_await in.async_receive(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::closed)
            co_return;
        if (ec)
            throw boost::system::system_error(ec, "in");
        co_await out.async_send(std::move(text), asio::use_awaitable);
    }
}

/// Sends so many numbers, and is killed without a word.
asio::awaitable<void> send_and_die(std::uint64_t count)
{
    auto out = inherited<sender<std::uint64_t>>(co_await asio::this_coro::executor, "numbers");
    for (std::uint64_t i = 0; i < count; ++i)
        co_await out.async_send(i, asio::use_awaitable);
    ::raise(SIGKILL);
}

asio::awaitable<void> open_as_number(std::string name)
{
    auto in = inherited<receiver<std::uint64_t>>(co_await asio::this_coro::executor, name);
    (void)co_await in.async_receive(asio::use_awaitable);
}

/// Sends more than there is room for, and says under which options.
asio::awaitable<void> send_and_tell()
{
    auto out = inherited<sender<std::uint64_t>>(co_await asio::this_coro::executor, "numbers");
    for (std::uint64_t i = 0; i < 100; ++i)
        co_await out.async_send(i, asio::use_awaitable);
    throw std::runtime_error(std::string(out.name()) + " dropped "
                             + std::to_string(out.statistics().dropped));
}

/// Answers each number with a text.
asio::awaitable<void> answer()
{
    auto both =
        inherited<duplex<std::string, std::uint64_t>>(co_await asio::this_coro::executor, "ask");
    for (;;) {
        error_code ec;
        const auto n =
            co_await both.receiver.async_receive(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::closed)
            co_return;
        if (ec)
            throw boost::system::system_error(ec, "ask");
        std::string text = std::to_string(n);
        co_await both.sender.async_send(std::move(text), asio::use_awaitable);
    }
}

/// Sends on what it sees of a value, until the writer has closed.
asio::awaitable<void> mirror()
{
    auto executor = co_await asio::this_coro::executor;
    auto value = inherited<latest_reader<std::uint64_t>>(executor, "value");
    auto seen = inherited<sender<std::uint64_t>>(executor, "seen");
    for (;;) {
        error_code ec;
        co_await value.async_wait_changed(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::closed)
            co_return;
        if (ec)
            throw boost::system::system_error(ec, "value");
        const std::uint64_t now = value.load().value();
        co_await seen.async_send(now, asio::use_awaitable);
    }
}

/// Sends on what is broadcast, until the writer has closed.
asio::awaitable<void> listen()
{
    auto executor = co_await asio::this_coro::executor;
    auto numbers = inherited<subscriber<std::uint64_t>>(executor, "numbers");
    auto seen = inherited<sender<std::uint64_t>>(executor, "seen");
    for (;;) {
        error_code ec;
        const auto n =
            co_await numbers.async_receive(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::closed)
            co_return;
        if (ec)
            throw boost::system::system_error(ec, "numbers");
        co_await seen.async_send(n, asio::use_awaitable);
    }
}

/// Deals with items by sending them on, until the queue has closed.
asio::awaitable<void> serve()
{
    auto executor = co_await asio::this_coro::executor;
    auto items = inherited<work_source<std::uint64_t>>(executor, "items");
    auto seen = inherited<sender<std::uint64_t>>(executor, "seen");
    for (;;) {
        error_code ec;
        auto item = co_await items.async_take(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::closed)
            co_return;
        if (ec)
            throw boost::system::system_error(ec, "items");
        co_await seen.async_send(item.value(), asio::use_awaitable);
        item.acknowledge();
    }
}

asio::awaitable<void> open_twice()
{
    auto executor = co_await asio::this_coro::executor;
    auto first = inherited<receiver<std::string>>(executor, "in");
    auto second = inherited<receiver<std::string>>(executor, "in");
}

}  // namespace

int main(int argc, char** argv)
{
    const std::string what = argc > 1 ? argv[1] : "";
    try {
        asio::io_context context;
        auto main = what == "echo"   ? echo()
            : what == "send-and-die" ? send_and_die(1000)
            : what == "drop"         ? send_and_tell()
            : what == "answer"       ? answer()
            : what == "mirror"       ? mirror()
            : what == "listen"       ? listen()
            : what == "serve"        ? serve()
            : what == "twice"        ? open_twice()
                                     : open_as_number(what);
        asio::co_spawn(context, std::move(main), [](std::exception_ptr error) {
            if (error)
                std::rethrow_exception(error);
        });
        context.run();
        return 0;
    } catch (const std::exception& error) {
        std::puts(error.what());
        return 1;
    }
}
