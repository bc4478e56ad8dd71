// SPDX-License-Identifier: BSL-1.0
#include "connections.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/syscall.hpp>

#include "command_access.hpp"
#include "manager_text.hpp"
#include "passed_end.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

using access = command_access;
using kind = stdio_access::kind;

// Larger pipes are what makes capturing fast: a producer is stopped and woken less often
// (docs/performance.md).
constexpr int output_pipe_bytes = 1 << 20;

// Our own descriptors stay out of 0…2: a parent that runs with one of them closed would else hand
// the child a pipe as its inherited standard input.
unique_fd lift(unique_fd fd) noexcept
{
    if (!fd || fd.get() > 2)
        return fd;
    error_code ec;
    auto lifted = fd.duplicate(ec, 3);
    if (ec)
        errno = ec.value();
    return lifted;
}

void clear_nonblocking(int fd) noexcept
{
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags != -1 && (flags & O_NONBLOCK) != 0)
        (void)::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

// A FIFO that nobody has open for writing: its reader sees the end of file at once, and not, as
// after an open that waits, what the first writer writes. Asked by a copy of nothing: a read would
// take a byte away.
bool lacks_writer(int fd) noexcept
{
    struct stat status;
    if (::fstat(fd, &status) == -1 || !S_ISFIFO(status.st_mode))
        return false;
    int scratch[2];
    if (::pipe2(scratch, O_CLOEXEC) == -1)
        return false;  // then the child will want for descriptors as well, and say so
    const unique_fd read_end(scratch[0]);
    const unique_fd write_end(scratch[1]);
    return ::tee(fd, write_end.get(), 1, SPLICE_F_NONBLOCK) == 0;
}

}  // namespace

std::string capacity_operand(int number, std::size_t capacity_bytes)
{
    return std::to_string(number) + ", " + std::to_string(capacity_bytes) + " bytes";
}

int connections::own(unique_fd fd)
{
    return child_ends_.emplace_back(std::move(fd)).get();
}

spawn_failure connections::make_pipe(const command& what, int number, const stdio& s,
                                     int& child_end)
{
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) == -1)
        return make_failure(what, spawn_step::pipe, errno, std::to_string(number));
    unique_fd read_end = lift(unique_fd(ends[0]));
    unique_fd write_end = lift(unique_fd(ends[1]));
    if (!read_end || !write_end)
        return make_failure(what, spawn_step::pipe, errno, std::to_string(number));

    const bool is_output = number != 0;
    if (const auto asked = stdio_access::capacity_bytes(s); asked != 0) {
        error_code refused;
        set_pipe_capacity(read_end.get(), asked, refused);
        if (refused)
            return make_failure(what, spawn_step::pipe, refused.value(),
                                capacity_operand(number, asked));
    } else if (is_output && may_enlarge_
               && ::fcntl(read_end.get(), F_SETPIPE_SZ, output_pipe_bytes) >= output_pipe_bytes)
        ++enlarged_pipes;
    child_end = own(std::move(is_output ? write_end : read_end));
    parent_ends[number] = std::move(is_output ? read_end : write_end);
    return {};
}

spawn_failure connections::make_socket(const command& what, int number, int& child_end)
{
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == -1)
        return make_failure(what, spawn_step::pipe, errno, std::to_string(number));
    unique_fd ours = lift(unique_fd(ends[0]));
    unique_fd childs = lift(unique_fd(ends[1]));
    if (!ours || !childs)
        return make_failure(what, spawn_step::pipe, errno, std::to_string(number));
    // One direction only, as a pipe has: the end of the child's output must be an end of file for
    // us, whatever it still reads.
    (void)::shutdown(ours.get(), number == 0 ? SHUT_RD : SHUT_WR);
    child_end = own(std::move(childs));
    parent_ends[number] = std::move(ours);
    return {};
}

spawn_failure connections::make_terminal(const command& what, int number, const stdio& s,
                                         int& child_end)
{
    if (terminal_slave_ == -1) {
        const auto failed = [&] {
            return make_failure(what, spawn_step::terminal, errno, "/dev/ptmx");
        };
        terminal = lift(unique_fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)));
        if (!terminal)
            return failed();
        int unlock = 0;
        if (::ioctl(terminal.get(), TIOCSPTLCK, &unlock) == -1)
            return failed();
        // By descriptor and not by name: the name is only good where the same /dev/pts is mounted.
        unique_fd slave =
            lift(unique_fd(::ioctl(terminal.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)));
        if (!slave)
            return failed();
        const auto size = stdio_access::window(s);
        const winsize window{size.rows, size.columns, 0, 0};
        if (::ioctl(terminal.get(), TIOCSWINSZ, &window) == -1)
            return failed();
        terminal_slave_ = own(std::move(slave));
    }
    // Input and output each have a descriptor of their own: closing one must not end the other.
    const bool second_output = number == 2 && parent_ends[1]
        && stdio_access::what(access::standard(what)[1]) == kind::terminal;
    if (!second_output) {
        error_code ec;
        parent_ends[number] = terminal.duplicate(ec, 3);
        if (ec)
            return make_failure(what, spawn_step::terminal, ec.value(), std::to_string(number));
    }
    child_end = terminal_slave_;
    return {};
}

spawn_failure connections::open_path(const command& what, const char* path, int flags, mode_t mode,
                                     int& child_end)
{
    // O_NONBLOCK for the open alone: that of a FIFO would wait for its other side, and hold the
    // event loop.
    unique_fd fd = lift(unique_fd(retry_eintr(
        [&] { return ::open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode); })));
    if (!fd)
        return make_failure(what, spawn_step::open_file, errno, path);
    if ((flags & O_ACCMODE) == O_RDONLY && lacks_writer(fd.get()))
        return make_failure(what, spawn_step::open_file, ENXIO, path);
    clear_nonblocking(fd.get());
    child_end = own(std::move(fd));
    return {};
}

spawn_failure connections::connect(const command& what, int number, const stdio& s,
                                   spawn_plan& plan)
{
    int source = -1;
    spawn_failure failure;
    switch (stdio_access::what(s)) {
    case kind::inherit: plan.keep.push_back(number); return {};
    case kind::null:
        if (null_ == -1)
            failure = open_path(what, "/dev/null", O_RDWR, 0, null_);
        source = null_;
        break;
    case kind::pipe: failure = make_pipe(what, number, s, source); break;
    case kind::socket: failure = make_socket(what, number, source); break;
    case kind::read_file:
        failure = open_path(what, stdio_access::path(s).c_str(), O_RDONLY, 0, source);
        break;
    case kind::write_file:
        failure = open_path(what, stdio_access::path(s).c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                            stdio_access::mode(s), source);
        break;
    case kind::append_file:
        failure = open_path(what, stdio_access::path(s).c_str(), O_WRONLY | O_CREAT | O_APPEND,
                            stdio_access::mode(s), source);
        break;
    case kind::owned:
        source = stdio_access::number(s);
        clear_nonblocking(source);
        break;
    case kind::borrowed:
        source = stdio_access::number(s);
        if (::fcntl(source, F_GETFD) == -1)
            failure = make_failure(what, spawn_step::descriptors, errno, std::to_string(source));
        break;
    case kind::terminal: failure = make_terminal(what, number, s, source); break;
    case kind::to_stdout:
    case kind::to_stderr: break;  // in the second round
    }
    if (!failure && source >= 0) {
        plan.moves.push_back({.source = source, .target = number});
        plan.keep.push_back(number);
    }
    return failure;
}

void connections::merge(int number, const stdio& s, spawn_plan& plan)
{
    const auto k = stdio_access::what(s);
    if (k != kind::to_stdout && k != kind::to_stderr)
        return;
    const int into = k == kind::to_stdout ? 1 : 2;
    int source = -1;
    for (const auto& move : plan.moves) {
        if (move.target == into)
            source = move.source;
    }
    if (source == -1) {
        // Inherited. A stream that the child will not have is not to be had under another number
        // either: what stands there may be a descriptor of ours, made when it was closed.
        const int flags = ::fcntl(into, F_GETFD);
        if (flags == -1 || (flags & FD_CLOEXEC) != 0)
            return;
        source = into;
    }
    plan.moves.push_back({.source = source, .target = number});
    plan.keep.push_back(number);
}

connections::~connections()
{
    for (auto& end : passed_)
        end.from->put_back(std::move(end.fd));
}

spawn_failure connections::pass(const command& what, spawn_plan& plan)
{
    passed_numbers numbers(what);
    for (const auto& end : access::passed(what)) {
        auto fd = end->take();
        if (!fd)
            return make_failure(what, spawn_step::descriptors, EBADF,
                                "channel " + end->name() + " has been passed to another child");
        const int number = numbers.next();
        plan.moves.push_back({.source = fd.get(), .target = number});
        plan.keep.push_back(number);
        passed_.push_back({end.get(), std::move(fd)});
    }
    return {};
}

// Whether it is owned or borrowed, its O_NONBLOCK stays as it is, other than in connect(): the flag
// is one with that of whoever else has the listener, be it an earlier child of this command, whose
// next accept(2) would hold its loop.
spawn_failure connections::give(const command& what, spawn_plan& plan)
{
    int number = first_activation_descriptor;
    for (const auto& one : access::listen_descriptors(what)) {
        const int source = stdio_access::number(one.connection);
        if (::fcntl(source, F_GETFD) == -1)
            return make_failure(what, spawn_step::descriptors, errno, std::to_string(source));
        plan.moves.push_back({.source = source, .target = number});
        plan.keep.push_back(number++);
    }
    return {};
}

spawn_failure connections::open(const command& what, bool may_enlarge, spawn_plan& plan)
{
    may_enlarge_ = may_enlarge;
    const auto& standard = access::standard(what);
    for (int number = 0; number < 3; ++number) {
        if (auto failure = connect(what, number, standard[number], plan))
            return failure;
    }
    for (const auto& [number, connection] : access::descriptors(what)) {
        if (auto failure = connect(what, number, connection, plan))
            return failure;
    }
    if (auto failure = give(what, plan))
        return failure;
    if (auto failure = pass(what, plan))
        return failure;
    // Merged ones follow what they are merged into, wherever that went: the outputs first, which
    // are what can be merged into.
    merge(1, standard[1], plan);
    merge(2, standard[2], plan);
    merge(0, standard[0], plan);
    for (const auto& [number, connection] : access::descriptors(what))
        merge(number, connection, plan);
    return {};
}

}  // namespace detail
PROCYARD_NAMESPACE_END
