// SPDX-License-Identifier: BSL-1.0
// A server as a service: it takes its socket from whoever starts it, tells when it is ready, gives
// signs of life, and says that it stops while it drains. Under systemd, under our own supervisor,
// or under nobody.
//
//   19_service            is the supervisor of another, and a client of it
//   19_service serve      serves until SIGTERM
#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/system/system_error.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace procyard;
using namespace std::chrono_literals;

const tcp::endpoint anywhere(asio::ip::address_v4::loopback(), 0);

// One line, and back it goes.
asio::awaitable<void> echo(tcp::socket& client)
try {
    std::string line;
    co_await asio::async_read_until(client, asio::dynamic_buffer(line, 4096), '\n',
                                    asio::use_awaitable);
    co_await asio::async_write(client, asio::buffer(line), asio::use_awaitable);
} catch (const boost::system::system_error&) {
    // A client that breaks off, or whose line is too long, is no failure of ours.
}

// `work` is what a shutdown waits for: a client that says nothing does not hold it up for long.
asio::awaitable<void> answer(tcp::socket client, [[maybe_unused]] shutdown_work work)
{
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer limit(client.get_executor(), 5s);
    (void)co_await (echo(client) || limit.async_wait(asio::use_awaitable));
}

asio::awaitable<void> listen(tcp::acceptor acceptor, shutdown_coordinator& stop)
{
    const auto closing = stop.token(shutdown_phase::close_intake);
    while (!closing.cancelled()) {
        auto [ec, client] = co_await acceptor.async_accept(
            bind_token(closing, asio::as_tuple(asio::use_awaitable)));
        if (!ec) {
            stop.tasks().spawn("client", answer(std::move(client), stop.hold("client")));
        } else if (!closing.cancelled()) {
            // Out of descriptors, as a rule: at once it would be the same again.
            std::cerr << "no client: " << ec.message() << std::endl;
            asio::steady_timer soon(acceptor.get_executor(), 100ms);
            co_await soon.async_wait(bind_token(closing, asio::as_tuple(asio::use_awaitable)));
        }
    }
}

// [tell]
asio::awaitable<void> ready(service_notifier& manager)
{
    service_notice notice;
    notice.ready().status("serving");
    co_await manager.async_notify(notice, asio::use_awaitable);
}

asio::awaitable<void> reload(service_notifier& manager)
{
    co_await manager.async_notify(service_notice().reloading(), asio::use_awaitable);
    // …
    co_await ready(manager);
}

asio::awaitable<void> stopping(service_notifier& manager, std::chrono::nanoseconds budget)
{
    service_notice notice;
    notice.stopping().extend_timeout(budget).status("draining");
    co_await manager.async_notify(notice, asio::use_awaitable);
}

asio::awaitable<void> feed(service_notifier& manager)
{
    co_await manager.async_feed_watchdog(asio::use_awaitable);
}

asio::awaitable<void> last_words(service_notifier& manager)
{
    co_await manager.async_notify(service_notice().status("stopped"), asio::use_awaitable);
    co_await manager.async_barrier(asio::use_awaitable);  // until the manager has read it
}
// [tell]

int serve()
{
    asio::io_context context;
    // [take]
    service_notifier manager(context.get_executor(), manager_variables::remove);
    activation_descriptors given(manager_variables::remove);
    auto acceptor = given.contains("web") ? given.take<tcp::acceptor>("web", context.get_executor())
                                          : tcp::acceptor(context, anywhere);
    // [take]
    std::cout << (given.empty() ? "bound" : "given") << ", "
              << (manager.is_supervised() ? "supervised" : "alone") << std::endl;
    int code = 1;
    // [hooks]
    shutdown_options options;
    options.budget = 20s;
    shutdown_coordinator stop(context.get_executor(), options.heed_parent());
    stop.on_signals({SIGINT, SIGTERM});
    stop.reload_on(SIGHUP);
    stop.on_reload("manager", [&] { return reload(manager); });
    stop.on(shutdown_phase::announce, "manager", [&] { return stopping(manager, options.budget); });
    stop.on(shutdown_phase::flush, "manager", [&] { return last_words(manager); });
    stop.tasks().spawn("watchdog", feed(manager));
    stop.tasks().spawn("listener", listen(std::move(acceptor), stop));
    stop.tasks().spawn("ready", ready(manager));
    // [hooks]
    stop.async_wait([&](error_code, const shutdown_report& report) {
        std::cout << report << std::endl;
        code = report.exit_code();
    });
    context.run();
    return code;
}

asio::awaitable<void> watch_over()
{
    const auto executor = co_await asio::this_coro::executor;
    tcp::acceptor listener(executor, anywhere);
    // [give]
    supervisor all(executor);
    all.add(service("server",
                    command("/proc/self/exe")
                        .arg("serve")
                        .listen_descriptor(stdio::borrow(listener.native_handle()), "web"))
                .ready_when(readiness::told())
                .watchdog(30s)
                .log([](service_output, std::string_view line) {
                    std::cout << "server: " << line << std::endl;
                }));
    // [give]
    // Nobody serves as yet, and nobody is refused: the connection waits in the listener.
    tcp::socket client(executor);
    co_await client.async_connect(listener.local_endpoint(), asio::use_awaitable);
    all.start();
    std::string line = "hello\n";
    co_await asio::async_write(client, asio::buffer(line), asio::use_awaitable);
    line.clear();
    co_await asio::async_read_until(client, asio::dynamic_buffer(line), '\n', asio::use_awaitable);
    std::cout << "client: " << line << std::flush;
    const auto result = co_await all.async_stop(asio::use_awaitable);
    std::cout << (result.left.empty() ? "stopped" : "left behind") << std::endl;
}

int main(int argc, char** argv)
{
    try {
        if (argc == 2 && std::string_view(argv[1]) == "serve")
            return serve();
        asio::io_context context;
        asio::co_spawn(context, watch_over(), [](const std::exception_ptr& error) {
            if (error)
                std::rethrow_exception(error);
        });
        context.run();
        return 0;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
