// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/run_input.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <doctest/doctest.h>

#include <numeric>
#include <stdexcept>
#include <string>

#include "run_fixture.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;
using procyard_test::mode;
using procyard_test::run_fixture;

namespace {

// More than all pipes on the way hold.
std::string big_text()
{
    std::string text(5'000'000, ' ');
    for (std::size_t i = 0; i < text.size(); ++i)
        text[i] = static_cast<char>('a' + i * 7919 % 26);
    return text;
}

// Hands out a text in pieces.
class pieces {
public:
    explicit pieces(std::string text, std::size_t size = 1000)
        : text_(std::make_shared<std::string>(std::move(text))),
          size_(size)
    {
    }

    asio::awaitable<std::optional<std::string>> operator()()
    {
        return next(text_, std::exchange(at_, at_ + size_), size_);
    }

private:
    static asio::awaitable<std::optional<std::string>> next(std::shared_ptr<std::string> text,
                                                            std::size_t at, std::size_t size)
    {
        if (at >= text->size())
            co_return std::nullopt;
        co_return text->substr(at, size);
    }

    std::shared_ptr<std::string> text_;
    std::size_t at_ = 0;
    std::size_t size_;
};

asio::awaitable<void> write_text(pipe_writer& to, std::string text)
{
    co_await asio::async_write(to, asio::buffer(text), asio::use_awaitable);
}

}  // namespace

TEST_SUITE("run_input")
{
    TEST_CASE_FIXTURE(run_fixture, "large input and large outputs at the same time (case 30)")
    {
        const auto text = big_text();
        auto options = run_options();
        SUBCASE("from memory")
        {
            options.std_in(text);
        }
        SUBCASE("from memory of the caller")
        {
            options.std_in(run_input::view(text));
        }
        SUBCASE("from a generator")
        {
            options.std_in(run_input::generator(pieces(text, 99'999)));
        }
        SUBCASE("from a coroutine that writes")
        {
            options.std_in(
                run_input::writer([text](pipe_writer& to) { return write_text(to, text); }));
        }
        auto& result = (*this)(mode({"copy-twice"}), options);
        CHECK(result.success());
        CHECK(result.std_out.data == text);
        CHECK(result.std_err.data == text);
        CHECK_FALSE(result.input.rejected);
    }

    TEST_CASE_FIXTURE(run_fixture, "says how much was fed")
    {
        auto& result = (*this)(command("cat"), run_options().std_in("hello"));
        CHECK(result.std_out.data == "hello");
        CHECK(result.input.bytes_fed == 5);
        CHECK(result.input.bytes_rejected == 0);
    }

    TEST_CASE_FIXTURE(run_fixture, "from a file, which the child reads itself")
    {
        const procyard_test::temporary_directory directory;
        const auto path = directory.write("input", "from a file");
        auto& result = (*this)(command("cat"), run_options().std_in(run_input::file(path)));
        CHECK(result.std_out.data == "from a file");
        CHECK(result.input.bytes_fed == 0);
    }

    TEST_CASE_FIXTURE(run_fixture, "a file that is not there fails the spawn")
    {
        (*this)(command("cat"), run_options().std_in(run_input::file("/nonexistent/file")));
        CHECK(got.error() == boost::system::errc::no_such_file_or_directory);
        CHECK(got.result().failure.step == spawn_step::open_file);
    }

    TEST_CASE_FIXTURE(run_fixture, "from a stream, to its end of file")
    {
        auto pipe = make_pipe(ctx.get_executor());
        const std::string text(300'000, 'y');
        asio::async_write(pipe.writer, asio::buffer(text),
                          [&](error_code, std::size_t) { pipe.writer.close(); });
        auto options = run_options();
        SUBCASE("moved in")
        {
            options.std_in(run_input::stream(std::move(pipe.reader)));
        }
        SUBCASE("by reference")
        {
            options.std_in(run_input::stream(std::ref(pipe.reader)));
        }
        auto& result = (*this)(command("cat"), options);
        CHECK(result.success());
        CHECK(result.std_out.data == text);
        CHECK(result.input.bytes_fed == text.size());
    }

    TEST_CASE_FIXTURE(run_fixture, "no input is an end of file at once (case 33)")
    {
        auto options = run_options();
        SUBCASE("by default") { }
        SUBCASE("an empty text")
        {
            options.std_in("");
        }
        SUBCASE("an empty generator")
        {
            options.std_in(run_input::generator(pieces("")));
        }
        auto& result = (*this)(mode({"until-eof", "5"}), options);
        CHECK(result.status == exit_status::exited(5));
    }

    TEST_CASE_FIXTURE(run_fixture, "a pipe the command asks for is closed when nothing is fed")
    {
        auto& result = (*this)(mode({"until-eof", "6"}).std_in(stdio::pipe()));
        CHECK(result.status == exit_status::exited(6));
    }

    TEST_CASE_FIXTURE(run_fixture,
                      "a child that does not read its input is no error, and no SIGPIPE (case 31)")
    {
        const std::string text(1'000'000, 'z');
        auto options = run_options();
        bool counted = true;
        SUBCASE("memory")
        {
            options.std_in(text);
        }
        SUBCASE("generator")
        {
            options.std_in(run_input::generator(pieces(text)));
            counted = false;
        }
        SUBCASE("writer")
        {
            options.std_in(
                run_input::writer([text](pipe_writer& to) { return write_text(to, text); }));
            counted = false;
        }
        auto& result = (*this)(command("true"), options);
        CHECK_FALSE(got.error());
        CHECK(result.success());
        CHECK(result.input.rejected);
        CHECK_FALSE(result.input.error);
        if (counted)
            CHECK(result.input.bytes_fed + result.input.bytes_rejected == text.size());
    }

    TEST_CASE_FIXTURE(run_fixture, "a child may close its input and go on")
    {
        start(mode({"deaf"}), run_options().std_in(std::string(1'000'000, 'x')).std_out(tap()));
        wait_for("ready");
        ctx.poll();
        CHECK_FALSE(got.done());
        signal.emit(asio::cancellation_type::terminal);
        CHECK(finish().input.rejected);
    }

    TEST_CASE_FIXTURE(run_fixture, "a source that fails stops the child, and is named")
    {
        auto options = run_options().std_out(tap());
        SUBCASE("a generator throws")
        {
            options.std_in(
                run_input::generator([]() -> asio::awaitable<std::optional<std::string>> {
                    throw std::runtime_error("no more");
                    co_return std::nullopt;
                }));
        }
        SUBCASE("a generator throws before it is a coroutine")
        {
            options.std_in(
                run_input::generator([]() -> asio::awaitable<std::optional<std::string>> {
                    throw std::runtime_error("no more");
                }));
        }
        SUBCASE("a writer throws")
        {
            options.std_in(run_input::writer([](pipe_writer&) -> asio::awaitable<void> {
                throw std::runtime_error("no more");
                co_return;
            }));
        }
        auto& result = (*this)(mode({"until-eof", "0"}), options);
        CHECK_FALSE(got.error());
        CHECK(result.reason == run_reason::input_failed);
        REQUIRE(result.stop);
        CHECK(result.stop->tree_empty);
        CHECK_FALSE(result.success());
        CHECK(result.error() == run_errc::input_failed);
        CHECK(result.input.error == run_errc::threw);
        REQUIRE(result.input.exception);
        CHECK_THROWS_WITH_AS(std::rethrow_exception(result.input.exception), "no more",
                             std::runtime_error);
    }

    TEST_CASE_FIXTURE(run_fixture, "a stream that fails fails the input with its code")
    {
        auto pipe = make_pipe(ctx.get_executor());
        start(mode({"until-eof", "0"}),
              run_options().std_out(tap()).std_in(run_input::stream(std::ref(pipe.reader))));
        wait_for("ready");
        pipe.reader.close();
        auto& result = finish();
        CHECK(result.reason == run_reason::input_failed);
        CHECK(result.input.error == asio::error::operation_aborted);
    }

    TEST_CASE_FIXTURE(run_fixture, "a source that waits is cancelled when the child has ended")
    {
        auto options = run_options();
        auto pipe = make_pipe(ctx.get_executor());  // nothing ever comes
        SUBCASE("stream")
        {
            options.std_in(run_input::stream(std::ref(pipe.reader)));
        }
        SUBCASE("generator")
        {
            options.std_in(
                run_input::generator([&pipe]() -> asio::awaitable<std::optional<std::string>> {
                    co_await pipe.reader.async_wait_readable(asio::use_awaitable);
                    co_return "late";
                }));
        }
        SUBCASE("writer")
        {
            options.std_in(run_input::writer([&pipe](pipe_writer&) -> asio::awaitable<void> {
                co_await pipe.reader.async_wait_readable(asio::use_awaitable);
            }));
        }
        auto& result = (*this)(mode({"exit", "0"}), options);
        CHECK(result.success());
        CHECK(result.input.rejected);
    }

    TEST_CASE_FIXTURE(run_fixture, "a source that takes its time to end is waited for")
    {
        bool ended = false;
        auto options = run_options().std_in(
            run_input::writer([&ended](pipe_writer& to) -> asio::awaitable<void> {
                for (;;) {
                    const auto [ec, n] = co_await asio::async_write(
                        to, asio::buffer("text"), asio::as_tuple(asio::use_awaitable));
                    if (ec)
                        break;
                }
                co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
                for (int i = 0; i < 5; ++i)
                    co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
                ended = true;
            }));
        CHECK((*this)(mode({"exit", "0"}), options).success());
        CHECK(ended);
    }

    TEST_CASE_FIXTURE(run_fixture, "on a terminal the end of the input is typed")
    {
        for (const std::string text : {"one\ntwo\n", "one\ntwo", ""}) {
            auto& result = (*this)(command("wc", {"-c"}).terminal(), run_options().std_in(text));
            CHECK_MESSAGE(result.success(), result.to_string());
            CHECK(result.std_out.data.find(std::to_string(text.size())) != std::string::npos);
        }
    }
}
