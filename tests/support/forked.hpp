// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_FORKED_HPP
#define PROCYARD_TESTS_SUPPORT_FORKED_HPP

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>

#include <doctest/doctest.h>

#include <procyard/ipc/syscall.hpp>

namespace procyard_test {

/// A copy of the test program that runs `body()` and ends with its result. For single-threaded
/// tests of what a process does to itself or leaves behind (limits, filters, kill -9). A doctest
/// macro in the copy would be seen by nobody: it says by its exit code what was wrong.
class forked {
public:
    template <class Body>
    explicit forked(Body body) : pid_(::fork())
    {
        REQUIRE(pid_ != -1);
        if (pid_ == 0)
            ::_exit(run(body));
    }
    forked(const forked&) = delete;
    forked& operator=(const forked&) = delete;
    ~forked()
    {
        if (pid_ > 0)
            kill_hard();
    }

    /// Waits for its end; its exit code, or the negative number of the signal that killed it.
    int result()
    {
        int status = 0;
        REQUIRE(procyard::retry_eintr([&] { return ::waitpid(pid_, &status, 0); }) == pid_);
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    /// Kills it as nobody can prevent, and waits until it is gone.
    void kill_hard()
    {
        ::kill(pid_, SIGKILL);
        (void)procyard::retry_eintr([&] { return ::waitpid(pid_, nullptr, 0); });
        pid_ = -1;
    }
    /// Somebody else has waited for it, so its number means nothing any more.
    void has_been_reaped() noexcept { pid_ = -1; }
    [[nodiscard]] pid_t pid() const noexcept { return pid_; }

private:
    template <class Body>
    static int run(Body& body) noexcept
    {
        ::alarm(60);  // a test that hangs is no reason for its copies to stay
        try {
            return body();
        } catch (const std::exception& e) {
            std::fprintf(stderr, "forked: %s\n", e.what());
        }
        return 120;
    }

    pid_t pid_;
};

/// Runs `body` in a copy and returns what forked::result() says.
template <class Body>
int in_fork(Body body)
{
    return forked(body).result();
}

}  // namespace procyard_test

#endif
