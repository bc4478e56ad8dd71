// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/pipeline.hpp>

#include <doctest/doctest.h>

#include <signal.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>

#include "pipeline_fixture.hpp"
#include "temporary_directory.hpp"

using namespace procyard_test::pipes;
namespace fs = std::filesystem;

namespace {

spawn_failure refusal(const pipeline& what)
{
    asio::io_context ctx;
    spawn_failure failure;
    CHECK_FALSE(spawn(what, ctx.get_executor(), failure));
    return failure;
}

/// Bytes this thread has read and written with system calls. (Those of the process would count what
/// its reaped children did.)
std::uint64_t bytes_moved()
{
    std::ifstream file("/proc/thread-self/io");
    std::string name;
    std::uint64_t value = 0;
    std::uint64_t sum = 0;
    while (file >> name >> value) {
        if (name == "rchar:" || name == "wchar:")
            sum += value;
    }
    return sum;
}

std::string descriptor_of(const child& c, int number)
{
    return fs::read_symlink("/proc/" + std::to_string(c.id()) + "/fd/" + std::to_string(number));
}

bool is_open_here(const std::string& target)
{
    for (const auto& line : procyard_test::open_descriptor_list()) {
        if (line.ends_with(" -> " + target))
            return true;
    }
    return false;
}

}  // namespace

TEST_SUITE("pipeline")
{
    TEST_CASE("is built with `|` from commands, coroutines and pipelines, in any order")
    {
        const stage middle("filter", copy_all);
        const pipeline two = command("a", {"x"}) | command("b");
        CHECK(two.to_string() == "a x | b");
        CHECK((two | middle).to_string() == "a x | b | [filter]");
        CHECK((middle | two).to_string() == "[filter] | a x | b");
        CHECK((middle | middle).to_string() == "[filter] | [filter]");
        CHECK((middle | command("c")).to_string() == "[filter] | c");
        CHECK((command("c") | middle).to_string() == "c | [filter]");
        CHECK((two | two).size() == 4);
        CHECK((two | command("c")).name(2) == "c");
        CHECK(two.size() == 2);
        CHECK(pipeline(stage(copy_all)).name(0) == "coroutine");
        CHECK(pipeline().empty());
    }

    TEST_CASE("one description can be started any number of times")
    {
        asio::io_context ctx;
        const pipeline p = (seq(3) | stage(copy_all) | command("cat")).std_out(stdio::pipe());
        for (int i = 0; i < 3; ++i) {
            auto running = spawn(p, ctx.get_executor());
            CHECK(read_all(ctx, running.std_out()) == "1\n2\n3\n");
            CHECK(wait(ctx, running).success());
        }
    }
}

TEST_SUITE("spawn(pipeline)")
{
    TEST_CASE("refuses a pipeline without stages")
    {
        const auto failure = refusal(pipeline());
        CHECK(failure.code == boost::system::errc::invalid_argument);
        CHECK(failure.step == spawn_step::options);
        CHECK_FALSE(failure.stage);
        CHECK(failure.to_string()
              == R"(spawn "": options "a pipeline without stages": Invalid argument)");
    }

    TEST_CASE("refuses connections of a command that are the pipeline's, before anything starts")
    {
        const auto between = R"(stage 1: spawn "a": options "standard output is the pipe to )"
                             R"(the next stage": Invalid argument)";
        CHECK(refusal(command("a").std_out(stdio::null()) | command("b")).to_string() == between);
        CHECK(refusal(command("a") | command("b").std_in(stdio::null())).stage == 1);
        CHECK(refusal(command("a") | stage(nullptr)).stage == 1);
        CHECK(refusal(command("a") | pipeline(stage(copy_all)).std_out(stdio::terminal())).stage
              == 1);
        const auto bad = refusal(command("a") | command("b").arg(std::string("\0", 1)));
        CHECK(bad.stage == 1);
        CHECK(bad.step == spawn_step::arguments);
    }

    TEST_CASE("moves more than 10 MB through three programs, every byte of it (case 30)")
    {
        asio::io_context ctx;
        auto running =
            spawn((seq(1'600'000) | command("tac") | command("tac")).std_out(stdio::pipe()),
                  ctx.get_executor());
        const auto got = read_all(ctx, running.std_out());
        const auto expected = numbers(1'600'000);
        CHECK(expected.size() > 10'000'000);
        CHECK((got == expected));  // not to be printed
        const auto status = wait(ctx, running);
        CHECK(status.to_string() == "all 3 stages succeeded");
        CHECK(status.stages[1].name == "tac");
        CHECK(status.stages[1].status == exit_status::exited(0));
        CHECK(status.stages[1].status.usage().max_rss_bytes > 0);
        CHECK(status.stages[1].wall.count() > 0);
        CHECK(status.stages[1].info.path.ends_with("/tac"));
    }

    TEST_CASE("the parent copies nothing between programs and holds no end of their pipe (case 25)")
    {
        procyard_test::temporary_directory directory;
        const auto file = directory.path() / "numbers";
        asio::io_context ctx;
        const auto before = bytes_moved();
        auto running = spawn(seq(1'600'000) | command("tac").std_out(stdio::write_file(file)),
                             ctx.get_executor());
        CHECK(wait(ctx, running).success());
        CHECK(bytes_moved() - before < 64 * 1024);
        CHECK(fs::file_size(file) > 10'000'000);

        auto idle = spawn((helper({"--mode=until-eof"}) | helper({"--mode=until-eof"}))
                              .std_in(stdio::pipe())
                              .std_out(stdio::null()),
                          ctx.get_executor());
        const auto connection = descriptor_of(idle.children()[1], 0);
        CHECK(connection.starts_with("pipe:"));
        CHECK(descriptor_of(idle.children()[0], 1) == connection);
        CHECK_FALSE(is_open_here(connection));
        CHECK(is_open_here(descriptor_of(idle.children()[0], 0)));
        idle.std_in().close();
        CHECK(wait(ctx, idle).success());
    }

    TEST_CASE("no stage holds an end that is another one's (case 25)")
    {
        asio::io_context ctx;
        auto running = spawn((helper({"--mode=until-eof"}) | helper({"--mode=until-eof"})
                              | helper({"--mode=until-eof"}))
                                 .std_in(stdio::pipe())
                                 .std_out(stdio::null()),
                             ctx.get_executor());
        for (const auto& c : running.children()) {
            for (const auto& entry :
                 fs::directory_iterator("/proc/" + std::to_string(c.id()) + "/fd")) {
                std::error_code gone;  // a file the loader had open
                const auto target = fs::read_symlink(entry.path(), gone).string();
                const bool standard = std::stoi(entry.path().filename().string()) <= 2;
                CHECK_MESSAGE((standard || !target.starts_with("pipe:")), target);
            }
        }
        running.std_in().close();
        CHECK(wait(ctx, running).success());
    }

    TEST_CASE("feeds the first stage from a file and the last writes to one")
    {
        procyard_test::temporary_directory directory;
        const auto in = directory.write("in", "b\na\n");
        const auto out = directory.path() / "out";
        asio::io_context ctx;
        SUBCASE("programs")
        {
            auto running = spawn((command("sort") | command("cat"))
                                     .std_in(stdio::read_file(in))
                                     .std_out(stdio::write_file(out)),
                                 ctx.get_executor());
            CHECK(wait(ctx, running).success());
            CHECK(directory.read("out") == "a\nb\n");
        }
        SUBCASE("coroutines")
        {
            auto running = spawn((stage(copy_all) | stage(copy_all))
                                     .std_in(stdio::read_file(in))
                                     .std_out(stdio::append_file(out)),
                                 ctx.get_executor());
            CHECK(wait(ctx, running).success());
            CHECK(directory.read("out") == "b\na\n");
        }
    }

    TEST_CASE("a borrowed socket stays the caller's when a coroutine has ended")
    {
        asio::io_context ctx;
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        const unique_fd ours(ends[0]);
        const unique_fd peer(ends[1]);
        REQUIRE(::send(peer.get(), "in", 2, 0) == 2);
        REQUIRE(::shutdown(peer.get(), SHUT_WR) == 0);
        auto started = spawn(pipeline(stage(copy_all))
                                 .std_in(stdio::borrow(ours.get()))
                                 .std_out(stdio::borrow(ours.get())),
                             ctx.get_executor());
        CHECK(wait(ctx, started).success());
        CHECK(::send(ours.get(), " ours", 5, MSG_NOSIGNAL) == 5);
        char block[16];
        const auto got = ::recv(peer.get(), block, sizeof block, 0);
        REQUIRE(got > 0);
        CHECK(std::string(block, static_cast<std::size_t>(got)) == "in ours");
    }

    TEST_CASE("standard error goes down the pipe when it is merged (case 40)")
    {
        asio::io_context ctx;
        auto running =
            spawn((command::shell("echo 1; echo 2 >&2; echo 3").std_err(stdio::to_stdout())
                   | command("cat"))
                      .std_out(stdio::pipe()),
                  ctx.get_executor());
        CHECK(read_all(ctx, running.std_out()) == "1\n2\n3\n");
        CHECK(wait(ctx, running).success());
    }

    TEST_CASE("a pipeline of one stage is a program")
    {
        asio::io_context ctx;
        auto running =
            spawn(pipeline(command("echo", {"hello"})).std_out(stdio::pipe()), ctx.get_executor());
        CHECK(running.size() == 1);
        CHECK(read_all(ctx, running.std_out()) == "hello\n");
        CHECK(wait(ctx, running).to_string() == "the stage succeeded");
    }

    TEST_CASE("a pipeline of 20 stages passes everything on")
    {
        asio::io_context ctx;
        pipeline p = seq(100'000);
        for (int i = 1; i < 20; ++i) {
            if (i % 5 == 0)
                p.append(stage(copy_all));
            else
                p.append(command("cat"));
        }
        auto running = spawn(p.std_out(stdio::pipe()), ctx.get_executor());
        const auto got = read_all(ctx, running.std_out());
        CHECK((got == numbers(100'000)));
        CHECK(wait(ctx, running).to_string() == "all 20 stages succeeded");
    }

    TEST_CASE("the pipes hold what was asked for")
    {
        asio::io_context ctx;
        error_code ec;
        std::size_t seen = 0;
        const auto look = [&](pipe_reader in, pipe_writer) -> awaitable<void> {
            seen = pipe_capacity(in.native_handle(), ec);
            co_return;
        };
        auto running =
            spawn((command("true") | stage(look)).pipe_capacity(128 * 1024), ctx.get_executor());
        CHECK(wait(ctx, running).success());
        CHECK_FALSE(ec);
        CHECK(seen == 128 * 1024);
    }
}
