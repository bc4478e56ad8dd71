// SPDX-License-Identifier: BSL-1.0
// What a pool does, as Prometheus wants to be told it: text over HTTP. We ask for it ourselves.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iostream>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/runtime.hpp>

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;
using asio::ip::tcp;
using prometheus::MetricFamily;
using prometheus::MetricType;

// [collect]
MetricFamily& add(std::vector<MetricFamily>& all, const char* name, const char* help,
                  MetricType type)
{
    return all.emplace_back(MetricFamily{name, help, type, {}});
}

void set(MetricFamily& family, const char* label, std::string_view value, std::uint64_t number)
{
    auto& metric = family.metric.emplace_back();
    metric.label.push_back({label, std::string(value)});
    (family.type == MetricType::Gauge ? metric.gauge.value : metric.counter.value) =
        static_cast<double>(number);
}

void set(MetricFamily& family, const pool_histogram& times)
{
    auto& histogram = family.metric.emplace_back().histogram;
    for (std::size_t i = 0; i < pool_histogram::buckets; ++i) {
        histogram.sample_count += times.counts[i];
        const std::chrono::duration<double> bound = pool_histogram::upper_bound(i);
        // From a microsecond to half an hour; a count for everything is always wanted.
        if (i == pool_histogram::buckets - 1)
            histogram.bucket.push_back(
                {histogram.sample_count, std::numeric_limits<double>::infinity()});
        else if (i >= 10 && i <= 41)
            histogram.bucket.push_back({histogram.sample_count, bound.count()});
    }
    histogram.sample_sum = std::chrono::duration<double>(times.sum).count();
}

std::string to_text(const pool_metrics& pool)
{
    std::vector<MetricFamily> all;
    auto& tasks = add(all, "pool_tasks", "Tasks that are not over.", MetricType::Gauge);
    set(tasks, "state", "queued", pool.queued);
    set(tasks, "state", "running", pool.running);
    auto& over = add(all, "pool_tasks_total", "Tasks that are over.", MetricType::Counter);
    for (std::size_t i = 0; i < pool_outcomes; ++i)
        set(over, "outcome", to_string(static_cast<pool_outcome>(i)), pool.outcomes[i]);
    auto& workers = add(all, "pool_workers", "Workers that live.", MetricType::Gauge);
    set(workers, "state", "idle", pool.idle);
    set(workers, "state", "busy", pool.busy);
    auto& ends = add(all, "pool_workers_total", "Workers so far.", MetricType::Counter);
    set(ends, "event", "started", pool.workers_started);
    set(ends, "event", "lost", pool.workers_lost);
    set(add(all, "pool_wait_seconds", "Until a task runs.", MetricType::Histogram), pool.wait);
    set(add(all, "pool_run_seconds", "How long it runs.", MetricType::Histogram), pool.run);
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, all);
    return text.str();
}
// [collect]

using number_pool = process_pool<std::uint64_t, std::uint64_t>;

// Answers one request, whatever it asks for. A collector of its own would need a thread, from which
// a pool cannot be asked.
asio::awaitable<void> serve_once(tcp::acceptor& acceptor, number_pool& pool)
{
    auto peer = co_await acceptor.async_accept(asio::use_awaitable);
    std::string request;
    (void)co_await asio::async_read_until(peer, asio::dynamic_buffer(request, 8192), "\r\n\r\n",
                                          asio::use_awaitable);
    const auto body = to_text(pool.metrics());
    const auto answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
                        "Connection: close\r\nContent-Length: "
        + std::to_string(body.size()) + "\r\n\r\n" + body;
    (void)co_await asio::async_write(peer, asio::buffer(answer), asio::use_awaitable);
}

asio::awaitable<std::string> get(tcp::endpoint from)
{
    tcp::socket server(co_await asio::this_coro::executor);
    co_await server.async_connect(from, asio::use_awaitable);
    const std::string request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    (void)co_await asio::async_write(server, asio::buffer(request), asio::use_awaitable);
    std::string answer;
    error_code ec;  // end of file: all is there
    (void)co_await asio::async_read(server, asio::dynamic_buffer(answer),
                                    asio::redirect_error(asio::use_awaitable, ec));
    co_return answer;
}

asio::awaitable<void> work_and_tell()
{
    const auto ex = co_await asio::this_coro::executor;
    number_pool pool(ex, "square", {.min_workers = 2, .max_workers = 2});
    co_await pool.async_start(asio::use_awaitable);
    for (std::uint64_t n = 0; n < 100; ++n)
        (void)co_await pool.async_call(n, {}, asio::use_awaitable);

    tcp::acceptor acceptor(ex, {asio::ip::address_v4::loopback(), 0});
    asio::co_spawn(ex, serve_once(acceptor, pool), [](const std::exception_ptr& error) {
        if (error)
            std::rethrow_exception(error);
    });
    std::cout << co_await get(acceptor.local_endpoint());
    co_await pool.async_stop(5s, asio::use_awaitable);
}

int main()
{
    worker_entries entries;
    entries.add<std::uint64_t, std::uint64_t>("square", [](std::uint64_t n) { return n * n; });
    if (const auto code = entries.run_if_worker())
        return *code;

    asio::io_context context;
    asio::co_spawn(context, work_and_tell(), [](const std::exception_ptr& error) {
        if (error)
            std::rethrow_exception(error);
    });
    context.run();
}
