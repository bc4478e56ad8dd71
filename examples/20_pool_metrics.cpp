// SPDX-License-Identifier: BSL-1.0
// What a pool does, as Prometheus wants to be told it: text over HTTP, for every scrape until the
// program is stopped. `20_pool_metrics 9100` works and answers until SIGINT or SIGTERM; without a
// port it asks itself, and ends.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/system/system_error.hpp>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <signal.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
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

void set(MetricFamily& family, double number)
{
    auto& metric = family.metric.emplace_back();
    (family.type == MetricType::Gauge ? metric.gauge.value : metric.counter.value) = number;
}

double seconds(std::chrono::nanoseconds time)
{
    return std::chrono::duration<double>(time).count();
}

void add_tasks(std::vector<MetricFamily>& all, const pool_metrics& pool)
{
    auto& tasks = add(all, "pool_tasks", "Tasks that are not over.", MetricType::Gauge);
    set(tasks, "state", "waiting", pool.waiting);  // for room in the queue
    set(tasks, "state", "queued", pool.queued);
    set(tasks, "state", "prefetched", pool.prefetched);
    set(tasks, "state", "running", pool.running);
    auto& over = add(all, "pool_tasks_total", "Tasks that are over.", MetricType::Counter);
    for (std::size_t i = 0; i < pool_outcomes; ++i)
        set(over, "outcome", to_string(static_cast<pool_outcome>(i)), pool.outcomes[i]);
    set(add(all, "pool_strikes_total", "Tasks that cost a worker, and ran again.",
            MetricType::Counter),
        static_cast<double>(pool.strikes));
    set(add(all, "pool_wait_seconds", "Until a task runs.", MetricType::Histogram), pool.wait);
    set(add(all, "pool_run_seconds", "How long it runs.", MetricType::Histogram), pool.run);
    auto& counters = add(all, "pool_counter_total", "What handlers count.", MetricType::Counter);
    for (const auto& one : pool.counters)
        set(counters, "name", one.name, one.value);
}

void add_workers(std::vector<MetricFamily>& all, const pool_metrics& pool)
{
    auto& workers = add(all, "pool_workers", "Workers that live.", MetricType::Gauge);
    set(workers, "state", "starting", pool.starting);
    set(workers, "state", "idle", pool.idle);
    set(workers, "state", "busy", pool.busy);
    set(workers, "state", "leaving", pool.leaving);
    set(add(all, "pool_slots_cooling", "Slots that wait after a failure.", MetricType::Gauge),
        static_cast<double>(pool.cooling));
    auto& ends = add(all, "pool_workers_total", "Workers so far.", MetricType::Counter);
    set(ends, "event", "started", pool.workers_started);
    set(ends, "event", "restarted", pool.restarts);
    set(ends, "event", "lost", pool.workers_lost);
    set(ends, "event", "terminated", pool.workers_terminated);
    set(ends, "event", "killed", pool.workers_killed);
    // Of the two the collector makes the utilisation of any interval; ours is since the beginning.
    set(add(all, "pool_busy_seconds_total", "How long tasks ran.", MetricType::Counter),
        seconds(pool.busy_time));
    set(add(all, "pool_ready_seconds_total", "How long they could have.", MetricType::Counter),
        seconds(pool.ready_time));
    set(add(all, "pool_utilisation_ratio", "The part that was used.", MetricType::Gauge),
        pool.utilisation());
}

std::string to_text(const pool_metrics& pool)
{
    std::vector<MetricFamily> all;
    add_tasks(all, pool);
    add_workers(all, pool);
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, all);
    return text.str();
}
// [collect]

using number_pool = process_pool<std::uint64_t, std::uint64_t>;

constexpr std::uint64_t unlucky = 13;

std::uint64_t square(std::uint64_t number, pool_job& me)
{
    if (number == unlucky && me.attempt() == 1)
        ::raise(SIGKILL);  // something to be seen: a strike, and another worker
    me.count(0, 1);
    return number * number;
}

asio::awaitable<void> answer(tcp::socket& peer, const number_pool& pool)
try {
    std::string request;
    (void)co_await asio::async_read_until(peer, asio::dynamic_buffer(request, 8192), "\r\n\r\n",
                                          asio::use_awaitable);
    const bool known = request.starts_with("GET /metrics ");
    const auto body = known ? to_text(pool.metrics()) : std::string("It is at /metrics.\n");
    const auto text = std::string("HTTP/1.1 ") + (known ? "200 OK" : "404 Not Found")
        + "\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\nContent-Length: "
        + std::to_string(body.size()) + "\r\n\r\n" + body;
    (void)co_await asio::async_write(peer, asio::buffer(text), asio::use_awaitable);
} catch (const boost::system::system_error&) {
    // One that breaks off is no failure of ours.
}

// Its time is short: a scraper that says nothing holds nothing up.
asio::awaitable<void> serve(tcp::socket peer, const number_pool& pool, shutdown_work work)
{
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer limit(peer.get_executor(), 5s);
    // Who comes second is cancelled, and waited for: a handler of the timer's own could come when
    // the socket has gone.
    (void)co_await (answer(peer, pool) || limit.async_wait(asio::use_awaitable));
    work.release();
}

// In the thread from which the pool may be asked; a collector of its own would have another one.
asio::awaitable<void> listen(tcp::acceptor acceptor, number_pool& pool, shutdown_coordinator& stop)
{
    const auto closing = stop.token(shutdown_phase::close_intake);
    asio::steady_timer pause(acceptor.get_executor());
    while (!closing.cancelled()) {
        auto [ec, peer] = co_await acceptor.async_accept(
            bind_token(closing, asio::as_tuple(asio::use_awaitable)));
        if (!ec) {
            stop.tasks().spawn("scrape", serve(std::move(peer), pool, stop.hold("scrape")));
            continue;
        }
        pause.expires_after(50ms);  // EMFILE, which stays for a while
        co_await pause.async_wait(bind_token(closing, asio::as_tuple(asio::use_awaitable)));
    }
}

asio::awaitable<void> work(number_pool& pool, cancellation_token closing, std::uint64_t numbers)
{
    submit_options how;
    how.idempotent = true;
    for (std::uint64_t n = 0; n < numbers && !closing.cancelled(); ++n)
        (void)co_await pool.async_call(n, how, asio::as_tuple(asio::use_awaitable));
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

// Scrapes twice, and has it stopped as a service manager would.
asio::awaitable<void> try_out(tcp::endpoint address, number_pool& pool, cancellation_token closing)
{
    co_await work(pool, closing, 100);
    try {
        (void)co_await get(address);
        std::cout << co_await get(address);
    } catch (const boost::system::system_error& error) {
        std::cerr << error.what() << '\n';
    }
    ::raise(SIGTERM);
}

asio::awaitable<void> run(number_pool& pool, shutdown_coordinator& stop, tcp::acceptor acceptor,
                          bool tries_out)
{
    const auto [ec] = co_await pool.async_start(asio::as_tuple(asio::use_awaitable));
    if (ec) {
        std::cerr << pool.explanation() << '\n';
        const shutdown_request failed(cancellation_reason(), 1);
        stop.request(failed);
        co_return;
    }
    const auto closing = stop.token(shutdown_phase::close_intake);
    if (tries_out)
        stop.tasks().spawn("client", try_out(acceptor.local_endpoint(), pool, closing));
    else
        stop.tasks().spawn("work", work(pool, closing, std::numeric_limits<std::uint64_t>::max()));
    stop.tasks().spawn("listener", listen(std::move(acceptor), pool, stop));
}

int main(int argc, char** argv)
{
    worker_entries entries;
    entries.add<std::uint64_t, std::uint64_t>("square", square);
    if (const auto code = entries.run_if_worker())
        return *code;
    try {
        asio::io_context context;
        pool_options options;
        options.min_workers = options.max_workers = 2;
        options.counters = {"squares"};
        number_pool pool(context.get_executor(), "square", options);
        shutdown_coordinator stop(context.get_executor());
        stop.on_signals({SIGINT, SIGTERM});
        stop.add_pool("squares", pool);
        tcp::acceptor acceptor = argc == 2
            ? tcp::acceptor(context, {tcp::v4(), static_cast<std::uint16_t>(std::atoi(argv[1]))})
            : tcp::acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
        stop.tasks().spawn("run", run(pool, stop, std::move(acceptor), argc != 2));
        int code = 1;
        stop.async_wait([&](error_code, const shutdown_report& report) {
            std::cout << report << std::endl;
            code = report.exit_code();
        });
        context.run();
        return code;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
