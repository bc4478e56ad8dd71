// SPDX-License-Identifier: BSL-1.0
// docs/processes.md: describing a command, spawning it, its errors, its options.
#include <sys/resource.h>

#include "guide.hpp"

namespace {

asio::awaitable<void> describe()
{
    auto executor = co_await asio::this_coro::executor;
    // [describe]
    command build("make");
    build.arg("-j4")
        .args({"-f", "release.mk", "all"})
        .working_directory("/usr/src")
        .env("CFLAGS", "-O2")
        .env_remove("MAKEFLAGS")
        .std_out(stdio::append_file("build.log"))
        .std_err(stdio::to_stdout());
    std::cout << build.to_string() << '\n';  // as one would type it into a shell
    // [describe]

    // [spawn]
    child sleeper = spawn(command("sleep").arg("1000"), executor);  // runs, or spawn has thrown
    std::cout << "sleep has the pid " << sleeper.id() << '\n';
    // [spawn]
}

asio::awaitable<void> errors()
{
    auto executor = co_await asio::this_coro::executor;
    // [errors]
    spawn_failure failure;
    child nobody = spawn(command("sh").working_directory("/nope"), executor, failure);
    if (!nobody) {
        std::cout << failure << '\n';
        // spawn "sh": working directory "/nope": No such file or directory
        expect(failure.step == spawn_step::working_directory, "the step that failed");
        expect(failure.code == boost::system::errc::no_such_file_or_directory, "and why");
    }
    // [errors]
}

asio::awaitable<void> options()
{
    auto executor = co_await asio::this_coro::executor;
    // [options]
    command limited("sh", {"-c", "ulimit -n; nice"});
    limited.limit(RLIMIT_NOFILE, 64)
        .nice(5)
        .umask(0077)
        .scheduler(SCHED_FIFO, 1)
        .optional(spawn_step::scheduler)  // may fail: without privileges it will
        .std_out(stdio::pipe());
    child c = spawn(limited, executor);
    std::cout << co_await read_all(c.std_out());
    for (const spawn_failure& skipped : c.info().not_applied)
        std::cout << "went without: " << skipped << '\n';
    // [options]
    co_await c.async_wait();
}

asio::awaitable<void> off_the_loop()
{
    auto executor = co_await asio::this_coro::executor;
    // [async_spawn]
    // The path may be on a file system that hangs: let another thread wait for it.
    child c = co_await async_spawn(command("/bin/true"), executor);
    // [async_spawn]
    co_await c.async_wait();
}

asio::awaitable<void> co_main()
{
    co_await describe();
    co_await errors();
    co_await options();
    co_await off_the_loop();
}

}  // namespace

int main()
{
    return run_main(co_main());
}
