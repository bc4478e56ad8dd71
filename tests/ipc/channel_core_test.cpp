// SPDX-License-Identifier: BSL-1.0
// The channel's core where moments count that no user of a channel can choose: the peer that comes
// in the middle of something, the failure that somebody else finds, the codec that throws.
#include <procyard/ipc/detail/channel_core.hpp>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/io_context.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard_test::outcome;
using procyard_test::run;

namespace {

struct moody {
    std::string text;
};
int fail_encoding = 0;  // 1: no memory, 2: another reason
int fail_decoding = 0;

void fail_if(int how)
{
    if (how == 1)
        throw std::bad_alloc();
    if (how == 2)
        throw std::domain_error("moody");
}

}  // namespace

template <>
struct procyard::codec<moody> {
    static std::size_t size(const moody& m) noexcept { return encoded_size(m.text); }
    static void encode(const moody& m, encoder& out)
    {
        fail_if(fail_encoding);
        out.put(m.text);
    }
    static bool decode(decoder& in, moody& m)
    {
        fail_if(fail_decoding);
        return in.get(m.text);
    }
    static constexpr std::string_view layout = "{str}";
};

namespace {

using procyard::detail::channel_core;
using procyard::detail::find_room;

// Waits for room, and lets something happen before it looks for the n-th time.
class staged_wait final : public procyard::detail::channel_operation {
public:
    template <class Happening>
    staged_wait(channel_core& core, int at, Happening happening, outcome<error_code>& result)
        : core_(core),
          at_(at),
          happening_(std::move(happening)),
          result_(result)
    {
    }
    progress attempt() override
    {
        if (++attempts_ == at_)
            happening_();
        ec_ = {};
        (void)find_room(core_, 1, ec_);
        return ec_ == asio::error::would_block ? progress::blocked : progress::done;
    }
    void complete(std::unique_ptr<channel_operation>, const error_code& instead) override
    {
        result_.handler()(instead ? instead : ec_);
    }

private:
    channel_core& core_;
    int at_;
    std::function<void()> happening_;
    outcome<error_code>& result_;
    int attempts_ = 0;
    error_code ec_;
};

// Gives the tests the core of an end.
template <class End>
struct opened : End {
    using End::core_;
    using End::End;
};

}  // namespace

TEST_SUITE("channel core: the peer comes")
{
    TEST_CASE("between the announcement of sleep and the last look: it still rings")
    {
        // The first look, the first and the last while it spins, and the one after the
        // announcement.
        for (const int at : {1, 2, 9, 10}) {
            CAPTURE(at);
            asio::io_context ctx;
            const auto ex = ctx.get_executor();
            auto ends = make_channel<int>({.spin = std::chrono::nanoseconds(1)});
            opened<receiver<int>> here(ex, std::move(ends.receiver));
            std::optional<sender<int>> there;
            const auto come = [&] {
                if (!there)
                    there.emplace(ex, std::move(ends.sender));
            };
            outcome<error_code> readable;
            auto& core = *here.core_;
            core.start(
                staged_wait::make<staged_wait>(core.operation_memory(), core, at, come, readable),
                {});
            ctx.poll();
            come();  // with one processor there is no spinning, and it has not looked so often
            ctx.poll();
            REQUIRE(here.is_connected());
            CHECK_FALSE(readable.done());
            CHECK(there->try_send(1));
            run(ctx);
            CHECK_FALSE(readable.error());
        }
    }

    TEST_CASE("in the middle of a batch: the part that was written before is sent")
    {
        asio::io_context ctx;
        auto ends = make_channel<int>({.capacity_messages = 4});
        sender<int> s(ctx.get_executor(), std::move(ends.sender));
        receiver<int> r(ctx.get_executor(), std::move(ends.receiver));
        REQUIRE_FALSE(s.is_connected());
        const std::array<int, 6> six{1, 2, 3, 4, 5, 6};
        error_code ec;
        CHECK(s.try_send_some(six, ec) == 4);
        CHECK(ec == asio::error::would_block);
        for (const int n : {1, 2, 3, 4})
            CHECK(r.try_receive() == n);
        CHECK_FALSE(r.try_receive());
    }

    TEST_CASE("in the middle of a batch of records: the part that was written before is sent")
    {
        asio::io_context ctx;
        auto ends = make_channel<std::string>({.capacity_bytes = 64});
        sender<std::string> s(ctx.get_executor(), std::move(ends.sender));
        receiver<std::string> r(ctx.get_executor(), std::move(ends.receiver));
        const std::array<std::string, 6> six{"a", "b", "c", "d", "e", "f"};
        error_code ec;
        CHECK(s.try_send_some(six, ec) == 4);
        CHECK(ec == asio::error::would_block);
        for (const char* text : {"a", "b", "c", "d"})
            CHECK(r.try_receive() == text);
        CHECK_FALSE(r.try_receive());
    }
}

TEST_SUITE("channel core: an operation that throws")
{
    TEST_CASE("for want of memory: it completes with that error, and the next one works")
    {
        asio::io_context ctx;
        procyard::channel<moody> channel(ctx.get_executor());
        outcome<error_code> first;
        outcome<error_code> second;
        fail_encoding = 1;
        channel.sender.async_send({"one"}, first.handler());
        channel.sender.async_send({"two"}, second.handler());
        procyard_test::run_until(ctx, [&] { return first.done(); });
        fail_encoding = 0;
        CHECK(first.error() == boost::system::errc::not_enough_memory);
        run(ctx);
        CHECK_FALSE(second.error());
        outcome<error_code, moody> received;
        channel.receiver.async_receive(received.handler());
        run(ctx);
        CHECK(received.result().text == "two");
    }

    TEST_CASE("anything else: it comes out of run(), and the end can still be used")
    {
        asio::io_context ctx;
        procyard::channel<moody> channel(ctx.get_executor());
        outcome<error_code> first;
        outcome<error_code> second;
        fail_encoding = 2;
        channel.sender.async_send({"one"}, first.handler());
        channel.sender.async_send({"two"}, second.handler());
        CHECK_THROWS_AS(ctx.run_for(procyard_test::deadlock_guard), std::domain_error);
        fail_encoding = 0;
        run(ctx);
        CHECK_FALSE(first.done());
        CHECK_FALSE(second.error());
        outcome<error_code> third;
        channel.sender.async_send({"three"}, third.handler());
        run(ctx);
        CHECK_FALSE(third.error());
        CHECK(channel.receiver.try_receive()->text == "two");
        CHECK(channel.receiver.try_receive()->text == "three");
    }

    TEST_CASE("in a receiver: the same")
    {
        asio::io_context ctx;
        procyard::channel<moody> channel(ctx.get_executor());
        CHECK(channel.sender.try_send({"one"}));
        outcome<error_code, moody> first;
        fail_decoding = 1;
        channel.receiver.async_receive(first.handler());
        run(ctx);
        fail_decoding = 0;
        CHECK(first.error() == boost::system::errc::not_enough_memory);
        CHECK(channel.sender.try_send({"two"}));
        outcome<error_code, moody> second;
        channel.receiver.async_receive(second.handler());
        run(ctx);
        CHECK_FALSE(second.error());
    }
}

TEST_SUITE("channel core: many operations")
{
    TEST_CASE("a hundred thousand that wait on one end go down with the io_context")
    {
        auto alive = std::make_shared<int>(0);
        {
            std::optional<asio::io_context> ctx(std::in_place);
            std::optional<procyard::channel<int>> channel(ctx->get_executor());
            for (int i = 0; i < 100'000; ++i)
                channel->receiver.async_receive([alive](error_code, int) { FAIL("called"); });
            ctx->poll();
            channel.reset();
            ctx.reset();
        }
        CHECK(alive.use_count() == 1);
    }

    TEST_CASE("a failure that try_ finds is told to the operation that waits")
    {
        // The moody peer: what it sends is none of its type.
        asio::io_context ctx;
        auto ends = make_channel<bool>({.capacity_messages = 4});
        opened<sender<bool>> s(ctx.get_executor(), std::move(ends.sender));
        receiver<bool> r(ctx.get_executor(), std::move(ends.receiver));
        outcome<error_code> waiting;
        outcome<error_code, bool> parked;
        r.async_wait_readable(waiting.handler());
        r.async_receive(parked.handler());
        ctx.poll();
        REQUIRE_FALSE(waiting.done());
        (void)s.try_send(true);  // connects
        ctx.poll();
        (void)procyard_test::drain(r);
        outcome<error_code> again;
        r.async_wait_readable(again.handler());
        ctx.poll();
        REQUIRE_FALSE(again.done());
        s.core_->own_units()[8 * s.core_->side().position()] = std::byte{2};
        s.core_->side().advance(1);
        s.core_->side().publish();  // and does not ring
        bool value = false;
        error_code ec;
        CHECK_FALSE(r.try_receive(value, ec));
        CHECK(ec == channel_errc::bad_message);
        run(ctx);
        CHECK(again.error() == channel_errc::bad_message);
    }
}
