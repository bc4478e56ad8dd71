// SPDX-License-Identifier: BSL-1.0
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "host_state.hpp"
#include "skip.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;
namespace errc = boost::system::errc;

namespace {

command with_three_pipes(command what)
{
    return what.std_in(stdio::pipe()).std_out(stdio::pipe()).std_err(stdio::pipe());
}

std::filesystem::path write_program(const temporary_directory& in, const std::string& name,
                                    const std::string& text = "#!/bin/sh\necho $0\n")
{
    auto path = in.write(name, text);
    ::chmod(path.c_str(), 0755);
    return path;
}

}  // namespace

TEST_SUITE("spawn_error")
{
    TEST_CASE("a missing program is named, 1024 times, and nothing leaks (case 01)")
    {
        asio::io_context ctx;
        warm_up(ctx);
        const descriptor_check no_leak;
        const auto what = with_three_pipes(command("/nope/frobnicate"));
        for (int i = 0; i < 1024; ++i) {
            const auto failure = failure_of(ctx, what);
            REQUIRE(failure.step == spawn_step::exec);
            REQUIRE(failure.code == errc::no_such_file_or_directory);
        }
        CHECK(failure_of(ctx, what).to_string()
              == R"(spawn "/nope/frobnicate": exec: No such file or directory)");
        CHECK(failure_of(ctx, with_three_pipes(command("frobnicate"))).step == spawn_step::lookup);
        CHECK(children() == 0);
    }

    TEST_CASE("a missing directory is the directory's failure and not the program's (case 02)")
    {
        asio::io_context ctx;
        const auto failure = failure_of(ctx, command("true").working_directory("/nope"));
        CHECK(failure.step == spawn_step::working_directory);
        CHECK(failure.operand == "/nope");
        CHECK(failure.program == "true");
        CHECK(failure.code == errc::no_such_file_or_directory);
        // Both wrong: the first of the steps, and still not mistaken for the other.
        CHECK(failure_of(ctx, command("/nope/frob").working_directory("/nope/dir")).step
              == spawn_step::working_directory);
    }

    TEST_CASE("a program that may not be executed is EACCES, a directory too (case 03)")
    {
        asio::io_context ctx;
        const temporary_directory files;
        const auto plain = files.write("plain", "#!/bin/sh\n");
        for (const auto& path : {plain, files.path()}) {
            const auto failure = failure_of(ctx, command(path.native()));
            CHECK(failure.step == spawn_step::exec);
            CHECK(failure.code == errc::permission_denied);
        }
        const auto below = failure_of(ctx, command(plain.native() + "/below"));
        CHECK(below.code == errc::not_a_directory);
        const variable path("PATH", files.path().c_str());
        const auto found = failure_of(ctx, command("plain"));
        CHECK(found.step == spawn_step::lookup);
        CHECK(found.code == errc::permission_denied);
    }

    TEST_CASE("a script without a first line is ENOEXEC, no shell is guessed (case 04)")
    {
        asio::io_context ctx;
        const temporary_directory files;
        const auto script = write_program(files, "script", "echo hello\n");
        const auto failure = failure_of(ctx, command(script.native()));
        CHECK(failure.step == spawn_step::exec);
        CHECK(failure.code == errc::executable_format_error);
        const auto orphan = write_program(files, "orphan", "#!/nope/interpreter\n");
        CHECK(failure_of(ctx, command(orphan.native())).code == errc::no_such_file_or_directory);
    }

    TEST_CASE("a failed exec leaves no child, dead or alive (case 05)")
    {
        asio::io_context ctx;
        for (const auto& what : {command("/nope"), command("true").working_directory("/nope"),
                                 command("true").process_group(1)}) {
            (void)failure_of(ctx, what);
            errno = 0;
            // tidy: allow wait-any: to see that there is none
            CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
            CHECK(errno == ECHILD);
        }
    }

    TEST_CASE("no more processes is EAGAIN at the clone (case 07)" * doctest::skip())
    {
        REQUIRE(::setresuid(65534, 65534, 65534) == 0);
        asio::io_context ctx;
        warm_up(ctx);
        const descriptor_check no_leak;
        const rlimit none{0, 0};
        REQUIRE(::setrlimit(RLIMIT_NPROC, &none) == 0);
        const auto failure = failure_of(ctx, with_three_pipes(command("true")));
        CHECK(failure.step == spawn_step::clone);
        CHECK(failure.code == errc::resource_unavailable_try_again);
        // The spawner is a thread, which counts too.
        outcome<error_code, child> got;
        async_spawn(command("true"), ctx.get_executor(), got.handler());
        run(ctx);
        CHECK(got.error() == errc::resource_unavailable_try_again);
        CHECK(failure_of(ctx, command("true").parent_death_signal(SIGTERM)).code
              == errc::resource_unavailable_try_again);
    }

    TEST_CASE("no more processes (root may lower itself to a user who has no more)")
    {
        if (::geteuid() != 0) {
            skip("needs root");
            return;
        }
        check_isolated("no more processes is EAGAIN at the clone (case 07)");
    }

    TEST_CASE("bad input is refused before anything is created (case 09)")
    {
        asio::io_context ctx;
        const std::string nul("a\0b", 3);
        const descriptor_check nothing_is_made;  // not even the child service
        CHECK(failure_of(ctx, command("")).step == spawn_step::program);
        CHECK(failure_of(ctx, command(nul)).step == spawn_step::program);
        CHECK(failure_of(ctx, command("true").arg(nul)).operand == "NUL in argument 1");
        CHECK(failure_of(ctx, command("true").arg0(nul)).step == spawn_step::arguments);
        CHECK(failure_of(ctx, command("true").env(nul, "")).step == spawn_step::environment);
        CHECK(failure_of(ctx, command("true").env("A", nul)).operand == "NUL in A");
        CHECK(failure_of(ctx, command("true").env("A=B", "")).step == spawn_step::environment);
        CHECK(failure_of(ctx, command("true").env_remove("")).step == spawn_step::environment);
        CHECK(failure_of(ctx, command("true").working_directory(nul)).step
              == spawn_step::working_directory);
        CHECK(failure_of(ctx, command("true").std_in(stdio::read_file(nul))).step
              == spawn_step::open_file);
        CHECK(failure_of(ctx, command("true").descriptor(-1, stdio::null())).step
              == spawn_step::descriptors);
        CHECK(failure_of(ctx, command("true").descriptor(2, stdio::null())).step
              == spawn_step::descriptors);
        CHECK(failure_of(ctx, command("true").descriptor(1 << 30, stdio::null())).step
              == spawn_step::descriptors);
        CHECK(failure_of(ctx, command("true").std_out(stdio::to_stdout())).step
              == spawn_step::descriptors);
        CHECK(
            failure_of(ctx, command("true").std_out(stdio::to_stderr()).std_err(stdio::to_stdout()))
                .step
            == spawn_step::descriptors);
        CHECK(failure_of(ctx, command("true").ignore_signal(0)).step == spawn_step::signals);
        CHECK(failure_of(ctx, command("true").parent_death_signal(65)).step
              == spawn_step::parent_death_signal);
    }

    TEST_CASE("what is no option cannot be made optional")
    {
        asio::io_context ctx;
        for (const auto step :
             {spawn_step::exec, spawn_step::descriptors, spawn_step::signals, spawn_step::lookup,
              spawn_step::program, spawn_step::none, spawn_step::clone}) {
            const auto failure = failure_of(ctx, command("/nope").optional(step));
            CHECK_MESSAGE(failure.step == spawn_step::options, std::string(to_string(step)));
            CHECK(failure.operand.find(to_string(step)) != std::string::npos);
        }
    }

    TEST_CASE("too many arguments are E2BIG at the exec")
    {
        asio::io_context ctx;
        command what("true");
        for (int i = 0; i < 100; ++i)
            what.arg(std::string(100'000, 'x'));
        const auto failure = failure_of(ctx, what);
        CHECK(failure.step == spawn_step::exec);
        CHECK(failure.code == errc::argument_list_too_long);
    }

    TEST_CASE("the environment is what was asked for, and the last call wins (case 09)")
    {
        asio::io_context ctx;
        CHECK(output_of(ctx, command("/usr/bin/env").env_clear()) == "");
        CHECK(output_of(ctx, command("/usr/bin/env").env_clear().env("A", "1").env("A", "2"))
              == "A=2\n");
        CHECK(output_of(ctx, command("/usr/bin/env").env("A", "1").env_clear().env("B", "=2 "))
              == "B==2 \n");
        const variable mine("PROCYARD_TEST_VARIABLE", "from the parent");
        const auto has = [&](const command& what) {
            return output_of(ctx, what).find("PROCYARD_TEST_VARIABLE=") != std::string::npos;
        };
        CHECK(has(command("env")));
        CHECK_FALSE(has(command("env").env_remove("PROCYARD_TEST_VARIABLE")));
        CHECK(output_of(ctx,
                        command("sh", {"-c", "echo $PROCYARD_TEST_VARIABLE"})
                            .env("PROCYARD_TEST_VARIABLE", "from the command"))
              == "from the command\n");
    }

    TEST_CASE("a program is looked up in the child's PATH (case 10)")
    {
        asio::io_context ctx;
        const temporary_directory files;
        std::filesystem::create_directories(files.path() / "first/tool");  // a directory: skipped
        std::filesystem::create_directory(files.path() / "second");
        std::filesystem::create_directory(files.path() / "third");
        files.write("second/tool", "#!/bin/sh\n");  // not executable: skipped
        const auto tool = write_program(files, "third/tool");
        std::filesystem::create_symlink(tool, files.path() / "third/link");
        const auto root = files.path().native();
        const auto path = root + "/first:" + root + "/second:" + root + "/third:/nope";

        CHECK(output_of(ctx, command("tool").env("PATH", path)) == tool.native() + '\n');
        CHECK(output_of(ctx, command("link").env("PATH", path)) == root + "/third/link\n");
        CHECK(failure_of(ctx, command("tool").env("PATH", root)).operand == root);
        {
            const variable of_the_parent("PATH", path.c_str());
            CHECK(output_of(ctx, command("tool")) == tool.native() + '\n');
            CHECK(failure_of(ctx, command("tool").env("PATH", "/usr/bin")).step
                  == spawn_step::lookup);
            CHECK(failure_of(ctx, command("tool").env_clear()).step == spawn_step::lookup);
        }
        const variable no_path("PATH", nullptr);
        CHECK(output_of(ctx, command("echo", {"found"})) == "found\n");
        CHECK(output_of(ctx, command("echo", {"found"}).env_remove("PATH")) == "found\n");
    }

    TEST_CASE("the current directory is no place to look for a program (case 10)")
    {
        asio::io_context ctx;
        const temporary_directory files;
        write_program(files, "procyard-test-tool");
        const current_directory here(files.path());
        for (const char* path : {"", ".", ":", "/nope:", "..:.::", "relative"}) {
            const auto failure = failure_of(ctx, command("procyard-test-tool").env("PATH", path));
            CHECK(failure.step == spawn_step::lookup);
            CHECK(failure.code == errc::no_such_file_or_directory);
        }
    }

    TEST_CASE("a relative program is relative to the caller, whatever its directory (case 11)")
    {
        asio::io_context ctx;
        const temporary_directory files;
        write_program(files, "tool", "#!/bin/sh\npwd\n");
        std::filesystem::create_directory(files.path() / "other");
        const auto real = std::filesystem::canonical(files.path()).native();
        const current_directory here(files.path());
        CHECK(output_of(ctx, command("./tool")) == real + '\n');
        CHECK(output_of(ctx, command("./tool").working_directory("other")) == real + "/other\n");
        CHECK(output_of(ctx, command("other/../tool").working_directory("/")) == "/\n");
        CHECK(failure_of(ctx, command("./other-tool").working_directory("other")).step
              == spawn_step::exec);
    }

    TEST_CASE("a second spawn from one command does not touch the first child (case 15)")
    {
        asio::io_context ctx;
        const temporary_directory files;
        const auto tool = files.path() / "tool";
        std::filesystem::copy_file("/bin/cat", tool);
        const auto what = command(tool.native()).std_in(stdio::pipe()).std_out(stdio::pipe());
        auto first = spawn(what, ctx.get_executor());
        auto second = spawn(what, ctx.get_executor());
        std::filesystem::remove(tool);
        (void)failure_of(ctx, what);

        for (auto* c : {&second, &first}) {
            const std::string text = "to " + std::to_string(c->id());
            error_code ec;
            CHECK(c->std_in().try_write_some(asio::buffer(text), ec) == text.size());
            c->std_in().close();
            CHECK(read_all(ctx, c->std_out()) == text);
            CHECK(wait(ctx, *c).success());
        }
    }
}
