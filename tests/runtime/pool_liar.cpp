// SPDX-License-Identifier: BSL-1.0
// A worker that speaks the pool's protocol by hand, and lies in the way that POOL_TEST_LIE says.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/descriptor_passing.hpp>
#include <procyard/runtime/inherited.hpp>

#include "pool_types.hpp"
#include "pool_wire.hpp"
#include "worker_record.hpp"

namespace asio = boost::asio;
using namespace procyard::detail;
using bytes = std::span<const std::byte>;

namespace {

const std::string lie = [] {
    const char* const value = std::getenv("POOL_TEST_LIE");
    return std::string(value == nullptr ? "" : value);
}();

struct ends {
    explicit ends(const asio::any_io_executor& ex)
        : tx(procyard::inherited<procyard::sender<bytes>>(ex, "procyard-pool.out")),
          rx(procyard::inherited<procyard::receiver<bytes>>(ex, "procyard-pool.in"))
    {
    }

    procyard::sender<bytes> tx;
    procyard::receiver<bytes> rx;
    own_worker_record memory{};

    asio::awaitable<parsed_record> next(std::vector<std::byte>& kept)
    {
        auto batch = co_await rx.async_receive_some(asio::use_awaitable);
        bytes one;
        if (!batch.next(one))
            std::abort();
        kept.assign(one.begin(), one.end());
        parsed_record parsed;
        if (!parse_record(kept, pool_side::pool, parsed))
            std::abort();
        co_return parsed;
    }
    asio::awaitable<void> say(std::vector<std::byte> record)
    {
        co_await tx.async_send(bytes(record), asio::use_awaitable);
    }
};

void send_record(ends& all)
{
    procyard::error_code ec;
    all.memory = own_worker_record::create(0, ec);
    const auto socket = find_inherited(std::string(pool_control_name), ec).socket;
    std::uint64_t size = all.memory.memory().size();
    if (lie == "record too large")
        size = 1U << 30U;
    if (lie == "record too small")
        size = 8;
    const std::array<int, 1> fds{
        lie == "record is no memory" ? 0 : all.memory.memory().native_handle()};
    if (lie != "no record")
        (void)procyard::try_send_descriptors(socket.get(), std::as_bytes(std::span(&size, 1)), fds,
                                             ec);
}

pool_header header_of(pool_record kind, const pool_header& task = {})
{
    pool_header header{};
    header.kind = static_cast<std::uint8_t>(kind);
    header.task = task.task;
    header.attempt = task.attempt;
    return header;
}

asio::awaitable<void> greet(ends& all)
{
    hello_message hello;
    hello.ready = 1;
    hello.request = procyard::describe<pool_test::work>().to_bytes();
    hello.response = procyard::describe<pool_test::answer>().to_bytes();
    if (lie == "other version")
        hello.version = 99;
    if (lie == "description is none")
        hello.request = "what?";
    if (lie == "not ready, at length")
        hello.text.assign(1'000'000, '\n'), hello.ready = 0;
    send_record(all);
    if (lie == "hello is none") {
        std::vector<std::byte> record = make_record(header_of(pool_record::hello));
        record.resize(record.size() + 3);
        co_await all.say(std::move(record));
    }
    if (lie == "answers first") {
        pool_header task{};
        task.task = task.attempt = 1;
        auto record = make_record(header_of(pool_record::cancelled, task));
        co_await all.say(std::move(record));
    }
    auto record = make_record(header_of(pool_record::hello), hello);
    co_await all.say(std::move(record));
    if (lie == "hello twice") {
        auto again = make_record(header_of(pool_record::hello), hello);
        co_await all.say(std::move(again));
    }
}

void begin_and_die(ends& all, int times)
{
    for (int n = 0; n < times; ++n)
        all.memory.begin();
    (void)::kill(::getpid(), SIGKILL);
}

// Gives items that are none, and takes nothing meanwhile. Then it says in how many records its
// credits have come back.
asio::awaitable<void> flood(ends& all, const pool_header& task)
{
    constexpr std::uint32_t items = 4000;
    all.memory.begin();
    for (std::uint32_t n = 0; n < items; ++n) {
        auto record = make_record(header_of(pool_record::item, task));
        record.resize(pool_header_bytes + 3);
        co_await all.say(std::move(record));
    }
    std::vector<std::byte> kept;
    std::uint32_t records = 0;
    for (std::uint32_t credits = 0; credits < items;) {
        const auto record = co_await all.next(kept);
        if (record.kind() != pool_record::credit)
            continue;
        credits += record.header.credits;
        ++records;
    }
    const auto text = std::to_string(records);
    auto end = make_record(header_of(pool_record::failed, task));
    for (const char c : text)
        end.push_back(static_cast<std::byte>(c));
    co_await all.say(std::move(end));
}

asio::awaitable<void> answer_falsely(ends& all, const pool_header& task)
{
    auto header = header_of(pool_record::result, task);
    pool_test::answer good;
    if (lie == "wrong number")
        header.task += 7;
    if (lie == "wrong attempt")
        header.attempt += 1;
    if (lie == "cancelled unasked")
        header = header_of(pool_record::cancelled, task);
    if (lie == "an item")
        header = header_of(pool_record::item, task);
    if (lie == "end of a stream")
        header.flags = pool_flag_stream;
    if (lie == "unknown kind")
        header.kind = 77;
    if (lie == "the pool's kind")
        header.kind = static_cast<std::uint8_t>(pool_record::task);
    if (lie == "begun much")
        begin_and_die(all, 1'000'000);
    if (lie == "begun nothing")
        begin_and_die(all, 0);
    const bool has_none =
        header.kind == static_cast<std::uint8_t>(pool_record::cancelled) || header.flags != 0;
    auto record = has_none ? make_record(header) : make_record(header, good);
    if (lie == "undecodable")
        record.resize(pool_header_bytes + 3);
    if (lie == "short record")
        record.resize(5);
    auto again = record;
    co_await all.say(std::move(record));
    if (lie == "answers twice")
        co_await all.say(std::move(again));
}

asio::awaitable<void> work(asio::any_io_executor ex)
{
    ends all(ex);
    std::vector<std::byte> kept;
    (void)co_await all.next(kept);  // the setup
    if (lie == "gone")
        ::_exit(0);
    if (lie != "silent" && lie != "closes at once")
        co_await greet(all);
    if (lie == "answers early") {
        // Nothing is read, so what is long is not in the channel.
        sigset_t usr1;
        int got = 0;
        (void)::sigemptyset(&usr1);
        (void)::sigaddset(&usr1, SIGUSR1);
        (void)::sigwait(&usr1, &got);
        pool_header first{};
        first.task = first.attempt = 1;
        auto record = make_record(header_of(pool_record::result, first), pool_test::answer{});
        co_await all.say(std::move(record));
        (void)::pause();
    }
    if (lie == "closes and lives" || lie == "closes at once")
        all.tx.close(), all.rx.close();
    for (;;) {
        if (lie == "closes and lives" || lie == "closes at once" || lie == "silent")
            (void)::pause();
        const auto record = co_await all.next(kept);
        if (record.kind() == pool_record::stop)
            co_return;
        if (record.kind() == pool_record::task && lie == "dies of it")
            (void)::raise(SIGKILL);
        if (record.kind() == pool_record::task && lie == "floods")
            co_await flood(all, record.header);
        else if (record.kind() == pool_record::task)
            co_await answer_falsely(all, record.header);
    }
}

}  // namespace

int main()
{
    sigset_t usr1;
    (void)::sigemptyset(&usr1);
    (void)::sigaddset(&usr1, SIGUSR1);
    (void)::sigprocmask(SIG_BLOCK, &usr1, nullptr);
    asio::io_context ctx;
    int code = 0;
    asio::co_spawn(ctx, work(ctx.get_executor()), [&](const std::exception_ptr& error) {
        try {
            if (error)
                std::rethrow_exception(error);
        } catch (const std::exception& e) {
            (void)std::fprintf(stderr, "liar: %s\n", e.what());
            code = 1;
        }
    });
    ctx.run();
    return code;
}
