// SPDX-License-Identifier: BSL-1.0
// docs/processes.md: what a child's descriptors can be connected to.
#include <fcntl.h>

#include <procyard/ipc/pipe.hpp>

#include "guide.hpp"

namespace {

asio::awaitable<void> both_ways()
{
    auto executor = co_await asio::this_coro::executor;
    // [pipes]
    child sort = spawn(command("sort").std_in(stdio::pipe()).std_out(stdio::pipe()), executor);
    const std::string lines = "pear\napple\n";
    co_await asio::async_write(sort.std_in(), asio::buffer(lines), asio::use_awaitable);
    sort.std_in().close();  // the end of its input
    expect(co_await read_all(sort.std_out()) == "apple\npear\n", "sorted");
    // [pipes]
    co_await sort.async_wait();
}

asio::awaitable<void> files_and_merging()
{
    auto executor = co_await asio::this_coro::executor;
    // [merge]
    child c = spawn(command::shell("echo out; echo err >&2")
                        .std_in(stdio::null())
                        .std_out(stdio::pipe())
                        .std_err(stdio::to_stdout()),  // 2>&1
                    executor);
    expect(co_await read_all(c.std_out()) == "out\nerr\n", "in the order of the writes");
    // [merge]
    co_await c.async_wait();
}

asio::awaitable<void> another_number()
{
    auto executor = co_await asio::this_coro::executor;
    // [numbers]
    error_code ec;
    raw_pipe extra = make_raw_pipe(ec);  // no event loop holds an end of it
    if (ec)
        throw boost::system::system_error(ec, "pipe");
    child c = spawn(command::shell("echo for five >&5")
                        .descriptor(5, stdio::descriptor(std::move(extra.write_end))),
                    executor);
    pipe_reader reader(executor, std::move(extra.read_end));
    // The command above was a temporary, and the parent's copy of the writing end went with it:
    // when the child ends, the reader sees the end of the stream.
    expect(co_await read_all(reader) == "for five\n", "came through descriptor 5");
    // [numbers]
    co_await c.async_wait();
}

asio::awaitable<void> from_child_to_child()
{
    auto executor = co_await asio::this_coro::executor;
    // [handover]
    child seq = spawn(command("seq").arg("3").std_out(stdio::pipe()), executor);
    child tac = spawn(command("tac")
                          .std_in(stdio::descriptor(std::move(seq.std_out())))  // leaves our loop
                          .std_out(stdio::pipe()),
                      executor);
    expect(co_await read_all(tac.std_out()) == "3\n2\n1\n", "backwards");
    // [handover]
    co_await seq.async_wait();
    co_await tac.async_wait();
}

asio::awaitable<void> co_main()
{
    co_await both_ways();
    co_await files_and_merging();
    co_await another_number();
    co_await from_child_to_child();
}

}  // namespace

int main()
{
    return run_main(co_main());
}
