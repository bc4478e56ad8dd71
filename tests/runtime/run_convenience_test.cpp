// SPDX-License-Identifier: BSL-1.0
// async_output, async_status, async_lines: what they share with async_run, and what is their own.
#include <procyard/runtime/run.hpp>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <doctest/doctest.h>

#include <cerrno>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/pipe.hpp>

#include "operation_contract.hpp"
#include "run_fixture.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
using namespace procyard;
using namespace std::chrono_literals;
using procyard_test::mode;

namespace {

// A `cat` that ends when the test lets its input end. `Start` is one of the three functions.
template <class Start>
class filter {
public:
    explicit filter(asio::io_context& ctx) : ctx_(ctx), gate_(make_pipe(ctx.get_executor())) { }

    void start(auto&& token)
    {
        Start()(command(program_), ctx_.get_executor(),
                run_options()
                    .std_in(run_input::stream(std::ref(gate_.reader)))
                    .std_out(run_output().capture()),
                std::forward<decltype(token)>(token));
    }
    void satisfy() { gate_.writer.close(); }
    void break_it() { program_ = "/nonexistent/program"; }
    [[nodiscard]] error_code breakage() const { return make_spawn_error(spawn_step::exec, ENOENT); }

private:
    asio::io_context& ctx_;
    pipe_pair gate_;
    std::string program_ = "cat";
};

struct output {
    void operator()(auto&&... args) const { async_output(std::forward<decltype(args)>(args)...); }
};
struct status {
    void operator()(auto&&... args) const { async_status(std::forward<decltype(args)>(args)...); }
};
struct lines {
    void operator()(auto&&... args) const { async_lines(std::forward<decltype(args)>(args)...); }
};

// One call of one of the three.
template <class Result>
struct call {
    asio::io_context ctx;
    procyard_test::outcome<error_code, Result> got;

    void operator()(auto&& function, command what, run_options options = {})
    {
        got = {};
        function(std::move(what), ctx.get_executor(), std::move(options), got.handler());
        procyard_test::run(ctx);
        REQUIRE(got.count == 1);
    }
};

}  // namespace

TEST_CASE_TEMPLATE("a run's convenience passes the contract of operations", Function, output,
                   status, lines)
{
    using operation = filter<Function>;
    using type = asio::cancellation_type;
    SUBCASE("success")
    {
        procyard_test::check_success<operation>();
    }
    SUBCASE("success, after a wait")
    {
        procyard_test::check_success_after_a_wait<operation>();
    }
    SUBCASE("immediate error")
    {
        procyard_test::check_immediate_error<operation>();
    }
    SUBCASE("cancelled before its first turn")
    {
        for (const auto each : {type::terminal, type::partial, type::total})
            procyard_test::check_cancellation<operation>(each, false);
    }
    SUBCASE("cancelled while it runs")
    {
        for (const auto each : {type::terminal, type::partial, type::total})
            procyard_test::check_cancellation<operation>(each, true);
    }
    SUBCASE("destroyed while pending")
    {
        procyard_test::check_context_destruction<operation>(false);
        procyard_test::check_context_destruction<operation>(true);
    }
    SUBCASE("handler on another executor")
    {
        procyard_test::check_other_executor<operation>();
    }
}

TEST_SUITE("async_output")
{
    TEST_CASE_FIXTURE(call<std::string>, "is what the program wrote, if it was a success")
    {
        (*this)(output(), command::shell("echo out; echo more"));
        CHECK_FALSE(got.error());
        CHECK(got.result() == "out\nmore\n");
    }

    TEST_CASE_FIXTURE(call<std::string>, "whatever is no success is an error, with the output")
    {
        (*this)(output(), command::shell("echo so far; exit 3"));
        CHECK(got.error() == run_errc::exit_nonzero);
        CHECK(got.error().message() == "exit 3");
        CHECK(got.result() == "so far\n");
        (*this)(output(), command::shell("echo so far; kill -9 $$"));
        CHECK(got.error() == run_errc::killed_by_signal);
        CHECK(got.result() == "so far\n");
    }

    TEST_CASE_FIXTURE(call<std::string>, "more than the limit stops the program, by default")
    {
        (*this)(output(), mode({"flood-for-ever"}));
        CHECK(got.error() == run_errc::output_limit);
        CHECK(got.result().size() == capture_options().limit_bytes);
    }

    TEST_CASE_FIXTURE(call<std::string>, "takes a capture with another limit and policy")
    {
        (*this)(output(), mode({"flood", "5000", "0"}),
                run_options().std_out(run_output().capture({.limit_bytes = 10})));
        CHECK(got.error() == run_errc::output_limit);
        CHECK(got.result() == "0123456789");
    }

    TEST_CASE_FIXTURE(call<std::string>, "captures beside the sinks it is given")
    {
        std::string seen;
        (*this)(output(), command("echo", {"hi"}),
                run_options().std_out(
                    run_output().to_callback([&](std::string_view bytes) { seen += bytes; })));
        CHECK(got.result() == "hi\n");
        CHECK(seen == "hi\n");
    }

    TEST_CASE_FIXTURE(call<std::string>, "leaves standard error where the command sends it")
    {
        const procyard_test::temporary_directory directory;
        (*this)(output(),
                command::shell("echo out; echo err >&2")
                    .std_err(stdio::write_file(directory.path() / "err")));
        CHECK(got.result() == "out\n");
        CHECK(directory.read("err") == "err\n");
    }
}

TEST_SUITE("async_status")
{
    TEST_CASE_FIXTURE(call<exit_status>, "hands out how the program ended, well or badly")
    {
        (*this)(status(), command("true"));
        CHECK_FALSE(got.error());
        CHECK(got.result() == exit_status::exited(0));
        (*this)(status(), command::shell("exit 3"));
        CHECK_FALSE(got.error());
        CHECK(got.result() == exit_status::exited(3));
        (*this)(status(), command::shell("kill -9 $$"));
        CHECK_FALSE(got.error());
        CHECK(got.result() == exit_status::signaled(SIGKILL));
    }

    TEST_CASE_FIXTURE(call<exit_status>, "a deadline is an error, with the status")
    {
        const auto clock = std::make_shared<manual_clock>();
        std::string seen;
        async_status(mode({"pause"}), ctx.get_executor(),
                     run_options().deadline(1h).clock(clock).std_out(
                         run_output().to_callback([&](std::string_view bytes) { seen += bytes; })),
                     got.handler());
        procyard_test::run_until(ctx, [&] { return !seen.empty(); });
        clock->advance(1h);
        procyard_test::run(ctx);
        CHECK(got.error() == run_errc::deadline);
        CHECK(got.result() == exit_status::signaled(SIGTERM));
    }

    TEST_CASE_FIXTURE(call<exit_status>, "its streams are this process' own, by default")
    {
        // Standard output of this process is a pipe for the time of the call.
        const unique_fd saved(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
        error_code ec;
        auto pipe = make_raw_pipe(ec);
        ::dup2(pipe.write_end.get(), STDOUT_FILENO);
        (*this)(status(), command("printf", {"through"}));
        ::dup2(saved.get(), STDOUT_FILENO);
        char text[16] = {};
        CHECK(::read(pipe.read_end.get(), text, sizeof text) == 7);
        CHECK(std::string(text) == "through");
    }
}

TEST_SUITE("async_lines")
{
    using many = std::vector<std::string>;

    TEST_CASE_FIXTURE(call<many>,
                      "hands out the lines, empty ones and a last one included (case 39)")
    {
        (*this)(lines(), command("printf", {"one\\n\\n\\303\\244\\000b\\r\\nlast"}));
        CHECK_FALSE(got.error());
        CHECK(got.result() == many{"one", "", std::string("\xc3\xa4\0b\r", 5), "last"});
        (*this)(lines(), command("printf", {"one\\n\\n"}));
        CHECK(got.result() == many{"one", ""});
        (*this)(lines(), command("true"));
        CHECK(got.result().empty());
    }

    TEST_CASE_FIXTURE(call<many>, "whatever is no success is an error, with the lines so far")
    {
        (*this)(lines(), command::shell("echo so; echo far; exit 3"));
        CHECK(got.error() == run_errc::exit_nonzero);
        CHECK(got.result() == many{"so", "far"});
    }

    TEST_CASE_FIXTURE(call<many>, "keeps to the limit, where the last line may be cut")
    {
        (*this)(lines(), command("printf", {"one\\ntwo\\nthree\\n"}),
                run_options().std_out(run_output().capture({.limit_bytes = 6})));
        CHECK(got.error() == run_errc::output_limit);
        CHECK(got.result() == many{"one", "tw"});
    }

    TEST_CASE_FIXTURE(call<many>, "a program that was not there has no lines")
    {
        (*this)(lines(), command("/nonexistent/program"));
        CHECK(got.error() == boost::system::errc::no_such_file_or_directory);
        CHECK(got.result().empty());
    }
}

TEST_CASE("async_output, async_status and async_lines work with every kind of token")
{
    asio::io_context ctx;
    const auto ex = ctx.get_executor();
    auto text = async_output(command("echo", {"hi"}), ex, asio::use_future);
    auto ended = async_status(command("true"), ex, asio::use_future);
    auto split = async_lines(command("echo", {"hi"}), ex, asio::use_future);
    auto task = asio::co_spawn(
        ctx,
        []() -> asio::awaitable<bool> {
            const auto io = co_await asio::this_coro::executor;
            const auto one = co_await async_output(command("echo").arg("a"), io);
            const auto two = co_await async_status(command("true"), io);
            const auto three = co_await async_lines(command("echo").arg("b"), io);
            co_return one == "a\n" && two.success() && three == std::vector<std::string>{"b"};
        },
        asio::use_future);
    procyard_test::run(ctx);
    CHECK(text.get() == "hi\n");
    CHECK(ended.get().success());
    CHECK(split.get() == std::vector<std::string>{"hi"});
    CHECK(task.get());
}
