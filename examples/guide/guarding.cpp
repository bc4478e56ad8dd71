// SPDX-License-Identifier: BSL-1.0
// docs/trees.md
#include <signal.h>

#include <optional>

#include "guide.hpp"

namespace {

asio::awaitable<void> serve_guarded()
{
    auto executor = co_await asio::this_coro::executor;
    // [guardian]
    const guardian by(executor);  // of all that this process supervises
    supervisor all(executor);
    all.add(service("web", command::shell("tail -f /dev/null & wait").guarded_by(by)));
    all.start();
    // [guardian]
    co_await all.async_stop(asio::use_awaitable);
}

}  // namespace

// [main]
int main()
{
    if (const auto code = run_if_guardian())
        return *code;  // this process was a guardian, and what it guarded has gone
    return run_main(serve_guarded());
}
// [main]
