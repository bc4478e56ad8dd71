// SPDX-License-Identifier: BSL-1.0
//
// What else a channel is measured by: how long its receiver takes to hear of kill -9, and what an
// idle channel costs.
//
//     recovery load=busy|idle [mechanism=pipe]   kills= ; p50_us and p99_us
//     memory                                     channels= ; of both ends, for each channel
//
// Recovery is from just before the kill until the receiver has everything that was committed, and
// the error. The limit is a pipe's end of file, whose reader sleeps in poll(2).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <procyard/ipc/channel.hpp>

#include "../channel/message.hpp"

namespace asio = boost::asio;

namespace {

using bench::require;
using procyard::error_code;
using small = bench::message<64>;

/// The process that is killed, on the second processor.
class victim {
public:
    template <class Work>
    explicit victim(Work work) : pid_(::fork())
    {
        require(pid_ != -1, "fork");
        if (pid_ != 0)
            return;
        require(::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "PR_SET_PDEATHSIG");
        bench::pin_to(1);
        work();
        std::_Exit(1);
    }
    victim(const victim&) = delete;
    victim& operator=(const victim&) = delete;

    /// When that was.
    double kill()
    {
        const double when = bench::now_us();
        require(::kill(pid_, SIGKILL) == 0, "kill");
        return when;
    }
    void reap()
    {
        int status = 0;
        require(::waitpid(pid_, &status, 0) == pid_, "waitpid");
        require(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it has not been killed");
    }

private:
    pid_t pid_;
};

// Sends until it is killed, or, idle, so many and then nothing.
asio::awaitable<void> flood(procyard::sender<small> tx, std::uint64_t count)
{
    small m{};
    error_code ec;
    for (std::uint64_t i = 0; i != count; ++i) {
        m.set_number(i);
        if (!tx.try_send(m, ec))
            co_await tx.async_send(m, asio::use_awaitable);
    }
    (void)co_await tx.async_wait_writable(asio::use_awaitable);
    for (;;)
        ::pause();
}

// How long the end took, after a kill when `until_kill` messages have come.
asio::awaitable<void> survive(procyard::receiver<small> rx, victim& peer, std::uint64_t until_kill,
                              double& took_us)
{
    constexpr auto as_tuple = asio::as_tuple(asio::use_awaitable);
    small m{};
    error_code ec;
    double killed_us = 0;
    for (std::uint64_t expected = 0;; ++expected) {
        if (expected == until_kill)
            killed_us = peer.kill();
        if (!rx.try_receive(m, ec)) {
            if (ec == asio::error::would_block)
                std::tie(ec, m) = co_await rx.async_receive(as_tuple);
            if (ec) {
                took_us = bench::now_us() - killed_us;
                require(ec == procyard::channel_errc::peer_died, "it ended, but not so");
                require(expected >= until_kill, "it ended before the kill");
                co_return;
            }
        }
        require(m.number() == expected && !m.torn(), "a message is lost, repeated or torn");
    }
}

double recover_channel(std::uint64_t until_kill, bool busy)
{
    auto ends = procyard::make_channel<small>({.capacity_messages = 4096});
    victim peer([&] {
        {
            const auto others = std::move(ends.receiver);
        }
        asio::io_context context(1);
        procyard::sender<small> tx(context.get_executor(), std::move(ends.sender));
        asio::co_spawn(context, flood(std::move(tx), busy ? UINT64_MAX : until_kill),
                       [](const std::exception_ptr&) { std::_Exit(1); });
        context.run();
    });
    {
        const auto others = std::move(ends.sender);
    }
    double took_us = 0;
    asio::io_context context(1);
    procyard::receiver<small> rx(context.get_executor(), std::move(ends.receiver));
    asio::co_spawn(context, survive(std::move(rx), peer, until_kill, took_us),
                   [](const std::exception_ptr& error) {
                       if (error)
                           std::rethrow_exception(error);
                   });
    context.run();
    peer.reap();
    return took_us;
}

double recover_pipe(std::uint64_t until_kill, bool busy)
{
    int ends[2];
    require(::pipe2(ends, O_CLOEXEC) == 0, "pipe2");
    victim peer([&] {
        ::close(ends[0]);
        small m{};
        for (std::uint64_t i = 0; busy || i < until_kill; ++i) {
            m.set_number(i);
            require(::write(ends[1], &m, sizeof m) == sizeof m, "write");
        }
        for (;;)
            ::pause();
    });
    ::close(ends[1]);
    small m{};
    double killed_us = 0;
    for (std::uint64_t expected = 0;; ++expected) {
        if (expected == until_kill)
            killed_us = peer.kill();
        pollfd look{ends[0], POLLIN, 0};
        require(::poll(&look, 1, -1) == 1, "poll");
        const auto n = ::read(ends[0], &m, sizeof m);
        if (n == 0)
            break;
        require(n == sizeof m && m.number() == expected, "a message is lost, repeated or torn");
    }
    const double took_us = bench::now_us() - killed_us;
    ::close(ends[0]);
    peer.reap();
    return took_us;
}

void recovery_round(const bench::round_options& options)
{
    bench::pin_to(0);
    const bool busy = options.text("load", "busy") == "busy";
    const auto recover =
        options.text("mechanism", "channel") == "pipe" ? recover_pipe : recover_channel;
    std::vector<double> took_us;
    for (long i = 0; i < options.number("kills", 200); ++i)
        took_us.push_back(recover(1000, busy));
    std::sort(took_us.begin(), took_us.end());
    const auto at = [&](double part) {
        return took_us[static_cast<std::size_t>(part * static_cast<double>(took_us.size()))];
    };
    bench::report({{"p50_us", at(0.5)}, {"p99_us", at(0.99)}});
}

// Of this process: what is its own, and its part of what it shares.
double pss_bytes()
{
    std::ifstream smaps("/proc/self/smaps_rollup");
    std::string word;
    while (smaps >> word)
        if (word == "Pss:") {
            double kib = 0;
            smaps >> kib;
            return kib * 1024;
        }
    require(false, "/proc/self/smaps_rollup has no Pss");
    return 0;
}

void memory_round(const bench::round_options& options)
{
    constexpr std::size_t ring_bytes = 65536;
    const auto count = static_cast<std::size_t>(options.number("channels", 1000));
    rlimit limit{};
    require(::getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    require(::setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    asio::io_context context(1);
    std::vector<procyard::channel<small>> channels;
    channels.reserve(count);
    const double before = pss_bytes();
    for (std::size_t i = 0; i < count; ++i)
        channels.emplace_back(context.get_executor(),
                              procyard::channel_options{.capacity_bytes = ring_bytes});
    context.poll();
    error_code ec;
    small m{};
    for (auto& c : channels)
        require(c.sender.try_send(m, ec) && c.receiver.try_receive(m, ec), "a channel is not open");
    const double each = (pss_bytes() - before) / static_cast<double>(count);
    bench::report({{"bytes", each - static_cast<double>(ring_bytes)}});
}

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    if (options.command() == "recovery")
        recovery_round(options);
    else if (options.command() == "memory")
        memory_round(options);
    else
        require(false, "bench_channel_recovery recovery | memory");
}
