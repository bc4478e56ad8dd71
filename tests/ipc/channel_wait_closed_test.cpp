// SPDX-License-Identifier: BSL-1.0
// async_wait_closed: who has nothing to send, or does not want to receive, hears of the end.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "channel_fixture.hpp"
#include "limit_guard.hpp"
#include "operation_contract.hpp"

namespace asio = boost::asio;
namespace errc = boost::system::errc;
using procyard::channel;
using procyard::channel_errc;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unopened;
using procyard_test::drain;
using procyard_test::fill;
using procyard_test::outcome;
using procyard_test::receiving_process;
using procyard_test::run;
using procyard_test::sending_process;

namespace {

using end_outcome = outcome<error_code, error_code>;

constexpr procyard::channel_options four{.capacity_messages = 4};

// By which a copy of this process says that it has come so far.
class ready_pipe {
public:
    ready_pipe() { REQUIRE(::pipe2(ends_, O_CLOEXEC) == 0); }
    ready_pipe(const ready_pipe&) = delete;
    ready_pipe& operator=(const ready_pipe&) = delete;
    ~ready_pipe()
    {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    void say() const { (void)!::write(ends_[1], "x", 1); }
    void wait() const
    {
        char byte = 0;
        REQUIRE(::read(ends_[0], &byte, 1) == 1);
    }

private:
    int ends_[2] = {-1, -1};
};

struct two_ends {
    explicit two_ends(asio::io_context& ctx)
        : made(ctx.get_executor(), four),
          sender(std::move(made.sender)),
          receiver(std::move(made.receiver))
    {
    }
    error_code breakage() const { return asio::error::bad_descriptor; }

    channel<int> made;
    std::optional<procyard::sender<int>> sender;
    std::optional<procyard::receiver<int>> receiver;
};

struct sender_waits_closed : two_ends {
    using two_ends::two_ends;
    template <class Token>
    void start(Token&& token)
    {
        sender->async_wait_closed(std::forward<Token>(token));
    }
    void satisfy() { receiver.reset(); }
    void break_it() { sender->close(); }
    void destroy() { sender.reset(); }
};

struct receiver_waits_closed : two_ends {
    using two_ends::two_ends;
    template <class Token>
    void start(Token&& token)
    {
        receiver->async_wait_closed(std::forward<Token>(token));
    }
    void satisfy() { sender.reset(); }
    void break_it() { receiver->close(); }
    void destroy() { receiver.reset(); }
};

}  // namespace

TEST_SUITE("async_wait_closed")
{
    PROCYARD_OPERATION_CONTRACT(sender_waits_closed)
    PROCYARD_OPERATION_CONTRACT(receiver_waits_closed)

    TEST_CASE("an idle sender hears that its receiver has closed, and its next send says so")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), four);
        end_outcome end;
        c.sender.async_wait_closed(end.handler());
        ctx.poll();
        REQUIRE_FALSE(end.done());
        c.receiver.close();
        run(ctx);
        CHECK_FALSE(end.error());
        CHECK(end.result() == channel_errc::closed);
        CHECK(c.sender.failure() == channel_errc::closed);
    }

    TEST_CASE("a receiver hears it with messages left, and receives them afterwards")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), four);
        fill(c.sender, 7);
        c.sender.close();
        end_outcome end;
        c.receiver.async_wait_closed(end.handler());
        run(ctx);
        CHECK(end.result() == channel_errc::closed);
        CHECK(c.receiver.is_open());
        CHECK(drain(c.receiver) == 4);
        CHECK(c.receiver.failure() == channel_errc::closed);
    }

    TEST_CASE("a sender hears of the death of a receiver that sleeps, without sending")
    {
        auto ends = make_channel<int>(four);
        ready_pipe ready;
        receiving_process<int> peer(ends, [&](unopened<receiver<int>> end) {
            asio::io_context there;
            receiver<int> r(there.get_executor(), std::move(end));
            r.async_receive([](error_code, int) { });
            there.poll();
            ready.say();
            ::pause();
            return 1;
        });
        ready.wait();
        asio::io_context ctx;
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        end_outcome end;
        s.async_wait_closed(end.handler());
        ctx.poll();
        CHECK_FALSE(end.done());
        peer.kill_hard();
        run(ctx);
        CHECK(end.result() == channel_errc::peer_died);
        CHECK(s.failure() == channel_errc::peer_died);
    }

    TEST_CASE("a receiver hears of a death, and what had been committed is still there")
    {
        auto ends = make_channel<int>(four);
        sending_process<int> peer(ends, [&](unopened<sender<int>> end) {
            asio::io_context there;
            sender<int> s(there.get_executor(), std::move(end));
            fill(s, 3);
            ::raise(SIGKILL);
            return 1;
        });
        asio::io_context ctx;
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        end_outcome end;
        r.async_wait_closed(end.handler());
        run(ctx);
        CHECK(end.result() == channel_errc::peer_died);
        CHECK(drain(r) == 4);
    }

    TEST_CASE("hears of a peer that goes and never came")
    {
        auto ends = make_channel<int>(four);
        asio::io_context ctx;
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        end_outcome end;
        s.async_wait_closed(end.handler());
        ctx.poll();
        CHECK_FALSE(end.done());
        ends.receiver = {};
        run(ctx);
        CHECK(end.result() == channel_errc::peer_died);
    }

    TEST_CASE("notices that the peer has come, and goes on waiting for its end")
    {
        auto ends = make_channel<int>(four);
        asio::io_context ctx;
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        end_outcome end;
        s.async_wait_closed(end.handler());
        ctx.poll();
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        procyard_test::run_until(ctx, [&] { return s.is_connected(); });
        ctx.restart();
        ctx.poll();
        CHECK_FALSE(end.done());
        r.close();
        run(ctx);
        CHECK(end.result() == channel_errc::closed);
    }

    TEST_CASE("the peer comes while a loan is out: the loan is good")
    {
        struct cell {
            std::uint64_t n;
        };
        auto ends = make_channel<cell>(four);
        asio::io_context ctx;
        sender<cell> s(ctx.get_executor(), std::move(ends.sender));
        error_code ec;
        auto loan = s.try_loan(2, ec);
        REQUIRE(loan.size() == 2);
        end_outcome end;
        s.async_wait_closed(end.handler());
        receiver<cell> r(ctx.get_executor(), std::move(ends.receiver));
        procyard_test::run_until(ctx, [&] { return s.is_connected(); });
        loan[0].n = 1;
        loan[1].n = 2;
        CHECK(loan.commit());
        CHECK(drain(r) == 2);
        CHECK(s.try_send({3}, ec));
        r.close();
        run(ctx);
        CHECK(end.result() == channel_errc::closed);
    }

    TEST_CASE("other operations come and go meanwhile, and none misses a ring")
    {
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), four);
        end_outcome end;
        c.receiver.async_wait_closed(end.handler());
        for (int n = 0; n < 100; ++n) {
            CAPTURE(n);
            outcome<error_code, int> received;
            c.receiver.async_receive(received.handler());
            ctx.restart();
            ctx.poll();
            REQUIRE_FALSE(received.done());
            REQUIRE(c.sender.try_send(n));
            procyard_test::run_until(ctx, [&] { return received.done(); });
            REQUIRE(received.result() == n);
        }
        CHECK_FALSE(end.done());
        c.sender.close();
        run(ctx);
        CHECK(end.result() == channel_errc::closed);
    }

    TEST_CASE("several wait: all hear; one of them is cancelled, wherever it stands")
    {
        for (std::size_t cancelled = 0; cancelled < 3; ++cancelled) {
            CAPTURE(cancelled);
            asio::io_context ctx;
            channel<int> c(ctx.get_executor(), four);
            std::array<end_outcome, 3> ended;
            asio::cancellation_signal signal;
            for (std::size_t i = 0; i < ended.size(); ++i) {
                if (i == cancelled)
                    c.sender.async_wait_closed(
                        asio::bind_cancellation_slot(signal.slot(), ended[i].handler()));
                else
                    c.sender.async_wait_closed(ended[i].handler());
            }
            ctx.poll();
            signal.emit(asio::cancellation_type::terminal);
            procyard_test::run_until(ctx, [&] { return ended[cancelled].done(); });
            CHECK(ended[cancelled].error() == asio::error::operation_aborted);
            c.receiver.close();
            run(ctx);
            for (std::size_t i = 0; i < ended.size(); ++i)
                if (i != cancelled)
                    CHECK(ended[i].result() == channel_errc::closed);
        }
    }

    TEST_CASE("a failure of the end itself is an end")
    {
        auto ends = make_channel<int>(four);
        auto others = make_channel<std::uint64_t>(four);
        asio::io_context ctx;
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        end_outcome end;
        s.async_wait_closed(end.handler());
        ctx.poll();
        const receiver<std::uint64_t> r(
            ctx.get_executor(),
            unopened<receiver<std::uint64_t>>(std::move(ends.receiver).take(), four));
        run(ctx);
        CHECK(end.result() == channel_errc::other_type);
    }

    TEST_CASE("without a descriptor for the peer that comes it says so, and does not turn")
    {
        auto ends = make_channel<int>(four);
        asio::io_context ctx;
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        end_outcome end;
        s.async_wait_closed(end.handler());
        ctx.poll();
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        {
            const procyard_test::limit_guard none(RLIMIT_NOFILE, 0);
            for (int turn = 0; turn < 100 && !end.done(); ++turn)
                ctx.run_one_for(procyard_test::deadlock_guard);
            CHECK(end.error() == errc::too_many_files_open);
            error_code ec;
            CHECK_FALSE(s.resume(ec));
            CHECK(ec == errc::too_many_files_open);
        }
        CHECK_FALSE(s.failure());
        s.async_wait_closed(end.handler());
        r.close();
        run(ctx);
        CHECK_FALSE(end.error());
        CHECK(end.result() == channel_errc::closed);
    }

    TEST_CASE("in a race with an operation that waits, the end wins")
    {
        using namespace asio::experimental::awaitable_operators;
        asio::io_context ctx;
        channel<int> c(ctx.get_executor(), four);
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            c.sender.close();
            auto first = co_await (c.receiver.async_wait_closed(asio::use_awaitable)
                                   || c.receiver.async_receive(asio::use_awaitable));
            REQUIRE(first.index() == 0);
            CHECK(std::get<0>(first) == channel_errc::closed);
        });
    }
}
