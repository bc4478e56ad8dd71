// SPDX-License-Identifier: BSL-1.0
// The code of docs/signals.md.
#include "guide.hpp"

#include <boost/asio/post.hpp>

#include <procyard/signals.hpp>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

// [wait]
asio::awaitable<int> serve_until_told()
{
    auto executor = co_await asio::this_coro::executor;
    signal_set signals(executor, {SIGINT, SIGTERM, SIGHUP});
    for (;;) {
        signal_info info = co_await signals.async_wait();
        if (info.number != SIGHUP)
            co_return info.number;
        std::cout << "reload, says " << info.sender_pid << '\n';
    }
}
// [wait]

asio::awaitable<void> counted()
{
    auto executor = co_await asio::this_coro::executor;
    // [count]
    signal_set signals(executor, {SIGUSR1, SIGTERM});
    for (int i = 0; i < 100'000; ++i)
        raise(SIGUSR1);
    raise(SIGTERM);

    signal_info first = co_await signals.async_wait();
    signal_info second = co_await signals.async_wait();
    expect(first.number == SIGUSR1 && first.count == 100'000, "a level, and how often");
    expect(second.number == SIGTERM && second.count == 1, "never lost, and never last");
    // [count]
}

asio::awaitable<void> queued()
{
    auto executor = co_await asio::this_coro::executor;
    // [queue]
    signal_set jobs(executor, {SIGRTMIN + 1});
    for (int number : {1, 2, 3})
        sigqueue(getpid(), SIGRTMIN + 1, {.sival_int = number});

    for (int number : {1, 2, 3}) {
        signal_info job = co_await jobs.async_wait();
        expect(job.value.sival_int == number && job.sender_pid == getpid(), "in order");
    }
    // [queue]
}

asio::awaitable<void> limited()
{
    using namespace asio::experimental::awaitable_operators;
    auto executor = co_await asio::this_coro::executor;
    // [race]
    signal_set signals(executor, {SIGUSR1});
    asio::steady_timer deadline(executor, 10ms);
    auto winner = co_await (signals.async_wait(asio::use_awaitable)
                            || deadline.async_wait(asio::use_awaitable));
    expect(winner.index() == 1, "nobody has sent one; and none is lost by giving up");
    // [race]
}

asio::awaitable<void> twice()
{
    auto executor = co_await asio::this_coro::executor;
    // [second]
    signal_set signals(executor, {SIGINT, SIGTERM}, {.second = second_signal::dies_of_it});
    raise(SIGINT);
    co_await signals.async_wait();  // begin to end; the next ^C kills, however the loop is stuck

    signals.disarm();  // from here on it must not
    raise(SIGINT);
    // [second]
    expect(signals.try_wait().has_value(), "told");
}

asio::awaitable<void> forwarded()
{
    using namespace asio::experimental::awaitable_operators;
    auto executor = co_await asio::this_coro::executor;
    // [forward]
    child program = spawn(command("sleep").arg("1000"), executor);
    signal_set signals(executor, {SIGUSR1, SIGUSR2});
    raise(SIGUSR1);

    // Either ends the other: the program's end, and an error of the forwarding.
    auto ended = co_await (
        program.async_wait(asio::use_awaitable)
        || async_forward_signals(std::move(signals), to_tree(program), asio::use_awaitable));
    expect(std::get<0>(ended).signal() == SIGUSR1, "what we got is what it got");
    // [forward]
}

void copied()
{
    // [fork]
    asio::io_context context;
    signal_set signals(context.get_executor(), {SIGUSR1});
    error_code ec;
    pid_t copy = fork_process(context, ec);
    if (ec)
        throw boost::system::system_error(ec, "fork");
    if (copy == 0) {
        raise(SIGUSR1);
        _exit(signals.try_wait() ? 0 : 1);  // told here
    }
    // [fork]
    int status = 1;
    waitpid(copy, &status, 0);
    expect(status == 0, "the copy has heard it");
    expect(!signals.try_wait(), "and not here");
}

// Sends what serve_until_told() waits for, once it does.
asio::awaitable<void> send_orders()
{
    for (int number : {SIGHUP, SIGTERM}) {
        co_await asio::post(asio::deferred);
        kill(getpid(), number);
    }
}

asio::awaitable<void> co_main()
{
    using namespace asio::experimental::awaitable_operators;
    expect(co_await (serve_until_told() && send_orders()) == SIGTERM, "told to end");
    co_await counted();
    co_await queued();
    co_await limited();
    co_await twice();
    co_await forwarded();
}

}  // namespace

int main()
{
    try {
        copied();
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
    return run_main(co_main());
}
