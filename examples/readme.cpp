// SPDX-License-Identifier: BSL-1.0
// [readme]
#include <boost/asio.hpp>
#include <iostream>
#include <procyard/runtime.hpp>

boost::asio::awaitable<void> co_main(boost::asio::any_io_executor executor)
{
    auto options = procyard::run_options().std_in("b\na\nb\n").deadline(std::chrono::seconds(5));
    std::cout << co_await async_output(procyard::command("sort").arg("-u"), executor, options);
}

int main()
try {
    boost::asio::io_context context;
    auto done = co_spawn(context, co_main(context.get_executor()), boost::asio::use_future);
    context.run();
    done.get();  // throws what was not a success: a failed spawn, `exit 2`, a deadline
} catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
}
// [readme]
