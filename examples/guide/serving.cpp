// SPDX-License-Identifier: BSL-1.0
// The code of docs/services.md.
#include "guide.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/datagram_protocol.hpp>
#include <boost/asio/post.hpp>

#include <filesystem>
#include <string>

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

namespace {

using asio::ip::tcp;
using asio::local::datagram_protocol;

// Somebody who listens as a service manager does.
struct listening {
    explicit listening(const asio::any_io_executor& ex)
        : place(std::filesystem::temp_directory_path()
                / ("procyard-notify-" + std::to_string(::getpid()))),
          socket(ex, datagram_protocol::endpoint(place.string()))
    {
        found.socket = place.string();
        found.watchdog = 3s;
    }
    ~listening() { std::filesystem::remove(place); }
    asio::awaitable<std::string> hear()
    {
        std::string text(4096, '\0');
        text.resize(co_await socket.async_receive(asio::buffer(text), asio::use_awaitable));
        co_return text;
    }

    std::filesystem::path place;
    datagram_protocol::socket socket;
    service_manager found{};
};

asio::awaitable<void> told()
{
    auto executor = co_await asio::this_coro::executor;
    listening there(executor);
    ::setenv("NOTIFY_SOCKET", there.found.socket.c_str(), 1);
    // [notify]
    service_notifier manager(executor, manager_variables::remove);

    co_await manager.async_notify(service_notice().ready());
    // [notify]
    expect(co_await there.hear() == "READY=1\n", "heard");
    // [notices]
    service_notice notice;
    notice.stopping().status("draining 12 requests").extend_timeout(20s);
    co_await manager.async_notify(notice);
    // [notices]
    expect(co_await there.hear()
               == "STOPPING=1\nSTATUS=draining 12 requests\nEXTEND_TIMEOUT_USEC=20000000\n",
           "one datagram");
    tcp::acceptor listener(executor, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    // [store]
    service_notice keep;
    keep.store(listener.native_handle(), "web");  // the next incarnation gets it
    co_await manager.async_notify(keep);
    // [store]
    expect(co_await there.hear() == "FDSTORE=1\nFDNAME=web\n", "stored");
}

asio::awaitable<void> fed()
{
    auto executor = co_await asio::this_coro::executor;
    listening there(executor);
    service_notifier manager(executor, there.found);
    asio::io_context worker;
    // [watchdog]
    watchdog_options options;
    options.loops = {worker.get_executor()};  // another io_context, run by a thread of its own
    asio::cancellation_signal enough;
    manager.async_feed_watchdog(
        options, asio::bind_cancellation_slot(enough.slot(), [](error_code why) {
            if (why != asio::error::operation_aborted)
                std::cerr << "no more signs of life: " << why.message() << '\n';
        }));
    // [watchdog]
    while (worker.poll() == 0) {
        worker.restart();
        co_await asio::post(asio::use_awaitable);
    }
    expect(co_await there.hear() == "WATCHDOG=1\n", "each loop has run a handler");
    enough.emit(asio::cancellation_type::terminal);
}

// [taken]
tcp::acceptor listener_on(const asio::any_io_executor& executor)
{
    activation_descriptors given(manager_variables::remove);
    if (given.contains("web"))
        return given.take<tcp::acceptor>("web", executor);
    return {executor, tcp::endpoint(asio::ip::address_v4::loopback(), 8080)};
}
// [taken]

asio::awaitable<void> taken()
{
    auto executor = co_await asio::this_coro::executor;
    tcp::acceptor acceptor(executor, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    // [given]
    command server = command::shell("echo $LISTEN_FDS $LISTEN_FDNAMES");
    server.listen_descriptor(stdio::borrow(acceptor.native_handle()), "web");
    std::string said = co_await async_output(server, executor);
    expect(said == "1 web\n", "given");
    // [given]
}

asio::awaitable<void> co_main()
{
    co_await told();
    co_await fed();
    co_await taken();
}

// As it is started by somebody who has opened the socket.
int activated()
{
    asio::io_context context;
    tcp::acceptor web(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    command self("/proc/self/exe", {"take"});
    self.listen_descriptor(stdio::borrow(web.native_handle()), "web");
    child other = spawn(self, context.get_executor());
    int code = 1;
    other.async_wait([&](error_code, const exit_status& status) { code = status.shell_code(); });
    context.run();
    return code;
}

int first_process()
{
    // [init]
    init_result result = run_as_init(command::shell("(true &); exit 3"));
    return result.exit_code();
    // [init]
}

int first_process_of_a_coroutine()
{
    // [init_coroutine]
    init_result result = run_as_init([]() -> asio::awaitable<int> {
        auto executor = co_await asio::this_coro::executor;
        signal_set stop(executor, {SIGINT, SIGTERM});
        raise(SIGTERM);
        co_await stop.async_wait();
        co_return 4;
    });
    return result.exit_code();
    // [init_coroutine]
}

}  // namespace

int main(int argc, char**)
{
    if (argc > 1) {
        asio::io_context context;
        return listener_on(context.get_executor()).is_open() ? 0 : 1;
    }
    if (activated() != 0)
        return 1;
    if (first_process() != 3 || first_process_of_a_coroutine() != 4)
        return 1;
    return run_main(co_main());
}
