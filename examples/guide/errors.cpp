// SPDX-License-Identifier: BSL-1.0
// docs/errors.md: what is an error of which function.
#include <boost/system/errc.hpp>

#include "guide.hpp"

namespace {

namespace errc = boost::system::errc;

asio::awaitable<void> a_run_tells_and_does_not_throw()
{
    auto executor = co_await asio::this_coro::executor;
    // [run]
    run_result result = co_await async_run(command::shell("exit 3"), executor);  // does not throw
    expect(!result.success() && result.status.code() == 3, "the result has to be looked at");
    expect(result.error() == run_errc::exit_nonzero, "what async_output would have thrown");

    auto options = run_options().deadline(50ms);
    result = co_await async_run(command("sleep").arg("1000"), executor, options);  // nor does this
    expect(result.reason == run_reason::deadline, "who ended it, and why");
    std::cout << result << '\n';  // deadline: killed by SIGTERM
    // [run]
}

asio::awaitable<void> an_output_throws()
{
    auto executor = co_await asio::this_coro::executor;
    // [output]
    try {
        co_await async_output(command::shell("echo so far; exit 3"), executor);
    } catch (const boost::system::system_error& error) {
        expect(error.code() == run_errc::exit_nonzero, "the kind, to compare with");
        std::cout << error.code().message() << '\n';  // exit 3
    }

    exit_status status = co_await async_status(command::shell("exit 3"), executor);
    expect(status.code() == 3, "of async_status an exit code is the result, and no error");
    // [output]
}

asio::awaitable<void> a_spawn_fails_in_a_run()
{
    auto executor = co_await asio::this_coro::executor;
    // [spawn]
    auto [ec, result] = co_await async_run(command("no-such-program"), executor,
                                           asio::as_tuple(asio::use_awaitable));
    expect(ec == errc::no_such_file_or_directory, "the errno, by its usual name");
    expect(step_of(ec) == spawn_step::lookup, "the step is in the code, too");
    std::cout << result.failure << '\n';  // spawn "no-such-program": lookup in "/usr/…": No such …
    // [spawn]
}

asio::awaitable<void> co_main()
{
    co_await a_run_tells_and_does_not_throw();
    co_await an_output_throws();
    co_await a_spawn_fails_in_a_run();
}

}  // namespace

int main()
{
    return run_main(co_main());
}
