// SPDX-License-Identifier: BSL-1.0
//
// process_pool: each task submitted when one has ended, by a handler. With way=chunks a request has
// all the tasks of a window, as a program puts small ones together.

#include <boost/asio/io_context.hpp>

#include <procyard/runtime/process_pool.hpp>
#include <procyard/runtime/worker_entries.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

#include "../pool/tasks.hpp"

namespace asio = boost::asio;

namespace {

using bench::pool_message;
using chunk = std::vector<pool_message>;

// A request of one task, or of many.
void take_next(bench::task_round& round, pool_message& request)
{
    request = round.next();
}
void take_next(bench::task_round& round, chunk& request)
{
    while (request.size() < round.window() && round.more())
        request.push_back(round.next());
}
void take(bench::task_round& round, const pool_message& response)
{
    round.take(response);
}
void take(bench::task_round& round, const chunk& responses)
{
    for (const auto& one : responses)
        round.take(one);
}
chunk answer_all(const chunk& requests)
{
    chunk responses(requests.size());
    std::transform(requests.begin(), requests.end(), responses.begin(), bench::answer_to);
    return responses;
}

template <class Request>
class feeder {
public:
    using pool = procyard::process_pool<Request, Request>;

    feeder(asio::io_context& context, pool& tasks, bench::task_round& round)
        : context_(context),
          pool_(tasks),
          round_(round)
    {
    }

    void fill(std::size_t requests)
    {
        for (std::size_t i = 0; i < requests && round_.more(); ++i)
            submit();
    }

private:
    void submit()
    {
        Request request{};
        take_next(round_, request);
        pool_.async_call(std::move(request), {},
                         [this](procyard::error_code ec, const Request& response) {
                             bench::require(!ec, "a task has failed");
                             take(round_, response);
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

procyard::pool_options options_of(const bench::task_round& round, std::size_t requests)
{
    procyard::pool_options options;
    options.min_workers = options.max_workers = static_cast<unsigned>(round.workers());
    options.prefetch = static_cast<unsigned>(requests - 1);
    options.channels.spin = std::chrono::microseconds(round.spin_us());
    if (round.workers() == 1)
        options.affinity = {{1}};
    return options;
}

// With so many requests in flight of each worker.
template <class Request>
void run(bench::task_round& round, const char* entry, std::size_t requests)
{
    asio::io_context context(1);
    typename feeder<Request>::pool tasks(context.get_executor(), entry,
                                         options_of(round, requests));
    tasks.async_start([&](procyard::error_code ec) {
        bench::require(!ec, tasks.explanation().c_str());
        if (round.workers() == 1)
            bench::pin_to(0);
        context.stop();
    });
    context.run();
    context.restart();
    feeder<Request> feed(context, tasks, round);
    round.start();
    feed.fill(round.workers() * requests);
    context.run();
    round.report();
    context.restart();
    tasks.async_stop(std::chrono::seconds(5), [&](procyard::error_code) { context.stop(); });
    context.run();
}

}  // namespace

int main(int argc, char** argv)
{
    procyard::worker_entries entries;
    entries.add<pool_message, pool_message>("answer", bench::answer_to);
    entries.add<chunk, chunk>("answer all", answer_all);
    if (const auto code = entries.run_if_worker())
        return *code;

    const bench::round_options options(argc, argv);
    bench::task_round round(options);
    if (options.text("way", "one") == "chunks")
        run<chunk>(round, "answer all", 1);
    else
        run<pool_message>(round, "answer", round.window());
}
