// SPDX-License-Identifier: BSL-1.0
//
// A process with channels for the tests of procyard-inspect. Says `ready` when they are as they
// will be, and stays until its standard input ends; each line there is a message more in `ticks`,
// or `close` or `wait`.
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/system/system_error.hpp>

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/segment.hpp>
#include <procyard/runtime.hpp>
#include <procyard/runtime/inherited.hpp>

namespace {

namespace asio = boost::asio;
using namespace procyard;

struct tick {
    std::uint64_t time;
    double price;
};

void say(const std::string& line)
{
    std::cout << line << std::endl;
}

void wait_for_end()
{
    for (std::string line; std::getline(std::cin, line);) { }
}

// The receiver is another process, which takes two of five messages, and waits.
int with_child(const std::string& program)
{
    asio::io_context context;
    auto ends = make_channel<std::string>();
    command what(program, {"receiver"});
    what.pass(std::move(ends.receiver), "texts").std_out(stdio::pipe());
    sender<std::string> tx(context.get_executor(), std::move(ends.sender));
    auto worker = spawn(what, context.get_executor());
    for (const char* text : {"one", "two", "three", "four"})
        tx.try_send(text);
    std::string line;
    asio::async_read_until(worker.std_out(), asio::dynamic_buffer(line), '\n',
                           [](error_code, std::size_t) { });
    context.run();
    tx.try_send("five");  // the receiver is there by now: the two ends know each other
    std::cout << line << std::flush;
    worker.async_wait([](error_code, exit_status) { });
    context.restart();
    context.run();
    return 0;
}

int receive_two()
{
    asio::io_context context;
    auto rx = inherited<receiver<std::string>>(context.get_executor(), "texts");
    for (int taken = 0; taken < 2; ++taken) {
        rx.async_receive([](error_code, const std::string&) { });
        context.restart();
        context.run();
    }
    say("child " + std::to_string(::getpid()));
    wait_for_end();
    return 0;
}

// Takes all that is there, and begins to wait.
void wait_for_next(asio::io_context& context, receiver<tick>& from)
{
    while (from.try_receive()) { }
    from.async_receive([](error_code, tick) { });
    context.restart();
    context.poll();
}

int within()
{
    asio::io_context context;
    channel<tick> ticks(context.get_executor(), {.capacity_messages = 16});
    const auto other_memory = segment::create(4096);  // no channel, whatever its name
    for (std::uint64_t i = 0; i < 7; ++i)
        ticks.sender.try_send({i, 1.0});
    (void)ticks.receiver.try_receive();
    (void)ticks.receiver.try_receive();
    auto unopened = make_channel<tick>();
    sender<tick> lonely(context.get_executor(), std::move(unopened.sender));
    say("ready " + std::to_string(::getpid()));
    for (std::string line; std::getline(std::cin, line); say("more")) {
        if (line == "close")
            ticks.sender.close();
        else if (line == "wait")
            wait_for_next(context, ticks.receiver);
        else
            ticks.sender.try_send({0, 2.0});
    }
    return 0;
}

// A writer and two readers: one has taken two of twenty messages, and lost some of the others; one
// has taken none, and holds the writer back.
int broadcast()
{
    asio::io_context context;
    broadcaster<tick> ticks(context.get_executor(), {.capacity_messages = 8});
    subscriber<tick> slow(context.get_executor(), ticks.subscribe());
    for (std::uint64_t i = 0; i < 2; ++i)
        ticks.try_send({i, 1.0});
    (void)slow.try_receive();
    (void)slow.try_receive();
    for (std::uint64_t i = 2; i < 20; ++i)
        ticks.try_send({i, 1.0});
    (void)slow.try_receive();  // hears of the loss of ten, and has the next with the next call
    (void)slow.try_receive();
    const subscriber<tick> holding(context.get_executor(),
                                   ticks.subscribe({.when_slow = slow_reader::holds_back}));
    while (ticks.try_send({20, 2.0})) { }
    ticks.async_send({21, 2.0}, [](error_code) { });
    context.poll();
    say("ready " + std::to_string(::getpid()));
    wait_for_end();
    return 0;
}

}  // namespace

int main(int argc, char** argv)
{
    try {
        const std::string_view mode = argc > 1 ? argv[1] : "";
        if (mode == "child")
            return with_child(argv[0]);
        if (mode == "receiver")
            return receive_two();
        if (mode == "within")
            return within();
        if (mode == "broadcast")
            return broadcast();
        say("ready " + std::to_string(::getpid()));
        wait_for_end();
    } catch (const boost::system::system_error& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
