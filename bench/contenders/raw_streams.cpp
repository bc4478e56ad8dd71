// SPDX-License-Identifier: BSL-1.0
#include "raw.hpp"

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD static_cast<idtype_t>(3)  // glibc before 2.36
#endif

namespace bench {
namespace {

constexpr std::size_t splice_bytes = std::size_t{1} << 20U;

struct channel {
    int ours = -1;
    int theirs = -1;
};

// A pipe out of the child, or into it.
channel open_channel(const stream_round& round, bool out_of_child)
{
    std::array<int, 2> ends{};
    if (round.socket())
        require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0,
                "socketpair");
    else
        require(::pipe2(ends.data(), O_CLOEXEC) == 0, "pipe2");
    if (round.pipe_bytes() != 0 && !round.socket())
        require(::fcntl(ends[0], F_SETPIPE_SZ, static_cast<int>(round.pipe_bytes())) != -1,
                "F_SETPIPE_SZ (see /proc/sys/fs/pipe-max-size)");
    return out_of_child ? channel{ends[0], ends[1]} : channel{ends[1], ends[0]};
}

raw_child start_child(const stream_round& round, std::vector<std::string> arguments, int std_in,
                      int std_out)
{
    std::string program = round.child();
    std::vector<char*> argv{program.data()};
    for (auto& argument : arguments)
        argv.push_back(argument.data());
    argv.push_back(nullptr);
    return raw_spawn(raw_mechanism::clone, argv, std_in, std_out);
}

void expect_success(const raw_child& child)
{
    siginfo_t info{};
    require(::waitid(P_PIDFD, static_cast<id_t>(child.pidfd), &info, WEXITED) == 0, "waitid");
    require(info.si_code == CLD_EXITED && info.si_status == 0, "the child failed");
    ::close(child.pidfd);
}

}  // namespace

void raw_stdout(const round_options& options)
{
    stream_round round(options);
    std::vector<char> buffer(round.read_bytes());
    round.start();
    const channel out = open_channel(round, true);
    const raw_child child = start_child(round, round.writer_arguments(), -1, out.theirs);
    ::close(out.theirs);
    while (true) {
        const auto n = ::read(out.ours, buffer.data(), buffer.size());
        if (n == -1 && errno == EINTR)
            continue;
        require(n >= 0, "read");
        if (n == 0)
            break;
        round.add(static_cast<std::size_t>(n));
    }
    expect_success(child);
    round.print();
}

namespace {

// Between two blocking pipes: no call but splice.
void splice_blocking(stream_round& round, int source, int sink)
{
    while (true) {
        const auto n = ::splice(source, nullptr, sink, nullptr, splice_bytes, SPLICE_F_MOVE);
        if (n == -1 && errno == EINTR)
            continue;
        require(n >= 0, "splice");
        if (n == 0)
            return;
        round.add(static_cast<std::size_t>(n));
    }
}

// The same as part of an event loop, which must not be blocked by either side: waits with epoll,
// edge-triggered, for the one that splice could have waited for.
void splice_with_epoll(stream_round& round, int source, int sink)
{
    const int set = ::epoll_create1(EPOLL_CLOEXEC);
    require(set != -1, "epoll_create1");
    for (const auto& [fd, events] : {std::pair{source, EPOLLIN}, std::pair{sink, EPOLLOUT}}) {
        require(::fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "F_SETFL");
        epoll_event event{};
        event.events = static_cast<std::uint32_t>(events) | EPOLLET;
        require(::epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    }
    while (true) {
        const auto n = ::splice(source, nullptr, sink, nullptr, splice_bytes,
                                SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n == 0)
            break;
        if (n > 0) {
            round.add(static_cast<std::size_t>(n));
            continue;
        }
        require(errno == EAGAIN || errno == EINTR, "splice");
        epoll_event event{};
        require(::epoll_wait(set, &event, 1, -1) == 1 || errno == EINTR, "epoll_wait");
    }
    ::close(set);
}

void read_and_write(stream_round& round, int source, int sink)
{
    std::vector<char> buffer(round.read_bytes());
    while (true) {
        const auto n = ::read(source, buffer.data(), buffer.size());
        if (n == -1 && errno == EINTR)
            continue;
        require(n >= 0, "read");
        if (n == 0)
            return;
        const auto size = static_cast<std::size_t>(n);
        round.add(size);
        for (std::size_t at = 0; at < size;) {
            const auto w = ::write(sink, buffer.data() + at, size - at);
            require(w > 0, "write");
            at += static_cast<std::size_t>(w);
        }
    }
}

}  // namespace

void raw_copy(const round_options& options)
{
    stream_round round(options);
    round.start();
    const channel out = open_channel(round, true);
    const channel in = open_channel(round, false);
    const raw_child writer = start_child(round, round.writer_arguments(), -1, out.theirs);
    const raw_child sink = start_child(round, round.sink_arguments(), in.theirs, -1);
    ::close(out.theirs);
    ::close(in.theirs);
    const auto mechanism = options.text("mechanism", "splice");
    if (mechanism == "read_write")
        read_and_write(round, out.ours, in.ours);
    else if (mechanism == "epoll")
        splice_with_epoll(round, out.ours, in.ours);
    else
        splice_blocking(round, out.ours, in.ours);
    ::close(in.ours);
    expect_success(writer);
    expect_success(sink);
    round.print();
}

void raw_lines(const round_options& options)
{
    stream_round round(options);
    round.start();
    const channel out = open_channel(round, true);
    const raw_child child = start_child(round, round.line_writer_arguments(), -1, out.theirs);
    ::close(out.theirs);
    // A line longer than the buffer does not occur here.
    std::vector<char> buffer(round.read_bytes());
    std::size_t begin = 0;
    std::size_t end = 0;
    while (true) {
        const auto n = ::read(out.ours, buffer.data() + end, buffer.size() - end);
        if (n == -1 && errno == EINTR)
            continue;
        require(n >= 0, "read");
        if (n == 0)
            break;
        end += static_cast<std::size_t>(n);
        while (const void* newline = std::memchr(buffer.data() + begin, '\n', end - begin)) {
            const auto after =
                static_cast<std::size_t>(static_cast<const char*>(newline) - buffer.data()) + 1;
            round.add(after - begin);
            begin = after;
        }
        std::memmove(buffer.data(), buffer.data() + begin, end - begin);
        end -= begin;
        begin = 0;
    }
    expect_success(child);
    round.print();
}

}  // namespace bench
