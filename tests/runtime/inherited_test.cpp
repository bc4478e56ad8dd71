// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/inherited.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/duplex.hpp>
#include <procyard/ipc/latest_value.hpp>
#include <procyard/ipc/work_queue.hpp>
#include <procyard/runtime/run.hpp>
#include <procyard/runtime/spawn.hpp>

#include "procyard_test.hpp"

namespace asio = boost::asio;
using namespace procyard;

namespace {

command child_that(const std::string& does)
{
    return command(PROCYARD_CHANNEL_CHILD, {does});
}

void run_coroutine(asio::io_context& ctx, asio::awaitable<void> coroutine)
{
    asio::co_spawn(ctx, std::move(coroutine), [](std::exception_ptr failure) {
        if (failure)
            std::rethrow_exception(failure);
    });
    procyard_test::run(ctx);
}

/// What the child says on its standard output before it fails.
std::string complaint_of(command what)
{
    asio::io_context ctx;
    std::string text;
    run_coroutine(ctx, [](command c, std::string& said) -> asio::awaitable<void> {
        auto executor = co_await asio::this_coro::executor;
        const auto result = co_await async_run(std::move(c), executor);
        CHECK(result.status == exit_status::exited(1));
        said = result.std_out.data;
    }(std::move(what), text));
    return text;
}

/// What the child sends on until it is done.
asio::awaitable<std::vector<std::uint64_t>> all_of(receiver<std::uint64_t>& seen)
{
    std::vector<std::uint64_t> all;
    for (;;) {
        error_code ec;
        const auto n = co_await seen.async_receive(asio::redirect_error(asio::use_awaitable, ec));
        if (ec == channel_errc::closed)
            co_return all;
        if (ec)
            throw boost::system::system_error(ec, "seen");
        all.push_back(n);
    }
}

}  // namespace

TEST_SUITE("inherited")
{
    TEST_CASE("a child reads a latest value: what was there before it, and the last before the end")
    {
        const procyard_test::descriptor_check descriptors;
        asio::io_context ctx;
        run_coroutine(ctx, []() -> asio::awaitable<void> {
            auto executor = co_await asio::this_coro::executor;
            latest_value<std::uint64_t> value(executor);
            auto ends = make_channel<std::uint64_t>();
            auto what = child_that("mirror");
            what.pass(value.subscribe(), "value").pass(std::move(ends.sender), "seen");
            receiver<std::uint64_t> seen(executor, std::move(ends.receiver));
            value.store(1);
            auto c = spawn(what, executor);
            CHECK(co_await seen.async_receive(asio::use_awaitable) == 1);
            value.store(2);
            CHECK(co_await seen.async_receive(asio::use_awaitable) == 2);
            for (std::uint64_t n = 3; n <= 100; ++n)
                value.store(n);
            value.close();
            const auto rest = co_await all_of(seen);
            CHECK(std::is_sorted(rest.begin(), rest.end()));
            CHECK(!rest.empty());
            CHECK(rest.back() == 100);
            CHECK(co_await c.async_wait(asio::use_awaitable) == exit_status::exited(0));
        }());
    }

    TEST_CASE("a latest value of another type, or none, is named by what() of the child")
    {
        asio::io_context ctx;
        latest_value<double> other(ctx.get_executor());
        auto what = child_that("mirror");
        what.pass(other.subscribe(), "value");
        const auto said = complaint_of(std::move(what));
        CHECK_MESSAGE(said.find("inherited channel \"value\"") != std::string::npos, said);
        CHECK_MESSAGE(said.find("here u64, 8 bytes; there f64, 8 bytes") != std::string::npos,
                      said);
        auto numbers = make_channel<std::uint64_t>();
        const sender<std::uint64_t> tx(ctx.get_executor(), std::move(numbers.sender));
        auto wrong = child_that("mirror");
        wrong.pass(std::move(numbers.receiver), "value");
        const auto about = complaint_of(std::move(wrong));
        CHECK_MESSAGE(about.starts_with("inherited channel \"value\" (here a latest_reader, there "
                                        "a sender)"),
                      about);
    }

    TEST_CASE("a subscription in the place of a latest value is named by what() of the child")
    {
        asio::io_context ctx;
        broadcaster<std::uint64_t> numbers(ctx.get_executor(), {.capacity_messages = 8});
        auto what = child_that("mirror");
        what.pass(numbers.subscribe(), "value");
        const auto said = complaint_of(std::move(what));
        CHECK_MESSAGE(said.find("(here a latest_reader, there a broadcast)") != std::string::npos,
                      said);
        CHECK(numbers.readers() == 0);
    }

    TEST_CASE("a child has a subscription, and hears all that was broadcast since it was made")
    {
        const procyard_test::descriptor_check descriptors;
        asio::io_context ctx;
        run_coroutine(ctx, []() -> asio::awaitable<void> {
            auto executor = co_await asio::this_coro::executor;
            broadcaster<std::uint64_t> numbers(executor, {.capacity_messages = 8});
            auto ends = make_channel<std::uint64_t>();
            auto what = child_that("listen");
            what.pass(numbers.subscribe({.when_slow = slow_reader::holds_back}), "numbers")
                .pass(std::move(ends.sender), "seen");
            receiver<std::uint64_t> seen(executor, std::move(ends.receiver));
            auto c = spawn(what, executor);
            for (std::uint64_t n = 0; n < 100; ++n)
                co_await numbers.async_send(n, asio::use_awaitable);
            numbers.close();
            const auto all = co_await all_of(seen);
            CHECK(all.size() == 100);
            CHECK(std::is_sorted(all.begin(), all.end()));
            CHECK(co_await c.async_wait(asio::use_awaitable) == exit_status::exited(0));
        }());
    }

    TEST_CASE("a child has a subscription to more memory than it would map without being told")
    {
        asio::io_context ctx;
        run_coroutine(ctx, []() -> asio::awaitable<void> {
            auto executor = co_await asio::this_coro::executor;
            constexpr auto much = channel_options().max_peer_bytes;  // and a page for its words
            broadcaster<std::uint64_t> numbers(executor, {.capacity_bytes = much});
            auto ends = make_channel<std::uint64_t>();
            auto subscription = numbers.subscribe();
            CHECK(subscription.options().max_peer_bytes > much);
            auto what = child_that("listen");
            what.pass(std::move(subscription), "numbers").pass(std::move(ends.sender), "seen");
            receiver<std::uint64_t> seen(executor, std::move(ends.receiver));
            auto c = spawn(what, executor);
            for (std::uint64_t n = 0; n < 10; ++n)
                CHECK(numbers.try_send(n));
            numbers.close();
            CHECK((co_await all_of(seen)).size() == 10);
            CHECK(co_await c.async_wait(asio::use_awaitable) == exit_status::exited(0));
        }());
    }

    TEST_CASE("a child maps no more of its peer than the end that was passed to it may")
    {
        asio::io_context ctx;
        broadcaster<std::uint64_t> numbers(ctx.get_executor(), {.capacity_bytes = 1U << 20U});
        auto ends = make_channel<std::uint64_t>();
        auto subscription = numbers.subscribe();
        subscription.options().max_peer_bytes = 4096;
        auto what = child_that("listen");
        what.pass(std::move(subscription), "numbers").pass(std::move(ends.sender), "seen");
        const auto said = complaint_of(std::move(what));
        CHECK_MESSAGE(said.starts_with("inherited channel \"numbers\" (the broadcast has "), said);
        CHECK_MESSAGE(said.find("at most") != std::string::npos, said);
    }

    TEST_CASE("a child is a consumer of a work queue, and does all there is")
    {
        const procyard_test::descriptor_check descriptors;
        asio::io_context ctx;
        run_coroutine(ctx, []() -> asio::awaitable<void> {
            auto executor = co_await asio::this_coro::executor;
            work_queue<std::uint64_t> queue(executor, {.capacity = 50});
            auto ends = make_channel<std::uint64_t>();
            auto what = child_that("serve");
            what.pass(queue.consumer(), "items").pass(std::move(ends.sender), "seen");
            receiver<std::uint64_t> seen(executor, std::move(ends.receiver));
            auto c = spawn(what, executor);
            for (std::uint64_t n = 0; n < 50; ++n)
                co_await queue.async_push(n, asio::use_awaitable);
            co_await queue.async_drain(asio::use_awaitable);
            queue.close();
            CHECK((co_await all_of(seen)).size() == 50);
            CHECK(queue.statistics().done == 50);
            CHECK(co_await c.async_wait(asio::use_awaitable) == exit_status::exited(0));
        }());
    }

    TEST_CASE("a child opens what it was passed, by name, and talks to the parent")
    {
        const procyard_test::descriptor_check descriptors;
        asio::io_context ctx;
        run_coroutine(ctx, []() -> asio::awaitable<void> {
            auto executor = co_await asio::this_coro::executor;
            auto in = make_channel<std::string>({.capacity_bytes = 4096});
            auto out = make_channel<std::string>({.capacity_bytes = 4096});
            auto what = child_that("echo");
            what.pass(std::move(in.receiver), "in").pass(std::move(out.sender), "out");
            sender<std::string> tx(executor, std::move(in.sender));
            receiver<std::string> rx(executor, std::move(out.receiver));
            auto c = spawn(what, executor);
            for (std::size_t length = 0; length < 2000; length += 7) {
                std::string text(length, static_cast<char>('a' + length % 26));
                co_await tx.async_send(text, asio::use_awaitable);
                CHECK(co_await rx.async_receive(asio::use_awaitable) == text);
            }
            CHECK(tx.is_connected());
            tx.close();
            error_code ec;
            (void)co_await rx.async_receive(asio::redirect_error(asio::use_awaitable, ec));
            CHECK(ec == channel_errc::closed);
            CHECK(co_await c.async_wait(asio::use_awaitable) == exit_status::exited(0));
        }());
    }

    TEST_CASE("messages wait for a child that is still to be started")
    {
        asio::io_context ctx;
        run_coroutine(ctx, []() -> asio::awaitable<void> {
            auto executor = co_await asio::this_coro::executor;
            auto in = make_channel<std::string>();
            auto out = make_channel<std::string>();
            sender<std::string> tx(executor, std::move(in.sender));
            receiver<std::string> rx(executor, std::move(out.receiver));
            for (const char* text : {"one", "two", "three"})
                CHECK(tx.try_send(text));
            tx.close();
            auto what = child_that("echo");
            what.pass(std::move(in.receiver), "in").pass(std::move(out.sender), "out");
            auto c = spawn(what, executor);
            for (const char* text : {"one", "two", "three"})
                CHECK(co_await rx.async_receive(asio::use_awaitable) == text);
            co_await c.async_wait(asio::use_awaitable);
        }());
    }

    TEST_CASE("a duplex goes to a child under one name, and talks in both directions")
    {
        const procyard_test::descriptor_check descriptors;
        asio::io_context ctx;
        run_coroutine(ctx, []() -> asio::awaitable<void> {
            auto executor = co_await asio::this_coro::executor;
            auto sides = make_duplex<std::uint64_t, std::string>({.capacity_bytes = 4096});
            auto what = child_that("answer");
            what.pass(std::move(sides.there), "ask");
            auto worker = std::move(sides.here).open(executor);
            auto c = spawn(what, executor);
            for (std::uint64_t n = 0; n < 100; ++n) {
                co_await worker.sender.async_send(n, asio::use_awaitable);
                CHECK(co_await worker.receiver.async_receive(asio::use_awaitable)
                      == std::to_string(n));
            }
            worker.sender.close();
            CHECK(co_await c.async_wait(asio::use_awaitable) == exit_status::exited(0));
        }());
    }

    TEST_CASE("a duplex of which one direction is of another type is named by what() of the child")
    {
        asio::io_context ctx;
        auto sides = make_duplex<double, std::string>({.capacity_bytes = 4096});
        auto what = child_that("answer");
        what.pass(std::move(sides.there), "ask");
        auto worker = std::move(sides.here).open(ctx.get_executor());
        const auto said = complaint_of(std::move(what));
        CHECK_MESSAGE(said.find("inherited channel \"ask\"") != std::string::npos, said);
        CHECK_MESSAGE(said.find("f64") != std::string::npos, said);
    }

    TEST_CASE("the options go along: what to do when it is full, and the channel's name")
    {
        auto ends = make_channel<std::uint64_t>(
            {.capacity_messages = 8, .full = when_full::drop_newest, .name = "called-so"});
        auto what = child_that("drop");
        what.pass(std::move(ends.sender), "numbers");
        CHECK(complaint_of(std::move(what)) == "called-so dropped 92\n");
    }

    TEST_CASE("drop_oldest and huge pages go along")
    {
        using procyard::huge_page_policy;
        auto ends = make_channel<std::uint64_t>({.capacity_messages = 8,
                                                 .full = when_full::drop_oldest,
                                                 .huge_pages = huge_page_policy::if_available,
                                                 .name = "called-so"});
        auto what = child_that("drop");
        what.pass(std::move(ends.sender), "numbers");
        CHECK(complaint_of(std::move(what)) == "called-so dropped 92\n");

        // More than any pool has.
        auto more = make_channel<std::uint64_t>(
            {.capacity_bytes = std::size_t{1} << 45, .huge_pages = huge_page_policy::required});
        auto in_vain = child_that("drop");
        in_vain.pass(std::move(more.sender), "numbers");
        const auto said = complaint_of(std::move(in_vain));
        CHECK_MESSAGE(said.find("huge pages") != std::string::npos, said);
    }

    TEST_CASE("a child that is killed leaves all that it had committed, and then it has died")
    {
        asio::io_context ctx;
        run_coroutine(ctx, []() -> asio::awaitable<void> {
            auto executor = co_await asio::this_coro::executor;
            auto numbers = make_channel<std::uint64_t>();
            auto what = child_that("send-and-die");
            what.pass(std::move(numbers.sender), "numbers");
            receiver<std::uint64_t> rx(executor, std::move(numbers.receiver));
            auto c = spawn(what, executor);
            error_code ec;
            std::uint64_t next = 0;
            for (;; ++next) {
                const auto n =
                    co_await rx.async_receive(asio::redirect_error(asio::use_awaitable, ec));
                if (ec)
                    break;
                CHECK(n == next);
            }
            CHECK(next == 1000);
            CHECK(ec == channel_errc::peer_died);
            CHECK(co_await c.async_wait(asio::use_awaitable) == exit_status::signaled(9));
        }());
    }

    TEST_CASE("a child that never opens it is a peer that has died")
    {
        asio::io_context ctx;
        run_coroutine(ctx, []() -> asio::awaitable<void> {
            auto executor = co_await asio::this_coro::executor;
            auto numbers = make_channel<std::uint64_t>();
            auto what = command("true");
            what.pass(std::move(numbers.sender), "numbers");
            receiver<std::uint64_t> rx(executor, std::move(numbers.receiver));
            auto c = spawn(what, executor);
            error_code ec;
            (void)co_await rx.async_receive(asio::redirect_error(asio::use_awaitable, ec));
            CHECK(ec == channel_errc::peer_died);
            co_await c.async_wait(asio::use_awaitable);
        }());
    }

    TEST_CASE("what was not passed, or opened before, or is of another type, is told by its name")
    {
        CHECK(complaint_of(child_that("absent"))
              == "inherited channel \"absent\": the parent has passed no channel of this name "
                 "[procyard.channel:12]\n");
        CHECK(complaint_of(child_that("absent").env("PROCYARD_CHANNELS", "absent=x;=3:;absent"))
                  .starts_with("inherited channel \"absent\": the parent has passed no channel"));
        CHECK(complaint_of(child_that("gone").env("PROCYARD_CHANNELS", "gone=99:1:0:64:0"))
                  .starts_with("inherited channel \"gone\": this end has been opened or closed"));
        // What a child does not know, of an end that it knows: an older one of a newer parent.
        for (const char* more : {"gone=max_peer_bytes:x", "gone=max_peer_bytes:1:2", "gone=new:7"})
            CHECK(
                complaint_of(
                    child_that("gone").env("PROCYARD_CHANNELS",
                                           std::string(more) + ";gone=99:1:0:64:0;" + more))
                    .starts_with("inherited channel \"gone\": this end has been opened or closed"));
        CHECK(complaint_of(child_that("gone").env("PROCYARD_CHANNELS", "gone=max_peer_bytes:7"))
                  .starts_with("inherited channel \"gone\": the parent has passed no channel"));
        {
            auto in = make_channel<std::string>();
            auto what = child_that("twice");
            what.pass(std::move(in.receiver), "in");
            CHECK(complaint_of(what).starts_with("inherited channel \"in\": this end has been"));
        }
    }

    TEST_CASE("another type is refused on both sides, and both are named")
    {
        asio::io_context ctx;
        auto in = make_channel<std::string>();
        sender<std::string> tx(ctx.get_executor(), std::move(in.sender));
        auto what = child_that("in");
        what.pass(std::move(in.receiver), "in");
        const auto said = complaint_of(what);
        CAPTURE(said);
        CHECK(said.find("another type") != std::string::npos);
        CHECK(said.find("u64") != std::string::npos);
        CHECK(said.find("str") != std::string::npos);
        procyard_test::outcome<error_code> got;
        tx.async_wait_writable(got.handler());
        procyard_test::run(ctx);
        CHECK(got.count == 1);
    }
}

TEST_SUITE("command::pass")
{
    TEST_CASE("an end goes along with one child, and a spawn that fails keeps it")
    {
        asio::io_context ctx;
        auto numbers = make_channel<std::uint64_t>();
        auto what = command("true").working_directory("/nope");
        what.pass(std::move(numbers.sender), "numbers");
        spawn_failure failure;
        CHECK_FALSE(spawn(what, ctx.get_executor(), failure));
        CHECK(step_of(failure.code) == spawn_step::working_directory);
        what.working_directory("/");
        auto first = spawn(what, ctx.get_executor());
        CHECK_FALSE(spawn(what, ctx.get_executor(), failure));
        CHECK(failure.to_string()
              == "spawn \"true\": descriptors \"channel numbers has been passed to another "
                 "child\": Bad file descriptor");
        procyard_test::run(ctx);
    }

    TEST_CASE("bad names are refused before anything is created")
    {
        asio::io_context ctx;
        for (const char* bad : {"", "a b", "a=b", "a;b", "a:b", "ä"}) {
            CAPTURE(bad);
            auto what = command("true");
            what.pass(make_channel<int>().sender, bad);
            spawn_failure failure;
            CHECK_FALSE(spawn(what, ctx.get_executor(), failure));
            CHECK(step_of(failure.code) == spawn_step::descriptors);
            CHECK(failure.code == boost::system::errc::invalid_argument);
        }
        auto twice = command("true");
        twice.pass(make_channel<int>().sender, "a").pass(make_channel<int>().receiver, "a");
        spawn_failure failure;
        CHECK_FALSE(spawn(twice, ctx.get_executor(), failure));
        CHECK(failure.to_string().find("two channels are called a") != std::string::npos);
        auto none = command("true");
        none.pass(unopened<sender<int>>(), "none");
        CHECK_FALSE(spawn(none, ctx.get_executor(), failure));
        CHECK(failure.to_string().find("channel none is no end") != std::string::npos);
    }

    TEST_CASE("it takes numbers that the command does not use otherwise")
    {
        asio::io_context ctx;
        auto a = make_channel<std::string>();
        auto b = make_channel<std::string>();
        auto what = child_that("echo");
        what.pass(std::move(a.receiver), "in").pass(std::move(b.sender), "out");
        what.descriptor(3, stdio::null()).descriptor(5, stdio::null());
        sender<std::string> tx(ctx.get_executor(), std::move(a.sender));
        receiver<std::string> rx(ctx.get_executor(), std::move(b.receiver));
        auto c = spawn(what, ctx.get_executor());
        CHECK(tx.try_send("hello"));
        procyard_test::outcome<error_code, std::string> got;
        rx.async_receive(got.handler());
        procyard_test::run_until(ctx, [&] { return got.done(); });
        CHECK_FALSE(got.error());
        CHECK(got.result() == "hello");
    }
}
