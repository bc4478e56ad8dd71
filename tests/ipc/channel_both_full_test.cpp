// SPDX-License-Identifier: BSL-1.0
// Two processes, a channel in each direction, and each sends more than there is room for before it
// receives anything: where nobody reads a pipe, this is where both stop for ever.
#include <procyard/ipc/duplex.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using procyard::error_code;
using procyard::unique_fd;
using procyard_test::outcome;

namespace {

using number = std::uint64_t;
using both_ways = procyard::duplex<number, number>;

constexpr std::size_t capacity = 8;

// Where two processes wait for each other.
class meeting {
public:
    meeting()
    {
        int fds[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        ends_[0].reset(fds[0]);
        ends_[1].reset(fds[1]);
    }
    // In each of them, which of the two it is.
    void take_side(int which)
    {
        own_ = std::move(ends_[which]);
        ends_[1 - which].reset();
    }
    // False: the other has gone.
    [[nodiscard]] bool meet() const
    {
        char byte = 0;
        return procyard::retry_eintr([&] { return ::send(own_.get(), &byte, 1, MSG_NOSIGNAL); })
            == 1
            && procyard::retry_eintr([&] { return ::read(own_.get(), &byte, 1); }) == 1;
    }

private:
    unique_fd ends_[2];
    unique_fd own_;
};

// What a process of the two has.
struct side {
    asio::io_context& ctx;
    both_ways& ends;
    const meeting& other;

    // Fills what it sends by, from 0 on; both have, when it is over. False: not as it should be.
    [[nodiscard]] bool fill_up() const
    {
        number sent = 0;
        error_code ec;
        while (ends.sender.try_send(sent, ec))
            ++sent;
        if (sent != capacity || ec != asio::error::would_block)
            return says("filled with", sent);
        return other.meet();
    }
    // Takes all there is, which is so many, from this one on.
    [[nodiscard]] bool take(number first, number count) const
    {
        for (number n = first; n < first + count; ++n) {
            const auto got = ends.receiver.try_receive();
            if (got != n)
                return says("got, or not, in the place of", n);
        }
        return true;
    }
    [[nodiscard]] static bool says(const char* what, number n)
    {
        std::fprintf(stderr, "%d: %s %llu\n", static_cast<int>(::getpid()), what,
                     static_cast<unsigned long long>(n));
        return false;
    }
};

// `body(side)` says whether it was well, in this process and in a copy of it.
template <class Body>
void in_both(Body body)
{
    const procyard_test::descriptor_check no_leak;
    auto made = procyard::make_duplex<number, number>({.capacity_messages = capacity});
    meeting other;
    const auto be = [&](procyard::unopened<both_ways> end, int which) {
        other.take_side(which);
        asio::io_context ctx;
        auto ends = std::move(end).open(ctx.get_executor());
        return body(side{ctx, ends, other});
    };
    procyard_test::forked there([&] {
        made.here = {};
        return be(std::move(made.there), 1) ? 0 : 1;
    });
    made.there = {};
    CHECK(be(std::move(made.here), 0));
    CHECK(there.result() == 0);
}

asio::awaitable<void> send_all(procyard::sender<number>& to, number first, number end)
{
    for (number n = first; n < end; ++n)
        co_await to.async_send(n, asio::use_awaitable);
}

asio::awaitable<void> receive_all(procyard::receiver<number>& from, number end, number& next)
{
    while (next < end) {
        const auto got = co_await from.async_receive(asio::use_awaitable);
        if (got != next)
            co_return;
        ++next;
    }
}

}  // namespace

TEST_SUITE("channels in both directions, both full, of two processes (complaint 21)")
{
    TEST_CASE("who only tries hears would_block, waits for nobody, and goes on by receiving")
    {
        in_both([](const side& s) {
            if (!s.fill_up())
                return false;
            error_code ec;
            if (s.ends.sender.try_send(99, ec) || ec != asio::error::would_block)
                return side::says("a full ring has taken", 99);
            // Only then does anybody receive: both were full at the same time.
            return s.other.meet() && s.take(0, capacity) && s.other.meet()
                && s.ends.sender.try_send(capacity) && s.other.meet() && s.take(capacity, 1);
        });
    }

    TEST_CASE("a send that waits holds up no receive: both get all, though both send first")
    {
        constexpr number all = 1000;
        in_both([](const side& s) {
            if (!s.fill_up())
                return false;
            bool is_sent = false;
            asio::co_spawn(s.ctx, send_all(s.ends.sender, capacity, all),
                           [&](const std::exception_ptr& failure) { is_sent = !failure; });
            s.ctx.poll();
            if (is_sent || !s.other.meet())  // both wait for room
                return side::says("did not wait, after", capacity);
            number next = 0;
            asio::co_spawn(s.ctx, receive_all(s.ends.receiver, all, next),
                           [](const std::exception_ptr&) { });
            procyard_test::run(s.ctx);
            if (!is_sent || next != all)
                return side::says("stuck at", next);
            return s.other.meet();
        });
    }

    TEST_CASE("a program that does one after the other is freed by cancelling: nothing was sent")
    {
        in_both([](const side& s) {
            if (!s.fill_up())
                return false;
            asio::cancellation_signal deadline;
            outcome<error_code> sent;
            s.ends.sender.async_send(capacity,
                                     asio::bind_cancellation_slot(deadline.slot(), sent.handler()));
            s.ctx.poll();
            if (sent.done() || !s.other.meet())
                return side::says("did not wait, after", capacity);
            deadline.emit(asio::cancellation_type::total);
            procyard_test::run(s.ctx);
            if (sent.error() != asio::error::operation_aborted || !s.other.meet())
                return side::says("was not cancelled, after", capacity);
            return s.take(0, capacity) && !s.ends.receiver.try_receive() && s.other.meet()
                && s.ends.sender.try_send(capacity) && s.other.meet() && s.take(capacity, 1);
        });
    }
}
