// SPDX-License-Identifier: BSL-1.0
// docs/processes.md: being told what happens, and a test that waits for no clock.
#include <memory>
#include <sstream>

#include "guide.hpp"

namespace {

// [observer]
class logger final : public observer {
public:
    void on_event(const child_event& event) noexcept override { std::clog << event << '\n'; }
};

asio::awaitable<void> watched()
{
    auto executor = co_await asio::this_coro::executor;
    set_observer(executor, std::make_shared<logger>());
    co_await async_status(command("true"), executor);
    set_observer(executor, nullptr);
}
// [observer]

asio::awaitable<void> who_is_there()
{
    auto executor = co_await asio::this_coro::executor;
    child sleeper = spawn(command("sleep").arg("1000"), executor);
    // [dump]
    std::ostringstream living;
    dump(executor, living);
    std::cout << living.str();
    // [dump]
    expect(living.str().find("sleep") != std::string::npos, "the child is listed");
}

asio::awaitable<void> a_day_in_no_time()
{
    auto executor = co_await asio::this_coro::executor;
    // [clock]
    auto clock = std::make_shared<manual_clock>();
    auto options = run_options().deadline(24h).clock(clock).std_out(
        run_output().each_line([&](std::string_view) { clock->advance(24h); }));
    run_result result =
        co_await async_run(command::shell("echo ready; exec sleep 1000"), executor, options);
    expect(result.reason == run_reason::deadline, "a day was over, and no time had passed");
    // [clock]
}

asio::awaitable<void> co_main()
{
    co_await watched();
    co_await who_is_there();
    co_await a_day_in_no_time();
}

}  // namespace

int main()
{
    return run_main(co_main());
}
