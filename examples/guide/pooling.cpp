// SPDX-License-Identifier: BSL-1.0
// docs/pool.md
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>

#include "guide.hpp"

struct page {
    std::string text;
};
struct word_count {
    std::uint64_t words = 0;
};

namespace {

// [worker]
word_count count_words(const page& request, pool_job& me)
{
    word_count result;
    std::istringstream in(request.text);
    for (std::string word; in >> word && !me.cancelled();)
        ++result.words;
    me.count(0, result.words);
    return result;
}

asio::awaitable<void> each_word(page request, pool_job me)
{
    std::istringstream in(request.text);
    for (std::string word; in >> word;) {
        const word_count item{word.size()};
        co_await me.async_yield(item, asio::use_awaitable);
    }
}

std::optional<int> work()
{
    worker_entries entries;
    entries.add<page, word_count>("count", count_words);
    entries.add<page, word_count>("lengths", each_word, []() -> asio::awaitable<void> {
        co_return;  // what has to be read or connected before the first task
    });
    return entries.run_if_worker();
}
// [worker]

asio::awaitable<void> use_it()
{
    // [pool]
    pool_options options;
    options.min_workers = 1;
    options.max_workers = 4;
    options.counters = {"words"};
    process_pool<page, word_count> pool(co_await asio::this_coro::executor, "count", options);
    co_await pool.async_start(asio::use_awaitable);

    const page request{"to be or not to be"};
    word_count answer = co_await pool.async_call(request, {}, asio::use_awaitable);
    // [pool]
    expect(answer.words == 6, "six words");

    // [submit]
    submit_options how;
    how.priority = 1;
    how.run_deadline = 2s;
    how.idempotent = true;  // may be begun again when its worker has died
    auto task = co_await pool.async_submit(request, how, asio::use_awaitable);
    auto [ec, result] = co_await task.async_result(asio::as_tuple(asio::use_awaitable));
    if (ec)
        std::cerr << ec.message() << ": " << task.report() << '\n';
    // [submit]
    expect(!ec && result.words == 6, "six words");

    // [metrics]
    const auto now = pool.metrics();
    std::cout << now.ended(pool_outcome::done) << " done, half of them in "
              << now.run.quantile(0.5).count() << " ns; words: " << now.counters[0].value << '\n';
    // [metrics]
    expect(now.counters[0].value == 12, "what two workers, or one, have counted");

    // [stop]
    co_await pool.async_stop(5s, asio::use_awaitable);
    // [stop]
}

asio::awaitable<void> stream()
{
    process_pool<page, word_count> pool(co_await asio::this_coro::executor, "lengths");
    co_await pool.async_start(asio::use_awaitable);
    // [stream]
    const page request{"to be or not to be"};
    auto lengths = co_await pool.async_submit_stream(request, {}, asio::use_awaitable);
    std::uint64_t sum = 0;
    for (;;) {
        auto [ec, item] = co_await lengths.async_next(asio::as_tuple(asio::use_awaitable));
        if (ec == channel_errc::closed)
            break;  // that were all
        if (ec)
            throw boost::system::system_error(ec, "the stream");  // truncated: its worker has died
        sum += item.words;
    }
    // [stream]
    expect(sum == 13, "thirteen letters");
    co_await pool.async_stop(5s, asio::use_awaitable);
}

asio::awaitable<void> all_of_it()
{
    co_await use_it();
    co_await stream();
}

}  // namespace

// [main]
int main()
{
    if (const auto code = work())
        return *code;  // this process is a worker, and its work is done
    return run_main(all_of_it());
}
// [main]
