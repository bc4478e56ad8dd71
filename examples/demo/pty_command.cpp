// SPDX-License-Identifier: BSL-1.0
//
// `demo pty -- CMD…`: what script(1) and ssh do. The program sits on a terminal of its own; what is
// typed here goes there as it is, what it shows is shown here, and the window has one size.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/system/system_error.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <procyard/runtime.hpp>

#include "commands.hpp"
#include "raw_terminal.hpp"

namespace demo {

namespace {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
using namespace procyard;

// From SIGHUP to SIGKILL.
constexpr auto grace = std::chrono::seconds(5);
constexpr auto quietly = asio::as_tuple(asio::use_awaitable);

std::optional<window_size> window()
{
    const auto size = window_size_of(STDIN_FILENO);
    return size ? size : window_size_of(STDOUT_FILENO);
}

bool allows(int fd, int access)
{
    const int flags = ::fcntl(fd, F_GETFL);
    return flags != -1 && ((flags & O_ACCMODE) == access || (flags & O_ACCMODE) == O_RDWR);
}

// Nothing can be typed at a closed standard input: the same as at an empty one.
unique_fd keyboard()
{
    if (allows(STDIN_FILENO, O_RDONLY))
        return open_again(STDIN_FILENO);
    unique_fd empty(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!empty)
        throw boost::system::system_error(errno, boost::system::system_category(), "/dev/null");
    return empty;
}

unique_fd screen()
{
    if (!allows(STDOUT_FILENO, O_WRONLY))
        throw boost::system::system_error(EBADF, boost::system::system_category(),
                                          "standard output");
    return open_again(STDOUT_FILENO);
}

command on_terminal(const std::vector<std::string>& words)
{
    command what(words.front(), {words.begin() + 1, words.end()});
    what.terminal(window().value_or(window_size{}));
    return what;
}

class pty_session {
public:
    pty_session(const std::vector<std::string>& words, const asio::any_io_executor& ex)
        : keyboard_(ex, keyboard()),
          screen_(ex, screen()),
          signals_(ex, SIGWINCH, SIGCONT),
          raw_(STDIN_FILENO)
    {
        // Before the program runs: who is told by it that it does may send a signal at once.
        for (const int number : {SIGTERM, SIGHUP, SIGINT, SIGQUIT})
            signals_.add(number);
        child_ = spawn(on_terminal(words), ex);
    }

    /// Until the program has ended; returns the exit code.
    asio::awaitable<int> run()
    {
        co_await (show() && (wait_for_end() || type() || follow_orders()));
        co_return stopped_by_ != 0 ? 128 + stopped_by_ : status_.shell_code();
    }

private:
    /// The program's end ends everything else.
    asio::awaitable<void> wait_for_end()
    {
        status_ = co_await child_.async_wait(asio::use_awaitable);
        // Somebody whom the program has left behind may hold the terminal: show what is there, and
        // do not wait for more. A cancelled read has read nothing, so nothing is lost here.
        ended_ = true;
        child_.std_out().cancel();
    }

    asio::awaitable<void> show()
    {
        std::array<char, 16384> buffer;
        bool seen = true;
        for (;;) {
            error_code ec;
            std::size_t n = 0;
            if (ended_)
                n = child_.std_out().try_read_some(asio::buffer(buffer), ec);
            else
                std::tie(ec, n) =
                    co_await child_.std_out().async_read_some(asio::buffer(buffer), quietly);
            if (ec == asio::error::operation_aborted)
                continue;
            if (ec)
                co_return;
            if (seen)
                std::tie(ec, n) =
                    co_await asio::async_write(screen_, asio::buffer(buffer.data(), n), quietly);
            if (ec && std::exchange(seen, false))
                hang_up();  // nobody looks any more; the rest is read and thrown away
        }
    }

    asio::awaitable<void> type()
    {
        std::array<char, 4096> buffer;
        for (;;) {
            auto [ec, n] = co_await keyboard_.async_read_some(asio::buffer(buffer), quietly);
            if (ec == asio::error::operation_aborted)
                co_return;
            // Input from a pipe or a file has an end, which a terminal says by ^D at the start of
            // a line.
            if (ec)
                buffer[0] = 4;
            co_await asio::async_write(child_.std_in(), asio::buffer(buffer.data(), ec ? 1 : n),
                                       quietly);
            if (ec)
                co_await child_.async_wait(quietly);
        }
    }

    /// Says what a terminal that goes away says, and kills who does not listen; a second order does
    /// not wait for that. Cancelled when the program has ended: what it has left behind lives on.
    asio::awaitable<void> follow_orders()
    {
        stopped_by_ = co_await order_to_end();
        const auto second =
            co_await (child_.async_stop(stop_ladder{}.signal(SIGHUP, grace), asio::use_awaitable)
                      || order_to_end());
        if (second.index() == 1) {
            stopped_by_ = std::get<1>(second);
            co_await child_.async_stop(stop_ladder::kill(), asio::use_awaitable);
        }
        // The end is told by the one who waits for it.
        for (;;)
            co_await order_to_end();
    }

    /// Completes with a signal that means the end.
    asio::awaitable<int> order_to_end()
    {
        for (;;) {
            const int number = co_await signals_.async_wait(asio::use_awaitable);
            if (number == SIGCONT)
                raw_.apply();  // the shell had the terminal meanwhile
            if (number != SIGCONT && number != SIGWINCH)
                co_return number;
            resize();
        }
    }

    // A suspended program hears it, too.
    void hang_up()
    {
        error_code ignored;
        child_.signal_tree(SIGHUP, ignored);
        child_.signal_tree(SIGCONT, ignored);
    }

    void resize()
    {
        error_code ignored;  // the program may have closed its side just now
        if (const auto size = window())
            child_.resize_terminal(*size, ignored);
    }

    pipe_reader keyboard_;
    pipe_writer screen_;
    asio::signal_set signals_;
    raw_terminal raw_;  // before the program runs: it may read at once
    child child_;
    exit_status status_;
    bool ended_ = false;
    int stopped_by_ = 0;
};

}  // namespace

int run_pty(const std::vector<std::string>& words)
{
    asio::io_context context;
    pty_session session(words, context.get_executor());
    int code = own_failure;
    asio::co_spawn(context, session.run(), [&](std::exception_ptr error, int result) {
        if (error)
            std::rethrow_exception(error);
        code = result;
    });
    context.run();
    return code;
}

}  // namespace demo
