// SPDX-License-Identifier: BSL-1.0
// A pool of the tests' worker, and bounded ways to use it from a function that is no coroutine.
#ifndef PROCYARD_TESTS_SUPPORT_POOL_FIXTURE_HPP
#define PROCYARD_TESTS_SUPPORT_POOL_FIXTURE_HPP

#include <boost/asio/io_context.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/process_pool.hpp>

#include "pool_types.hpp"
#include "procyard_test.hpp"

namespace procyard_test {

using pool_test::answer;
using pool_test::work;
using work_pool = procyard::process_pool<work, answer>;

inline procyard::command pool_worker()
{
    return procyard::command(PROCYARD_POOL_WORKER);
}

inline work make_work(std::string what, std::uint64_t number = 0, std::string text = {})
{
    return {std::move(what), number, std::move(text)};
}

/// Delays that no test has to wait for.
inline procyard::restart_backoff soon()
{
    return {
        .first = std::chrono::milliseconds(1), .cap = std::chrono::milliseconds(5), .jitter = 0};
}

inline procyard::pool_options of_workers(unsigned count)
{
    procyard::pool_options options;
    options.min_workers = options.max_workers = count;
    options.backoff = soon();
    return options;
}

inline std::vector<std::string> lines_of(const std::string& path)
{
    std::ifstream file(path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);)
        lines.push_back(line);
    return lines;
}

inline bool is_alive(pid_t pid)
{
    return ::kill(pid, 0) == 0;
}

/// What a task "gate" stands before, deaf to all, until it is opened.
class pool_gate {
public:
    explicit pool_gate(std::string path) : path_(std::move(path))
    {
        REQUIRE(::mkfifo(path_.c_str(), 0600) == 0);
    }

    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    /// Whether a task stands there. From then on it needs open().
    [[nodiscard]] bool is_reached()
    {
        held_.reset(::open(path_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
        return static_cast<bool>(held_);
    }
    void open() { held_.reset(); }

private:
    std::string path_;
    procyard::unique_fd held_{};
};

struct pooled {
    explicit pooled(const procyard::pool_options& options = of_workers(1),
                    const std::string& entry = "work", procyard::command program = pool_worker())
    {
        it.emplace(ctx.get_executor(), std::move(program), entry, options);
    }

    procyard::error_code start()
    {
        outcome<procyard::error_code> got;
        it->async_start(got.handler());
        run_until(ctx, [&] { return got.done(); });
        return got.error();
    }
    void must_start()
    {
        const auto ec = start();
        REQUIRE_MESSAGE(!ec, ec.message(), ": ", it->explanation());
    }
    void stop(std::chrono::nanoseconds budget = std::chrono::nanoseconds::max())
    {
        outcome<procyard::error_code> got;
        it->async_stop(budget, got.handler());
        run_until(ctx, [&] { return got.done(); });
        CHECK(!got.error());
        CHECK(it->workers().empty());
        CHECK(children() == before);
    }

    /// Submitted at once; there has to be room.
    procyard::pool_task<answer> submit(const work& what, const procyard::submit_options& how = {})
    {
        procyard::error_code ec;
        auto task = it->try_submit(what, how, ec);
        REQUIRE_MESSAGE(!ec, ec.message());
        return task;
    }
    /// The result has to be there, or to come.
    answer result(procyard::pool_task<answer>& task)
    {
        outcome<procyard::error_code, answer> got;
        task.async_result(got.handler());
        run_until(ctx, [&] { return got.done(); });
        CHECK_MESSAGE(!got.error(), got.error().message(), ": ", task.report().to_string());
        return got.result();
    }
    procyard::error_code error(procyard::pool_task<answer>& task)
    {
        outcome<procyard::error_code, answer> got;
        task.async_result(got.handler());
        run_until(ctx, [&] { return got.done(); });
        return got.error();
    }
    answer call(const work& what, const procyard::submit_options& how = {})
    {
        auto task = submit(what, how);
        return result(task);
    }
    procyard::error_code fail(const work& what, const procyard::submit_options& how = {})
    {
        auto task = submit(what, how);
        return error(task);
    }
    /// Until the file has as many lines; the pool's loop stands still meanwhile.
    static void stand_still_until_lines(const std::string& path, std::size_t count)
    {
        const auto end = std::chrono::steady_clock::now() + deadlock_guard;
        while (lines_of(path).size() < count)
            REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, "hung: ", path);
    }
    /// Until the file has as many lines.
    void until_lines(const std::string& path, std::size_t count)
    {
        const auto end = std::chrono::steady_clock::now() + deadlock_guard;
        while (lines_of(path).size() < count) {
            REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, "hung: ", path);
            ctx.restart();
            ctx.run_one_for(std::chrono::milliseconds(1));
        }
    }
    template <class Predicate>
    void until(Predicate done)
    {
        const auto end = std::chrono::steady_clock::now() + deadlock_guard;
        while (!done()) {
            REQUIRE_MESSAGE(std::chrono::steady_clock::now() < end, "hung");
            ctx.restart();
            ctx.run_one_for(std::chrono::milliseconds(1));
        }
    }

    std::size_t before = children();  // of contexts that have gone, and reap nobody
    descriptor_check descriptors;
    boost::asio::io_context ctx{};
    std::optional<work_pool> it{};
};

}  // namespace procyard_test

#endif
