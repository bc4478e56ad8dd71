// SPDX-License-Identifier: BSL-1.0
#include "test_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <system_error>

#include <procyard/ipc/syscall.hpp>

namespace procyard_test {

using procyard::retry_eintr;
using procyard::unique_fd;

namespace {

constexpr int deadlock_ms = 30'000;

[[noreturn]] void fail(const char* what)
{
    throw std::system_error(errno, std::generic_category(), what);
}

[[noreturn]] void become_helper(const test_process::start_options& options, int output,
                                const std::vector<char*>& argv)
{
    switch (options.where) {
    case test_process::placement::own_group: ::setpgid(0, 0); break;
    case test_process::placement::own_session: ::setsid(); break;
    case test_process::placement::host_group: break;
    }
    if (options.cgroup_procs >= 0 && ::write(options.cgroup_procs, "0", 1) != 1)
        ::_exit(96);
    for (const auto& entry : options.environment)
        ::putenv(const_cast<char*>(entry.c_str()));
    ::dup2(output, STDOUT_FILENO);
    ::execv(PROCYARD_TEST_HELPER, argv.data());
    ::_exit(95);
}

// fork, with the choice of the number.
pid_t fork_as(pid_t pid)
{
    if (pid == 0)
        return ::fork();
    struct {
        std::uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
        std::uint64_t set_tid, set_tid_size;
    } arguments{};
    arguments.exit_signal = SIGCHLD;
    arguments.set_tid = reinterpret_cast<std::uintptr_t>(&pid);
    arguments.set_tid_size = 1;
    return static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
}

}  // namespace

void wait_ready(int fd, short events)
{
    pollfd ask{fd, events, 0};
    const int ready = retry_eintr([&] { return ::poll(&ask, 1, deadlock_ms); });
    if (ready == -1)
        fail("poll");
    if (ready == 0)
        throw std::runtime_error("test_process: nothing happened for 30 seconds");
}

test_process::test_process(std::vector<std::string> mode, const start_options& options)
{
    mode.front() = "--mode=" + mode.front();
    mode.insert(mode.begin(), PROCYARD_TEST_HELPER);
    std::vector<char*> argv;
    for (auto& argument : mode)
        argv.push_back(argument.data());
    argv.push_back(nullptr);

    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) == -1)
        fail("pipe2");
    output_.reset(ends[0]);
    const unique_fd child_end(ends[1]);
    pid_ = fork_as(options.with_pid);
    if (pid_ == -1)
        fail("fork");
    if (pid_ == 0)
        become_helper(options, child_end.get(), argv);
    // Also here: the child may be asked about before it has run at all.
    if (options.where == placement::own_group)
        ::setpgid(pid_, pid_);
    pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0U)));
    if (!pidfd_)
        fail("pidfd_open");
}

test_process::test_process(test_process&& other) noexcept
    : pid_(other.pid_),
      reaped_(std::exchange(other.reaped_, true)),
      pidfd_(std::move(other.pidfd_)),
      output_(std::move(other.output_)),
      buffered_(std::move(other.buffered_))
{
}

test_process::~test_process()
{
    if (reaped_)
        return;
    ::kill(pid_, SIGKILL);
    siginfo_t info;
    (void)retry_eintr([&] { return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED); });
}

std::string test_process::read_line()
{
    for (;;) {
        if (const auto end = buffered_.find('\n'); end != std::string::npos) {
            auto line = buffered_.substr(0, end);
            buffered_.erase(0, end + 1);
            return line;
        }
        wait_ready(output_.get(), POLLIN);
        char chunk[4096];
        const auto count = retry_eintr([&] { return ::read(output_.get(), chunk, sizeof chunk); });
        if (count <= 0)
            throw std::runtime_error("test_process: the output ended before the report");
        buffered_.append(chunk, static_cast<std::size_t>(count));
    }
}

std::vector<pid_t> test_process::expect(std::string_view word, std::size_t count)
{
    std::vector<pid_t> pids;
    for (; count > 0; --count) {
        const auto line = read_line();
        if (line.substr(0, line.find(' ')) == word)
            pids.push_back(std::atoi(line.c_str() + line.find(' ')));
    }
    return pids;
}

std::string test_process::read_to_end()
{
    for (;;) {
        wait_ready(output_.get(), POLLIN);
        char chunk[4096];
        const auto count = retry_eintr([&] { return ::read(output_.get(), chunk, sizeof chunk); });
        if (count == -1)
            fail("read");
        if (count == 0)
            return std::exchange(buffered_, {});
        buffered_.append(chunk, static_cast<std::size_t>(count));
    }
}

int test_process::reap()
{
    wait_ready(pidfd_.get(), POLLIN);
    siginfo_t info{};
    if (retry_eintr([&] { return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED); }) == -1)
        fail("waitid");
    reaped_ = true;
    return info.si_status;
}

subreaper_guard::subreaper_guard()
{
    ::prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL);
}

subreaper_guard::~subreaper_guard()
{
    ::prctl(PR_SET_CHILD_SUBREAPER, 0UL, 0UL, 0UL, 0UL);
}

}  // namespace procyard_test
