// SPDX-License-Identifier: BSL-1.0
// Listeners that keep to no rules, say nothing, or die: the client is told by an error which it is,
// and nothing is left of the attempt.
#include <procyard/ipc/channel_connect.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/segment_error.hpp>
#include <procyard/ipc/syscall.hpp>

#include "forked.hpp"
#include "listener_fixture.hpp"
#include "message_samples.hpp"
#include "raw_listener.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::channel_options;
using procyard::error_code;
using procyard::receiver;
using procyard::segment_errc;
using procyard::unique_fd;
using procyard::detail::connection_status;
using procyard_test::all_seals;
using procyard_test::answer_of;
using procyard_test::connecting;
using procyard_test::descriptor_check;
using procyard_test::forked;
using procyard_test::memory_of;
using procyard_test::outcome;
using procyard_test::put_at;
using procyard_test::raw_listener;
using procyard_test::raw_peer;
using procyard_test::socket_place;

namespace {

const channel_options ring{.capacity_messages = 64};

using bytes = std::vector<std::byte>;
using listener_type = raw_listener<int>;

// A client that has asked, and whom it has asked.
struct asking {
    asking()
    {
        client.start(where.path);
        client.ctx.poll();
        listener->accept();
    }
    socket_place where;
    std::optional<listener_type> listener{std::in_place, where.path, ring};
    connecting<receiver<int>> client;
};

// What a listener does, and what the client is told. No error: it does not matter which.
struct attack {
    const char* name;
    std::function<void(listener_type&)> what;
    error_code told;
};

void check(const attack& each)
{
    CAPTURE(each.name);
    const descriptor_check no_leak;
    asking here;
    here.listener->read_request();
    each.what(*here.listener);
    const auto told = here.client.told();
    CHECK_MESSAGE((each.told ? told == each.told : told.failed()), told.message());
    CHECK_FALSE(here.client.end().is_open());
    CHECK(here.client.failure.peer.pid == ::getpid());
}

void check_all(const std::vector<attack>& attacks)
{
    for (const auto& each : attacks)
        check(each);
}

// A change of the answer, whose ring is good.
attack answering(const char* name, std::function<void(listener_type&)> change, error_code told)
{
    return {name,
            [change = std::move(change)](listener_type& listener) {
                listener.ring().greet();
                change(listener);
                listener.reply();
                listener.confirm();
            },
            told};
}
attack answering(const char* name, std::function<void(bytes&)> change, error_code told)
{
    return answering(
        name, [change = std::move(change)](listener_type& listener) { change(listener.answer); },
        told);
}
// A change of the hello in the ring's socket, whose answer is good.
attack greeting(const char* name, std::function<void(raw_peer<int>&)> change, error_code told)
{
    return {name,
            [change = std::move(change)](listener_type& listener) {
                change(listener.ring());
                listener.ring().greet();
                listener.reply();
                listener.confirm();
            },
            told};
}

}  // namespace

TEST_SUITE("async_connect: hostile listeners")
{
    TEST_CASE("answers that are none")
    {
        const auto is_bad = channel_errc::bad_hello;
        check_all({
            answering(
                "one byte", [](bytes& a) { a.resize(1); }, is_bad),
            answering(
                "a truncated header", [](bytes& a) { a.resize(39); }, is_bad),
            answering(
                "a truncated type", [](bytes& a) { a.pop_back(); }, is_bad),
            answering(
                "more than there can be", [](bytes& a) { a.resize(60'000); }, is_bad),
            answering(
                "garbage",
                [](bytes& a) {
                    procyard_test::fixed_random random(7);
                    for (auto& byte : a)
                        byte = static_cast<std::byte>(random.next());
                },
                is_bad),
            answering(
                "a type that is none", [](bytes& a) { a.back() = std::byte{0}; }, is_bad),
            answering(
                "a request", [](bytes& a) { std::memcpy(a.data(), "PRCYKNCK", 8); }, is_bad),
            answering(
                "another version", [](bytes& a) { put_at(a, 8, std::uint32_t{7}); },
                channel_errc::other_version),
            answering(
                "the fingerprint of another type", [](bytes& a) { a[40] ^= std::byte{1}; },
                channel_errc::other_type),
            answering(
                "the same direction",
                [](bytes& a) {
                    std::swap(a[20], a[22]);
                    std::swap(a[21], a[23]);
                    put_at(a, 16, std::uint32_t{2});
                },
                channel_errc::other_direction),
            answering(
                "no direction", [](bytes& a) { a = answer_of(connection_status::accepted); },
                channel_errc::other_direction),
            answering(
                "a status that there is not", [](bytes& a) { put_at(a, 12, 4711U); },
                channel_errc::refused),
        });
    }

    TEST_CASE("an answer with other sockets than the ring's")
    {
        const auto with = [](const char* name, std::function<void(std::vector<int>&)> change,
                             error_code told) {
            return answering(
                name, [change = std::move(change)](listener_type& l) { change(l.answer_fds); },
                told);
        };
        const auto is_bad = channel_errc::bad_hello;
        std::vector<attack> attacks{
            with(
                "none", [](auto& fds) { fds.clear(); }, is_bad),
            with(
                "two", [](auto& fds) { fds.push_back(fds[0]); }, is_bad),
            with(
                "three", [](auto& fds) { fds.assign(3, fds[0]); }, is_bad),
            with(
                "a hundred", [](auto& fds) { fds.assign(100, fds[0]); }, is_bad),
        };
        const auto wrong = procyard_test::wrong_descriptors();
        for (const auto& each : wrong)
            attacks.push_back(
                with("no socket of a ring", [&](auto& fds) { fds[0] = each.get(); }, {}));
        check_all(attacks);
    }

    TEST_CASE("a ring's socket that the listener has filled up, so that no hello goes in")
    {
        check(answering(
            "full",
            [](listener_type& listener) {
                const int fd = listener.offered.get();
                while (::send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0) { }
            },
            channel_errc::bad_hello));
    }

    TEST_CASE("capacities that no ring has, or that take more than the client allows")
    {
        const auto of = [](const char* name, std::uint64_t units, error_code told) {
            return answering(name, [units](bytes& a) { put_at(a, 24, units); }, told);
        };
        check_all({
            of("none", 0, channel_errc::bad_hello),
            of("no power of two", 63, channel_errc::bad_hello),
            of("2^63", std::uint64_t{1} << 63, channel_errc::bad_hello),
            of("2^40", std::uint64_t{1} << 40, channel_errc::over_limit),
            of("another than the ring's", 128, channel_errc::other_type),
        });
    }

    TEST_CASE("hellos that are none, after a good answer")
    {
        check_all({
            {"none at all",
             [](listener_type& listener) {
                 listener.reply();
                 listener.confirm();
             },
             channel_errc::bad_hello},
            greeting(
                "another version", [](auto& p) { p.fields.version = 7; },
                channel_errc::other_version),
            greeting(
                "another magic number", [](auto& p) { p.fields.magic ^= 1U; },
                channel_errc::bad_hello),
            greeting(
                "the same direction", [](auto& p) { p.fields.role = 1; },
                channel_errc::other_direction),
            greeting(
                "another type", [](auto& p) { ++p.fields.shape.type; }, channel_errc::other_type),
            greeting(
                "another capacity", [](auto& p) { p.fields.shape.unit_count = 128; },
                channel_errc::other_type),
            greeting(
                "more memory than allowed",
                [](auto& p) { p.fields.memory_bytes = std::uint64_t{1} << 40; },
                channel_errc::over_limit),
            greeting(
                "no descriptors", [](auto& p) { p.fds.clear(); }, channel_errc::bad_hello),
            greeting(
                "one descriptor", [](auto& p) { p.fds.pop_back(); }, channel_errc::bad_hello),
            greeting(
                "three descriptors", [](auto& p) { p.fds.push_back(p.fds[0]); },
                channel_errc::bad_hello),
        });
    }

    TEST_CASE("memory and bells of something else")
    {
        const std::size_t size = 4096 + 64 * 8;
        const auto unsealed = memory_of(size, F_SEAL_GROW);
        const auto half = memory_of(4096, all_seals);
        const auto larger = memory_of(size * 2, all_seals);
        const unique_fd event(::eventfd(0, EFD_CLOEXEC));
        const unique_fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
        const auto is_no_bell = procyard::make_errno(EBADMSG);
        const auto memory = [](const unique_fd& fd) {
            return [number = fd.get()](raw_peer<int>& p) { p.fds[0] = number; };
        };
        const auto bell = [](const unique_fd& fd) {
            return [number = fd.get()](raw_peer<int>& p) { p.fds[1] = number; };
        };
        check_all({
            greeting("unsealed", memory(unsealed), segment_errc::not_sealed),
            greeting("too small", memory(half), segment_errc::wrong_size),
            greeting("too large", memory(larger), segment_errc::wrong_size),
            greeting("a file", memory(file), segment_errc::not_shared_memory),
            greeting(
                "a bell", [](auto& p) { p.fds[0] = p.fds[1]; }, segment_errc::not_shared_memory),
            greeting("an eventfd to ring", bell(event), is_no_bell),
            greeting("a file to ring", bell(file), is_no_bell),
            greeting(
                "memory to ring", [](auto& p) { p.fds[1] = p.fds[0]; }, is_no_bell),
        });
    }

    TEST_CASE("confirmations that are none")
    {
        const auto with = [](const char* name, std::function<void(listener_type&)> change,
                             error_code told) -> attack {
            return {name,
                    [change = std::move(change)](listener_type& listener) {
                        listener.ring().greet();
                        listener.reply();
                        change(listener);
                        listener.confirm();
                    },
                    told};
        };
        check_all({
            with(
                "one byte", [](auto& l) { l.confirmation.resize(1); }, channel_errc::bad_hello),
            with(
                "with a descriptor", [](auto& l) { l.confirmation_fds = l.answer_fds; },
                channel_errc::bad_hello),
            with(
                "another version", [](auto& l) { put_at(l.confirmation, 8, std::uint32_t{7}); },
                channel_errc::other_version),
            with(
                "a refusal",
                [](auto& l) { l.confirmation = answer_of(connection_status::too_slow); },
                channel_errc::too_slow),
        });
    }

    TEST_CASE("one that talks without end is listened to no longer than an honest one")
    {
        check({"before it has been asked",
               [](listener_type& listener) { CHECK(listener.flood() > 1); },
               channel_errc::bad_hello});
        const descriptor_check no_leak;
        asking here;
        here.listener->ring().greet();
        here.listener->reply();
        CHECK(here.listener->flood() > 1);  // the first of them says that it is in
        CHECK_FALSE(here.client.told());
        CHECK(here.client.end().is_connected());
    }

    TEST_CASE("an honest raw one is connected to, which is what the others are measured by")
    {
        const descriptor_check no_leak;
        asking here;
        here.listener->read_request();
        here.listener->ring().greet();
        here.listener->reply();
        here.listener->confirm();
        CHECK_FALSE(here.client.told());
        CHECK(here.client.end().is_connected());
        CHECK(here.client.end().is_open());
    }
}

TEST_SUITE("async_connect: listeners that die or sleep")
{
    TEST_CASE("one that hangs up at any step: connection_reset, and nothing is left")
    {
        const std::vector<std::function<void(std::optional<listener_type>&)>> steps{
            [](auto& listener) { listener.reset(); },
            [](auto& listener) { listener->hang_up(); },
            [](auto& listener) {
                listener->read_request();
                listener->hang_up();
            },
            [](auto& listener) {
                listener->read_request();
                listener->ring().greet();
                listener->reply();
                listener->hang_up();  // with an answer on its way, and a descriptor in it
            },
            [](auto& listener) {
                listener->ring().greet();
                listener->reply();
                listener.reset();
            },
        };
        for (std::size_t n = 0; n < steps.size(); ++n) {
            CAPTURE(n);
            const descriptor_check no_leak;
            asking here;
            steps[n](here.listener);
            CHECK(here.client.told() == asio::error::connection_reset);
            CHECK_FALSE(here.client.end().is_open());
        }
    }

    TEST_CASE("one that goes before it has taken the connection out of its queue")
    {
        const descriptor_check no_leak;
        const socket_place where;
        std::optional<listener_type> listener(std::in_place, where.path, ring);
        connecting<receiver<int>> client;
        client.start(where.path);
        client.ctx.poll();
        CHECK_FALSE(client.connected.done());
        listener.reset();
        procyard_test::run(client.ctx);
        CHECK(client.error() == asio::error::connection_reset);
    }

    TEST_CASE("a ring whose other side has gone by the time it is confirmed is one that has ended")
    {
        const descriptor_check no_leak;
        asking here;
        here.listener->ring().greet();
        here.listener->reply();
        here.listener->let_go_of_ring();
        here.listener->confirm();
        CHECK_FALSE(here.client.told());
        outcome<error_code, int> received;
        here.client.end().async_receive(received.handler());
        procyard_test::run(here.client.ctx);
        CHECK(received.error() == channel_errc::peer_died);
    }

    TEST_CASE("one that is killed between its answer and its last word")
    {
        const descriptor_check no_leak;
        const socket_place where;
        std::optional<listener_type> listener(std::in_place, where.path, ring);
        forked server([&]() -> int {
            listener->accept();
            listener->read_request();
            listener->ring().greet();
            listener->reply();
            ::raise(SIGKILL);
            return 0;
        });
        connecting<receiver<int>> client;
        client.start(where.path);
        procyard_test::run(client.ctx);
        CHECK(client.error() == asio::error::connection_reset);
        CHECK(client.failure.peer.pid == ::getpid());  // who had called listen
        CHECK(server.result() == -SIGKILL);
    }

    TEST_CASE("one that says nothing any more is waited for until that is cancelled")
    {
        for (const bool has_answered : {false, true}) {
            CAPTURE(has_answered);
            const descriptor_check no_leak;
            const socket_place where;
            listener_type listener(where.path, ring);
            asio::io_context ctx;
            asio::cancellation_signal deadline;
            outcome<error_code, receiver<int>> connected;
            procyard::async_connect<receiver<int>>(
                ctx.get_executor(), where.path,
                asio::bind_cancellation_slot(deadline.slot(), connected.handler()));
            ctx.poll();
            listener.accept();
            if (has_answered) {
                listener.ring().greet();
                listener.reply();
            }
            ctx.poll();
            CHECK_FALSE(connected.done());
            deadline.emit(asio::cancellation_type::terminal);
            procyard_test::run(ctx);
            CHECK(connected.error() == asio::error::operation_aborted);
            CHECK_FALSE(connected.result().is_open());
        }
    }
}
