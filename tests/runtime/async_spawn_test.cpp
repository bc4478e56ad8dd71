// SPDX-License-Identifier: BSL-1.0
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <sys/wait.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "allocations.hpp"
#include "busy_program.hpp"
#include "event_log.hpp"
#include "operation_contract.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

using spawned = outcome<error_code, child>;

command pause_quietly()
{
    return helper({"--mode=pause"}).std_in(stdio::pipe()).std_out(stdio::pipe());
}

std::multiset<std::string> thread_names()
{
    std::multiset<std::string> names;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream file(task.path() / "comm");
        std::string name;
        std::getline(file, name);
        names.insert(name);
    }
    return names;
}

// In a queue of its own: there it cannot begin before the program is released.
void hold_spawner(asio::io_context& ctx, const busy_program& busy, spawned& got)
{
    const auto before = children();
    async_spawn(busy.run().std_in(stdio::null()), ctx.get_executor(), got.handler());
    await([&] { return children() > before; });
}

}  // namespace

TEST_SUITE("async_spawn")
{
    TEST_CASE("succeeds in a later turn: a child like any other")
    {
        asio::io_context ctx;
        spawned got;
        async_spawn(command("echo", {"hello"}).std_out(stdio::pipe()), ctx.get_executor(),
                    got.handler());
        CHECK_FALSE(got.done());
        run_until(ctx, [&] { return got.done(); });
        REQUIRE_FALSE(got.error());
        CHECK(read_all(ctx, got.result().std_out()) == "hello\n");
        CHECK(wait(ctx, got.result()).success());
    }

    TEST_CASE("an immediate error comes in a later turn, with the whole story")
    {
        asio::io_context ctx;
        spawn_failure failure;
        spawned got;
        async_spawn(command(""), ctx.get_executor(), failure, got.handler());
        CHECK_FALSE(got.done());
        run(ctx);
        CHECK(got.count == 1);
        CHECK(got.error() == failure.code);
        CHECK(step_of(got.error()) == spawn_step::program);
        CHECK_FALSE(got.result());
    }

    TEST_CASE("a failure of the child has the whole story too")
    {
        asio::io_context ctx;
        spawn_failure failure;
        spawned got;
        async_spawn(command("true").working_directory("/nope"), ctx.get_executor(), failure,
                    got.handler());
        run(ctx);
        CHECK(failure.to_string()
              == R"(spawn "true": working directory "/nope": No such file or directory)");
        CHECK(got.error() == boost::system::errc::no_such_file_or_directory);
    }

    TEST_CASE("does not hold the loop while an exec takes its time")
    {
        asio::io_context ctx;
        busy_program busy;
        spawned got;
        hold_spawner(ctx, busy, got);
        // Other children are spawned, run and end meanwhile.
        CHECK(output_of(ctx, command("echo", {"meanwhile"})) == "meanwhile\n");
        CHECK_FALSE(got.done());
        busy.release();
        run_until(ctx, [&] { return got.done(); });
        REQUIRE_FALSE(got.error());
        CHECK(wait(ctx, got.result()).success());
    }

    TEST_CASE("cancelled before it has begun, it does not begin (case 62)")
    {
        using type = asio::cancellation_type;
        for (const auto each : {type::terminal, type::partial, type::total}) {
            asio::io_context ctx;
            warm_up(ctx);
            const auto log = watch(ctx);
            busy_program busy;
            spawned first;
            hold_spawner(ctx, busy, first);
            asio::cancellation_signal signal;
            spawned got;
            async_spawn(pause_quietly(), ctx.get_executor(),
                        asio::bind_cancellation_slot(signal.slot(), got.handler()));
            signal.emit(each);
            CHECK_FALSE(got.done());
            busy.release();
            run_until(ctx, [&] { return got.done() && first.done(); });
            CHECK(got.error() == asio::error::operation_aborted);
            CHECK_FALSE(got.result());
            CHECK(log->count("spawned") == 1);
            CHECK(wait(ctx, first.result()).success());
        }
    }

    TEST_CASE("cancelled between clone and exec, its child is killed and reaped first (case 62)")
    {
        using type = asio::cancellation_type;
        for (const auto each : {type::terminal, type::partial, type::total}) {
            const descriptor_check no_leak;
            const auto before = children();
            asio::io_context ctx;
            const auto log = watch(ctx);
            busy_program busy;
            asio::cancellation_signal signal;
            spawned got;
            async_spawn(busy.run().std_in(stdio::pipe()).std_out(stdio::pipe()), ctx.get_executor(),
                        asio::bind_cancellation_slot(signal.slot(), got.handler()));
            await([&] { return children() > before; });
            signal.emit(each);
            busy.release();
            run(ctx);
            CHECK(got.error() == asio::error::operation_aborted);
            CHECK_FALSE(got.result());
            CHECK(children() == before);
            CHECK(log->count("spawned") == 1);
            CHECK(log->count("reaped: killed by SIGKILL") == 1);
        }
    }

    TEST_CASE("cancelled when the program runs already, its child is killed and reaped (case 62)")
    {
        struct canceller final : observer {
            void on_event(const child_event& event) noexcept override
            {
                if (event.what == child_event::kind::spawned)
                    signal.emit(asio::cancellation_type::total);
            }
            asio::cancellation_signal signal;
        };
        const auto before = children();
        asio::io_context ctx;
        const auto watcher = std::make_shared<canceller>();
        set_observer(ctx.get_executor(), watcher);
        spawned got;
        async_spawn(pause_quietly(), ctx.get_executor(),
                    asio::bind_cancellation_slot(watcher->signal.slot(), got.handler()));
        run(ctx);
        CHECK(got.error() == asio::error::operation_aborted);
        CHECK(children() == before);
    }

    TEST_CASE("cancelled at any point there is, nothing is left behind (case 62)")
    {
        const descriptor_check no_leak;
        const auto children_before = children();
        const auto threads_before = threads();
        int aborted = 0;
        {
            asio::io_context ctx;
            for (int i = 0; i < 80; ++i) {
                asio::cancellation_signal signal;
                spawned got;
                async_spawn(pause_quietly(), ctx.get_executor(),
                            asio::bind_cancellation_slot(signal.slot(), got.handler()));
                // A little later each time, from "not begun" to "done".
                for (int turns = 0; turns < i % 8; ++turns) {
                    ctx.restart();
                    ctx.poll();
                    std::this_thread::yield();
                }
                signal.emit(asio::cancellation_type::terminal);
                run_until(ctx, [&] { return got.done(); });
                const bool was_aborted = got.error() == asio::error::operation_aborted;
                aborted += was_aborted ? 1 : 0;
                // Too late is a success, and the child is there.
                CHECK(static_cast<bool>(got.result()) != was_aborted);
                got.value.reset();
                run(ctx);
                REQUIRE(children() == children_before);
            }
        }
        CHECK(aborted > 0);
        CHECK(threads() == threads_before);
    }

    TEST_CASE("goes down with its io_context without a call, wherever it is (case 62)")
    {
        const descriptor_check no_leak;
        const auto before = children();
        for (const bool begun : {false, true}) {
            auto alive = std::make_shared<int>(0);
            bool called = false;
            {
                busy_program busy;
                std::optional<asio::io_context> ctx(std::in_place);
                const auto log = watch(*ctx);
                spawned first;
                hold_spawner(*ctx, busy, first);
                async_spawn(pause_quietly(), ctx->get_executor(),
                            [alive, &called](error_code, const child&) { called = true; });
                if (begun) {
                    busy.release();
                    await([&] { return log->count("spawned") == 2; });
                }
                // The spawn under way ends first: let it.
                busy.release();
                ctx.reset();
            }
            CHECK_FALSE(called);
            CHECK(alive.use_count() == 1);
            // Killed with the context, which does not wait; nobody is left but us.
            // tidy: allow wait-any: this test has no other children
            while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) { }
            CHECK(children() == before);
        }
    }

    TEST_CASE("the object it would have made is dropped with its handler")
    {
        const auto before = children();
        asio::io_context ctx;
        async_spawn(pause_quietly(), ctx.get_executor(), [](error_code, const child&) { });
        run(ctx);
        CHECK(children() == before);
    }

    TEST_CASE("completes when the spawner thread finds no memory after the child is there")
    {
        // An observer is called on that thread, where nobody is above it who could catch.
        struct shortage final : observer {
            explicit shortage(std::size_t which) : nth(which) { }
            void on_event(const child_event& event) noexcept override
            {
                thread_local std::optional<failing_allocation> next;
                if (event.what == child_event::kind::spawned)
                    next.emplace(nth);
            }
            const std::size_t nth;
        };
        for (std::size_t nth = 1; nth <= 6; ++nth) {
            for (const bool is_cancelled : {false, true}) {
                CAPTURE(nth);
                CAPTURE(is_cancelled);
                asio::io_context ctx;
                busy_program busy;
                set_observer(ctx.get_executor(), std::make_shared<shortage>(nth));
                asio::cancellation_signal signal;
                spawned got;
                async_spawn(busy.run().std_in(stdio::null()), ctx.get_executor(),
                            asio::bind_cancellation_slot(signal.slot(), got.handler()));
                await([] { return children() == 1; });
                if (is_cancelled)
                    signal.emit(asio::cancellation_type::terminal);
                busy.release();
                run_until(ctx, [&] { return got.done(); });
                CHECK((got.error() == asio::error::operation_aborted) == is_cancelled);
                if (got.result())
                    CHECK(wait(ctx, got.result()).success());
                CHECK(children() == 0);
            }
        }
    }

    TEST_CASE("runs its handler on the handler's executor")
    {
        asio::io_context ctx;
        asio::io_context other;
        spawned got;
        async_spawn(command("true"), ctx.get_executor(),
                    asio::bind_executor(other.get_executor(), got.handler()));
        other.poll();
        CHECK_MESSAGE(!other.stopped(), "the handler's executor has outstanding work too");
        run(ctx);
        CHECK_FALSE(got.done());
        run(other);
        REQUIRE(got.done());
        CHECK(got.result().get_executor() == asio::any_io_executor(ctx.get_executor()));
        CHECK(wait(ctx, got.result()).success());
    }

    TEST_CASE("keeps the order of its calls, on one named thread")
    {
        asio::io_context ctx;
        std::vector<pid_t> order;
        std::vector<child> all;
        const auto before = threads();
        for (int i = 0; i < 20; ++i) {
            async_spawn(command("true"), ctx.get_executor(), [&](error_code ec, child c) {
                CHECK_FALSE(ec);
                all.push_back(std::move(c));
            });
        }
        CHECK(threads() <= before + 1);
        CHECK(thread_names().count("procyard-spawn") == 1);
        run(ctx);
        CHECK(all.size() == 20);
        for (std::size_t i = 1; i < all.size(); ++i)
            CHECK(all[i - 1].info().started <= all[i].info().started);
        for (auto& c : all)
            CHECK(wait(ctx, c).success());
    }

    TEST_CASE("an observer may spawn from the spawner thread, by the spawner thread")
    {
        struct nested final : observer {
            explicit nested(asio::any_io_executor io) : ex(std::move(io)) { }
            void on_event(const child_event& event) noexcept override
            {
                if (event.what != child_event::kind::spawned || event.program != "true")
                    return;
                spawn_failure failure;
                inner = spawn(command("cat").std_in(stdio::null()).parent_death_signal(SIGKILL), ex,
                              failure);
            }
            asio::any_io_executor ex;
            child inner;
        };
        asio::io_context ctx;
        const auto watcher = std::make_shared<nested>(ctx.get_executor());
        set_observer(ctx.get_executor(), watcher);
        spawned got;
        async_spawn(command("true"), ctx.get_executor(), got.handler());
        run_until(ctx, [&] { return got.done(); });
        set_observer(ctx.get_executor(), nullptr);
        REQUIRE(watcher->inner);
        CHECK(wait(ctx, watcher->inner).success());
        CHECK(wait(ctx, got.result()).success());
        watcher->inner = child();
    }
}
