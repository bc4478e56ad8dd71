// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "operation_contract.hpp"

namespace asio = boost::asio;
using procyard::byte_loan;
using procyard::channel;
using procyard::channel_errc;
using procyard::error_code;
using procyard_test::fill;
using procyard_test::outcome;
using procyard_test::run;

namespace {

constexpr procyard::channel_options few_bytes{.capacity_bytes = 128};

void write(const byte_loan& to, std::string_view text)
{
    REQUIRE(to.size() >= text.size());
    std::memcpy(to.bytes().data(), text.data(), text.size());
}

// Would wait for room.
struct loan_bytes {
    explicit loan_bytes(asio::io_context& ctx)
        : made(ctx.get_executor(), few_bytes),
          sender(std::move(made.sender)),
          receiver(std::move(made.receiver))
    {
        REQUIRE(sender->try_send(std::string(100, 'x')));
    }
    template <class Token>
    void start(Token&& token)
    {
        sender->async_loan_bytes(100, std::forward<Token>(token));
    }
    void satisfy() { REQUIRE(receiver->try_receive()); }
    void break_it() { sender->close(); }
    error_code breakage() const { return asio::error::bad_descriptor; }
    void destroy() { sender.reset(); }

    channel<std::string> made;
    std::optional<procyard::sender<std::string>> sender;
    std::optional<procyard::receiver<std::string>> receiver;
};

}  // namespace

TEST_SUITE("byte_loan")
{
    PROCYARD_OPERATION_CONTRACT(loan_bytes)

    TEST_CASE("what is committed is the message, of every length around the ring")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), few_bytes);
        for (std::size_t length = 0; length <= 128 - 8 - 4; ++length) {
            for (const std::size_t cut : {0U, 1U, 5U, 9U}) {
                if (cut > length)
                    continue;
                CAPTURE(length);
                CAPTURE(cut);
                const std::string text(length, static_cast<char>('a' + length % 26));
                error_code ec;
                auto loan = c.sender.try_loan_bytes(length, ec);
                if (ec == asio::error::would_block) {  // a padding is to be passed first
                    CHECK_FALSE(c.receiver.try_receive());
                    loan = c.sender.try_loan_bytes(length, ec);
                }
                REQUIRE_FALSE(ec);
                REQUIRE(loan);
                REQUIRE(loan.size() == length);
                write(loan, text);
                CHECK(loan.commit(length - cut));
                CHECK_FALSE(loan);
                CHECK(c.receiver.try_receive() == text.substr(cut));
            }
        }
        CHECK(c.sender.statistics().messages == c.receiver.statistics().messages);
    }

    TEST_CASE("a loan that is dropped has sent nothing, and while it is there nothing else goes")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), few_bytes);
        error_code ec;
        {
            auto loan = c.sender.try_loan_bytes(50, ec);
            write(loan, "secret");
            CHECK_FALSE(c.sender.try_send("other", ec));
            CHECK(ec == channel_errc::lent);
        }
        CHECK_FALSE(c.receiver.try_receive());
        CHECK(c.sender.try_send("other"));
        CHECK(c.receiver.try_receive() == "other");
    }

    TEST_CASE("says would_block where there is no room, and too_long where there never is")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), few_bytes);
        error_code ec;
        for (const std::size_t length :
             {std::size_t{117}, std::size_t{1000}, std::numeric_limits<std::size_t>::max()}) {
            CAPTURE(length);
            CHECK_FALSE(c.sender.try_loan_bytes(length, ec));
            CHECK(ec == channel_errc::too_long);
        }
        fill(c.sender, std::string("x"));
        CHECK_FALSE(c.sender.try_loan_bytes(1, ec));
        CHECK(ec == asio::error::would_block);
        outcome<error_code, byte_loan> got;
        c.sender.async_loan_bytes(1000, got.handler());
        run(ctx);
        CHECK(got.error() == channel_errc::too_long);
    }

    TEST_CASE("a loan of a sender that is closed meanwhile sends nothing")
    {
        asio::io_context ctx;
        channel<std::string> c(ctx.get_executor(), few_bytes);
        error_code ec;
        auto loan = c.sender.try_loan_bytes(5, ec);
        write(loan, "hello");
        c.sender.close();
        CHECK_FALSE(loan.commit());
        CHECK_FALSE(c.receiver.try_receive());
    }
}
