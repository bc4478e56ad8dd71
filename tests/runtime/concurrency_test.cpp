// SPDX-License-Identifier: BSL-1.0
// Many threads, several contexts. Run under TSan as well.
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read_until.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "busy_program.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

/// A context that runs in threads of its own.
class running_context {
public:
    explicit running_context(int count) : work_(asio::make_work_guard(ctx))
    {
        for (int i = 0; i < count; ++i)
            threads_.emplace_back([this] { ctx.run(); });
    }
    running_context(const running_context&) = delete;
    running_context& operator=(const running_context&) = delete;
    ~running_context()
    {
        work_.reset();
        for (auto& t : threads_)
            t.join();
    }

    asio::io_context ctx;

private:
    asio::executor_work_guard<asio::io_context::executor_type> work_;
    std::vector<std::thread> threads_;
};

/// Runs `body(index)` in so many threads, all from the same moment on.
template <class Body>
void in_threads(int count, Body body)
{
    std::barrier start(count);
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) {
        threads.emplace_back([&, i] {
            start.arrive_and_wait();
            body(i);
        });
    }
    for (auto& t : threads)
        t.join();
}

/// Waits for a child from a thread that runs no loop.
exit_status wait_elsewhere(child& c)
{
    std::atomic<bool> done{false};
    exit_status status;
    c.async_wait([&](error_code, exit_status got) {
        status = got;
        done = true;
        done.notify_one();
    });
    done.wait(false);
    return status;
}

// What a child that was given the number of a thread should end with.
exit_status run_in(asio::io_context& ctx, int number)
{
    auto c = spawn(helper({"--mode=exit", std::to_string(number)}), ctx.get_executor());
    return wait_elsewhere(c);
}

/// Whether a child of this process sleeps. One that has not come to its program yet does so in one
/// place: where its exec found the program busy, before it tries again.
bool a_child_sleeps()
{
    const auto state = ") S " + std::to_string(::getpid()) + ' ';
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        std::ifstream file(entry.path() / "stat");
        std::string line;
        std::getline(file, line);
        if (line.find(state) != std::string::npos)
            return true;
    }
    return false;
}

/// Writes a program that exits with 5.
bool write_program(const std::filesystem::path& path)
{
    const unique_fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
    const std::string text = "#!/bin/sh\nexit 5\n";
    return ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

}  // namespace

// doctest's assertions are made by the main thread only: the others count.
TEST_SUITE("threads")
{
    TEST_CASE("eight of them spawn in one context that nobody has used before")
    {
        for (int round = 0; round < 10; ++round) {
            running_context io(2);
            std::atomic<int> right{0};
            in_threads(8, [&](int number) {
                for (int i = 0; i < 5; ++i)
                    right += run_in(io.ctx, number) == exit_status::exited(number) ? 1 : 0;
            });
            CHECK(right == 40);
        }
    }

    TEST_CASE("eight of them spawn, each in its own context")
    {
        std::atomic<int> right{0};
        in_threads(8, [&](int number) {
            asio::io_context ctx;
            for (int i = 0; i < 10; ++i) {
                auto c = spawn(helper({"--mode=exit", std::to_string(number)}), ctx.get_executor());
                exit_status status;
                c.async_wait([&](error_code, exit_status got) { status = got; });
                ctx.restart();
                ctx.run();
                right += status == exit_status::exited(number) ? 1 : 0;
            }
        });
        CHECK(right == 80);
    }

    TEST_CASE("two contexts know nothing of each other's children")
    {
        asio::io_context first;
        asio::io_context second;
        auto a = spawn(helper({"--mode=exit", "1"}), first.get_executor());
        auto b = spawn(helper({"--mode=exit", "2"}), second.get_executor());
        CHECK(wait(second, b) == exit_status::exited(2));
        outcome<error_code, exit_status> got;
        a.async_wait(got.handler());
        second.restart();
        second.run();
        CHECK_FALSE(got.done());
        run(first);
        CHECK(got.result() == exit_status::exited(1));
    }

    TEST_CASE(
        "a child spawned in another thread than the loop's is read and waited for in the loop")
    {
        running_context io(1);
        std::optional<child> c;
        std::thread([&] {
            c = spawn(
                helper({"--mode=until-eof", "7"}).std_in(stdio::pipe()).std_out(stdio::pipe()),
                io.ctx.get_executor());
        }).join();
        std::atomic<bool> read{false};
        std::string text;
        asio::async_read_until(c->std_out(), asio::dynamic_buffer(text), '\n',
                               [&](error_code, std::size_t) {
                                   c->std_in().close();
                                   read = true;
                                   read.notify_one();
                               });
        read.wait(false);
        CHECK(text.starts_with("ready"));
        CHECK(wait_elsewhere(*c) == exit_status::exited(7));
    }

    TEST_CASE("any of them waits, looks and signals at any time (case 43)")
    {
        running_context io(2);
        for (int round = 0; round < 20; ++round) {
            auto c = spawn(helper({"--mode=pause"}).std_out(stdio::null()), io.ctx.get_executor());
            std::atomic<int> right{0};
            in_threads(6, [&](int number) {
                if (number == 0)
                    c.kill();
                else if (number == 1)
                    (void)c.try_wait();
                if (wait_elsewhere(c) == exit_status::signaled(SIGKILL))
                    ++right;
                error_code ec;
                c.signal(SIGTERM, ec);
                if (!ec && c.try_wait() == exit_status::signaled(SIGKILL))
                    ++right;
            });
            CHECK(right == 12);
        }
    }

    TEST_CASE("a wait that ends while it is being started does not touch its slot any more")
    {
        running_context io(2);
        std::atomic<int> ended{0};
        for (int i = 0; i < 300; ++i) {
            auto c = spawn(command("/bin/true"), io.ctx.get_executor());
            auto signal = std::make_unique<asio::cancellation_signal>();
            auto slot = signal->slot();
            std::atomic<bool> done{false};
            // The signal goes with the handler, as it does with a coroutine's frame.
            c.async_wait(asio::bind_cancellation_slot(
                slot, [&, owner = std::move(signal)](error_code, exit_status status) mutable {
                    ended += status.success() ? 1 : 0;
                    owner.reset();
                    done = true;
                    done.notify_one();
                }));
            done.wait(false);
        }
        CHECK(ended == 300);
    }

    TEST_CASE("no spawn waits for another one's child (case 26)")
    {
        running_context io(1);
        std::vector<child> hanging(4);
        std::atomic<int> right{0};
        in_threads(8, [&](int number) {
            const auto index = static_cast<std::size_t>(number);
            if (index < hanging.size()) {
                hanging[index] =
                    spawn(helper({"--mode=pause"}).std_in(stdio::pipe()).std_out(stdio::null()),
                          io.ctx.get_executor());
                ++right;
            } else {
                for (int i = 0; i < 10; ++i)
                    right += run_in(io.ctx, number) == exit_status::exited(number) ? 1 : 0;
            }
        });
        CHECK(right == 44);
        for (auto& c : hanging) {
            CHECK_FALSE(c.try_wait());
            c.kill();
            CHECK(wait_elsewhere(c) == exit_status::signaled(SIGKILL));
        }
    }

    TEST_CASE("children get their own pipes, whoever spawns at the same moment (complaint 08)")
    {
        running_context io(1);
        std::atomic<int> right{0};
        in_threads(6, [&](int number) {
            for (int i = 0; i < 10; ++i) {
                auto c = spawn(
                    helper({"--mode=descriptors"}).std_in(stdio::null()).std_out(stdio::pipe()),
                    io.ctx.get_executor());
                (void)number;
                std::string text;
                error_code ec;
                std::array<char, 4096> buffer{};
                while (const auto n = c.std_out().read_some(asio::buffer(buffer), ec))
                    text.append(buffer.data(), n);
                const auto lines = std::count(text.begin(), text.end(), '\n');
                right += lines == 3 && wait_elsewhere(c).success() ? 1 : 0;
            }
        });
        CHECK(right == 60);
    }

    TEST_CASE("programs that were just written are run, or refused clearly (case 29 complaint 12)")
    {
        running_context io(1);
        const temporary_directory files;
        std::atomic<int> ran{0};
        std::vector<std::string> complaints(20);
        in_threads(20, [&](int number) {
            auto& complaint = complaints[static_cast<std::size_t>(number)];
            for (int i = 0; i < 5; ++i) {
                const auto path = files.path() / (std::to_string(number) + '-' + std::to_string(i));
                if (!write_program(path)) {
                    complaint += "not written; ";
                    continue;
                }
                // What holds a program is another thread's child before its exec, which is over
                // long before these retries are.
                spawn_failure failure;
                auto c = spawn(command(path.native()).text_busy_retries(16), io.ctx.get_executor(),
                               failure);
                if (!c) {
                    complaint += failure.to_string() + "; ";
                    continue;
                }
                const auto status = wait_elsewhere(c);
                if (status == exit_status::exited(5))
                    ++ran;
                else
                    complaint += status.to_string() + "; ";
            }
        });
        for (const auto& complaint : complaints)
            CHECK(complaint == "");
        CHECK(ran == 100);

        const busy_program busy;
        const auto failure = failure_of(io.ctx, busy.run(1));
        CHECK(failure.step == spawn_step::exec);
        CHECK_MESSAGE(failure.code == boost::system::errc::text_file_busy, failure);
    }

    TEST_CASE("a program that is busy at first runs as soon as it is not (case 29 complaint 12)")
    {
        running_context io(1);
        busy_program busy;
        spawn_failure failure;
        child c;
        std::atomic<bool> returned{false};
        {
            const std::jthread spawning([&] {
                c = spawn(busy.run().std_in(stdio::null()), io.ctx.get_executor(), failure);
                returned = true;
            });
            await([&] { return returned || a_child_sleeps(); });
            CHECK_FALSE(returned);  // or nothing was tried again
            busy.release();
        }
        REQUIRE_MESSAGE(c, failure);
        CHECK(wait_elsewhere(c) == exit_status::exited(0));
    }
}
