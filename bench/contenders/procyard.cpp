// SPDX-License-Identifier: BSL-1.0
//
// Procyard with its defaults: the loop of one thread, one handler or one coroutine per child.

#include "procyard.hpp"

#include <csignal>
#include <cstdio>
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <procyard/runtime/spawn.hpp>

#include "../support/allocations.hpp"
#include "../support/spawn_round.hpp"

namespace {

namespace asio = boost::asio;
using procyard::error_code;

void expect_success(error_code ec, const procyard::exit_status& status)
{
    bench::require(!ec, "async_wait");
    bench::require(status.success() || status.signal() == SIGKILL, "the child failed");
}

class procyard_spawner : public bench::spawner {
public:
    explicit procyard_spawner(const std::string& program) : command_(program) { }

    pid_t start() override
    {
        auto child = procyard::spawn(command_, context_.get_executor());
        const pid_t pid = child.id();
        wait(std::move(child));
        return pid;
    }

    void run() override
    {
        context_.restart();
        context_.run();
    }

    void run_one() override
    {
        context_.restart();
        exit_seen_ = false;
        while (!exit_seen_)
            context_.run_one();
    }

protected:
    virtual void wait(procyard::child child)
    {
        // The handler keeps the child: one that is dropped is killed. Two steps, since the handler
        // is made, and the child moved into it, before a call on the child would begin.
        auto wait_for_exit = child.async_wait();
        std::move(wait_for_exit)(
            [this, kept = std::move(child)](error_code ec, const procyard::exit_status& status) {
                expect_success(ec, status);
                seen();
            });
    }

    void seen()
    {
        exit_seen_ = true;
        exited();
    }

    asio::io_context context_{1};

private:
    procyard::command command_;
    bool exit_seen_ = false;
};

class coroutine_spawner final : public procyard_spawner {
public:
    using procyard_spawner::procyard_spawner;

protected:
    void wait(procyard::child child) override
    {
        asio::co_spawn(context_, wait_in_coroutine(std::move(child)), asio::detached);
    }

private:
    asio::awaitable<void> wait_in_coroutine(procyard::child child)
    {
        expect_success({}, co_await child.async_wait(asio::use_awaitable));
        seen();
    }
};

std::unique_ptr<bench::spawner> make_spawner(const bench::round_options& options,
                                             const std::string& program)
{
    if (options.text("style") == "coroutine")
        return std::make_unique<coroutine_spawner>(program);
    return std::make_unique<procyard_spawner>(program);
}

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    const auto make = [&options](const std::string& program) {
        return make_spawner(options, program);
    };
    if (options.command() == "spawn")
        bench::measure_spawn(options, make);
    else if (options.command() == "children")
        bench::measure_children(options, make);
    else if (options.command() == "allocations")
        bench::measure_allocations(options, make);
    else if (options.command() == "stdout")
        bench::procyard_stdout(options);
    else if (options.command() == "copy")
        bench::procyard_copy(options);
    else if (options.command() == "lines")
        bench::procyard_lines(options);
    else
        bench::require(false,
                       "bench_procyard spawn | children | allocations | stdout | copy | lines");
}
