// SPDX-License-Identifier: BSL-1.0
//
// A pair of channels for each worker and nothing else: what a pool over channels cannot be faster
// than. No deaths, no deadlines, no order but that of sending.

#include <span>
#include <vector>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <procyard/ipc/channel.hpp>

#include "../pool/tasks.hpp"

namespace asio = boost::asio;

namespace {

using asio::use_awaitable;
using bench::pool_message;
using procyard::error_code;

struct channel_pair {
    procyard::unopened_channel<pool_message> there;
    procyard::unopened_channel<pool_message> back;
};

channel_pair make_pair(const bench::task_round& round)
{
    procyard::channel_options options;
    options.spin = std::chrono::microseconds(round.spin_us());
    return {procyard::make_channel<pool_message>(options),
            procyard::make_channel<pool_message>(options)};
}

void expect_would_block(const error_code& ec)
{
    if (ec != asio::error::would_block)
        throw boost::system::system_error(ec);
}

void rethrow(const std::exception_ptr& error)
{
    if (error)
        std::rethrow_exception(error);
}

asio::awaitable<void> send_all(procyard::sender<pool_message>& tx,
                               std::span<const pool_message> messages)
{
    error_code ec;
    while (!messages.empty()) {
        const auto sent = tx.try_send_some(messages, ec);
        messages = messages.subspan(sent);
        if (sent == 0) {
            expect_would_block(ec);
            co_await tx.async_wait_writable(use_awaitable);
        }
    }
}

asio::awaitable<std::size_t> receive_some(procyard::receiver<pool_message>& rx,
                                          std::span<pool_message> to)
{
    error_code ec;
    std::size_t received = 0;
    while ((received = rx.try_receive_some(to, ec)) == 0) {
        expect_would_block(ec);
        co_await rx.async_wait_readable(use_awaitable);
    }
    co_return received;
}

// A worker, until its pool is gone.
asio::awaitable<void> work(procyard::receiver<pool_message> rx, procyard::sender<pool_message> tx)
{
    std::vector<pool_message> batch(128);
    for (;;) {
        const auto count = co_await receive_some(rx, batch);
        const std::span messages(batch.data(), count);
        for (auto& one : messages)
            one = bench::answer_to(one);
        co_await send_all(tx, messages);
    }
}

[[noreturn]] void run_worker(channel_pair& ends, long processor)
{
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench::pin_to(processor);
    asio::io_context context(1);
    procyard::receiver<pool_message> rx(context.get_executor(), std::move(ends.there.receiver));
    procyard::sender<pool_message> tx(context.get_executor(), std::move(ends.back.sender));
    asio::co_spawn(context, work(std::move(rx), std::move(tx)),
                   [](const std::exception_ptr&) { std::_Exit(0); });
    context.run();
    std::_Exit(0);
}

// The tasks of one worker: its window is kept full.
asio::awaitable<void> feed(bench::task_round& round, procyard::sender<pool_message>& tx,
                           procyard::receiver<pool_message>& rx)
{
    std::vector<pool_message> batch(round.window());
    std::size_t room = round.window();
    for (;;) {
        std::size_t count = 0;
        while (count < room && round.more())
            batch[count++] = round.next();
        co_await send_all(tx, std::span(batch.data(), count));
        room -= count;
        if (room == round.window())
            break;
        const auto received = co_await receive_some(rx, std::span(batch));
        for (std::size_t i = 0; i < received; ++i)
            round.take(batch[i]);
        room += received;
    }
}

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    bench::task_round round(options);
    std::vector<channel_pair> links;
    while (links.size() < round.workers())
        links.push_back(make_pair(round));
    std::vector<pid_t> workers;
    for (std::size_t i = 0; i < links.size(); ++i) {
        const pid_t pid = ::fork();
        bench::require(pid != -1, "fork");
        if (pid == 0)
            run_worker(links[i], links.size() == 1 ? 1 : -1);
        workers.push_back(pid);
    }
    if (links.size() == 1)
        bench::pin_to(0);
    asio::io_context context(1);
    std::vector<procyard::sender<pool_message>> senders;
    std::vector<procyard::receiver<pool_message>> receivers;
    for (auto& one : links) {
        const auto others = std::pair(std::move(one.there.receiver), std::move(one.back.sender));
        senders.emplace_back(context.get_executor(), std::move(one.there.sender));
        receivers.emplace_back(context.get_executor(), std::move(one.back.receiver));
    }
    round.start();
    std::size_t left = links.size();
    for (std::size_t i = 0; i < links.size(); ++i)
        asio::co_spawn(context, feed(round, senders[i], receivers[i]),
                       [&](const std::exception_ptr& error) {
                           rethrow(error);
                           if (--left == 0)
                               context.stop();
                       });
    context.run();
    round.report();
    for (const pid_t pid : workers) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }
}
