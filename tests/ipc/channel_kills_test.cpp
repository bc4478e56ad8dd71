// SPDX-License-Identifier: BSL-1.0
// Many peers that are killed at moments which nobody chooses, and peers that are only stopped.
// PROCYARD_KILLS in the environment says how many are killed; CONTRIBUTING.md has a number.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "message_samples.hpp"
#include "numbered_messages.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unopened;
using procyard_test::fixed_random;
using procyard_test::numbered;
using procyard_test::outcome;
using procyard_test::receive_numbered;
using procyard_test::receiving_process;
using procyard_test::run;
using procyard_test::run_coroutine;
using procyard_test::sending_process;
using procyard_test::whole;

namespace {

constexpr procyard::channel_options small{.capacity_messages = 16};
constexpr procyard::channel_options few_bytes{.capacity_bytes = 4096};
constexpr std::uint64_t without_end = ~std::uint64_t{0};

std::uint64_t kills()
{
    const auto* const asked = std::getenv("PROCYARD_KILLS");
#if defined(__SANITIZE_ADDRESS__)
    constexpr std::uint64_t usual = 100;  // to fork takes a sanitizer its time
#else
    constexpr std::uint64_t usual = 500;
#endif
    return asked == nullptr ? usual : std::strtoull(asked, nullptr, 10);
}

// What a process keeps: descriptors, mappings, memory, children.
struct holdings {
    std::size_t descriptors = procyard_test::open_descriptors();
    std::size_t mapped_segments = 0;
    std::size_t resident_kib = 0;
    std::size_t children = procyard_test::children();

    holdings()
    {
        std::ifstream maps("/proc/self/maps");
        for (std::string line; std::getline(maps, line);)
            mapped_segments += line.find("/memfd:procyard") != line.npos ? 1U : 0U;
        std::ifstream status("/proc/self/status");
        for (std::string word; status >> word;) {
            if (word == "VmRSS:")
                status >> resident_kib;
        }
    }
};

// All that a sender can do, in a random order, until it dies.
template <class T>
asio::awaitable<void> send_for_ever(sender<T>& to, std::uint64_t seed)
{
    fixed_random random(seed);
    std::vector<T> batch;
    for (std::uint64_t n = 0;;) {
        error_code ec;
        switch (random.below(5)) {
        case 0: co_await to.async_send(numbered<T>(n++), asio::use_awaitable); break;
        case 1: n += to.try_send(numbered<T>(n)) ? 1U : 0U; break;
        case 2: co_await to.async_wait_writable(asio::use_awaitable); break;
        case 3:
            batch.clear();
            for (std::uint64_t i = 0; i < 5; ++i)
                batch.push_back(numbered<T>(n + i));
            n += to.try_send_some(batch, ec);
            break;
        default:
            if constexpr (procyard::detail::in_place_message<T>) {
                auto room = to.try_loan(3, ec);
                for (std::size_t i = 0; i < room.size(); ++i)
                    room[i] = numbered<T>(n + i);
                const auto lent = room.size();
                n += room.commit() ? lent : 0;
            }
        }
    }
}

template <class T>
asio::awaitable<void> receive_for_ever(receiver<T>& from, std::uint64_t seed)
{
    fixed_random random(seed);
    std::vector<T> some(4);
    for (;;) {
        error_code ec;
        switch (random.below(4)) {
        case 0: (void)co_await from.async_receive(asio::use_awaitable); break;
        case 1: (void)from.try_receive_some(some, ec); break;
        case 2: co_await from.async_wait_readable(asio::use_awaitable); break;
        default: {
            auto batch = co_await from.async_receive_some(asio::use_awaitable);
            T message{};
            (void)batch.next(message);
        }
        }
    }
}

// A peer's process: `body` until it is killed.
template <class End, class Body>
int live(unopened<End> unopened_end, Body body)
{
    asio::io_context ctx;
    End end(ctx.get_executor(), std::move(unopened_end));
    asio::co_spawn(ctx, body(end), [](std::exception_ptr) { });
    ctx.run();
    return 1;
}

template <class T>
void kill_a_sender(const procyard::channel_options& options, fixed_random& random)
{
    auto ends = make_channel<T>(options);
    const auto seed = random.next() | 1U;
    sending_process<T> peer(ends, [seed](unopened<sender<T>> end) {
        return live(std::move(end), [seed](sender<T>& s) { return send_for_ever(s, seed); });
    });
    asio::io_context ctx;
    receiver<T> r(ctx.get_executor(), std::move(ends.receiver));
    std::uint64_t next = 0;
    error_code ec;
    run_coroutine(ctx, [&] { return receive_numbered(r, random.below(100), next, ec); });
    REQUIRE_FALSE(ec);
    peer.kill_hard();
    run_coroutine(ctx, [&] { return receive_numbered(r, without_end, next, ec); });
    REQUIRE_MESSAGE(ec == channel_errc::peer_died, ec.message());
    REQUIRE(r.statistics().depth == 0);
    REQUIRE(r.statistics().messages == next);
}

template <class T>
void kill_a_receiver(const procyard::channel_options& options, fixed_random& random)
{
    auto ends = make_channel<T>(options);
    const auto seed = random.next() | 1U;
    receiving_process<T> peer(ends, [seed](unopened<receiver<T>> end) {
        return live(std::move(end), [seed](receiver<T>& r) { return receive_for_ever(r, seed); });
    });
    asio::io_context ctx;
    sender<T> s(ctx.get_executor(), std::move(ends.sender));
    const auto kill_at = random.below(100);
    error_code ec;
    run_coroutine(ctx, [&]() -> asio::awaitable<void> {
        for (std::uint64_t n = 0; !ec; ++n) {
            if (n == kill_at)
                peer.kill_hard();
            co_await s.async_send(numbered<T>(n), asio::redirect_error(asio::use_awaitable, ec));
        }
    });
    REQUIRE_MESSAGE(ec == channel_errc::peer_died, ec.message());
}

void kill_one(std::uint64_t round, fixed_random& random)
{
    switch (round % 4) {
    case 0: return kill_a_sender<whole>(small, random);
    case 1: return kill_a_sender<std::string>(few_bytes, random);
    case 2: return kill_a_receiver<whole>(small, random);
    default: return kill_a_receiver<std::string>(few_bytes, random);
    }
}

// Until the kernel says that it stands still.
void stop(pid_t pid)
{
    REQUIRE(::kill(pid, SIGSTOP) == 0);
    int status = 0;
    REQUIRE(procyard::retry_eintr([&] { return ::waitpid(pid, &status, WUNTRACED); }) == pid);
    REQUIRE(WIFSTOPPED(status));
}

// What waits for a peer that stands still waits, and can be cancelled.
template <class Start, class End>
void check_wait(asio::io_context& ctx, End& end, Start start)
{
    outcome<error_code> woken;
    start(woken);
    ctx.restart();
    while (ctx.poll() > 0)
        ctx.restart();
    CHECK_FALSE(woken.done());
    CHECK(end.is_open());
    end.cancel();
    run(ctx);
    CHECK(woken.error() == asio::error::operation_aborted);
}

}  // namespace

TEST_SUITE("channel: many deaths (cases 29, 30, 40)")
{
    TEST_CASE("of peers that do everything: all that was committed, and nothing is left of them")
    {
        fixed_random random(7);
        const auto rounds = kills();
        // The first ones make what a process makes once.
        std::uint64_t round = 0;
        for (; round < rounds / 10; ++round)
            kill_one(round, random);
        const holdings before;
        for (; round < rounds; ++round) {
            CAPTURE(round);
            kill_one(round, random);
        }
        const holdings after;
        CHECK(after.descriptors == before.descriptors);
        CHECK(after.mapped_segments == before.mapped_segments);
        CHECK(after.children == before.children);
        CHECK(procyard_test::zombie_children() == 0);
#if !defined(__SANITIZE_ADDRESS__)  // which keeps for a while what was freed
        // Half a page for each death would be found; an allocator may keep something.
        CHECK(after.resident_kib <= before.resident_kib + 1024 + 2 * rounds);
#endif
    }
}

TEST_SUITE("channel: a peer that stands still (case 35)")
{
    TEST_CASE("a sender: what it had sent comes, the wait can be cancelled, then the rest comes")
    {
        auto ends = make_channel<std::uint64_t>(small);
        sending_process<std::uint64_t> peer(ends, [](unopened<sender<std::uint64_t>> end) {
            asio::io_context ctx;
            sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
            run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                for (std::uint64_t n = 0; n < 300; ++n)
                    co_await s.async_send(n, asio::use_awaitable);
            });
            s.close();
            return 0;
        });
        asio::io_context ctx;
        receiver<std::uint64_t> r(ctx.get_executor(), std::move(ends.receiver));
        std::uint64_t next = 0;
        const auto take_all = [&] {
            while (const auto n = r.try_receive())
                REQUIRE(*n == next++);
        };
        for (int round = 0; round < 5; ++round) {
            stop(peer.pid());
            take_all();
            check_wait(ctx, r, [&](auto& woken) { r.async_wait_readable(woken.handler()); });
            REQUIRE(::kill(peer.pid(), SIGCONT) == 0);
            run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                const auto n = co_await r.async_receive(asio::use_awaitable);
                REQUIRE(n == next++);
            });
        }
        error_code ec;
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            while (!ec) {
                const auto n =
                    co_await r.async_receive(asio::redirect_error(asio::use_awaitable, ec));
                if (!ec)
                    REQUIRE(n == next++);
            }
        });
        CHECK(ec == channel_errc::closed);
        CHECK(next == 300);
        CHECK(peer.result() == 0);
    }

    TEST_CASE("a receiver: the sender's wait can be cancelled, and everything arrives afterwards")
    {
        auto ends = make_channel<std::uint64_t>(small);
        receiving_process<std::uint64_t> peer(ends, [](unopened<receiver<std::uint64_t>> end) {
            asio::io_context ctx;
            receiver<std::uint64_t> r(ctx.get_executor(), std::move(end));
            error_code ec;
            std::uint64_t next = 0;
            run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                while (!ec) {
                    const auto n =
                        co_await r.async_receive(asio::redirect_error(asio::use_awaitable, ec));
                    if (!ec && n != next++)
                        ec = channel_errc::bad_message;
                }
            });
            return ec == channel_errc::closed ? static_cast<int>(next) : 255;
        });
        asio::io_context ctx;
        sender<std::uint64_t> s(ctx.get_executor(), std::move(ends.sender));
        std::uint64_t next = 0;
        for (int round = 0; round < 5; ++round) {
            stop(peer.pid());
            while (s.try_send(next))
                ++next;
            check_wait(ctx, s, [&](auto& woken) { s.async_send(0, woken.handler()); });
            REQUIRE(::kill(peer.pid(), SIGCONT) == 0);
            run_coroutine(ctx, [&] { return s.async_send(next++, asio::use_awaitable); });
        }
        s.close();
        CHECK(peer.result() == static_cast<int>(next));
    }
}

TEST_SUITE("channel: a host that forks")
{
    TEST_CASE("a copy of us destroys its copy of an end that has waited: ours is woken as before")
    {
        asio::io_context ctx;
        procyard::channel<int> c(ctx.get_executor(), small);
        std::optional<receiver<int>> r(std::move(c.receiver));
        for (int n = 0; n < 3; ++n) {
            CAPTURE(n);
            outcome<error_code, int> got;
            r->async_receive(got.handler());
            ctx.restart();
            ctx.poll();
            CHECK(c.sender.try_send(n));
            procyard_test::run_until(ctx, [&] { return got.done(); });
            CHECK(got.result() == n);
            const auto watched = procyard_test::watched_descriptors();
            CHECK(procyard_test::in_fork([&] {
                      r.reset();
                      return 0;
                  })
                  == 0);
            REQUIRE(procyard_test::watched_descriptors() == watched);
        }
    }

    TEST_CASE("the channel works on, and the peer's death is told, while a copy of us lives")
    {
        auto ends = make_channel<std::uint64_t>(small);
        sending_process<std::uint64_t> peer(ends, [](unopened<sender<std::uint64_t>> end) {
            return live(std::move(end), [](sender<std::uint64_t>& s) -> asio::awaitable<void> {
                for (std::uint64_t n = 0;; ++n)
                    co_await s.async_send(n, asio::use_awaitable);
            });
        });
        asio::io_context ctx;
        receiver<std::uint64_t> r(ctx.get_executor(), std::move(ends.receiver));
        std::uint64_t next = 0;
        error_code ec;
        const auto receive_until = [&](std::uint64_t until) {
            run_coroutine(ctx, [&, until]() -> asio::awaitable<void> {
                while (!ec && next < until) {
                    const auto n =
                        co_await r.async_receive(asio::redirect_error(asio::use_awaitable, ec));
                    if (!ec)
                        REQUIRE(n == next++);
                }
            });
        };
        receive_until(100);
        const procyard_test::forked copy([] {
            ::pause();
            return 0;
        });
        receive_until(1000);
        CHECK_FALSE(ec);
        peer.kill_hard();
        receive_until(without_end);
        CHECK(ec == channel_errc::peer_died);
        CHECK(r.statistics().depth == 0);
    }

    TEST_CASE("of a peer that has forked the death is told when its copy has ended as well")
    {
        int pipe[2];
        REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
        auto ends = make_channel<std::uint64_t>(small);
        sending_process<std::uint64_t> peer(ends, [&](unopened<sender<std::uint64_t>> end) {
            asio::io_context ctx;
            sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
            (void)s.try_send(1);
            const procyard_test::forked copy([] {
                ::pause();
                return 0;
            });
            const auto pid = copy.pid();
            (void)::write(pipe[1], &pid, sizeof pid);
            ::raise(SIGKILL);
            return 1;
        });
        ::close(pipe[1]);
        pid_t copy = -1;
        REQUIRE(::read(pipe[0], &copy, sizeof copy) == sizeof copy);
        ::close(pipe[0]);
        CHECK(peer.result() == -SIGKILL);
        asio::io_context ctx;
        receiver<std::uint64_t> r(ctx.get_executor(), std::move(ends.receiver));
        CHECK(r.try_receive() == std::uint64_t{1});
        outcome<error_code> readable;
        r.async_wait_readable(readable.handler());
        for (int i = 0; i < 10; ++i)
            ctx.poll();
        CHECK_FALSE(readable.done());
        REQUIRE(::kill(copy, SIGKILL) == 0);
        run(ctx);
        CHECK(readable.error() == channel_errc::peer_died);
    }
}
