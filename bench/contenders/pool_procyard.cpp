// SPDX-License-Identifier: BSL-1.0
//
// process_pool: each task submitted when one has ended, by a handler.

#include <boost/asio/io_context.hpp>

#include <procyard/runtime/process_pool.hpp>
#include <procyard/runtime/worker_entries.hpp>

#include <chrono>
#include <vector>

#include "../pool/tasks.hpp"

namespace asio = boost::asio;

namespace {

using bench::pool_message;
using pool = procyard::process_pool<pool_message, pool_message>;

class feeder {
public:
    feeder(asio::io_context& context, pool& tasks, bench::task_round& round)
        : context_(context),
          pool_(tasks),
          round_(round)
    {
    }

    void fill()
    {
        for (std::size_t i = 0; i < round_.workers() * round_.window() && round_.more(); ++i)
            submit();
    }

private:
    void submit()
    {
        pool_.async_call(round_.next(), {},
                         [this](procyard::error_code ec, const pool_message& response) {
                             bench::require(!ec, "a task has failed");
                             round_.take(response);
                             if (round_.more())
                                 submit();
                             else if (round_.ended())
                                 context_.stop();
                         });
    }

    asio::io_context& context_;
    pool& pool_;
    bench::task_round& round_;
};

procyard::pool_options options_of(const bench::task_round& round)
{
    procyard::pool_options options;
    options.min_workers = options.max_workers = static_cast<unsigned>(round.workers());
    options.prefetch = static_cast<unsigned>(round.window() - 1);
    options.channels.spin = std::chrono::microseconds(round.spin_us());
    if (round.workers() == 1)
        options.affinity = {{1}};
    return options;
}

}  // namespace

int main(int argc, char** argv)
{
    procyard::worker_entries entries;
    entries.add<pool_message, pool_message>("answer", bench::answer_to);
    if (const auto code = entries.run_if_worker())
        return *code;

    const bench::round_options options(argc, argv);
    bench::task_round round(options);
    asio::io_context context(1);
    pool tasks(context.get_executor(), "answer", options_of(round));
    tasks.async_start([&](procyard::error_code ec) {
        bench::require(!ec, tasks.explanation().c_str());
        if (round.workers() == 1)
            bench::pin_to(0);
        context.stop();
    });
    context.run();
    context.restart();
    feeder feed(context, tasks, round);
    round.start();
    feed.fill();
    context.run();
    round.report();
    context.restart();
    tasks.async_stop(std::chrono::seconds(5), [&](procyard::error_code) { context.stop(); });
    context.run();
}
