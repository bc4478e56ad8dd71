// SPDX-License-Identifier: BSL-1.0
//
// One process and `peers=` others, messages of 64 bytes:
//
//     broadcast [mechanism=pipes] seconds=   each message to all, who lose none; ns for each
//     fan_in [mechanism=pipe] seconds=       from all of them to one; ns for each that has come
//
// The limits are what a program without a library does: a pipe for each reader, written to one
// after the other, and one pipe that all write to, whose writes of 64 bytes the kernel keeps whole.
// They send and receive one message per system call, as the others do per call.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <utility>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <procyard/ipc/broadcast.hpp>
#include <procyard/ipc/channel.hpp>
#include <procyard/ipc/fan_in.hpp>

#include "../channel/flow.hpp"
#include "../channel/message.hpp"
#include "../channel/pair.hpp"

namespace asio = boost::asio;

namespace {

using asio::use_awaitable;
using bench::require;
using procyard::error_code;
using small = bench::message<64>;

constexpr std::size_t capacity = bench::capacity_of<64>;

/// The other processes, on the second processor and on the first by turns.
class crowd {
public:
    explicit crowd(const bench::round_options& options)
        : size_(static_cast<std::size_t>(options.number("peers", 1))),
          deadline_(static_cast<unsigned>(options.number("deadline", 60)))
    {
        bench::pin_to(0);
        ::alarm(deadline_);  // an end for a round that hangs, and so for its children
    }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// Runs `work` in each of them, until `lead` in this one has ended and they have.
    void run(const std::function<void(std::size_t)>& work, const std::function<void()>& lead)
    {
        std::vector<pid_t> pids;
        for (std::size_t i = 0; i < size_; ++i) {
            const pid_t pid = ::fork();
            require(pid != -1, "fork");
            if (pid == 0) {
                require(::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "PR_SET_PDEATHSIG");
                bench::pin_to(static_cast<long>((i + 1) % 2));
                work(i);
                std::_Exit(0);
            }
            pids.push_back(pid);
        }
        lead();
        for (const pid_t pid : pids) {
            int status = 0;
            require(::waitpid(pid, &status, 0) == pid, "waitpid");
            errno = 0;
            require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "one of the crowd has failed");
        }
    }

private:
    std::size_t size_;
    unsigned deadline_;
};

void run(asio::io_context& context, asio::awaitable<void> work)
{
    asio::co_spawn(context, std::move(work), [&context](const std::exception_ptr& error) {
        if (error)
            std::rethrow_exception(error);
        context.stop();
    });
    context.run();
}

void report(double since_us, std::uint64_t messages)
{
    errno = 0;
    require(messages > 1, "nothing has come");
    const double ns = (bench::now_us() - since_us) * 1e3 / static_cast<double>(messages);
    bench::report({{"ns", ns}, {"messages", static_cast<double>(messages)}});
}

// --- to many -------------------------------------------------------------------------------------

asio::awaitable<void> broadcast(procyard::broadcaster<small>& to, bench::outgoing& out)
{
    small m{};
    error_code ec;
    do {
        out.number(m);
        if (!to.try_send(m, ec))
            co_await to.async_send(m, use_awaitable);
    } while (!out.ended());
}

template <class From>
asio::awaitable<void> receive_all(From& from)
{
    bench::incoming in;
    small m{};
    error_code ec;
    do {
        if (!from.try_receive(m, ec))
            m = co_await from.async_receive(use_awaitable);
    } while (in.take(m));
}

// All have come, and say so by a byte each; else what is measured is their coming.
class gathering {
public:
    gathering() { require(::pipe2(ends_, O_CLOEXEC) == 0, "pipe2"); }
    void come() const
    {
        const char here = 1;
        require(::write(ends_[1], &here, 1) == 1, "write");
    }
    void await(std::size_t count) const
    {
        char here = 0;
        for (; count > 0; --count)
            require(::read(ends_[0], &here, 1) == 1, "read");
    }

private:
    int ends_[2];
};

void broadcast_round(const bench::round_options& options)
{
    crowd others(options);
    gathering here;
    gathering done;
    asio::io_context context(1);
    procyard::broadcaster<small> to(context.get_executor(), {.capacity_messages = capacity});
    std::vector<procyard::unopened<procyard::subscriber<small>>> ends;
    for (std::size_t i = 0; i < others.size(); ++i)
        ends.push_back(to.subscribe({.when_slow = procyard::slow_reader::holds_back}));
    others.run(
        [&](std::size_t i) {
            asio::io_context own(1);
            procyard::subscriber<small> from(own.get_executor(), std::move(ends[i]));
            here.come();
            run(own, receive_all(from));
            done.come();
        },
        [&] {
            ends.clear();
            here.await(others.size());
            bench::outgoing out(options);
            const double since_us = bench::now_us();
            run(context, broadcast(to, out));
            done.await(others.size());
            report(since_us, out.next_number() & ~bench::last_message);
        });
}

void pipes_round(const bench::round_options& options)
{
    crowd others(options);
    gathering done;
    std::vector<std::pair<int, int>> pipes;
    for (std::size_t i = 0; i < others.size(); ++i) {
        int ends[2];
        require(::pipe2(ends, O_CLOEXEC) == 0, "pipe2");
        pipes.emplace_back(ends[0], ends[1]);
    }
    others.run(
        [&](std::size_t i) {
            bench::incoming in;
            small m{};
            do
                require(::read(pipes[i].first, &m, sizeof m) == sizeof m, "read");
            while (in.take(m));
            done.come();
        },
        [&] {
            bench::outgoing out(options);
            const double since_us = bench::now_us();
            small m{};
            do {
                out.number(m);
                for (const auto& pipe : pipes)
                    require(::write(pipe.second, &m, sizeof m) == sizeof m, "write");
            } while (!out.ended());
            done.await(others.size());
            report(since_us, out.next_number() & ~bench::last_message);
        });
}

// --- from many -----------------------------------------------------------------------------------

// Messages say who sends them, and are numbered by each.
struct counted {
    explicit counted(std::size_t senders) : next(senders, 0), left(senders) { }

    std::vector<std::uint64_t> next;
    std::size_t left;  // who have not sent their last
    std::uint64_t all = 0;

    void take(const small& m)
    {
        const auto from = static_cast<std::size_t>(m.words[1]);
        const auto number = m.words[0] & ~bench::last_message;
        errno = 0;
        require(from < next.size() && number == next[from] && m.words[7] == m.words[0],
                "a message is lost, repeated or torn");
        ++next[from];
        ++all;
        left -= (m.words[0] & bench::last_message) != 0 ? 1 : 0;
    }
};

void address(small& m, bench::outgoing& out, std::size_t from)
{
    out.number(m);
    m.words[1] = from;
}

asio::awaitable<void> send_to_all(procyard::sender<small>& to, bench::outgoing& out,
                                  std::size_t from)
{
    small m{};
    error_code ec;
    do {
        address(m, out, from);
        if (!to.try_send(m, ec))
            co_await to.async_send(m, use_awaitable);
    } while (!out.ended());
}

asio::awaitable<void> receive_from_all(procyard::fan_in<small>& from, counted& in)
{
    procyard::arrival<small> got{};
    error_code ec;
    while (in.left > 0) {
        if (!from.try_receive(got, ec))
            got = co_await from.async_receive(use_awaitable);
        if (!got.ended)
            in.take(got.message);
    }
}

void fan_in_round(const bench::round_options& options)
{
    crowd others(options);
    asio::io_context context(1);
    procyard::fan_in<small> from(context.get_executor());
    std::vector<procyard::unopened_channel<small>> ends;
    for (std::size_t i = 0; i < others.size(); ++i)
        ends.push_back(procyard::make_channel<small>({.capacity_messages = capacity}));
    others.run(
        [&](std::size_t i) {
            auto own = std::move(ends[i].sender);
            ends.clear();
            asio::io_context there(1);
            procyard::sender<small> to(there.get_executor(), std::move(own));
            bench::outgoing out(options);
            run(there, send_to_all(to, out, i));
        },
        [&] {
            for (auto& channel : ends)
                from.add(std::move(channel.receiver));
            ends.clear();
            counted in(others.size());
            const double since_us = bench::now_us();
            run(context, receive_from_all(from, in));
            report(since_us, in.all);
        });
}

void pipe_round(const bench::round_options& options)
{
    crowd others(options);
    int ends[2];
    require(::pipe2(ends, O_CLOEXEC) == 0, "pipe2");
    others.run(
        [&](std::size_t i) {
            bench::outgoing out(options);
            small m{};
            do {
                address(m, out, i);
                require(::write(ends[1], &m, sizeof m) == sizeof m, "write");
            } while (!out.ended());
        },
        [&] {
            counted in(others.size());
            const double since_us = bench::now_us();
            small m{};
            while (in.left > 0) {
                require(::read(ends[0], &m, sizeof m) == sizeof m, "read");
                in.take(m);
            }
            report(since_us, in.all);
        });
}

}  // namespace

int main(int argc, char** argv)
{
    const bench::round_options options(argc, argv);
    const auto mechanism = options.text("mechanism", "procyard");
    if (options.command() == "broadcast")
        (mechanism == "procyard" ? broadcast_round : pipes_round)(options);
    else if (options.command() == "fan_in")
        (mechanism == "procyard" ? fan_in_round : pipe_round)(options);
    else
        require(false, "bench_channel_scaling broadcast | fan_in");
}
