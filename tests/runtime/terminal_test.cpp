// SPDX-License-Identifier: BSL-1.0
#include <fcntl.h>
#include <stdlib.h>

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "child_attributes.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

command on_terminal(window_size size = {})
{
    return helper({"--mode=terminal"}).terminal(size);
}

void send(child& c, const std::string& text)
{
    error_code ec;
    CHECK(c.std_in().try_write_some(asio::buffer(text), ec) == text.size());
}

// A terminal's line discipline ends lines with both.
std::string line_of(asio::io_context& ctx, child& c, std::string& buffered)
{
    auto line = read_line(ctx, c.std_out(), buffered);
    if (line.ends_with('\r'))
        line.pop_back();
    return line;
}

std::string without_returns(std::string text)
{
    std::erase(text, '\r');
    return text;
}

const std::string end_of_input = "\x04";

}  // namespace

TEST_SUITE("command::terminal")
{
    TEST_CASE("gives the child a terminal, a session and the foreground")
    {
        asio::io_context ctx;
        auto c = spawn(on_terminal({.rows = 11, .columns = 33}), ctx.get_executor());
        std::string buffered;
        CHECK(line_of(ctx, c, buffered) == "is 1 1 1");
        CHECK(line_of(ctx, c, buffered) == "leads 1 1");
        CHECK(line_of(ctx, c, buffered) == "size 11 33");
        send(c, end_of_input);
        CHECK(wait(ctx, c).success());
    }

    TEST_CASE("a new size arrives with SIGWINCH")
    {
        asio::io_context ctx;
        auto c = spawn(on_terminal(), ctx.get_executor());
        std::string buffered;
        (void)line_of(ctx, c, buffered);
        (void)line_of(ctx, c, buffered);
        CHECK(line_of(ctx, c, buffered) == "size 24 80");
        error_code ec;
        c.resize_terminal({.rows = 50, .columns = 132}, ec);
        CHECK_FALSE(ec);
        CHECK(line_of(ctx, c, buffered) == "size 50 132");
        send(c, end_of_input);
        CHECK(wait(ctx, c).success());
    }

    TEST_CASE("its output ends when the child does, and nothing of it is lost")
    {
        asio::io_context ctx;
        auto c = spawn(command("seq", {"1", "20000"}).terminal(), ctx.get_executor());
        const auto text = without_returns(read_all(ctx, c.std_out()));
        CHECK(wait(ctx, c).success());
        CHECK(text.size() == 108'894);
        CHECK(text.ends_with("19999\n20000\n"));
    }

    TEST_CASE("its keys are signals")
    {
        asio::io_context ctx;
        auto c = spawn(command("cat").terminal(), ctx.get_executor());
        send(c, "hello\n");
        std::string buffered;
        CHECK(line_of(ctx, c, buffered) == "hello");  // the echo, or cat's
        send(c, "\x03");
        CHECK(wait(ctx, c) == exit_status::signaled(SIGINT));
    }

    TEST_CASE("each stream may be one on its own")
    {
        asio::io_context ctx;
        auto c = spawn(helper({"--mode=terminal"})
                           .std_in(stdio::null())
                           .std_out(stdio::pipe())
                           .std_err(stdio::terminal({.rows = 5, .columns = 6})),
                       ctx.get_executor());
        CHECK(read_all(ctx, c.std_out()) == "is 0 0 1\nleads 1 1\nsize 5 6\n");
        CHECK(read_all(ctx, c.std_err()).empty());
        CHECK(wait(ctx, c).success());
    }

    TEST_CASE("input and output are closed independently")
    {
        asio::io_context ctx;
        auto c = spawn(command("cat").terminal(), ctx.get_executor());
        send(c, "a line\n" + end_of_input);
        c.std_in().close();
        CHECK(without_returns(read_all(ctx, c.std_out())).starts_with("a line\n"));
        CHECK(wait(ctx, c).success());
    }

    TEST_CASE("the controlling terminal may be one of the host's own, at any number")
    {
        asio::io_context ctx;
        const unique_fd ours(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
        REQUIRE(ours);
        REQUIRE(::grantpt(ours.get()) == 0);
        REQUIRE(::unlockpt(ours.get()) == 0);
        const unique_fd theirs(::open(::ptsname(ours.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
        REQUIRE(theirs);
        const auto on = [&](int number) {
            return attributes().descriptor(number, stdio::borrow(theirs.get()));
        };
        const auto without = attributes_of(ctx, on(5).new_session());
        CHECK(without.at("tty") == "0");
        for (const int number : {5, 77}) {
            const auto with = attributes_of(ctx, on(number).controlling_terminal(number));
            CHECK(with.at("tty") == "1");
            CHECK(with.at("sid") == with.at("pid"));
        }
    }

    TEST_CASE("without one there is nothing to resize")
    {
        asio::io_context ctx;
        auto c = spawn(command("true").std_in(stdio::pipe()), ctx.get_executor());
        error_code ec;
        c.resize_terminal({}, ec);
        CHECK(ec == boost::system::errc::inappropriate_io_control_operation);
        CHECK(wait(ctx, c).success());
    }

    TEST_CASE("a child on a terminal cannot join a group: it leads a session")
    {
        asio::io_context ctx;
        CHECK(failure_of(ctx, on_terminal().process_group(0)).step == spawn_step::process_group);
    }
}
