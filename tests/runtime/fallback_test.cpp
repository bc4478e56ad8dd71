// SPDX-License-Identifier: BSL-1.0
// The central behaviours once more, on kernels that lack this or that (case 51).
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <procyard/ipc/pipe.hpp>

#include "busy_program.hpp"
#include "feature_off.hpp"
#include "host_state.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;
using procyard::detail::kernel_features;

namespace {

using feature = kernel_features::flag kernel_features::*;

struct fallback_mode {
    std::string name;
    std::vector<feature> off;

    [[nodiscard]] bool lacks(feature f) const
    {
        return std::find(off.begin(), off.end(), f) != off.end();
    }
};

const std::vector<fallback_mode>& modes()
{
    static const std::vector<fallback_mode> all = {
        {"all there", {}},
        {"no clone3", {&kernel_features::clone3}},
        {"no pidfd", {&kernel_features::pidfd}},
        {"no close_range", {&kernel_features::close_range}},
        {"no CLOSE_RANGE_UNSHARE", {&kernel_features::close_range_unshare}},
        {"no pidfd_getfd", {&kernel_features::pidfd_getfd}},
        {"no group signal by pidfd", {&kernel_features::pidfd_group_signal}},
        {"no exit status by pidfd", {&kernel_features::pidfd_info_exit}},
        {"nothing",
         {&kernel_features::clone3, &kernel_features::pidfd, &kernel_features::close_range,
          &kernel_features::close_range_unshare, &kernel_features::pidfd_getfd,
          &kernel_features::pidfd_group_signal, &kernel_features::pidfd_info_exit,
          &kernel_features::clone_into_cgroup, &kernel_features::cgroup_kill}},
    };
    return all;
}

// In each mode, with a fresh context; nothing may be left of any of them.
template <class Body>
void in_each_mode(Body body)
{
    const auto children_before = children();
    for (const auto& mode : modes()) {
        CAPTURE(mode.name);
        const descriptor_check no_leak;
        std::deque<feature_off> off;
        for (const auto f : mode.off)
            off.emplace_back(f);
        {
            asio::io_context ctx;
            body(ctx, mode);
            run(ctx);
        }
        CHECK(children() == children_before);
    }
}

command until_eof(int code)
{
    return helper({"--mode=until-eof", std::to_string(code)})
        .std_in(stdio::pipe())
        .std_out(stdio::null());
}

}  // namespace

TEST_SUITE("fallbacks")
{
    TEST_CASE("a program runs, and the mechanism that was used is told (case 51)")
    {
        in_each_mode([](asio::io_context& ctx, const fallback_mode& mode) {
            auto c = spawn(command::shell("cat; echo err >&2; exit 3")
                               .std_in(stdio::pipe())
                               .std_out(stdio::pipe())
                               .std_err(stdio::pipe()),
                           ctx.get_executor());
            const bool copies = mode.lacks(&kernel_features::close_range)
                || mode.lacks(&kernel_features::close_range_unshare);
            CHECK(c.info().mechanism
                  == (mode.lacks(&kernel_features::clone3) ? spawn_mechanism::clone
                                                           : spawn_mechanism::clone3));
            CHECK((c.info().descriptors == descriptor_table::copied) == copies);
            CHECK(c.info().pidfd != mode.lacks(&kernel_features::pidfd));
            CHECK((c.pidfd() >= 0) == c.info().pidfd);
            error_code ec;
            c.std_in().try_write_some(asio::buffer("in", 2), ec);
            c.std_in().close();
            CHECK(read_all(ctx, c.std_out()) == "in");
            CHECK(read_all(ctx, c.std_err()) == "err\n");
            CHECK(wait(ctx, c) == exit_status::exited(3));
        });
    }

    TEST_CASE("a failure names its step and leaves nothing (cases 01, 02, 05 and 51)")
    {
        in_each_mode([](asio::io_context& ctx, const fallback_mode&) {
            const auto piped = [](command what) {
                return what.std_in(stdio::pipe()).std_out(stdio::pipe()).std_err(stdio::pipe());
            };
            for (int i = 0; i < 20; ++i) {
                CHECK(failure_of(ctx, piped(command("/nope"))).step == spawn_step::exec);
                CHECK(failure_of(ctx, piped(command("true").working_directory("/nope"))).step
                      == spawn_step::working_directory);
                CHECK(failure_of(ctx, piped(command("true").process_group(1))).step
                      == spawn_step::process_group);
                CHECK(failure_of(ctx, piped(command("true").scheduler(99))).step
                      == spawn_step::scheduler);
            }
        });
    }

    TEST_CASE("statuses, by exit and by signal, for any number of waiters (cases 42, 43 and 51)")
    {
        in_each_mode([](asio::io_context& ctx, const fallback_mode&) {
            for (const int code : {0, 1, 255})
                CHECK(status_of(ctx, helper({"--mode=exit", std::to_string(code)}))
                      == exit_status::exited(code));
            CHECK(status_of(ctx, helper({"--mode=raise", std::to_string(SIGUSR1)}))
                  == exit_status::signaled(SIGUSR1));
            auto c = spawn(until_eof(5), ctx.get_executor());
            std::vector<outcome<error_code, exit_status>> got(5);
            for (auto& one : got)
                c.async_wait(one.handler());
            ctx.poll();
            CHECK_FALSE(c.try_wait());
            c.std_in().close();
            run(ctx);
            for (auto& one : got)
                CHECK(one.result() == exit_status::exited(5));
            CHECK(wait(ctx, c) == exit_status::exited(5));
            CHECK(c.try_wait() == exit_status::exited(5));
        });
    }

    TEST_CASE("children that end at once wake every waiter (cases 49 and 51)")
    {
        in_each_mode([](asio::io_context& ctx, const fallback_mode&) {
            std::vector<child> batch;
            std::vector<outcome<error_code, exit_status>> got(20);
            for (std::size_t i = 0; i < got.size(); ++i) {
                batch.push_back(spawn(until_eof(static_cast<int>(i)), ctx.get_executor()));
                batch.back().async_wait(got[i].handler());
            }
            ctx.poll();
            for (auto& c : batch)
                c.std_in().close();
            run(ctx);
            for (std::size_t i = 0; i < got.size(); ++i)
                CHECK(got[i].result() == exit_status::exited(static_cast<int>(i)));
        });
    }

    TEST_CASE("a wait is cancelled and started again (case 51)")
    {
        in_each_mode([](asio::io_context& ctx, const fallback_mode&) {
            auto c = spawn(until_eof(6), ctx.get_executor());
            for (int i = 0; i < 3; ++i) {
                asio::cancellation_signal signal;
                outcome<error_code, exit_status> got;
                c.async_wait(asio::bind_cancellation_slot(signal.slot(), got.handler()));
                ctx.poll();
                signal.emit(asio::cancellation_type::total);
                run_until(ctx, [&] { return got.done(); });
                CHECK(got.error() == asio::error::operation_aborted);
            }
            c.std_in().close();
            CHECK(wait(ctx, c) == exit_status::exited(6));
        });
    }

    TEST_CASE("a dropped child takes its group with it (cases 51 and 61)")
    {
        in_each_mode([](asio::io_context& ctx, const fallback_mode&) {
            error_code ec;
            auto pipe = make_raw_pipe(ec);
            auto c =
                spawn(helper({"--mode=family", "3"}).std_out(stdio::borrow(pipe.write_end.get())),
                      ctx.get_executor());
            pipe.write_end.reset();
            pipe_reader reader(ctx.get_executor(), std::move(pipe.read_end));
            std::string buffered;
            for (int i = 0; i < 4; ++i)
                (void)read_line(ctx, reader, buffered);
            c = child();
            CHECK(read_all(ctx, reader).empty());
        });
    }

    TEST_CASE("a detached child is reaped sooner or later (cases 51 and 61)")
    {
        in_each_mode([](asio::io_context& ctx, const fallback_mode&) {
            auto c = spawn(until_eof(0), ctx.get_executor());
            // Its input goes with the object: it ends.
            const pid_t pid = c.detach();
            await([&] {
                CHECK(status_of(ctx, command("true")).success());
                return ::kill(pid, 0) == -1;
            });
        });
    }

    TEST_CASE("signals arrive, and after the end do nothing (cases 16, 51 and 53)")
    {
        in_each_mode([](asio::io_context& ctx, const fallback_mode&) {
            auto c = spawn(helper({"--mode=pause"}).std_out(stdio::null()), ctx.get_executor());
            c.terminate();
            CHECK(wait(ctx, c) == exit_status::signaled(SIGTERM));
            error_code ec;
            c.signal(SIGKILL, ec);
            CHECK_FALSE(ec);
            c.signal_tree(SIGKILL, ec);
            CHECK_FALSE(ec);
        });
    }

    TEST_CASE("a child gets only what was named, wherever it stood (cases 19, 22 and 51)")
    {
        in_each_mode([](asio::io_context& ctx, const fallback_mode&) {
            std::vector<unique_fd> leaky;
            for (int i = 0; i < 40; ++i) {
                const unique_fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                // tidy: allow cloexec: the test wants descriptors that leak
                leaky.emplace_back(::fcntl(null.get(), F_DUPFD, i % 2 == 0 ? 3 : 700));
            }
            error_code ec;
            auto pipe = make_raw_pipe(ec);
            const int a = leaky[1].get();
            const int b = pipe.read_end.get();
            auto text = output_of(ctx,
                                  helper({"--mode=descriptors"})
                                      .std_in(stdio::null())
                                      .std_err(stdio::null())
                                      .descriptor(b, stdio::borrow(a))
                                      .descriptor(a, stdio::borrow(b)));
            CHECK(std::count(text.begin(), text.end(), '\n') == 5);
            CHECK(text.find('\n' + std::to_string(b) + " /dev/null\n") != std::string::npos);
            CHECK(text.find('\n' + std::to_string(a) + " pipe:") != std::string::npos);
        });
    }

    TEST_CASE("descriptors above a lowered limit are closed too (cases 20 and 51)")
    {
        in_each_mode([](asio::io_context& ctx, const fallback_mode&) {
            const unique_fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
            // tidy: allow cloexec: the test wants a descriptor that leaks
            const unique_fd high(::fcntl(null.get(), F_DUPFD, 500));
            REQUIRE(high);
            const lowered_limit limit(RLIMIT_NOFILE, 200);
            const auto numbers_in = [&](command what) {
                std::istringstream lines(
                    output_of(ctx, what.std_in(stdio::null()).std_err(stdio::null())));
                std::string numbers;
                for (std::string line; std::getline(lines, line);)
                    numbers += line.substr(0, line.find(' ') + 1);
                return numbers;
            };
            CHECK(numbers_in(helper({"--mode=descriptors"})) == "0 1 2 ");
            // Also when it is handed down, to a number that the limit allows.
            CHECK(
                numbers_in(helper({"--mode=descriptors"}).descriptor(7, stdio::borrow(high.get())))
                == "0 1 2 7 ");
        });
    }

    TEST_CASE("a child starts with clean signals (cases 17 and 51)")
    {
        const disposition no_pipe(SIGPIPE, SIG_IGN);
        const disposition no_realtime(SIGRTMIN + 3, SIG_IGN);
        const blocked_signals blocked{SIGUSR1};
        in_each_mode([](asio::io_context& ctx, const fallback_mode&) {
            const auto status = output_of(ctx, command("cat", {"/proc/self/status"}));
            for (const char* set : {"SigBlk", "SigIgn", "SigCgt"})
                CHECK_MESSAGE(status_mask(status, set) == 0, set);
        });
    }

    TEST_CASE("where the host reaps, the status is true or unknown and never 0 (cases 46 and 51)")
    {
        const disposition ignored(SIGCHLD, SIG_IGN);
        in_each_mode([](asio::io_context& ctx, const fallback_mode& mode) {
            const bool blind = mode.lacks(&kernel_features::pidfd)
                || mode.lacks(&kernel_features::pidfd_info_exit);
            for (int i = 0; i < 10; ++i) {
                const auto status = status_of(ctx, helper({"--mode=exit", "37"}));
                CHECK((status.is_unknown() || (!blind && status == exit_status::exited(37))));
            }
            CHECK(failure_of(ctx, command("/nope")).step == spawn_step::exec);
        });
    }

    TEST_CASE("a spawn is cancelled at any point (cases 51 and 62)")
    {
        in_each_mode([](asio::io_context& ctx, const fallback_mode&) {
            for (int i = 0; i < 20; ++i) {
                asio::cancellation_signal signal;
                outcome<error_code, child> got;
                async_spawn(helper({"--mode=pause"}).std_out(stdio::null()), ctx.get_executor(),
                            asio::bind_cancellation_slot(signal.slot(), got.handler()));
                for (int turns = 0; turns < i; ++turns) {
                    ctx.restart();
                    ctx.poll();
                    std::this_thread::yield();
                }
                signal.emit(asio::cancellation_type::terminal);
                run_until(ctx, [&] { return got.done(); });
                // Either cancelled, or too late and a child; never both, never neither.
                const bool cancelled = got.error() == asio::error::operation_aborted;
                CHECK_MESSAGE((cancelled || !got.error()), got.error().message());
                CHECK(cancelled != static_cast<bool>(got.result()));
            }
        });
    }

    TEST_CASE("four threads spawn at once (cases 26 and 51)")
    {
        in_each_mode([](asio::io_context&, const fallback_mode&) {
            std::atomic<int> right{0};
            std::vector<std::thread> threads;
            for (int number = 0; number < 4; ++number) {
                threads.emplace_back([&right, number] {
                    asio::io_context own;
                    for (int i = 0; i < 5; ++i) {
                        auto c = spawn(helper({"--mode=exit", std::to_string(number)}),
                                       own.get_executor());
                        exit_status status;
                        c.async_wait([&](error_code, exit_status got) { status = got; });
                        own.restart();
                        own.run();
                        right += status == exit_status::exited(number) ? 1 : 0;
                    }
                });
            }
            for (auto& t : threads)
                t.join();
            CHECK(right == 20);
        });
    }

    TEST_CASE("a terminal works (case 51)")
    {
        in_each_mode([](asio::io_context& ctx, const fallback_mode&) {
            auto c = spawn(
                command("sh", {"-c", "stty size; test -t 0"}).terminal({.rows = 7, .columns = 8}),
                ctx.get_executor());
            CHECK(read_all(ctx, c.std_out()) == "7 8\r\n");
            CHECK(wait(ctx, c).success());
        });
    }
}
