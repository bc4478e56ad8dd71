// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/sigpipe_guard.hpp>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include <doctest/doctest.h>

#include <procyard/ipc/unique_fd.hpp>

#include <fcntl.h>

using procyard::sigpipe_guard;
using procyard::unique_fd;

namespace {

int handled = 0;

// What the host does with SIGPIPE, for the duration of a test.
class disposition {
public:
    explicit disposition(void (*handler)(int))
    {
        handled = 0;
        struct sigaction action{};
        action.sa_handler = handler;
        REQUIRE(::sigaction(SIGPIPE, &action, &before_) == 0);
    }
    disposition(const disposition&) = delete;
    disposition& operator=(const disposition&) = delete;
    ~disposition() { ::sigaction(SIGPIPE, &before_, nullptr); }

private:
    struct sigaction before_{};
};

void count_it(int)
{
    ++handled;
}

bool blocked()
{
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    return ::sigismember(&mask, SIGPIPE) == 1;
}

bool waiting()
{
    sigset_t set;
    ::sigpending(&set);
    return ::sigismember(&set, SIGPIPE) == 1;
}

void block(int how)
{
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGPIPE);
    ::pthread_sigmask(how, &set, nullptr);
}

unique_fd pipe_without_reader()
{
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const unique_fd reader(ends[0]);
    return unique_fd(ends[1]);
}

// Returns errno of a write that must fail.
int write_one_byte(const unique_fd& fd)
{
    REQUIRE(::write(fd.get(), "x", 1) == -1);
    return errno;
}

}  // namespace

TEST_SUITE("sigpipe_guard")
{
    TEST_CASE("a write without a reader is EPIPE and nothing else, whatever the disposition")
    {
        void (*handler)(int) = SIG_DFL;
        SUBCASE("default")
        {
            handler = SIG_DFL;
        }
        SUBCASE("ignored")
        {
            handler = SIG_IGN;
        }
        SUBCASE("handled")
        {
            handler = &count_it;
        }
        const disposition host(handler);
        const auto fd = pipe_without_reader();
        {
            const sigpipe_guard quiet;
            CHECK(blocked());
            CHECK(write_one_byte(fd) == EPIPE);
        }
        CHECK(handled == 0);
        CHECK_FALSE(blocked());
        CHECK_FALSE(waiting());
    }

    TEST_CASE("errno survives the end of the guard")
    {
        const disposition host(&count_it);
        const auto fd = pipe_without_reader();
        errno = 0;
        {
            const sigpipe_guard quiet;
            (void)!::write(fd.get(), "x", 1);
        }
        CHECK(errno == EPIPE);
    }

    TEST_CASE("a signal that was blocked stays blocked, and nothing is left waiting")
    {
        const disposition host(&count_it);
        block(SIG_BLOCK);
        const auto fd = pipe_without_reader();
        {
            const sigpipe_guard quiet;
            CHECK(write_one_byte(fd) == EPIPE);
        }
        CHECK(blocked());
        CHECK_FALSE(waiting());
        block(SIG_UNBLOCK);
        CHECK(handled == 0);
    }

    TEST_CASE("a signal that waited before is still delivered to the host, once")
    {
        const disposition host(&count_it);
        block(SIG_BLOCK);
        ::raise(SIGPIPE);
        const auto fd = pipe_without_reader();
        {
            const sigpipe_guard quiet;
            CHECK(write_one_byte(fd) == EPIPE);
        }
        CHECK(waiting());
        CHECK(handled == 0);
        block(SIG_UNBLOCK);
        CHECK(handled == 1);
    }

    TEST_CASE("a signal that another process sends meanwhile is delivered to the host")
    {
        const disposition host(&count_it);
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        const unique_fd reader(ends[0]);
        const unique_fd writer(ends[1]);
        {
            const sigpipe_guard quiet;
            const pid_t parent = ::getpid();
            const pid_t child = ::fork();  // kill and _exit only: safe with threads
            if (child == 0) {
                ::kill(parent, SIGPIPE);
                ::_exit(0);
            }
            REQUIRE(child > 0);
            REQUIRE(::waitpid(child, nullptr, 0) == child);
            CHECK(handled == 0);
        }
        CHECK(handled == 1);
    }

    TEST_CASE("guards nest")
    {
        const disposition host(&count_it);
        const auto fd = pipe_without_reader();
        {
            const sigpipe_guard outer;
            {
                const sigpipe_guard inner;
                CHECK(write_one_byte(fd) == EPIPE);
            }
            CHECK(blocked());
            CHECK(write_one_byte(fd) == EPIPE);
        }
        CHECK_FALSE(blocked());
        CHECK(handled == 0);
    }

    TEST_CASE("after nothing_raised the mask is restored all the same")
    {
        {
            sigpipe_guard quiet;
            quiet.nothing_raised();
        }
        CHECK_FALSE(blocked());
    }

    TEST_CASE("other threads keep their mask")
    {
        const sigpipe_guard quiet;
        block(SIG_UNBLOCK);  // a new thread inherits the mask: take it from an unblocked moment
        bool other_blocked = true;
        std::thread([&] { other_blocked = blocked(); }).join();
        CHECK_FALSE(other_blocked);
    }
}
