// SPDX-License-Identifier: BSL-1.0
//
// `demo run --timeout 5s --grace 1s -- CMD…`: timeout(1), but it stops whatever CMD has started,
// daemons included. (Without a cgroup, a daemon that ends earlier is a zombie until the stop.)
#include <fmt/core.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstdio>
#include <exception>
#include <utility>

#include <procyard/runtime.hpp>

#include "commands.hpp"
#include "duration.hpp"
#include "foreground.hpp"
#include "say.hpp"
#include "whole_tree.hpp"

namespace demo {

namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using namespace procyard;

class limited_run {
public:
    limited_run(const run_command_options& options, const asio::any_io_executor& ex)
        : options_(options),
          signals_(ex, SIGINT, SIGTERM, SIGHUP),
          deadline_(ex, asio::steady_timer::time_point::max())
    {
        // Before the child runs: who is told by it that it does may send a signal at once.
        signals_.add(SIGQUIT);
        signals_.add(SIGCHLD);  // only to see that the child was suspended
        signals_.add(SIGCONT);  // `fg` or `bg` after that
        child_ = start(options, ex);
        if (options_.timeout)
            deadline_.expires_after(*options_.timeout);
    }

    asio::awaitable<int> run()
    {
        if (foreground_.lend(child_.id()))
            resume();  // it may have tried to read before it was allowed to
        auto first = co_await (child_.async_wait(asio::use_awaitable) || order_to_end()
                               || deadline_.async_wait(asio::use_awaitable));
        if (first.index() == 0)
            co_return std::get<0>(first).shell_code();

        const bool late = first.index() == 2;
        const auto result = co_await stop(late ? SIGTERM : std::get<1>(first));
        if (late) {
            say("demo: timeout after {}: {} (tree: {})\n", format_duration(*options_.timeout),
                result.to_string(), to_string(result.tree));
            // As timeout(1) does, and for the whole tree: who had to be killed is told apart.
            co_return result.forced() ? killed : timed_out;
        }
        co_return result.status.shell_code();
    }

private:
    static child start(const run_command_options& options, const asio::any_io_executor& ex)
    {
        spawn_failure failure;
        auto started = spawn(make_command(options, tree_mode::cgroup), ex, failure);
        if (!means_no_cgroup(failure))
            return failure ? throw spawn_error(failure) : std::move(started);
        return spawn(make_command(options, tree_mode::subreaper), ex);
    }

    static command make_command(const run_command_options& options, tree_mode mode)
    {
        command what(options.words.front(), {options.words.begin() + 1, options.words.end()});
        what.tree(mode);
        // After `kill -9` of the demo nobody is there to stop the tree. This one dies then; what it
        // has started lives on, unless it notices the loss by itself. (A pid namespace would take
        // all along, but CMD would see other numbers, and only root may make one.)
        what.parent_death_signal(SIGKILL);
        return what;
    }

    /// A second signal does not wait for the grace.
    asio::awaitable<stop_result> stop(int number)
    {
        stopping_ = true;
        auto first = co_await (
            child_.async_stop(stop_ladder{}.signal(number, options_.grace), asio::use_awaitable)
            || order_to_end());
        if (first.index() == 0)
            co_return std::get<0>(std::move(first));
        co_return co_await child_.async_stop(stop_ladder::kill(), asio::use_awaitable);
    }

    /// Completes with a signal that means the end.
    asio::awaitable<int> order_to_end()
    {
        for (;;) {
            const int number = co_await signals_.async_wait(asio::use_awaitable);
            if (number == SIGCONT) {
                (void)foreground_.lend(child_.id());
                resume();
            } else if (number == SIGCHLD) {
                follow_suspension();
            } else {
                co_return number;
            }
        }
    }

    /// Whoever suspends the child at the terminal (^Z) means us too: the shell waits for us alone.
    /// Elsewhere nobody would let us go on, and a suspended process watches no time limit: a child
    /// that stops itself there is stopped until its time is over.
    void follow_suspension()
    {
        siginfo_t info{};
        const int found =
            ::waitid(P_PID, static_cast<id_t>(child_.id()), &info, WSTOPPED | WNOHANG);
        if (found == -1 || info.si_pid == 0 || stopping_ || !foreground_.concerns(info.si_status))
            return;
        foreground_.take_back();
        // Unlike SIGSTOP it is discarded by the kernel when no shell of our session looks after us.
        (void)::raise(SIGTSTP);
    }

    void resume()
    {
        error_code ignored;
        child_.signal_tree(SIGCONT, ignored);
    }

    const run_command_options& options_;
    foreground foreground_;
    asio::signal_set signals_;
    asio::steady_timer deadline_;
    child child_;
    bool stopping_ = false;
};

}  // namespace

int exit_code_of(const procyard::spawn_failure& failure) noexcept
{
    using procyard::spawn_step;
    const bool program = failure.step == spawn_step::lookup || failure.step == spawn_step::exec
        || failure.step == spawn_step::program;
    if (!program)
        return own_failure;
    return failure.code == boost::system::errc::no_such_file_or_directory ? not_found
                                                                          : cannot_execute;
}

int run_command(const run_command_options& options)
{
    asio::io_context context;
    limited_run run(options, context.get_executor());
    int code = own_failure;
    asio::co_spawn(context, run.run(), [&](std::exception_ptr error, int result) {
        if (error)
            std::rethrow_exception(error);
        code = result;
        context.stop();
    });
    context.run();
    return code;
}

}  // namespace demo
