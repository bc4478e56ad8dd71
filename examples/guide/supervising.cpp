// SPDX-License-Identifier: BSL-1.0
// docs/supervision.md
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>

#include <unistd.h>

#include "guide.hpp"

namespace {

asio::awaitable<void> until_cancelled()
{
    asio::steady_timer never(co_await asio::this_coro::executor,
                             asio::steady_timer::time_point::max());
    co_await never.async_wait(asio::use_awaitable);
}

command never_ending()
{
    return command::shell("echo up; exec tail -f /dev/null");
}

asio::awaitable<bool> answers()
{
    co_return true;
}

asio::awaitable<void> made()
{
    // [make]
    supervisor_options options;
    options.strategy = restart_strategy::one_for_one;
    options.intensity = {.restarts = 5, .window = 60s};
    options.stop_budget = 10s;
    supervisor all(co_await asio::this_coro::executor, options);

    all.add(service("database", never_ending()).ready_when(readiness::line_with("up")));
    all.add(service("server", never_ending()).depends_on({"database"}));
    all.start();
    // [make]
    while (all.snapshot().at(1).state != service_state::ready)
        co_await asio::post(asio::use_awaitable);
    // [stop]
    supervisor_result result = co_await all.async_stop(asio::use_awaitable);
    for (const auto& name : result.left)
        std::cerr << name << " did not stop\n";
    // [stop]
    expect(!result.failed && result.left.empty(), "stopped");
}

asio::awaitable<void> every_kind()
{
    // [kinds]
    auto migration = service("migration", command("true")).one_shot();
    auto worker = service("worker", [](service_context me) -> asio::awaitable<void> {
                      me.ready();
                      co_await until_cancelled();
                  }).ready_when(readiness::told());
    auto shards = service("shards", restart_strategy::one_for_all,
                          {service("one", never_ending()), service("two", never_ending())});
    // [kinds]
    // [health]
    worker.health(answers, 5s, 3).watchdog(30s);
    // [health]
    supervisor all(co_await asio::this_coro::executor);
    all.add(migration);
    all.add(worker.depends_on({"migration"}));
    all.add(shards);
    all.start();
    while (all.snapshot().at(1).state != service_state::ready
           || all.snapshot().at(2).state != service_state::ready)
        co_await asio::post(asio::use_awaitable);
    // [replace]
    all.replace("worker");
    // [replace]
    // [member]
    all.restart("shards/one");
    // [member]
    while (all.snapshot().at(1).generation != 2)
        co_await asio::post(asio::use_awaitable);
    // [snapshot]
    for (const auto& one : all.snapshot())
        std::cout << one.name << ": " << to_string(one.state) << ", restarts: " << one.restarts
                  << '\n';
    // [snapshot]
    co_await all.async_stop(asio::use_awaitable);
}

asio::awaitable<void> probed()
{
    supervisor all(co_await asio::this_coro::executor);
    // [probes]
    all.add(service("cache", never_ending()).ready_when(readiness::probe(tcp_probe(6379))));
    all.add(service("database", never_ending())
                .ready_when(readiness::probe(command_probe(command("pg_isready")), 500ms)));
    all.add(service("web", never_ending())
                .ready_when(readiness::probe(http_probe("http://localhost:8080/ready")))
                .health(http_probe("http://localhost:8080/health"), 10s, 3));
    // [probes]
    expect(all.snapshot().size() == 3, "three services");
}

asio::awaitable<void> logged()
{
    const auto place =
        std::filesystem::temp_directory_path() / ("procyard-guide-" + std::to_string(::getpid()));
    std::filesystem::create_directory(place);
    {
        supervisor all(co_await asio::this_coro::executor);
        // [log]
        rotating_file log(place / "chatter.log", {.most_bytes = 1 << 20, .keep = 3});
        all.add(service("chatter", command::shell("echo one; echo two >&2")).one_shot().log(log));
        // [log]
        all.start();
        while (all.snapshot().at(0).state != service_state::exited)
            co_await asio::post(asio::use_awaitable);
    }
    expect(std::filesystem::file_size(place / "chatter.log") == 8, "both lines");
    std::filesystem::remove_all(place);
}

asio::awaitable<void> upload(std::string_view)
{
    co_await asio::post(asio::use_awaitable);
}

asio::awaitable<void> logged_slowly()
{
    supervisor all(co_await asio::this_coro::executor);
    std::string seen;
    // [slow]
    auto remote = [&](log_batch batch) -> asio::awaitable<void> {
        if (batch.lost > 0)
            seen += std::to_string(batch.lost) + " lines lost\n";
        for (const auto& line : batch.lines)
            co_await upload(line.text);
        seen += std::to_string(batch.lines.size()) + " lines\n";
    };
    all.add(service("chatter", command::shell("echo one; echo two"))
                .one_shot()
                .log(remote, {.most_bytes = 64 * 1024}));
    // [slow]
    all.start();
    while (all.snapshot().at(0).state != service_state::exited)
        co_await asio::post(asio::use_awaitable);
    co_await all.async_stop(asio::use_awaitable);
    expect(seen == "2 lines\n" || seen == "1 lines\n1 lines\n", "both lines");
}

asio::awaitable<void> listened()
{
    const auto executor = co_await asio::this_coro::executor;
    supervisor all(executor);
    // [listen]
    asio::ip::tcp::acceptor acceptor(executor, {asio::ip::address_v4::loopback(), 0});
    all.add(service("web", command::shell("echo $LISTEN_FDNAMES; exec tail -f /dev/null"))
                .listen("http", unique_fd(acceptor.release()))
                .ready_when(readiness::line_with("http")));
    all.start();
    // [listen]
    while (all.snapshot().at(0).state != service_state::ready)
        co_await asio::post(asio::use_awaitable);
    all.replace("web");
    while (all.snapshot().at(0).generation != 2)
        co_await asio::post(asio::use_awaitable);
    co_await all.async_stop(asio::use_awaitable);
}

asio::awaitable<void> survived()
{
    const auto place =
        std::filesystem::temp_directory_path() / ("procyard-state-" + std::to_string(::getpid()));
    {
        // [state]
        supervisor_options options;
        options.state_directory = place;
        supervisor all(co_await asio::this_coro::executor, options);
        // [state]
        all.add(service("server", never_ending()));
        all.start();
        while (all.snapshot().at(0).state != service_state::ready)
            co_await asio::post(asio::use_awaitable);
        co_await all.async_stop(asio::use_awaitable);
    }
    expect(std::filesystem::exists(place / "state"), "written down");
    std::filesystem::remove_all(place);
}

asio::awaitable<void> tested()
{
    // [test]
    auto clock = std::make_shared<manual_clock>();
    supervisor_options options;
    options.clock = clock;
    options.intensity = {.restarts = 1, .window = 24h};
    std::vector<std::string> story;
    options.on_event = [&](const service_event& event) {
        story.emplace_back(to_string(event.to));
        if (event.to == service_state::backoff)
            clock->advance(event.delay);  // an hour is over, and no time has passed
    };
    supervisor all(co_await asio::this_coro::executor, options);
    all.add(service("flaky", command("false")).backoff({.first = 1h, .cap = 1h, .jitter = 0}));
    all.start();
    supervisor_result result = co_await all.async_wait(asio::use_awaitable);
    expect(result.culprit == "flaky", "the second failure in a day is one too many");
    // [test]
}

asio::awaitable<void> co_main()
{
    co_await made();
    co_await every_kind();
    co_await probed();
    co_await logged();
    co_await logged_slowly();
    co_await listened();
    co_await survived();
    co_await tested();
}

}  // namespace

int main()
{
    return run_main(co_main());
}
