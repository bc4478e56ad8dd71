// SPDX-License-Identifier: BSL-1.0
// Ends that go on with another peer, after the first has closed or died.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "message_samples.hpp"
#include "raw_peer.hpp"

namespace asio = boost::asio;
using procyard::channel;
using procyard::channel_errc;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unopened;
using procyard::detail::ring_role;
using procyard_test::drain;
using procyard_test::fill;
using procyard_test::fixed_random;
using procyard_test::outcome;
using procyard_test::raw_peer;
using procyard_test::receiving_process;
using procyard_test::run;
using procyard_test::run_coroutine;
using procyard_test::sending_process;

namespace {

constexpr procyard::channel_options eight{.capacity_messages = 8};

// What copies of this process report, in the order in which they do.
class reports {
public:
    reports() { REQUIRE(::pipe2(ends_, O_CLOEXEC | O_NONBLOCK) == 0); }
    reports(const reports&) = delete;
    reports& operator=(const reports&) = delete;
    ~reports()
    {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    void say(std::uint64_t n) const { (void)!::write(ends_[1], &n, sizeof n); }
    std::vector<std::uint64_t> take() const
    {
        std::vector<std::uint64_t> all;
        for (std::uint64_t n = 0; ::read(ends_[0], &n, sizeof n) == sizeof n;)
            all.push_back(n);
        return all;
    }

private:
    int ends_[2] = {-1, -1};
};

template <class T>
T message_of(std::uint64_t n)
{
    if constexpr (std::is_same_v<T, std::string>)
        return std::to_string(n) + std::string(n * 13 % 50, '.');
    else
        return n;
}
std::uint64_t number_of(std::uint64_t n)
{
    return n;
}
std::uint64_t number_of(const std::string& text)
{
    return std::stoull(text);
}

const std::string long_text(1000, 'l');

// Sends a message that is longer than the ring. The receiver takes its parts, but for the last.
void send_but_for_its_last_part(asio::io_context& ctx, sender<std::string>& from,
                                receiver<std::string>& to, const std::string& text)
{
    outcome<error_code> sent;
    from.async_send(text, sent.handler());
    for (;;) {
        ctx.restart();
        ctx.poll();
        if (sent.done())
            break;
        error_code ec;
        std::string none;
        REQUIRE_FALSE(to.try_receive(none, ec));
        REQUIRE(ec == asio::error::would_block);
    }
    REQUIRE_FALSE(sent.error());
}

std::string receive(asio::io_context& ctx, receiver<std::string>& from)
{
    outcome<error_code, std::string> got;
    from.async_receive(got.handler());
    procyard_test::run_until(ctx, [&] { return got.done(); });
    CHECK_FALSE(got.error());
    return got.result();
}

// Only its receiver.
template <class T>
procyard::unopened_channel<T> with_receiver(unopened<receiver<T>> end)
{
    procyard::unopened_channel<T> ends;
    ends.receiver = std::move(end);
    return ends;
}

// An end, and a peer that can die without a word.
template <class T, class End>
struct mortal_peer {
    mortal_peer(asio::io_context& ctx, ring_role role)
    {
        auto sockets = procyard::detail::make_hello_sockets(procyard::detail::terms_of<T>(eight));
        peer.emplace(role, std::move(sockets.second), eight);
        peer->greet();
        end = End(ctx.get_executor(), unopened<End>(std::move(sockets.first), eight));
        peer->meet();
        peer->let_go();
        REQUIRE(end.is_connected());
    }

    std::optional<raw_peer<T>> peer;
    End end;
};

// Receives `alone` messages one by one, takes up to `held` more into a batch that it holds, and is
// killed.
template <class T>
asio::awaitable<void> work_and_die(receiver<T>& from, std::uint64_t alone, std::uint64_t held,
                                   const reports& to)
{
    for (std::uint64_t i = 0; i < alone; ++i)
        to.say(number_of(co_await from.async_receive(asio::use_awaitable)));
    auto batch = co_await from.async_receive_some(asio::use_awaitable);
    T message{};
    for (std::uint64_t i = 0; i < held && batch.next(message); ++i)
        to.say(number_of(message));
    ::raise(SIGKILL);
}

// A sender in this process, and receivers in others that are killed one after the other. What each
// has received one by one is not sent again, what it held is.
template <class T>
void restart_receivers(const procyard::channel_options& options, int restarts)
{
    fixed_random random(21);
    reports received;
    asio::io_context ctx;
    auto ends = make_channel<T>(options);
    sender<T> s(ctx.get_executor(), std::move(ends.sender));
    std::uint64_t next = 0;      // to be sent
    std::uint64_t expected = 0;  // of the next receiver
    for (int n = 0; n < restarts; ++n) {
        CAPTURE(n);
        const auto alone = random.below(30);
        const auto held = random.below(5);
        receiving_process<T> peer(ends, [&](unopened<receiver<T>> end) {
            asio::io_context there;
            receiver<T> r(there.get_executor(), std::move(end));
            run_coroutine(there, [&] { return work_and_die(r, alone, held, received); });
            return 1;
        });
        error_code ec;
        run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            while (!ec) {
                auto message = message_of<T>(next);
                co_await s.async_send(std::move(message),
                                      asio::redirect_error(asio::use_awaitable, ec));
                next += ec ? 0 : 1;
            }
        });
        REQUIRE(ec == channel_errc::peer_died);
        REQUIRE(peer.result() == -SIGKILL);
        const auto got = received.take();
        REQUIRE(got.size() >= alone);
        for (std::size_t i = 0; i < got.size(); ++i)
            REQUIRE(got[i] == expected + i);
        expected += alone;
        ends = with_receiver(s.resume());
        CHECK(s.is_open());
        CHECK_FALSE(s.is_connected());
        CHECK(s.statistics().depth == next - expected);
    }
    receiver<T> last(ctx.get_executor(), std::move(ends.receiver));
    s.close();
    T message{};
    error_code ec;
    while (last.try_receive(message, ec))
        REQUIRE(number_of(message) == expected++);
    CHECK(expected == next);
    CHECK(ec == channel_errc::closed);
    CHECK(s.statistics().messages == next);
}

}  // namespace

TEST_SUITE("sender: resume")
{
    TEST_CASE("twenty receivers killed in a row: none is lost, those not released come again")
    {
        restart_receivers<std::uint64_t>(eight, 20);
    }

    TEST_CASE("the same with records of all lengths")
    {
        restart_receivers<std::string>({.capacity_bytes = 512}, 20);
    }

    TEST_CASE("after a receiver that has closed: what it has not received is for the next")
    {
        asio::io_context ctx;
        channel<std::uint64_t> c(ctx.get_executor(), eight);
        for (std::uint64_t n = 0; n < 5; ++n)
            CHECK(c.sender.try_send(n));
        CHECK(c.receiver.try_receive() == 0U);
        CHECK(c.receiver.try_receive() == 1U);
        c.receiver.close();
        error_code ec;
        auto end = c.sender.resume(ec);  // has not heard of it, and looks itself
        REQUIRE_FALSE(ec);
        CHECK(c.sender.try_send(5));
        receiver<std::uint64_t> next(ctx.get_executor(), std::move(end));
        for (std::uint64_t n = 2; n < 6; ++n)
            CHECK(next.try_receive() == n);
        CHECK_FALSE(next.try_receive());
    }

    TEST_CASE("operations that wait when it is called go on with the next receiver")
    {
        asio::io_context ctx;
        channel<std::uint64_t> c(ctx.get_executor(), eight);
        fill(c.sender);
        std::array<outcome<error_code>, 3> sent;
        for (auto& each : sent)
            c.sender.async_send(100, each.handler());
        ctx.poll();
        c.receiver.close();
        auto end = c.sender.resume();
        ctx.restart();
        ctx.poll();
        for (auto& each : sent)
            CHECK_FALSE(each.done());
        receiver<std::uint64_t> next(ctx.get_executor(), std::move(end));
        CHECK(drain(next) == 8);
        run(ctx);
        for (auto& each : sent)
            CHECK_FALSE(each.error());
        CHECK(drain(next) == 3);
    }

    TEST_CASE("a long message that is under way goes to the next receiver, all of it")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 256});
        outcome<error_code> sent;
        c.sender.async_send(std::string(1000, 'l'), sent.handler());
        ctx.poll();
        CHECK(c.sender.statistics().used > 0);  // its first parts
        c.receiver.close();
        receiver<std::string> next(ctx.get_executor(), c.sender.resume());
        outcome<error_code, std::string> got;
        next.async_receive(got.handler());
        run(ctx);
        CHECK_FALSE(sent.error());
        CHECK_FALSE(got.error());
        CHECK(got.result() == std::string(1000, 'l'));
    }

    TEST_CASE("a long message that is cancelled after it: the next receiver sees nothing of it")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 256});
        outcome<error_code> sent;
        c.sender.async_send(std::string(1000, 'l'), sent.handler());
        ctx.poll();
        c.receiver.close();
        receiver<std::string> next(ctx.get_executor(), c.sender.resume());
        c.sender.cancel();
        run(ctx);
        CHECK(sent.error() == asio::error::operation_aborted);
        CHECK(c.sender.try_send("short"));
        error_code ec;
        std::string message;
        CHECK(next.try_receive(message, ec));
        CHECK(message == "short");
        CHECK_FALSE(next.try_receive(message, ec));
        CHECK(ec == asio::error::would_block);
    }

    TEST_CASE("a long message of which only the last part was left goes to the next, all of it")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 256});
        send_but_for_its_last_part(ctx, c.sender, c.receiver, long_text);
        CHECK(c.sender.try_send("after"));
        c.receiver.close();
        receiver<std::string> next(ctx.get_executor(), c.sender.resume());
        error_code ec;
        CHECK_FALSE(c.sender.try_send("later", ec));  // nothing overtakes it
        CHECK(ec == asio::error::would_block);
        outcome<error_code> sent;
        c.sender.async_send("later", sent.handler());
        CHECK(receive(ctx, next) == long_text);
        CHECK(receive(ctx, next) == "after");
        CHECK(receive(ctx, next) == "later");
        procyard_test::run_until(ctx, [&] { return sent.done(); });
        CHECK(c.sender.try_send("and so on"));
        CHECK(receive(ctx, next) == "and so on");
    }

    TEST_CASE("the same, and the next dies in the middle of it, and what was sent is cancelled")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 256});
        send_but_for_its_last_part(ctx, c.sender, c.receiver, long_text);
        CHECK(c.sender.try_send("after"));
        c.receiver.close();
        for (int times = 0; times < 3; ++times) {
            CAPTURE(times);
            receiver<std::string> dying(ctx.get_executor(), c.sender.resume());
            for (int parts = 0; parts <= times; ++parts) {
                error_code ec;
                std::string none;
                CHECK_FALSE(dying.try_receive(none, ec));
                CHECK(ec == asio::error::would_block);
                c.sender.cancel();  // the user's operations, of which there are none
                ctx.restart();
                ctx.poll();
            }
        }
        receiver<std::string> next(ctx.get_executor(), c.sender.resume());
        CHECK(receive(ctx, next) == long_text);
        CHECK(receive(ctx, next) == "after");
    }

    TEST_CASE("a long message that has been received is not sent again")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 256});
        send_but_for_its_last_part(ctx, c.sender, c.receiver, long_text);
        CHECK(c.sender.try_send("after"));
        CHECK(receive(ctx, c.receiver) == long_text);
        c.receiver.close();
        receiver<std::string> next(ctx.get_executor(), c.sender.resume());
        CHECK(receive(ctx, next) == "after");
    }

    TEST_CASE(
        "messages of all lengths, and receivers that go at any time: each comes once, in order")
    {
        fixed_random random(33);
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 256});
        receiver<std::string> r = std::move(c.receiver);
        constexpr std::uint64_t count = 300;
        std::uint64_t sent = 0;
        std::uint64_t received = 0;
        outcome<error_code> sending;
        const auto text_of = [](std::uint64_t n) {
            return std::to_string(n) + std::string(n * 131 % 700, '.');
        };
        for (int turns = 0; received < count; ++turns) {
            REQUIRE(turns < 100'000);
            CAPTURE(sent);
            CAPTURE(received);
            if (sending.done() || sent == 0) {
                REQUIRE_FALSE((sending.done() && sending.error()));
                sending = {};
                c.sender.async_send(text_of(sent++), sending.handler());
            }
            ctx.restart();
            ctx.poll();
            error_code ec;
            std::string got;
            for (auto tries = random.below(4); tries > 0 && r.try_receive(got, ec); --tries)
                REQUIRE(got == text_of(received++));
            if (random.below(8) == 0) {
                r.close();
                r = receiver<std::string>(ctx.get_executor(), c.sender.resume());
            }
        }
    }

    TEST_CASE("the old bell's hang-up, which is on its way, is not believed of the next receiver")
    {
        asio::io_context ctx;
        mortal_peer<std::uint64_t, sender<std::uint64_t>> old(ctx, ring_role::consumer);
        auto& s = old.end;
        fill(s);
        outcome<error_code> sent;
        s.async_send(100, sent.handler());
        std::optional<receiver<std::uint64_t>> next;
        s.async_wait_closed([&](error_code, error_code how) {
            CHECK(how == channel_errc::peer_died);
            next.emplace(ctx.get_executor(), s.resume());
            CHECK_FALSE(s.try_send(101));  // and looks for it
            CHECK(s.is_connected());
        });
        ctx.poll();
        old.peer.reset();  // both are told, in one turn of the reactor
        procyard_test::run_until(ctx, [&] { return next.has_value(); });
        ctx.poll();
        CHECK_FALSE(s.failure());
        CHECK(drain(*next) == 8);
        run(ctx);
        CHECK_FALSE(sent.error());
        CHECK(next->try_receive() == 100U);
    }

    TEST_CASE("a living receiver is not replaced, opened or not")
    {
        asio::io_context ctx;
        auto ends = make_channel<std::uint64_t>(eight);
        sender<std::uint64_t> s(ctx.get_executor(), std::move(ends.sender));
        error_code ec;
        CHECK_FALSE(s.resume(ec));
        CHECK(ec == channel_errc::not_ended);
        receiver<std::uint64_t> r(ctx.get_executor(), std::move(ends.receiver));
        CHECK(s.try_send(1));
        CHECK_FALSE(s.resume(ec));
        CHECK(ec == channel_errc::not_ended);
        CHECK_THROWS_AS((void)s.resume(), boost::system::system_error);
        CHECK(r.try_receive() == 1U);
    }

    TEST_CASE("a receiver that went before it came: everything is for the next")
    {
        asio::io_context ctx;
        auto ends = make_channel<std::uint64_t>(eight);
        sender<std::uint64_t> s(ctx.get_executor(), std::move(ends.sender));
        fill(s, std::uint64_t{4});
        for (int n = 0; n < 3; ++n) {
            ends.receiver = {};
            ends.receiver = s.resume();
        }
        receiver<std::uint64_t> r(ctx.get_executor(), std::move(ends.receiver));
        CHECK(drain(r) == 8);
    }

    TEST_CASE("not while a loan is out, not after close, and not after another failure")
    {
        asio::io_context ctx;
        error_code ec;
        channel<std::uint64_t> c(ctx.get_executor(), eight);
        {
            const auto loan = c.sender.try_loan(1, ec);
            c.receiver.close();
            CHECK_FALSE(c.sender.resume(ec));
            CHECK(ec == channel_errc::lent);
        }
        c.sender.close();
        CHECK_FALSE(c.sender.resume(ec));
        CHECK(ec == asio::error::bad_descriptor);

        auto ends = make_channel<std::uint64_t>(eight);
        raw_peer<std::uint64_t> peer(procyard::detail::ring_role::consumer,
                                     std::move(ends.receiver).take(), eight);
        peer.greet();
        sender<std::uint64_t> s(ctx.get_executor(), std::move(ends.sender));
        peer.meet();
        CHECK(s.try_send(1));
        peer.words().closed = 1;
        peer.words().position = 7;  // has received what was never sent
        CHECK_FALSE(s.resume(ec));
        CHECK(ec == channel_errc::peer_broke_rules);
    }

    TEST_CASE("a dead receiver that says to stand in the middle of a record is not believed")
    {
        constexpr procyard::channel_options bytes{.capacity_bytes = 256};
        for (const std::uint64_t position : {4U, 8U, 16U}) {
            CAPTURE(position);
            auto ends = make_channel<std::string>(bytes);
            raw_peer<std::string> peer(procyard::detail::ring_role::consumer,
                                       std::move(ends.receiver).take(), bytes);
            peer.greet();
            asio::io_context ctx;
            sender<std::string> s(ctx.get_executor(), std::move(ends.sender));
            peer.meet();
            CHECK(s.try_send(std::string(100, 'x')));
            peer.words().closed = 1;
            peer.words().position = position;
            error_code ec;
            CHECK_FALSE(s.resume(ec));
            CHECK(ec == channel_errc::peer_broke_rules);
        }
    }

    TEST_CASE("leaves no descriptor behind, whatever number of times")
    {
        asio::io_context ctx;
        auto ends = make_channel<std::string>();
        sender<std::string> s(ctx.get_executor(), std::move(ends.sender));
        CHECK(s.try_send("still there"));
        ends.receiver = {};
        std::optional<std::size_t> before;
        for (int n = 0; n < 100; ++n) {
            receiver<std::string> r(ctx.get_executor(), s.resume());
            CHECK(s.try_send(std::to_string(n)));
            r.close();
            if (!before)
                before = procyard_test::open_descriptors();
            REQUIRE(procyard_test::open_descriptors() == *before);
        }
        receiver<std::string> r(ctx.get_executor(), s.resume());
        CHECK(r.try_receive() == "still there");
        CHECK(drain(r) == 100);
    }
}

TEST_SUITE("receiver: resume")
{
    TEST_CASE("twenty senders killed in a row: all that each had committed is received")
    {
        asio::io_context ctx;
        auto ends = make_channel<std::string>({.capacity_bytes = 512});
        receiver<std::string> r(ctx.get_executor(), std::move(ends.receiver));
        for (std::uint64_t n = 0; n < 20; ++n) {
            CAPTURE(n);
            const auto count = n * 7 % 40;
            sending_process<std::string> peer(ends, [&](unopened<sender<std::string>> end) {
                asio::io_context there;
                sender<std::string> s(there.get_executor(), std::move(end));
                run_coroutine(there, [&]() -> asio::awaitable<void> {
                    for (std::uint64_t i = 0; i < count; ++i) {
                        auto message = message_of<std::string>(i);
                        co_await s.async_send(std::move(message), asio::use_awaitable);
                    }
                });
                ::raise(SIGKILL);
                return 1;
            });
            std::uint64_t got = 0;
            error_code ec;
            run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                for (;; ++got) {
                    const auto message =
                        co_await r.async_receive(asio::redirect_error(asio::use_awaitable, ec));
                    if (ec)
                        break;
                    REQUIRE(number_of(message) == got);
                }
            });
            REQUIRE(ec == channel_errc::peer_died);
            CHECK(got == count);
            CHECK(peer.result() == -SIGKILL);
            ends.sender = r.resume();
        }
    }

    TEST_CASE("not before everything has been received, and then without a word of the end")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor());
        CHECK(c.sender.try_send("one"));
        c.sender.close();
        error_code ec;
        CHECK_FALSE(c.receiver.resume(ec));
        CHECK(ec == channel_errc::not_ended);
        CHECK(c.receiver.try_receive() == "one");
        auto end = c.receiver.resume(ec);
        REQUIRE_FALSE(ec);
        sender<std::string> s(ctx.get_executor(), std::move(end));
        outcome<error_code, std::string> got;
        c.receiver.async_receive(got.handler());
        ctx.poll();
        CHECK(s.try_send("two"));
        run(ctx);
        CHECK(got.result() == "two");
    }

    TEST_CASE("half of a long message is forgotten with its sender")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), {.capacity_bytes = 256});
        outcome<error_code> half;
        c.sender.async_send(std::string(1000, 'h'), half.handler());
        ctx.poll();
        c.sender.close();
        run(ctx);
        sender<std::string> s(ctx.get_executor(), c.receiver.resume());
        outcome<error_code> sent;
        s.async_send(std::string(1000, 'w'), sent.handler());
        outcome<error_code, std::string> got;
        c.receiver.async_receive(got.handler());
        run(ctx);
        CHECK(got.result() == std::string(1000, 'w'));
    }

    TEST_CASE("the old bell's hang-up, which is on its way, is not believed of the next sender")
    {
        asio::io_context ctx;
        mortal_peer<std::uint64_t, receiver<std::uint64_t>> old(ctx, ring_role::producer);
        auto& r = old.end;
        outcome<error_code, std::uint64_t> got;
        r.async_receive(got.handler());
        std::optional<sender<std::uint64_t>> next;
        r.async_wait_closed([&](error_code, error_code how) {
            CHECK(how == channel_errc::peer_died);
            next.emplace(ctx.get_executor(), r.resume());
            CHECK_FALSE(r.try_receive());  // and looks for it
            CHECK(r.is_connected());
        });
        ctx.poll();
        old.peer.reset();
        procyard_test::run_until(ctx, [&] { return next.has_value(); });
        ctx.poll();
        CHECK_FALSE(r.failure());
        CHECK(next->try_send(100));
        run(ctx);
        CHECK(got.result() == 100U);
    }

    TEST_CASE("not while a batch is held, and a living sender is not replaced")
    {
        asio::io_context ctx;
        channel<std::uint64_t> c(ctx.get_executor(), eight);
        error_code ec;
        CHECK_FALSE(c.receiver.resume(ec));
        CHECK(ec == channel_errc::not_ended);
        CHECK(c.sender.try_send(1));
        auto batch = c.receiver.try_receive_batch(ec);
        CHECK_FALSE(c.receiver.resume(ec));
        CHECK(ec == channel_errc::lent);
    }
}
