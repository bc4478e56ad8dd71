// SPDX-License-Identifier: BSL-1.0
// docs/processes.md: where the input of a run comes from, and where its output goes.
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include <procyard/ipc/async_copy.hpp>
#include <procyard/ipc/line_reader.hpp>

#include "guide.hpp"

namespace {

// [generator]
asio::awaitable<std::optional<std::string>> next_number(std::shared_ptr<int> last)
{
    if (*last == 3)
        co_return std::nullopt;  // the end of the input
    co_return std::to_string(++*last) + '\n';
}

asio::awaitable<void> from_a_generator()
{
    auto executor = co_await asio::this_coro::executor;
    auto last = std::make_shared<int>(0);
    auto options = run_options().std_in(run_input::generator([last] { return next_number(last); }));
    expect(co_await async_output(command("tac"), executor, options) == "3\n2\n1\n", "backwards");
}
// [generator]

// [writer]
asio::awaitable<void> ask(pipe_writer& bc)
{
    const std::string question = "6 * 7\n";
    co_await asio::async_write(bc, asio::buffer(question), asio::use_awaitable);
}  // the end of the coroutine is the end of the input

asio::awaitable<void> from_a_writer()
{
    auto executor = co_await asio::this_coro::executor;
    auto options = run_options().std_in(run_input::writer(ask));
    expect(co_await async_output(command("cat"), executor, options) == "6 * 7\n", "all of it");
}
// [writer]

asio::awaitable<void> from_a_stream()
{
    auto executor = co_await asio::this_coro::executor;
    // [stream]
    child seq = spawn(command("seq").arg("3").std_out(stdio::pipe()), executor);
    auto options = run_options().std_in(run_input::stream(std::move(seq.std_out())));
    expect(co_await async_output(command("tac"), executor, options) == "3\n2\n1\n", "backwards");
    // [stream]
    co_await seq.async_wait();
}

// [to_coroutine]
// The next bytes are read when this has returned: a slow consumer slows the program down.
asio::awaitable<void> store(std::string_view bytes, std::shared_ptr<std::string> where)
{
    asio::steady_timer slow(co_await asio::this_coro::executor, 1ms);
    co_await slow.async_wait(asio::use_awaitable);
    *where += bytes;
}

asio::awaitable<void> to_a_coroutine_and_a_stream()
{
    auto executor = co_await asio::this_coro::executor;
    auto stored = std::make_shared<std::string>();
    pipe_pair ends = make_pipe(executor);
    auto options = run_options().std_out(
        run_output()
            .to_coroutine([stored](std::string_view bytes) { return store(bytes, stored); })
            .to_stream(std::move(ends.writer)));  // a socket would do as well
    run_result result = co_await async_run(command("seq").arg("3"), executor, options);
    expect(result.success() && *stored == "1\n2\n3\n", "through the coroutine");
    expect(co_await read_all(ends.reader) == "1\n2\n3\n", "and through the stream");
}
// [to_coroutine]

asio::awaitable<void> a_sink_that_fails()
{
    auto executor = co_await asio::this_coro::executor;
    // [sink_failure]
    auto full = [](std::string_view) { throw std::runtime_error("the disk is full"); };
    auto options = run_options()
                       .std_out(run_output().capture().to_callback(full))
                       .on_sink_failure(sink_failure_policy::go_on);
    run_result result = co_await async_run(command("echo").arg("kept"), executor, options);
    expect(result.std_out.data == "kept\n", "the other sinks get every byte");
    expect(result.std_out.sink_failures.at(0).error == run_errc::threw, "it is told");
    expect(!result.success() && result.status.success(), "and the run was no success");
    // [sink_failure]
}

asio::awaitable<void> those_who_stay()
{
    auto executor = co_await asio::this_coro::executor;
    // [descendants]
    // The shell ends at once, and leaves somebody in the background.
    auto leaves = command::shell("sleep 1000 >/dev/null 2>&1 &");
    auto options = run_options().descendants(descendant_policy::stop);
    run_result result = co_await async_run(leaves, executor, options);
    expect(result.success() && result.stop->tree_empty, "a success, and nobody is left");
    // [descendants]
}

asio::awaitable<void> lines_and_copies()
{
    auto executor = co_await asio::this_coro::executor;
    // [lines]
    child seq = spawn(command("seq").arg("3").std_out(stdio::pipe()), executor);
    line_reader lines(seq.std_out());  // refers to the stream, which must stay
    for (;;) {
        auto [ec, line] = co_await lines.async_read_line(asio::as_tuple(asio::use_awaitable));
        if (ec == asio::error::eof)
            break;  // after the last line
        if (ec)
            throw boost::system::system_error(ec, "seq");  // line_too_long, say
        std::cout << "line " << line << '\n';
    }
    // [lines]
    co_await seq.async_wait();

    // [copy]
    child from = spawn(command("seq").arg("100000").std_out(stdio::pipe()), executor);
    child to =
        spawn(command("wc").arg("-c").std_in(stdio::pipe()).std_out(stdio::pipe()), executor);
    copy_result copied = co_await async_copy(from.std_out(), to.std_in(), asio::use_awaitable);
    to.std_in().close();  // a copy closes neither
    expect(copied.bytes == 588895, "counted here");
    expect(co_await read_all(to.std_out()) == "588895\n", "and there");
    // [copy]
    co_await from.async_wait();
    co_await to.async_wait();
}

asio::awaitable<void> co_main()
{
    co_await from_a_generator();
    co_await from_a_writer();
    co_await from_a_stream();
    co_await to_a_coroutine_and_a_stream();
    co_await a_sink_that_fails();
    co_await those_who_stay();
    co_await lines_and_copies();
}

}  // namespace

int main()
{
    return run_main(co_main());
}
