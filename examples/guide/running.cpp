// SPDX-License-Identifier: BSL-1.0
// docs/processes.md: async_run and its options.
#include <cstddef>
#include <string_view>

#include "guide.hpp"

namespace {

asio::awaitable<void> several_sinks()
{
    auto executor = co_await asio::this_coro::executor;
    // [sinks]
    std::size_t lines = 0;
    auto options = run_options()
                       .std_out(run_output()
                                    .capture({.limit_bytes = 4096, .on_limit = limit_policy::stop})
                                    .each_line([&](std::string_view) { ++lines; }))
                       .std_err(run_output::merge())
                       .deadline(10s)
                       .idle_deadline(2s);
    run_result result = co_await async_run(command("seq").arg("1000"), executor, options);
    std::cout << result << ", " << lines << " lines\n";
    // [sinks]
    expect(result.success() && lines == 1000, "all of it");
}

asio::awaitable<void> exit_is_not_end_of_file()
{
    auto executor = co_await asio::this_coro::executor;
    // [held]
    // The shell ends at once. What it left in the background holds its output for a second.
    auto options = run_options().drain_grace(100ms);
    run_result result =
        co_await async_run(command::shell("echo begun; sleep 1 &"), executor, options);
    std::cout << result << '\n';  // exit 0; stdout held open by a descendant; …
    expect(result.status.success() && result.std_out.held_by_descendant, "both are told");
    expect(!result.success(), "exit 0, but nobody knows what is still to come");
    // [held]
}

asio::awaitable<void> feeding()
{
    auto executor = co_await asio::this_coro::executor;
    // [feed]
    // Fed and read at the same time: no amount of text on either side can block the other.
    const std::string much(1 << 20, 'x');
    auto options = run_options().std_in(much);
    std::string back = co_await async_output(command("cat"), executor, options);
    expect(back == much, "all of it came back");
    // [feed]
}

asio::awaitable<void> co_main()
{
    co_await several_sinks();
    co_await exit_is_not_end_of_file();
    co_await feeding();
}

}  // namespace

int main()
{
    return run_main(co_main());
}
