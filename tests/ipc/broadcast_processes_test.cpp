// SPDX-License-Identifier: BSL-1.0
// A writer and its subscribers in different processes, of which some are killed, stopped or
// hostile. Numbers of cases are those of the design.
#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/latest_value.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "broadcast_fixture.hpp"
#include "forked.hpp"
#include "procyard_test.hpp"
#include "shared_array.hpp"

namespace asio = boost::asio;
using procyard::broadcaster;
using procyard::channel_errc;
using procyard::error_code;
using procyard::latest_reader;
using procyard::latest_value;
using procyard::slow_reader;
using procyard::subscriber;
using procyard::unopened;
using procyard_test::forked;
using procyard_test::mark;
using procyard_test::marked;
using procyard_test::outcome;
using procyard_test::run;
using procyard_test::run_until;

namespace {

constexpr procyard::subscription_options holding{.when_slow = slow_reader::holds_back};

// Where a copy of this process waits until this one lets it go on.
class gate {
public:
    gate() { REQUIRE(::pipe2(ends_, O_CLOEXEC) == 0); }
    gate(const gate&) = delete;
    gate& operator=(const gate&) = delete;
    ~gate()
    {
        ::close(ends_[0]);
        open();
    }

    void let_pass() const { REQUIRE(::write(ends_[1], "x", 1) == 1); }
    // From now on nobody waits.
    void open()
    {
        if (ends_[1] != -1)
            ::close(std::exchange(ends_[1], -1));
    }
    // In a copy, for each of them one gate.
    void pass()
    {
        open();  // this copy of it
        char byte = 0;
        (void)!::read(ends_[0], &byte, 1);
    }

private:
    int ends_[2] = {-1, -1};
};

// A subscriber's process: the exit code says what was wrong. With a gate, it begins to receive when
// it may pass, and has lost something by then.
template <class T>
int receive_in_child(unopened<subscriber<T>> end, std::uint64_t sent, gate* late = nullptr)
{
    asio::io_context ctx;
    subscriber<T> s(ctx.get_executor(), std::move(end));
    if (late != nullptr)
        late->pass();
    const auto seen = procyard_test::receive_all(ctx, s);
    if (seen.torn != 0)
        return 1;
    if (seen.wrong != 0)
        return 2;
    if (seen.end != channel_errc::closed)
        return 3;
    if (late != nullptr && (s.lost() == 0 || seen.lapses == 0))
        return 4;
    return seen.received + s.lost() == sent ? 0 : 5;
}

// The same of one that may pass before each message, and loses none.
int receive_slowly(unopened<subscriber<marked>> end, std::uint64_t sent, gate& each)
{
    asio::io_context ctx;
    subscriber<marked> s(ctx.get_executor(), std::move(end));
    for (std::uint64_t n = 0;; ++n) {
        each.pass();
        outcome<error_code, marked> got;
        s.async_receive(got.handler());
        ctx.restart();
        ctx.run();
        if (got.error())
            return got.error() == channel_errc::closed && n == sent ? 0 : 1;
        if (!is_whole(got.result()) || got.result().number != n)
            return 2;
    }
}

// A copy of this process, with what it has inherited of the broadcast left alone: it must not keep
// the writer's descriptors, or it would be taken for the writer.
template <class T, class Body>
forked in_subscriber(broadcaster<T>& b, unopened<subscriber<T>>& end, Body body)
{
    return forked([&] {
        auto mine = std::move(end);
        b.close();
        return body(std::move(mine));
    });
}

}  // namespace

TEST_SUITE("broadcast: processes")
{
    TEST_CASE("lossy: each process knows exactly what it has lost, and nothing is torn (case 13)")
    {
        constexpr std::uint64_t many = 20'000;
        constexpr std::uint64_t kept = 16;
        asio::io_context ctx;
        broadcaster<marked> b(ctx.get_executor(), {.capacity_messages = kept});
        auto first = b.subscribe();
        auto second = b.subscribe();
        gate first_gate;
        gate second_gate;
        forked one([&] {
            b.close();
            second = {};
            second_gate.open();
            return receive_in_child(std::move(first), many, &first_gate);
        });
        first = {};
        forked two([&] {
            b.close();
            first_gate.open();
            return receive_in_child(std::move(second), many, &second_gate);
        });
        second = {};
        for (std::uint64_t n = 0; n < many; ++n) {
            if (n == 2 * kept)
                first_gate.open();
            if (n == many / 2)
                second_gate.open();
            REQUIRE(b.try_send(mark(n)));
        }
        b.close();
        CHECK(one.result() == 0);
        CHECK(two.result() == 0);
    }

    TEST_CASE("holding back: the slowest process decides, and nobody loses anything (case 14)")
    {
        constexpr std::uint64_t many = 400;
        constexpr std::uint64_t kept = 16;
        std::mt19937 random(3);
        asio::io_context ctx;
        broadcaster<marked> b(ctx.get_executor(), {.capacity_messages = kept});
        auto quick_end = b.subscribe(holding);
        auto slow_end = b.subscribe(holding);
        gate slow_gate;
        forked quick([&] {
            b.close();
            slow_end = {};
            slow_gate.open();
            return receive_in_child(std::move(quick_end), many);
        });
        quick_end = {};
        forked slow([&] {
            b.close();
            return receive_slowly(std::move(slow_end), many, slow_gate);
        });
        slow_end = {};
        std::uint64_t sent = 0;
        while (b.try_send(mark(sent)))
            ++sent;
        CHECK(sent == kept);
        while (sent < many) {
            CAPTURE(sent);
            const auto more = std::min<std::uint64_t>(1 + random() % kept, many - sent);
            for (std::uint64_t n = 0; n < more; ++n)
                slow_gate.let_pass();
            for (std::uint64_t n = 0; n < more; ++n) {
                outcome<error_code> done;
                b.async_send(mark(sent++), done.handler());
                run(ctx);
                REQUIRE_FALSE(done.error());
            }
            // As many as the slow one has received, however many the other has.
            error_code ec;
            CHECK_FALSE(b.try_send(mark(sent), ec));
            CHECK(ec == asio::error::would_block);
        }
        slow_gate.open();
        b.close();
        CHECK(quick.result() == 0);
        CHECK(slow.result() == 0);
    }

    TEST_CASE("one that is dropped learns what it has lost, and the others lose nothing (case 14)")
    {
        constexpr std::uint64_t many = 1'000;
        constexpr std::uint64_t kept = 16;
        constexpr procyard::subscription_options dropping{.when_slow = slow_reader::is_dropped};
        asio::io_context ctx;
        broadcaster<marked> b(ctx.get_executor(), {.capacity_messages = kept});
        auto holding_end = b.subscribe(holding);
        auto slow_end = b.subscribe(dropping);
        gate slow_gate;
        forked waited_for([&] {
            b.close();
            slow_end = {};
            slow_gate.open();
            return receive_in_child(std::move(holding_end), many);
        });
        holding_end = {};
        forked slow([&] {
            b.close();
            asio::io_context there;
            subscriber<marked> s(there.get_executor(), std::move(slow_end));
            slow_gate.pass();
            marked got{};
            error_code ec;
            if (s.try_receive(got, ec) || ec != channel_errc::lapped || s.is_open())
                return 1;
            return s.lost() == many - kept ? 0 : 2;
        });
        slow_end = {};
        // Dropped as well, if it were too slow.
        subscriber<marked> quick(ctx.get_executor(), b.subscribe(dropping));
        for (std::uint64_t n = 0; n < many; ++n) {
            outcome<error_code> done;
            b.async_send(mark(n), done.handler());
            run(ctx);
            REQUIRE_FALSE(done.error());
            const auto got = quick.try_receive();
            REQUIRE(got);
            REQUIRE((is_whole(*got) && got->number == n));
        }
        CHECK(b.readers() == 3);
        slow_gate.open();
        CHECK(slow.result() == 0);
        CHECK(b.readers() == 2);
        b.close();
        CHECK(waited_for.result() == 0);
        CHECK(quick.lost() == 0);
        CHECK(b.cut_off() == 0);
    }

    TEST_CASE("a killed subscriber holds nobody back, whether the writer waits or tries")
    {
        for (const bool waits : {true, false}) {
            CAPTURE(waits);
            asio::io_context ctx;
            broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 2});
            auto end = b.subscribe({.when_slow = slow_reader::holds_back});
            auto child = in_subscriber(b, end, [](unopened<subscriber<int>> mine) {
                asio::io_context own;
                subscriber<int> s(own.get_executor(), std::move(mine));
                return ::pause();
            });
            end = {};
            while (b.try_send(1)) { }
            outcome<error_code> sent;
            if (waits) {
                b.async_send(2, sent.handler());
                ctx.poll();
                CHECK(!sent.done());
            }
            child.kill_hard();
            if (waits) {
                run(ctx);
                CHECK(sent.error() == error_code());
            }
            CHECK(b.try_send(3));
            CHECK(b.readers() == 0);
            CHECK(b.cut_off() == 0);
        }
    }

    TEST_CASE("subscribers killed at any moment hold nobody back, and others lose nothing")
    {
        std::mt19937 random(5);
        asio::io_context ctx;
        broadcaster<marked> b(ctx.get_executor(), {.capacity_messages = 4});
        subscriber<marked> witness(ctx.get_executor(), b.subscribe(holding));
        std::uint64_t sent = 0;
        std::uint64_t wrong = 0;
        for (int round = 0; round < 100; ++round) {
            CAPTURE(round);
            auto end = b.subscribe(holding);
            auto child = in_subscriber(b, end, [](unopened<subscriber<marked>> mine) {
                asio::io_context own;
                subscriber<marked> s(own.get_executor(), std::move(mine));
                (void)procyard_test::receive_all(own, s);
                return 0;
            });
            end = {};
            const auto last = sent + random() % 64;
            const auto send = [&] {
                outcome<error_code> done;
                b.async_send(mark(sent), done.handler());
                run(ctx);
                REQUIRE(!done.error());
                const auto got = witness.try_receive();
                wrong += got && is_whole(*got) && got->number == sent ? 0U : 1U;
                ++sent;
            };
            while (sent < last)
                send();
            child.kill_hard();
            for (int i = 0; i < 8; ++i)
                send();
            CHECK(b.readers() == 1);
        }
        CHECK(wrong == 0);
        CHECK(witness.lost() == 0);
        CHECK(b.cut_off() == 0);
    }

    TEST_CASE("a stopped subscriber is waited for; the wait can be cancelled (case 35)")
    {
        asio::io_context ctx;
        broadcaster<int> b(ctx.get_executor(), {.capacity_messages = 2});
        auto end = b.subscribe({.when_slow = slow_reader::holds_back});
        auto child = in_subscriber(b, end, [](unopened<subscriber<int>> mine) {
            ::raise(SIGSTOP);
            asio::io_context own;
            subscriber<int> s(own.get_executor(), std::move(mine));
            int sum = 0;
            for (;;) {
                outcome<error_code, int> got;
                s.async_receive(got.handler());
                own.restart();
                own.run();
                if (got.error())
                    return got.error() == channel_errc::closed ? sum : 100;
                sum += got.result();
            }
        });
        end = {};
        int status = 0;
        REQUIRE(::waitpid(child.pid(), &status, WUNTRACED) == child.pid());
        CHECK(b.try_send(1));
        CHECK(b.try_send(2));
        asio::cancellation_signal give_up;
        outcome<error_code> given_up;
        b.async_send(50, asio::bind_cancellation_slot(give_up.slot(), given_up.handler()));
        ctx.poll();
        CHECK(!given_up.done());
        give_up.emit(asio::cancellation_type::total);
        run(ctx);
        CHECK(given_up.error() == asio::error::operation_aborted);
        outcome<error_code> sent;
        b.async_send(4, sent.handler());
        ctx.restart();
        ctx.poll();
        CHECK(!sent.done());
        CHECK(b.readers() == 1);
        ::kill(child.pid(), SIGCONT);
        run(ctx);
        CHECK(sent.error() == error_code());
        b.close();
        CHECK(child.result() == 7);
    }

    TEST_CASE("a writer killed at any moment: all that was published, nothing torn, then peer_died")
    {
        std::mt19937 random(7);
        std::uint64_t received = 0;
        for (int round = 0; round < 200; ++round) {
            CAPTURE(round);
            int ready[2];
            REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
            const procyard_test::shared_array<std::uint64_t> published(1);
            forked writer([&] {
                ::close(ready[0]);
                asio::io_context ctx;
                broadcaster<marked> b(ctx.get_executor(), {.capacity_messages = 8});
                auto end = b.subscribe();
                forked reader([&] {
                    const auto report = ready[1];
                    b.close();
                    asio::io_context own;
                    subscriber<marked> s(own.get_executor(), std::move(end));
                    const auto seen = procyard_test::receive_all(own, s);
                    const bool all = seen.received + s.lost() >= published[0].load();
                    const char good = all && seen.torn == 0 && seen.wrong == 0
                            && seen.end == channel_errc::peer_died
                        ? (seen.received > 0 ? 'y' : 'e')
                        : 'n';
                    return ::write(report, &good, 1) == 1 ? 0 : 1;
                });
                end = {};
                for (std::uint64_t n = 0;; ++n) {
                    (void)b.try_send(mark(n));
                    published[0].store(n + 1);
                }
                return 0;
            });
            ::close(ready[1]);
            const std::chrono::microseconds later(random() % 3000);
            asio::io_context ctx;
            asio::steady_timer timer(ctx, later);
            timer.async_wait([](error_code) { });
            run(ctx);
            writer.kill_hard();
            char said = 0;
            const auto got = ::read(ready[0], &said, 1);
            ::close(ready[0]);
            // Nothing: it was killed before there was a reader.
            CAPTURE(published[0].load());
            CHECK((got == 0 || said == 'y' || said == 'e'));
            received += said == 'y' ? 1U : 0U;
        }
        MESSAGE("rounds in which something had been received: " << received);
        CHECK(received > 0);
    }
}

TEST_SUITE("latest value: processes")
{
    TEST_CASE("a writer killed in the middle of a store leaves a whole value")
    {
        std::mt19937 random(11);
        std::uint64_t loaded = 0;
        for (int round = 0; round < 100; ++round) {
            CAPTURE(round);
            int ready[2];
            REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
            forked writer([&] {
                ::close(ready[0]);
                asio::io_context ctx;
                latest_value<marked> value(ctx.get_executor());
                auto end = value.subscribe();
                forked reader([&] {
                    value.close();
                    asio::io_context own;
                    latest_reader<marked> r(own.get_executor(), std::move(end));
                    error_code ec;
                    bool good = true;
                    while (!ec) {
                        r.async_wait_changed([&](error_code e) { ec = e; });
                        own.restart();
                        own.run();
                        const auto& now = r.load();
                        good = good && (!now || is_whole(*now));
                    }
                    good = good && ec == channel_errc::peer_died;
                    const char said = !good ? 'n' : r.load() ? 'y' : 'e';
                    return ::write(ready[1], &said, 1) == 1 ? 0 : 1;
                });
                end = {};
                for (std::uint64_t n = 0;; ++n)
                    (void)value.store(mark(n));
                return 0;
            });
            ::close(ready[1]);
            asio::io_context ctx;
            asio::steady_timer timer(ctx, std::chrono::microseconds(random() % 3000));
            timer.async_wait([](error_code) { });
            run(ctx);
            writer.kill_hard();
            char said = 0;
            const auto got = ::read(ready[0], &said, 1);
            ::close(ready[0]);
            CHECK((got == 0 || said == 'y' || said == 'e'));
            loaded += said == 'y' ? 1U : 0U;
        }
        CHECK(loaded > 0);
    }
}
