// SPDX-License-Identifier: BSL-1.0
// The worker of the tests of process_pool.
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <procyard/runtime/command.hpp>
#include <procyard/runtime/detail/pool_task_state.hpp>
#include <procyard/runtime/pool_error.hpp>
#include <procyard/runtime/spawn.hpp>
#include <procyard/runtime/worker_entries.hpp>

#include "pool_types.hpp"

namespace asio = boost::asio;
using pool_test::answer;
using pool_test::work;
using procyard::pool_job;

namespace {

[[noreturn]] void die(int number)
{
    (void)::signal(number, SIG_DFL);
    (void)::kill(::getpid(), number);
    for (;;)
        (void)::pause();
}

[[noreturn]] void spin()
{
    for (volatile unsigned n = 0;;)
        n = n + 1;
}

void append_line(const std::string& path, const std::string& line)
{
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const auto text = line + '\n';
    if (fd < 0 || ::write(fd, text.data(), text.size()) < 0)
        throw std::runtime_error("cannot write " + path);
    (void)::close(fd);
}

// What is long cannot be received any more.
void take_no_more_memory()
{
    const rlimit none{0, 0};
    if (::setrlimit(RLIMIT_AS, &none) != 0)
        throw std::runtime_error("cannot limit its memory");
}

// Blocks until somebody opens the FIFO to write, and closes it.
void wait_at_gate(const std::string& path)
{
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    char byte = 0;
    while (fd >= 0 && ::read(fd, &byte, 1) > 0) { }
    (void)::close(fd);
}

// Shows that it lives before each of so many gates, whose numbers follow that path.
void beat(const work& request, pool_job& job)
{
    for (std::uint64_t n = 0; n < request.number; ++n) {
        job.heartbeat();
        wait_at_gate(request.text + std::to_string(n));
    }
}

std::string cpus_of_this()
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    (void)::sched_getaffinity(0, sizeof cpus, &cpus);
    std::string text;
    for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &cpus))
            text += (text.empty() ? "" : ",") + std::to_string(cpu);
    }
    return text;
}

std::string variable(const std::string& name)
{
    const char* const value = std::getenv(name.c_str());
    return value == nullptr ? std::string("(none)") : std::string(value);
}

void take_memory(std::uint64_t size)
{
    static std::vector<std::vector<char>> taken;
    taken.emplace_back(size, 'x');
}

// A program that lives on when this process is killed, which waits for that.
void start_another(const asio::any_io_executor& executor, const std::string& notes)
{
    const auto other = procyard::spawn(procyard::command("tail", {"-f", "/dev/null"}), executor);
    append_line(notes, std::to_string(other.id()));
    (void)::pause();
}

using action = std::function<void(const work&, pool_job&, answer&)>;

const std::map<std::string, action>& actions()
{
    static const std::map<std::string, action> all{
        {"square", [](const work& w, pool_job&, answer& a) { a.number = w.number * w.number; }},
        {"die", [](const work& w, pool_job&, answer&) { die(static_cast<int>(w.number)); }},
        {"die first",
         [](const work& w, pool_job& j, answer&) {
             if (j.attempt() == 1)
                 die(static_cast<int>(w.number));
         }},
        {"say and die",
         [](const work& w, pool_job& j, answer&) {
             (void)std::fprintf(stderr, "%s, attempt %u\n", w.text.c_str(), j.attempt());
             (void)std::fflush(stderr);
             die(static_cast<int>(w.number));
         }},
        {"exit", [](const work& w, pool_job&, answer&) { ::_exit(static_cast<int>(w.number)); }},
        {"throw", [](const work& w, pool_job&, answer&) { throw std::runtime_error(w.text); }},
        {"throw a number", [](const work&, pool_job&, answer&) { throw 5; }},
        {"spin",
         [](const work& w, pool_job&, answer&) {
             if (!w.text.empty())
                 append_line(w.text, "spins");
             spin();
         }},
        {"spin deaf",
         [](const work& w, pool_job&, answer&) {
             (void)::signal(SIGTERM, SIG_IGN);
             append_line(w.text, "spins");
             spin();
         }},
        {"until cancelled",
         [](const work& w, pool_job& j, answer&) {
             append_line(w.text, "waits");
             while (!j.cancelled()) { }
             append_line(w.text, "agrees");
             throw boost::system::system_error(asio::error::operation_aborted);
         }},
        {"beat", [](const work& w, pool_job& j, answer&) { beat(w, j); }},
        {"gate", [](const work& w, pool_job&, answer&) { wait_at_gate(w.text); }},
        {"gate, and no more memory",
         [](const work& w, pool_job&, answer&) {
             wait_at_gate(w.text);
             take_no_more_memory();
         }},
        {"long", [](const work& w, pool_job&, answer& a) { a.text.assign(w.number, 'x'); }},
        {"length", [](const work& w, pool_job&, answer& a) { a.number = w.text.size(); }},
        {"environment", [](const work& w, pool_job&, answer& a) { a.text = variable(w.text); }},
        {"trace",
         [](const work&, pool_job& j, answer& a) {
             a.text = j.trace().traceparent + '|' + j.trace().tracestate + '|' + j.trace().baggage;
         }},
    };
    return all;
}

// Those that leave a line behind.
const std::map<std::string, action>& notes()
{
    static const std::map<std::string, action> all{
        {"note",
         [](const work& w, pool_job& j, answer&) {
             append_line(w.text, std::to_string(w.number) + ' ' + std::to_string(j.attempt()));
         }},
        {"note and die",
         [](const work& w, pool_job& j, answer&) {
             append_line(w.text, std::to_string(w.number) + ' ' + std::to_string(j.attempt()));
             die(SIGKILL);
         }},
        {"note who and die",
         [](const work& w, pool_job& j, answer&) {
             append_line(w.text, std::to_string(::getpid()) + ' ' + std::to_string(j.attempt()));
             die(SIGKILL);
         }},
        {"note at length",
         [](const work& w, pool_job&, answer& a) {
             append_line(w.text, "answers");
             a.text.assign(w.number, 'x');
         }},
    };
    return all;
}

// What a job knows, and what is known of it from outside.
const std::map<std::string, action>& questions()
{
    static const std::map<std::string, action> all{
        {"deadline", [](const work&, pool_job& j, answer& a) { a.number = j.deadline() ? 1 : 0; }},
        {"count", [](const work& w, pool_job& j, answer&) { j.count(0, w.number); }},
        {"count and die",
         [](const work& w, pool_job& j, answer&) {
             j.count(0, w.number);
             die(SIGKILL);
         }},
        {"cpus", [](const work&, pool_job&, answer& a) { a.text = cpus_of_this(); }},
        {"take memory", [](const work& w, pool_job&, answer&) { take_memory(w.number); }},
    };
    return all;
}

answer work_on(const work& request, pool_job& j)
{
    answer a;
    a.number = request.number;
    a.pid = ::getpid();
    a.slot = j.slot();
    for (const auto* all : {&actions(), &notes(), &questions()}) {
        const auto found = all->find(request.what);
        if (found == all->end())
            continue;
        found->second(request, j, a);
        return a;
    }
    throw std::invalid_argument("no such action: " + request.what);
}

// The same as a coroutine, and some that are of no use otherwise.
asio::awaitable<answer> work_later(work request, pool_job j)
{
    if (request.what == "wait") {
        asio::steady_timer never(co_await asio::this_coro::executor,
                                 asio::steady_timer::time_point::max());
        if (!request.text.empty())
            append_line(request.text, "waits");
        co_await never.async_wait(asio::use_awaitable);
    }
    if (request.what == "start another") {
        start_another(co_await asio::this_coro::executor, request.text);
    }
    if (request.what == "wait deaf") {
        append_line(request.text, "waits");
        co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
        asio::steady_timer never(co_await asio::this_coro::executor,
                                 asio::steady_timer::time_point::max());
        co_await never.async_wait(asio::use_awaitable);
    }
    if (request.what == "die behind a line") {
        asio::steady_timer soon(co_await asio::this_coro::executor);
        while (!std::ifstream(request.text).good()) {
            soon.expires_after(std::chrono::milliseconds(1));
            co_await soon.async_wait(asio::use_awaitable);
        }
        die(static_cast<int>(request.number));
    }
    if (request.what == "for a time") {
        asio::steady_timer soon(co_await asio::this_coro::executor,
                                std::chrono::milliseconds(request.number));
        co_await soon.async_wait(asio::use_awaitable);
        request.what = "square";
    }
    co_return work_on(request, j);
}

// `number` items; what: "items", "die after" (text: how many).
asio::awaitable<void> give_items(work request, pool_job j)
{
    std::uint64_t most = request.number;
    if (request.what == "die after")
        most = std::stoull(request.text);
    for (std::uint64_t n = 0; n < most; ++n) {
        answer item;
        item.number = n;
        item.pid = ::getpid();
        if (request.what.ends_with("long items"))
            item.text.assign(100'000, static_cast<char>('a' + n % 26));
        co_await j.async_yield(item, asio::use_awaitable);
        if (request.what.starts_with("note "))
            append_line(request.text, std::to_string(n));
    }
    if (request.what == "die after")
        die(SIGKILL);
    if (request.what == "throw after")
        throw std::runtime_error(request.text);
}

// `number` items; each second one cannot be given, and its number is what the giver hears of that.
// "deaf": whoever cancels it.
asio::awaitable<void> give_moody_items(work request, pool_job j)
{
    if (request.what == "deaf")
        co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    for (std::uint64_t n = 0; n < request.number; ++n) {
        pool_test::moody_item item{.number = n, .throws = n % 2 == 1};
        const auto [ec] = co_await j.async_yield(item, asio::as_tuple(asio::use_awaitable));
        if (!ec)
            continue;
        item.number = ec == procyard::pool_errc::bad_message ? 1000 + n : 0;
        item.throws = false;
        co_await j.async_yield(item, asio::use_awaitable);
    }
}

// `number` items. The one at the window's end, and the one half a window later, wait for credits,
// and say so; who cancels the first of these does so when the second one waits.
asio::awaitable<void> cancel_late(work request, pool_job j)
{
    constexpr std::uint64_t first = procyard::detail::stream_window;
    constexpr std::uint64_t second = first + first / 2;
    const auto executor = co_await asio::this_coro::executor;
    asio::cancellation_signal of_first;
    for (std::uint64_t n = 0; n < request.number; ++n) {
        answer item;
        item.number = n;
        if (n == first) {
            asio::post(executor, [path = request.text] { append_line(path, "the first waits"); });
            co_await j.async_yield(
                item, asio::bind_cancellation_slot(of_first.slot(), asio::use_awaitable));
            continue;
        }
        if (n == second) {
            asio::post(executor, [&of_first, path = request.text] {
                of_first.emit(asio::cancellation_type::total);
                append_line(path, "the second waits");
            });
        }
        co_await j.async_yield(item, asio::use_awaitable);
    }
}

// Throws in the first process that finds no file of the name that the environment says.
asio::awaitable<void> fail_once()
{
    const auto path = variable("POOL_TEST_FAIL_ONCE");
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        (void)::close(fd);
        throw std::runtime_error("the table is not there");
    }
    co_return;
}

asio::awaitable<void> fail_always()
{
    append_line(variable("POOL_TEST_NOTES"), "warms up");
    throw std::runtime_error("the table is never there");
    co_return;
}

}  // namespace

int main()
{
    procyard::worker_entries entries;
    entries.add<std::uint64_t, std::uint64_t>("square",
                                              [](const std::uint64_t& n) { return n * n; });
    entries.add<work, answer>("work", work_on);
    entries.add<work, answer>("later", work_later);
    entries.add<work, answer>("items", give_items);
    entries.add<work, pool_test::moody_item>("moody items", give_moody_items);
    entries.add<work, answer>("cancels late", cancel_late);
    entries.add<work, answer>("fails once", work_on, fail_once);
    entries.add<work, answer>("fails always", work_on, fail_always);
    if (const auto code = entries.run_if_worker())
        return *code;
    (void)std::fprintf(stderr, "not started by a pool\n");
    return 2;
}
