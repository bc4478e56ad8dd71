// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/message_loan.hpp>

#include <boost/asio/io_context.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include <procyard/ipc/channel.hpp>

#include "operation_contract.hpp"
#include "procyard_test.hpp"

namespace asio = boost::asio;
using namespace procyard;

namespace {

using block = std::array<std::uint64_t, 4>;

struct lend {
    explicit lend(asio::io_context& ctx) : ends(ctx.get_executor(), {.capacity_messages = 1})
    {
        CHECK(ends.sender.try_send({}));
        sending.emplace(std::move(ends.sender));
    }
    void start(auto&& token) { sending->async_loan(1, std::forward<decltype(token)>(token)); }
    void satisfy() { CHECK(ends.receiver.try_receive()); }
    void break_it() { ends.receiver.close(); }
    [[nodiscard]] error_code breakage() const { return channel_errc::closed; }
    void destroy() { sending.reset(); }

    channel<block> ends;
    std::optional<sender<block>> sending;
};

template <class T>
concept lends = requires(sender<T> s, error_code ec) { s.try_loan(1, ec); };

message_loan<block> loan_of(sender<block>& tx, std::size_t most)
{
    error_code ec;
    auto loan = tx.try_loan(most, ec);
    REQUIRE_FALSE(ec);
    return loan;
}

}  // namespace

TEST_SUITE("async_loan"){PROCYARD_OPERATION_CONTRACT(lend)}

TEST_SUITE("message_loan")
{
    TEST_CASE("what is committed is sent, what is not is nothing")
    {
        asio::io_context ctx;
        channel<block> c(ctx.get_executor(), {.capacity_messages = 4});
        {
            auto loan = loan_of(c.sender, 2);
            CHECK(loan.size() == 2);
            loan[0] = {1, 2, 3, 4};
        }
        CHECK_FALSE(c.receiver.try_receive());
        auto loan = loan_of(c.sender, 3);
        loan[0] = {5};
        loan[1] = {6};
        CHECK_FALSE(c.receiver.try_receive());  // not before it is committed
        loan.commit(2);
        CHECK_FALSE(loan);
        CHECK(c.receiver.try_receive() == block{5});
        CHECK(c.receiver.try_receive() == block{6});
        CHECK_FALSE(c.receiver.try_receive());
        CHECK(c.sender.statistics().messages == 2);
    }

    TEST_CASE("never more than there is room for in one piece, and at least one")
    {
        asio::io_context ctx;
        channel<block> c(ctx.get_executor(), {.capacity_messages = 4});
        for (std::uint64_t i = 0; i < 3; ++i)
            CHECK(c.sender.try_send({i}));
        CHECK(c.receiver.try_receive());
        CHECK(c.receiver.try_receive());
        auto before_the_end = loan_of(c.sender, 100);
        CHECK(before_the_end.size() == 1);
        before_the_end.commit();
        auto from_the_beginning = loan_of(c.sender, 100);
        CHECK(from_the_beginning.size() == 2);
        from_the_beginning.commit();
        error_code ec;
        CHECK_FALSE(c.sender.try_loan(1, ec));
        CHECK(ec == asio::error::would_block);
        CHECK(c.sender.is_open());
    }

    TEST_CASE("while there is one, the sender does nothing else")
    {
        asio::io_context ctx;
        channel<block> c(ctx.get_executor());
        auto loan = loan_of(c.sender, 1);
        error_code ec;
        CHECK_FALSE(c.sender.try_send({}, ec));
        CHECK(ec == channel_errc::lent);
        CHECK_FALSE(c.sender.try_loan(1, ec));
        CHECK(ec == channel_errc::lent);
        loan.commit(0);
        CHECK(c.sender.try_send({}, ec));
    }

    TEST_CASE("a receiver that waits is woken by the commit, and not by the loan")
    {
        asio::io_context ctx;
        channel<block> c(ctx.get_executor());
        procyard_test::outcome<error_code, block> got;
        c.receiver.async_receive(got.handler());
        ctx.poll();
        auto loan = loan_of(c.sender, 1);
        loan[0] = {9};
        ctx.restart();
        ctx.poll();
        CHECK(got.count == 0);
        loan.commit();
        procyard_test::run(ctx);
        CHECK(got.result() == block{9});
    }

    TEST_CASE("to a receiver that has closed, or by a sender that has, nothing is lent")
    {
        asio::io_context ctx;
        channel<block> c(ctx.get_executor());
        c.receiver.close();
        error_code ec;
        CHECK_FALSE(c.sender.try_loan(1, ec));
        CHECK(ec == channel_errc::closed);
        c.sender.close();
        CHECK_FALSE(c.sender.try_loan(1, ec));
        CHECK(ec == asio::error::bad_descriptor);
    }

    TEST_CASE("outlives its sender: what is committed then was never promised to anybody")
    {
        asio::io_context ctx;
        std::optional<channel<block>> c(std::in_place, ctx.get_executor());
        auto loan = loan_of(c->sender, 1);
        c.reset();
        loan[0] = {1};
        loan.commit();
        CHECK_FALSE(loan);
    }

    TEST_CASE("nothing but plain bytes of a multiple of eight is lent")
    {
        static_assert(lends<block>);
        static_assert(!lends<std::string>);
        static_assert(!lends<bool>);
        static_assert(!lends<char>);
    }
}
