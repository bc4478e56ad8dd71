// SPDX-License-Identifier: BSL-1.0
#include "raw.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD static_cast<idtype_t>(3)  // glibc before 2.36
#endif

namespace bench {
namespace {

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
    const bool by_hand = options.text("mechanism", "splice") == "read_write";
    std::vector<char> buffer(by_hand ? round.read_bytes() : 0);
    while (true) {
        auto n = by_hand ? ::read(out.ours, buffer.data(), buffer.size())
                         : ::splice(out.ours, nullptr, in.ours, nullptr, 1 << 20, SPLICE_F_MOVE);
        if (n == -1 && errno == EINTR)
            continue;
        require(n >= 0, "splice");
        if (n == 0)
            break;
        round.add(static_cast<std::size_t>(n));
        for (std::size_t at = 0; by_hand && at < static_cast<std::size_t>(n);) {
            const auto w = ::write(in.ours, buffer.data() + at, static_cast<std::size_t>(n) - at);
            require(w > 0, "write");
            at += static_cast<std::size_t>(w);
        }
    }
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
    auto arguments = round.writer_arguments();
    arguments.front() = "lines";
    const raw_child child = start_child(round, arguments, -1, out.theirs);
    ::close(out.theirs);
    std::FILE* stream = ::fdopen(out.ours, "r");
    require(stream != nullptr, "fdopen");
    std::vector<char> buffer(round.read_bytes());
    std::setvbuf(stream, buffer.data(), _IOFBF, buffer.size());
    char* line = nullptr;
    std::size_t capacity = 0;
    for (ssize_t n = 0; (n = ::getline(&line, &capacity, stream)) > 0;)
        round.add(static_cast<std::size_t>(n));
    std::free(line);
    std::fclose(stream);
    expect_success(child);
    round.print();
}

}  // namespace bench
