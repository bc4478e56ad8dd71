// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/run_output.hpp>

#include <fcntl.h>
#include <sys/stat.h>

#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "run_fixture.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;
using procyard_test::mode;
using procyard_test::run_fixture;

TEST_SUITE("run_output")
{
    TEST_CASE_FIXTURE(run_fixture, "a capture is cut exactly at its limit (case 36)")
    {
        const auto limited = [&](std::size_t limit, limit_policy policy, const char* bytes) {
            auto output = run_output().capture({.limit_bytes = limit, .on_limit = policy});
            return (*this)(mode({"flood", bytes, "0"}), run_options().std_out(output));
        };
        SUBCASE("truncate: the child goes on to its end")
        {
            const auto result = limited(1000, limit_policy::truncate, "2000000");
            CHECK(result.reason == run_reason::exited);
            CHECK(result.status.success());
            CHECK(result.std_out.data.size() == 1000);
            CHECK(result.std_out.data.substr(0, 12) == "012345678901");
            CHECK(result.std_out.bytes_seen == 2'000'000);
            CHECK(result.std_out.truncated);
            CHECK_FALSE(result.success());
            CHECK(result.error() == run_errc::output_limit);
            CHECK(result.to_string() == "exit 0; stdout truncated (1000 of 2000000 bytes)");
        }
        SUBCASE("stop: the ladder ends it")
        {
            const auto result = limited(1000, limit_policy::stop, "200000000");
            CHECK(result.reason == run_reason::output_limit);
            CHECK(result.std_out.data.size() == 1000);
            CHECK(result.std_out.truncated);
            REQUIRE(result.stop);
            CHECK(result.stop->tree_empty);
        }
        SUBCASE("stop, and the child has ended already: the reason is the same")
        {
            const auto result = limited(1000, limit_policy::stop, "1001");
            CHECK(result.reason == run_reason::output_limit);
        }
        SUBCASE("exactly the limit is not too much")
        {
            const auto result = limited(1000, limit_policy::stop, "1000");
            CHECK(result.success());
            CHECK_FALSE(result.std_out.truncated);
        }
        SUBCASE("nothing wanted")
        {
            const auto result = limited(0, limit_policy::truncate, "10");
            CHECK(result.std_out.data.empty());
            CHECK(result.std_out.truncated);
        }
    }

    TEST_CASE_FIXTURE(run_fixture, "each output has its own limit")
    {
        auto& result = (*this)(mode({"flood", "500000", "400000"}),
                               run_options()
                                   .std_out(run_output().capture({.limit_bytes = 300'000}))
                                   .std_err(run_output().capture({.limit_bytes = 450'000})));
        CHECK(result.std_out.data.size() == 300'000);
        CHECK(result.std_out.truncated);
        CHECK(result.std_err.data.size() == 400'000);
        CHECK(result.std_err.complete());
    }

    TEST_CASE_FIXTURE(run_fixture, "what was written before the exit is read after it (case 35)")
    {
        auto& result = (*this)(mode({"flood", "60000", "60000"}));
        CHECK(result.std_out.data.size() == 60'000);
        CHECK(result.std_err.data.size() == 60'000);
    }

    TEST_CASE_FIXTURE(run_fixture, "merged outputs keep the order of the writes (case 40)")
    {
        auto& result =
            (*this)(mode({"alternate", "500"}), run_options().std_err(run_output::merge()));
        std::string expected;
        for (int i = 0; i < 500; ++i) {
            const auto n = std::to_string(i);
            expected += 'o';
            expected += n;
            expected += " e";
            expected += n;
            expected += ' ';
        }
        CHECK(result.std_out.data == expected);
        CHECK(result.std_err.data.empty());
        CHECK(result.success());
    }

    TEST_CASE_FIXTURE(run_fixture, "stdout can be merged into stderr, too")
    {
        auto& result =
            (*this)(mode({"alternate", "1"}), run_options().std_out(run_output::merge()));
        CHECK(result.std_err.data == "o0 e0 ");
    }

    TEST_CASE_FIXTURE(run_fixture, "an output can be thrown away or left to the command")
    {
        const procyard_test::temporary_directory directory;
        const auto path = directory.path() / "out";
        auto& result = (*this)(mode({"alternate", "1"}).std_out(stdio::write_file(path)),
                               run_options().std_err(run_output::discard()));
        CHECK(result.success());
        CHECK(result.std_out.bytes_seen == 0);
        CHECK(result.std_err.bytes_seen == 0);
        CHECK(directory.read("out") == "o0 ");
    }

    TEST_CASE_FIXTURE(run_fixture, "goes to several sinks at once, all of it to each")
    {
        const procyard_test::temporary_directory directory;
        std::string called;
        std::string awaited;
        int lines = 0;
        auto pipe = make_pipe(ctx.get_executor(), {.capacity_bytes = 4096});
        std::string streamed;
        procyard_test::outcome<error_code, std::size_t> stream_end;
        asio::async_read(pipe.reader, asio::dynamic_buffer(streamed), stream_end.handler());
        auto output =
            run_output()
                .capture()
                .to_file(directory.path() / "copy")
                .to_callback([&](std::string_view bytes) { called += bytes; })
                .each_line([&](std::string_view) { ++lines; })
                .to_coroutine([&](std::string_view bytes) -> asio::awaitable<void> {
                    co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
                    awaited += bytes;
                })
                .to_stream(std::move(pipe.writer));
        auto& result = (*this)(mode({"flood", "1000000", "0"}), run_options().std_out(output));
        CHECK(result.success());
        CHECK(result.std_out.data.size() == 1'000'000);
        CHECK(directory.read("copy") == result.std_out.data);
        CHECK(called == result.std_out.data);
        CHECK(awaited == result.std_out.data);
        CHECK(streamed == result.std_out.data);
        CHECK(stream_end.error() == asio::error::eof);  // the stream was closed at the end
        CHECK(lines == 1);
        CHECK(result.std_out.long_lines == 0);

        // Described again, the stream is gone.
        auto& again = (*this)(mode({"alternate", "1"}), run_options().std_out(output));
        REQUIRE(again.std_out.sink_failures.size() == 1);
        CHECK(again.std_out.sink_failures[0].error == asio::error::bad_descriptor);
    }

    TEST_CASE_FIXTURE(run_fixture, "a sink that fails leaves the others alone (case 41)")
    {
        auto failing = run_output().capture();
        std::string name;
        auto code = make_error_code(boost::system::errc::no_space_on_device);
        SUBCASE("a full device")
        {
            failing.to_file("/dev/full");
            name = "file \"/dev/full\"";
        }
        SUBCASE("a file that cannot be opened")
        {
            failing.to_file("/nonexistent/file");
            name = "file \"/nonexistent/file\"";
            code = make_error_code(boost::system::errc::no_such_file_or_directory);
        }
        SUBCASE("a callback throws")
        {
            failing.to_callback([](std::string_view) {
                throw boost::system::system_error(ENOSPC, boost::system::system_category());
            });
            name = "callback";
        }
        SUBCASE("a line callback throws")
        {
            failing.each_line(
                [](std::string_view) {
                    throw boost::system::system_error(ENOSPC, boost::system::system_category());
                },
                {.max_line_bytes = 10});
            name = "lines";
        }
        SUBCASE("a coroutine throws")
        {
            failing.to_coroutine([](std::string_view) -> asio::awaitable<void> {
                co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
                throw boost::system::system_error(ENOSPC, boost::system::system_category());
            });
            name = "coroutine";
        }
        SUBCASE("a stream without a reader")
        {
            auto pipe = make_pipe(ctx.get_executor());
            pipe.reader.close();
            failing.to_stream(std::move(pipe.writer));
            name = "stream";
            code = make_error_code(boost::system::errc::broken_pipe);
        }
        auto& result = (*this)(mode({"flood", "500000", "0"}), run_options().std_out(failing));
        CHECK(result.reason == run_reason::exited);
        CHECK(result.status.success());
        CHECK(result.std_out.data.size() == 500'000);
        REQUIRE(result.std_out.sink_failures.size() == 1);
        const auto& failure = result.std_out.sink_failures[0];
        CHECK(failure.index == 1);
        CHECK(failure.sink == name);
        CHECK(failure.error == code.default_error_condition());
        CHECK_FALSE(result.success());
        CHECK(result.error() == run_errc::sink_failed);
    }

    TEST_CASE_FIXTURE(run_fixture, "without a consumer the child is stopped, unless told otherwise")
    {
        auto output =
            run_output().to_callback([](std::string_view) { throw std::runtime_error("x"); });
        auto options = run_options().std_out(output);
        SUBCASE("default")
        {
            auto& result = (*this)(mode({"flood-for-ever"}), options);
            CHECK(result.reason == run_reason::sink_failed);
            REQUIRE(result.stop);
            REQUIRE(result.std_out.sink_failures.size() == 1);
            CHECK(result.std_out.sink_failures[0].error == run_errc::threw);
            CHECK_THROWS_AS(std::rethrow_exception(result.std_out.sink_failures[0].exception),
                            std::runtime_error);
        }
        SUBCASE("go on: the rest is thrown away")
        {
            options.on_sink_failure(sink_failure_policy::go_on);
            auto& result = (*this)(mode({"flood", "3000000", "0"}), options);
            CHECK(result.reason == run_reason::exited);
            CHECK(result.std_out.bytes_seen == 3'000'000);
            CHECK_FALSE(result.success());
        }
        SUBCASE("stop at the first of several")
        {
            options.std_out(output.capture()).on_sink_failure(sink_failure_policy::stop);
            auto& result = (*this)(mode({"flood-for-ever"}), options);
            CHECK(result.reason == run_reason::sink_failed);
        }
    }

    TEST_CASE_FIXTURE(run_fixture, "an only file that cannot be opened fails before the spawn")
    {
        auto& result = (*this)(command("true"),
                               run_options().std_out(run_output().to_file("/nonexistent/file")));
        CHECK(got.error() == boost::system::errc::no_such_file_or_directory);
        CHECK(step_of(got.error()) == spawn_step::open_file);
        CHECK(result.pid == 0);
        CHECK(result.failure.to_string().find("/nonexistent/file") != std::string::npos);
    }

    TEST_CASE_FIXTURE(run_fixture, "is cut into lines: empty ones, long ones, a last one (case 39)")
    {
        std::vector<std::string> lines;
        auto output = run_output().each_line(
            [&](std::string_view line) { lines.emplace_back(line); }, {.max_line_bytes = 5});
        auto& result = (*this)(command("printf", {"one\\n\\n12345\\n123456789\\n\\303\\244\\000b"}),
                               run_options().std_out(output));
        CHECK(lines
              == std::vector<std::string>{"one", "", "12345", "12345",
                                          std::string("\xc3\xa4\0b", 4)});
        CHECK(result.std_out.long_lines == 1);
        CHECK_FALSE(result.std_out.complete());  // its end went nowhere
        CHECK(result.error() == run_errc::line_too_long);
        CHECK(result.to_string() == "exit 0; stdout cut in 1 long line");
    }

    TEST_CASE_FIXTURE(run_fixture, "a file sink never blocks on a FIFO")
    {
        const procyard_test::temporary_directory directory;
        const auto path = directory.path() / "fifo";
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        auto output = run_output().capture().to_file(path);
        auto& result = (*this)(mode({"flood", "100", "0"}), run_options().std_out(output));
        CHECK(result.std_out.data.size() == 100);
        CHECK(result.std_out.sink_failures.size() == 1);
    }

    TEST_CASE_FIXTURE(run_fixture, "a FIFO's reader that leaves is an error, and no SIGPIPE")
    {
        const procyard_test::temporary_directory directory;
        const auto path = directory.path() / "fifo";
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        unique_fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        REQUIRE(reader);
        auto output =
            run_output().to_callback([&](std::string_view) { reader.reset(); }).to_file(path);
        auto& result = (*this)(mode({"flood", "100000", "0"}), run_options().std_out(output));
        REQUIRE(result.std_out.sink_failures.size() == 1);
        CHECK(result.std_out.sink_failures[0].error == boost::system::errc::broken_pipe);
        CHECK(result.std_out.sink_failures[0].sink.find(path.string()) != std::string::npos);
        CHECK(result.status == exit_status::exited(0));
    }

    TEST_CASE_FIXTURE(run_fixture, "a FIFO's slow reader gets all")
    {
        const procyard_test::temporary_directory directory;
        const auto path = directory.path() / "fifo";
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        unique_fd end(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        REQUIRE(end);
        pipe_reader reader(ctx.get_executor(), std::move(end));
        std::string read;
        bool begun = false;
        bool at_end = false;
        // Before the FIFO has a writer there is nothing but its end to be read.
        const auto begin = [&](std::string_view) {
            if (std::exchange(begun, true))
                return;
            asio::async_read(
                reader, asio::dynamic_buffer(read),
                [&](const error_code& ec, std::size_t) { at_end = ec == asio::error::eof; });
        };
        // Many times what the FIFO holds, so that the sink has to wait for the reader.
        auto& result =
            (*this)(mode({"flood", "1000000", "0"}),
                    run_options().std_out(run_output().to_callback(begin).to_file(path)));
        procyard_test::run_until(ctx, [&] { return at_end; });
        CHECK(result.status == exit_status::exited(0));
        CHECK(result.std_out.sink_failures.empty());
        CHECK(read.size() == 1000000);
    }

    TEST_CASE_FIXTURE(run_fixture, "a file sink can append")
    {
        const procyard_test::temporary_directory directory;
        directory.write("log", "before ");
        const auto path = directory.path() / "log";
        (*this)(mode({"alternate", "1"}),
                run_options().std_out(run_output().to_file(path, {.append = true})));
        CHECK(directory.read("log") == "before o0 ");
    }

    TEST_CASE_FIXTURE(run_fixture, "a slow sink slows the child; memory stays bounded (case 38)")
    {
        auto gate = make_pipe(ctx.get_executor());
        int calls = 0;
        std::size_t largest = 0;
        std::uint64_t taken = 0;
        const auto slow = [&](std::string_view bytes) -> asio::awaitable<void> {
            ++calls;
            largest = std::max(largest, bytes.size());
            co_await gate.reader.async_wait_readable(asio::use_awaitable);  // once open, always
            taken += bytes.size();
        };
        start(mode({"flood", "8000000", "0"}),
              run_options().std_out(run_output().to_coroutine(slow)));
        procyard_test::run_until(ctx, [&] { return calls == 1; });
        while (ctx.poll() > 0) { }
        CHECK(calls == 1);  // nothing more is read before it has returned
        CHECK_FALSE(got.done());
        error_code ec;
        gate.writer.try_write_some(asio::buffer("x", 1), ec);
        CHECK(finish().success());
        CHECK(taken == 8'000'000);
        CHECK(largest <= 65536);
    }

    TEST_CASE_FIXTURE(run_fixture, "a stream is closed even if nothing could be started")
    {
        auto pipe = make_pipe(ctx.get_executor());
        const auto options = run_options().std_out(run_output().to_stream(std::move(pipe.writer)));
        (*this)(command("/nonexistent/program"), options);
        CHECK(got.error() == boost::system::errc::no_such_file_or_directory);
        error_code ec;
        char byte = 0;
        pipe.reader.try_read_some(asio::buffer(&byte, 1), ec);
        CHECK(ec == asio::error::eof);
    }

    TEST_CASE_FIXTURE(run_fixture, "a stream by reference stays open")
    {
        asio::local::stream_protocol::socket ours(ctx);
        asio::local::stream_protocol::socket theirs(ctx);
        asio::local::connect_pair(ours, theirs);
        (*this)(command("echo", {"hi"}),
                run_options().std_out(run_output().to_stream(std::ref(ours))));
        CHECK(got.result().success());
        CHECK(ours.is_open());
        char text[3];
        asio::read(theirs, asio::buffer(text));
        CHECK(std::string(text, 3) == "hi\n");
    }

    TEST_CASE_FIXTURE(run_fixture, "the outputs of a terminal come as one")
    {
        auto& result = (*this)(mode({"alternate", "2"}).terminal());
        CHECK(result.success());
        CHECK(result.std_out.data == "o0 e0 o1 e1 ");
    }
}
