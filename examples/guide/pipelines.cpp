// SPDX-License-Identifier: BSL-1.0
// docs/processes.md: what a pipeline can do beyond being run.
#include <cstddef>
#include <string_view>

#include "guide.hpp"

namespace {

asio::awaitable<void> teeing()
{
    auto executor = co_await asio::this_coro::executor;
    // [tee]
    std::size_t lines = 0;
    auto count = run_output().each_line([&](std::string_view) { ++lines; });
    pipeline p = command("seq").arg("1000") | tee(count) | command("tail").arg("-n1");
    pipeline_result result = co_await async_run(p, executor);
    expect(result.std_out.data == "1000\n" && lines == 1000, "everything went both ways");
    // [tee]
}

asio::awaitable<void> by_hand()
{
    auto executor = co_await asio::this_coro::executor;
    // [running]
    pipeline shout = command("cat") | command("tr", {"a-z", "A-Z"});
    shout.std_in(stdio::pipe()).std_out(stdio::pipe());
    running_pipeline running = spawn(shout, executor);

    const std::string text = "hello\n";
    co_await asio::async_write(running.std_in(), asio::buffer(text), asio::use_awaitable);
    running.std_in().close();
    expect(co_await read_all(running.std_out()) == "HELLO\n", "through both");

    std::cout << "the first has the pid " << running.children()[0].id() << '\n';
    pipeline_status status = co_await running.async_wait();  // or async_stop(ladder)
    expect(status.success() && status.stages.size() == 2, "an entry for each stage");
    // [running]
}

asio::awaitable<void> co_main()
{
    co_await teeing();
    co_await by_hand();
}

}  // namespace

int main()
{
    return run_main(co_main());
}
