// SPDX-License-Identifier: BSL-1.0
// Clients that keep to no rules, are slow, or die: each is told or forgotten, nothing is left of
// it, and the next one gets in.
#include <procyard/ipc/channel_listener.hpp>

#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/channel_connect.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/syscall.hpp>

#include "channel_fixture.hpp"
#include "listener_fixture.hpp"
#include "message_samples.hpp"
#include "raw_client.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::receiver;
using procyard::segment_errc;
using procyard::sender;
using procyard::unique_fd;
using procyard::detail::connection_status;
using procyard_test::all_seals;
using procyard_test::connecting;
using procyard_test::descriptor_check;
using procyard_test::listening;
using procyard_test::memory_of;
using procyard_test::raw_client;
using procyard_test::raw_peer;
using procyard_test::run_both;

namespace {

using namespace std::chrono_literals;

const channel_options ring{.capacity_messages = 64};

// A listener that accepts, and what a client may do to it.
struct under_attack {
    explicit under_attack(procyard::channel_listen_options options = {})
        : server(with_ring(std::move(options)))
    {
        server.accept();
    }
    static procyard::channel_listen_options with_ring(procyard::channel_listen_options options)
    {
        options.channel = ring;
        return options;
    }
    raw_client<int> client()
    {
        return raw_client<int>(server.where.path, [this] { pump(); });
    }
    void pump()
    {
        server.ctx.restart();
        server.ctx.poll();
    }
    // An honest client, who gets in.
    void check_still_works()
    {
        connecting<sender<int>> good;
        good.start(server.where.path);
        run_both(server.ctx, good.ctx,
                 [&] { return server.accepted.done() && good.connected.done(); });
        REQUIRE_FALSE(server.accepted.error());
        REQUIRE_FALSE(good.error());
        CHECK(good.end().try_send(7));
        CHECK(server.accepted.result().end.try_receive() == 7);
    }

    listening<receiver<int>> server;
};

// What a client does, what the listener makes of it, and what the client is told.
struct attack {
    const char* name;
    std::function<void(raw_client<int>&)> what;
    error_code seen;
    connection_status told;
};

void check(const attack& each)
{
    CAPTURE(each.name);
    const descriptor_check no_leak;
    under_attack here;
    auto client = here.client();
    each.what(client);
    CHECK(here.server.next_refusal().why == each.seen);
    const auto told = client.hear();
    REQUIRE(told);
    CHECK(told->status == each.told);
    CHECK_FALSE(client.hear());  // and hung up
    const auto counts = here.server.listener.statistics();
    CHECK(counts.unfit == 1);
    CHECK(counts.pending == 0);
    CHECK(counts.accepted == 0);
    here.check_still_works();
}

// A change of the request, or of the hello.
attack asking(const char* name, std::function<void(std::vector<std::byte>&)> change, error_code ec,
              connection_status told)
{
    return {name,
            [change = std::move(change)](raw_client<int>& client) {
                change(client.request);
                client.ask();
            },
            ec, told};
}
attack greeting(const char* name, std::function<void(raw_peer<int>&)> change, error_code ec,
                connection_status told = connection_status::bad_hello)
{
    return {name,
            [change = std::move(change)](raw_client<int>& client) {
                auto peer = client.enter(ring);
                change(peer);
                peer.greet();
            },
            ec, told};
}

}  // namespace

TEST_SUITE("channel_listener: hostile clients")
{
    TEST_CASE("requests that are none")
    {
        const std::vector<attack> attacks{
            asking(
                "one byte", [](auto& r) { r.resize(1); }, channel_errc::bad_hello,
                connection_status::bad_hello),
            asking(
                "a truncated header", [](auto& r) { r.resize(39); }, channel_errc::bad_hello,
                connection_status::bad_hello),
            asking(
                "a truncated type", [](auto& r) { r.pop_back(); }, channel_errc::bad_hello,
                connection_status::bad_hello),
            asking(
                "more than there can be", [](auto& r) { r.resize(60'000); },
                channel_errc::bad_hello, connection_status::bad_hello),
            asking(
                "garbage",
                [](auto& r) {
                    procyard_test::fixed_random random(5);
                    for (auto& byte : r)
                        byte = static_cast<std::byte>(random.next());
                },
                channel_errc::bad_hello, connection_status::bad_hello),
            asking(
                "a type that is none", [](auto& r) { r.back() = std::byte{0}; },
                channel_errc::bad_hello, connection_status::bad_hello),
            asking(
                "another version", [](auto& r) { r[8] = std::byte{2}; },
                channel_errc::other_version, connection_status::other_version),
            asking(
                "the fingerprint of another type", [](auto& r) { r[40] ^= std::byte{1}; },
                channel_errc::other_type, connection_status::other_type),
            {"a descriptor",
             [](raw_client<int>& client) {
                 client.request_fds = {0};
                 client.ask();
             },
             channel_errc::bad_hello, connection_status::bad_hello},
            {"a hundred descriptors",
             [](raw_client<int>& client) {
                 client.request_fds.assign(100, 0);
                 client.ask();
             },
             channel_errc::bad_hello, connection_status::bad_hello},
        };
        for (const auto& each : attacks)
            check(each);
    }

    TEST_CASE("hellos that are none, after a good request")
    {
        const std::vector<attack> attacks{
            greeting(
                "another version", [](auto& p) { p.fields.version = 7; },
                channel_errc::other_version, connection_status::other_version),
            greeting(
                "another magic number", [](auto& p) { p.fields.magic ^= 1U; },
                channel_errc::bad_hello),
            greeting(
                "the same direction", [](auto& p) { p.fields.role = 1; },
                channel_errc::other_direction, connection_status::other_direction),
            greeting(
                "another type", [](auto& p) { ++p.fields.shape.type; }, channel_errc::other_type,
                connection_status::other_type),
            greeting(
                "another capacity", [](auto& p) { p.fields.shape.unit_count = 128; },
                channel_errc::other_type, connection_status::other_type),
            greeting(
                "more memory than allowed",
                [](auto& p) { p.fields.memory_bytes = std::uint64_t{1} << 40; },
                channel_errc::over_limit, connection_status::over_limit),
            greeting(
                "no descriptors", [](auto& p) { p.fds.clear(); }, channel_errc::bad_hello),
            greeting(
                "one descriptor", [](auto& p) { p.fds.pop_back(); }, channel_errc::bad_hello),
            greeting(
                "three descriptors", [](auto& p) { p.fds.push_back(p.fds[0]); },
                channel_errc::bad_hello),
            greeting(
                "a bell in the place of memory", [](auto& p) { p.fds[0] = p.fds[1]; },
                segment_errc::not_shared_memory),
            greeting(
                "memory in the place of a bell", [](auto& p) { p.fds[1] = p.fds[0]; },
                procyard::make_errno(EBADMSG)),
        };
        for (const auto& each : attacks)
            check(each);
    }

    TEST_CASE("memory and bells of something else")
    {
        const std::size_t size = 4096 + 64 * 8;
        const auto unsealed = memory_of(size, F_SEAL_GROW);
        const auto half = memory_of(4096, all_seals);
        const auto larger = memory_of(size * 2, all_seals);
        const unique_fd event(::eventfd(0, EFD_CLOEXEC));
        const unique_fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
        const auto memory = [](const unique_fd& fd) {
            return [number = fd.get()](raw_peer<int>& p) { p.fds[0] = number; };
        };
        const auto bell = [](const unique_fd& fd) {
            return [number = fd.get()](raw_peer<int>& p) { p.fds[1] = number; };
        };
        const std::vector<attack> attacks{
            greeting("unsealed", memory(unsealed), segment_errc::not_sealed),
            greeting("too small", memory(half), segment_errc::wrong_size),
            greeting("too large", memory(larger), segment_errc::wrong_size),
            greeting("a file", memory(file), segment_errc::not_shared_memory),
            greeting("an eventfd to ring", bell(event), procyard::make_errno(EBADMSG)),
            greeting("a file to ring", bell(file), procyard::make_errno(EBADMSG)),
        };
        for (const auto& each : attacks)
            check(each);
    }

    TEST_CASE("one that hangs up at any step is lost, and nothing is left")
    {
        const std::vector<std::function<void(raw_client<int>&)>> steps{
            [](raw_client<int>& client) { client.hang_up(); },
            [](raw_client<int>& client) {
                client.ask();
                client.hang_up();  // with an answer on its way, and descriptors in it
            },
            [](raw_client<int>& client) {
                (void)client.enter(ring);
                client.hang_up();
            },
            [](raw_client<int>& client) {
                auto peer = client.enter(ring);
                client.hang_up();
                peer.greet();  // the ring is good, but nobody hears that
            },
        };
        for (const auto& step : steps) {
            const descriptor_check no_leak;
            under_attack here;
            auto client = here.client();
            step(client);
            CHECK(here.server.next_refusal().why == channel_errc::peer_died);
            CHECK(here.server.listener.statistics().lost == 1);
            here.check_still_works();
        }
    }

    TEST_CASE("an honest raw one gets in, which is what the others are measured by")
    {
        const descriptor_check no_leak;
        under_attack here;
        auto client = here.client();
        auto peer = client.enter(ring);
        peer.greet();
        const auto told = client.hear();
        REQUIRE(told);
        CHECK(told->status == connection_status::accepted);
        peer.meet();
        procyard_test::run_until(here.server.ctx, [&] { return here.server.accepted.done(); });
        CHECK_FALSE(here.server.accepted.error());
        CHECK(here.server.accepted.result().end.is_connected());
    }
}

TEST_SUITE("channel_listener: slow clients")
{
    TEST_CASE("one that says nothing does not hold up the next")
    {
        const descriptor_check no_leak;
        under_attack here;
        auto silent = here.client();
        here.pump();
        CHECK(here.server.listener.statistics().pending == 1);
        here.check_still_works();
        CHECK(here.server.listener.statistics().pending == 1);
        here.server.listener.close();
        const auto told = silent.hear();
        REQUIRE(told);
        CHECK(told->status == connection_status::unavailable);
    }

    TEST_CASE("is told when its deadline is over, whatever it has said by then")
    {
        for (const auto period : {-1h + 0ns, 0ns, 1ns, 1'000'000ns}) {
            CAPTURE(period.count());
            for (const bool has_asked : {false, true}) {
                const descriptor_check no_leak;
                under_attack here({.deadline = period});
                auto slow = here.client();
                if (has_asked)
                    slow.ask();
                CHECK(here.server.next_refusal().why == channel_errc::too_slow);
                CHECK(here.server.listener.statistics().too_slow == 1);
                auto told = slow.hear();
                if (has_asked && told && told->status == connection_status::accepted)
                    told = slow.hear();
                REQUIRE(told);
                CHECK(told->status == connection_status::too_slow);
                CHECK_FALSE(slow.hear());
            }
        }
    }

    TEST_CASE("may take as long as they like where the deadline is as far away as can be (case 22)")
    {
        const descriptor_check no_leak;
        under_attack here({.deadline = std::chrono::nanoseconds::max()});
        auto slow = here.client();
        here.pump();
        CHECK(here.server.listener.statistics().pending == 1);
        here.check_still_works();
        here.pump();
        CHECK(here.server.listener.statistics().pending == 1);
        CHECK(here.server.listener.statistics().too_slow == 0);
        slow.ask();
        const auto told = slow.hear();
        REQUIRE(told);
        CHECK(told->status == connection_status::accepted);
    }

    TEST_CASE("when all places are taken the one that has been silent for longest goes")
    {
        const descriptor_check no_leak;
        under_attack here({.max_handshakes = 2});
        auto first = here.client();
        here.pump();
        auto second = here.client();
        here.pump();
        CHECK(here.server.listener.statistics().pending == 2);
        here.check_still_works();
        CHECK(here.server.refusals.size() == 1);
        CHECK(here.server.refusals[0].why == channel_errc::unavailable);
        const auto told = first.hear();
        REQUIRE(told);
        CHECK(told->status == connection_status::unavailable);
        CHECK(here.server.listener.statistics().pending == 1);
    }

    TEST_CASE("those that have asked and then do nothing go as well, after a while")
    {
        const descriptor_check no_leak;
        under_attack here({.deadline = 4s, .max_handshakes = 1});
        auto stuck = here.client();
        stuck.ask();
        REQUIRE(stuck.hear());
        CHECK(here.server.listener.statistics().pending == 1);
        here.check_still_works();
        CHECK(here.server.refusals.size() == 1);
        const auto told = stuck.hear();
        REQUIRE(told);
        CHECK((told->status == connection_status::unavailable
               || told->status == connection_status::too_slow));
    }

    TEST_CASE("when nobody accepts any more, what has begun goes on, and then nothing")
    {
        const descriptor_check no_leak;
        under_attack here;
        here.check_still_works();
        auto late = here.client();
        procyard_test::run(here.server.ctx);  // nothing to do: it waits in the kernel
        CHECK(here.server.listener.statistics().pending == 0);
    }
}
