// SPDX-License-Identifier: BSL-1.0
// A service that feeds its watchdog by its event loop, and says as STATUS= how often it had time
// to. By SIGUSR1 a handler of that loop never returns: it says "stuck core" where its end leaves a
// core file in its working directory, or "stuck" where nothing is known of that.
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include <procyard/runtime/service_notifier.hpp>

namespace asio = boost::asio;
using procyard::error_code;
using procyard::manager_variables;
using procyard::service_notice;
using procyard::service_notifier;

namespace {

// A sanitizer keeps its process from leaving one, for its size. A pattern that names another place,
// or a program, has it elsewhere, or not at all; the limit does not hold for a program.
bool leaves_core()
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false;
#else
    rlimit limit{};
    if (::getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_max != RLIM_INFINITY)
        return false;
    std::string pattern;
    std::ifstream("/proc/sys/kernel/core_pattern") >> pattern;
    limit.rlim_cur = limit.rlim_max;
    return pattern.starts_with("core") && pattern.find('/') == std::string::npos
        && ::setrlimit(RLIMIT_CORE, &limit) == 0;
#endif
}

[[noreturn]] void get_stuck()
{
    std::puts(leaves_core() ? "stuck core" : "stuck");
    std::fflush(stdout);
    for (;;)
        ::pause();
}

}  // namespace

int main()
{
    asio::io_context ctx(1);
    service_notifier manager(ctx.get_executor(), manager_variables::remove);
    if (!manager.watchdog())
        return 90;
    manager.async_feed_watchdog([](error_code) { ::_exit(91); });

    // Twice as seldom as it is fed: between two of these there is a sign of life.
    asio::steady_timer pause(ctx);
    int turns = 0;
    const auto tell = [&](auto again, error_code) -> void {
        error_code ec;
        manager.try_notify(service_notice().status(std::to_string(++turns)), ec);
        pause.expires_after(*manager.watchdog());
        pause.async_wait([again](error_code late) { again(again, late); });
    };
    tell(tell, {});

    asio::signal_set wedge(ctx, SIGUSR1);
    wedge.async_wait([](error_code, int) { get_stuck(); });
    error_code ec;
    manager.try_notify(service_notice().ready(), ec);
    ctx.run();
    return 92;
}
