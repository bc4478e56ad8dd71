// SPDX-License-Identifier: BSL-1.0
//
// The one real child of the tests: `helper --mode=NAME [ARGUMENT…]`.
//
// Rules for a mode. It never sleeps: it says on standard output where it is, one line "WORD PID"
// per report, and then waits for a signal or for the end of its input. It is bounded: what it forks
// has a number. It leaves by returning its exit code. Everything it forks inherits standard output,
// so a test that reads to the end of the pipe has seen the end of every one of them.

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "helper.hpp"

namespace {

using arguments = helper_arguments;

int number(const arguments& args, std::size_t index, int otherwise)
{
    return helper_number(args, index, otherwise);
}
void report(std::string_view word)
{
    helper_report(word);
}
[[noreturn]] void pause_for_ever()
{
    helper_pause();
}

/// Forks; the child runs `body` and ends with what it returns. Returns the child's pid.
template <class Body>
pid_t fork_child(Body body)
{
    const pid_t pid = ::fork();
    if (pid == -1)
        ::_exit(98);
    if (pid == 0)
        ::_exit(body());
    return pid;
}

template <class Body>
void fork_and_reap(Body body)
{
    const pid_t pid = fork_child(body);
    int status = 0;
    while (::waitpid(pid, &status, 0) == -1 && errno == EINTR) { }
}

int report_and_pause(std::string_view word)
{
    report(word);
    pause_for_ever();
}

// exit CODE
int mode_exit(const arguments& args)
{
    return number(args, 0, 0);
}

// pause: says "ready", then waits for a signal.
int mode_pause(const arguments&)
{
    return report_and_pause("ready");
}

// ignore-term: as pause, but SIGTERM, SIGINT and SIGHUP are ignored.
int mode_ignore_term(const arguments&)
{
    for (const int signal_number : {SIGTERM, SIGINT, SIGHUP})
        ::signal(signal_number, SIG_IGN);
    return report_and_pause("ready");
}

// until-eof CODE: says "ready", reads its input to the end, exits.
int mode_until_eof(const arguments& args)
{
    report("ready");
    char buffer[4096];
    while (::read(STDIN_FILENO, buffer, sizeof buffer) > 0) { }
    return number(args, 0, 0);
}

// family COUNT: COUNT children in the same group, each says "member"; the leader says "ready".
int mode_family(const arguments& args)
{
    for (int i = number(args, 0, 1); i > 0; --i)
        fork_child([] { return report_and_pause("member"); });
    return report_and_pause("ready");
}

// orphans COUNT CODE: as family, but the leader exits at once with CODE.
int mode_orphans(const arguments& args)
{
    for (int i = number(args, 0, 1); i > 0; --i)
        fork_child([] { return report_and_pause("member"); });
    return number(args, 1, 0);
}

// stopped COUNT: as family, but each child stops itself after it has said "member".
int mode_stopped(const arguments& args)
{
    for (int i = number(args, 0, 1); i > 0; --i) {
        fork_child([] {
            report("member");
            ::raise(SIGSTOP);
            pause_for_ever();
            return 0;
        });
    }
    return report_and_pause("ready");
}

// setsid: a child in its own session, with a child of its own ("member" each).
int mode_setsid(const arguments&)
{
    fork_child([] {
        ::setsid();
        fork_child([] { return report_and_pause("member"); });
        return report_and_pause("member");
    });
    return report_and_pause("ready");
}

void start_daemon(std::string_view word)
{
    fork_and_reap([word] {
        ::setsid();
        fork_child([word] { return report_and_pause(word); });
        return 0;
    });
}

// daemon: a double-forked daemon ("member") whose parent has gone; the leader stays.
int mode_daemon(const arguments&)
{
    start_daemon("member");
    return report_and_pause("ready");
}

// daemon-orphan CODE: as daemon, but the leader exits too.
int mode_daemon_orphan(const arguments& args)
{
    start_daemon("member");
    return number(args, 0, 0);
}

// heir: leaves an orphan in a session of its own ("member") that forks another ("heir") and ends
// when it gets SIGUSR1. The leader exits.
int mode_heir(const arguments&)
{
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGUSR1);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    fork_and_reap([set] {
        ::setsid();
        fork_child([set] {
            report("member");
            int number = 0;
            ::sigwait(&set, &number);
            fork_child([] { return report_and_pause("heir"); });
            return 0;
        });
        return 0;
    });
    return 0;
}

// orphan-listener: leaves an orphan in its group ("member") that says "term" for each SIGTERM, and
// "end" for SIGWINCH, which ends it. The leader stays.
int mode_orphan_listener(const arguments&)
{
    fork_and_reap([] {
        fork_child([] {
            sigset_t set;
            ::sigemptyset(&set);
            ::sigaddset(&set, SIGTERM);
            ::sigaddset(&set, SIGWINCH);
            ::sigprocmask(SIG_BLOCK, &set, nullptr);
            report("member");
            for (int number = SIGTERM; number == SIGTERM;) {
                ::sigwait(&set, &number);
                report(number == SIGTERM ? "term" : "end");
            }
            return 0;
        });
        return 0;
    });
    return report_and_pause("ready");
}

// daemon-thread: as daemon-orphan, but the daemon's first thread ends; another says "member".
int mode_daemon_thread(const arguments&)
{
    fork_and_reap([] {
        ::setsid();
        fork_child([] {
            pthread_t thread{};
            const auto body = [](void*) -> void* {
                report_and_pause("member");
                return nullptr;
            };
            if (::pthread_create(&thread, nullptr, body, nullptr) != 0)
                return 98;
            ::pthread_exit(nullptr);
            return 0;
        });
        return 0;
    });
    return 0;
}

// exec-daemon COUNT: a daemon ("member") that replaces its program COUNT times, as fast as it can,
// and ends; the leader ends at once.
int mode_exec_daemon(const arguments& args)
{
    const auto count = std::to_string(number(args, 0, 100'000));
    fork_and_reap([&count] {
        ::setsid();
        fork_child([&count] {
            report("member");
            std::fflush(stdout);
            const char* const script = R"([ "$1" -le 0 ] || exec sh -c "$0" "$0" $(($1 - 1)))";
            ::execl("/bin/sh", "sh", "-c", script, script, count.c_str(),
                    static_cast<char*>(nullptr));
            return 94;
        });
        return 0;
    });
    return 0;
}

// runaway GENERATIONS: each generation forks the next and exits, so no pid lives long. Says "first"
// from the first generation and "last" if it was allowed to come to its end. The leader stays.
int mode_runaway(const arguments& args)
{
    const int generations = number(args, 0, 1000);
    fork_child([generations] {
        report("first");
        for (int i = 1; i < generations; ++i) {
            const pid_t next = ::fork();
            if (next != 0)
                return next == -1 ? 98 : 0;
        }
        return report_and_pause("last");
    });
    return report_and_pause("ready");
}

// runaway-sessions GENERATIONS: as runaway, but each generation moves to a session of its own.
int mode_runaway_sessions(const arguments& args)
{
    const int generations = number(args, 0, 1000);
    fork_child([generations] {
        report("first");
        for (int i = 1; i < generations; ++i) {
            const pid_t next = ::fork();
            if (next != 0)
                return next == -1 ? 98 : 0;
            ::setsid();
        }
        return report_and_pause("last");
    });
    return report_and_pause("ready");
}

// orphans-at-once COUNT CODE: COUNT orphans that all end at the same time; leaves with CODE when
// the process that has started it has reaped them.
int mode_orphans_at_once(const arguments& args)
{
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        return 98;
    for (int i = number(args, 0, 1); i > 0; --i) {
        fork_and_reap([&ends] {
            fork_child([&ends] {
                ::close(ends[1]);
                char byte = 0;
                return ::read(ends[0], &byte, 1) == 0 ? 0 : 1;
            });
            return 0;
        });
    }
    ::close(ends[1]);
    const auto parent = std::to_string(::getppid());
    const auto path = "/proc/" + parent + "/task/" + parent + "/children";
    for (std::string list = "some"; list != std::to_string(::getpid()) + ' ';) {
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        char buffer[64];
        const auto size = ::read(fd, buffer, sizeof buffer);
        ::close(fd);
        if (fd == -1 || size <= 0)
            return 97;
        list.assign(buffer, static_cast<std::size_t>(size));
    }
    return number(args, 1, 0);
}

// breeder COUNT: forks COUNT children as fast as it can, each in its own session, then "last".
int mode_breeder(const arguments& args)
{
    report("ready");
    for (int i = number(args, 0, 1000); i > 0; --i) {
        fork_child([] {
            ::setsid();
            pause_for_ever();
            return 0;
        });
    }
    return report_and_pause("last");
}

// shell SCRIPT: becomes /bin/sh with the script.
int mode_shell(const arguments& args)
{
    ::execl("/bin/sh", "sh", "-c", args.at(0).c_str(), static_cast<char*>(nullptr));
    return 94;
}

constexpr helper_mode modes[] = {
    {"exit", mode_exit},
    {"pause", mode_pause},
    {"ignore-term", mode_ignore_term},
    {"until-eof", mode_until_eof},
    {"family", mode_family},
    {"orphans", mode_orphans},
    {"stopped", mode_stopped},
    {"setsid", mode_setsid},
    {"daemon", mode_daemon},
    {"daemon-orphan", mode_daemon_orphan},
    {"heir", mode_heir},
    {"orphan-listener", mode_orphan_listener},
    {"daemon-thread", mode_daemon_thread},
    {"exec-daemon", mode_exec_daemon},
    {"runaway", mode_runaway},
    {"runaway-sessions", mode_runaway_sessions},
    {"orphans-at-once", mode_orphans_at_once},
    {"breeder", mode_breeder},
    {"shell", mode_shell},
};

}  // namespace

int main(int argc, char** argv)
{
    constexpr std::string_view prefix = "--mode=";
    const std::string_view first = argc > 1 ? argv[1] : "";
    if (first.substr(0, prefix.size()) == prefix) {
        for (const auto& table : {std::span<const helper_mode>(modes), probe_modes(),
                                  stream_modes(), notify_modes(), serve_modes()}) {
            for (const auto& entry : table) {
                if (entry.name == first.substr(prefix.size())) {
                    const int code = entry.run(arguments(argv + 2, argv + argc));
                    std::fflush(nullptr);
                    ::_exit(code);  // not exit: a leak check at exit would only cost the tests time
                }
            }
        }
    }
    std::fprintf(stderr, "helper: unknown mode '%s'\n", argc > 1 ? argv[1] : "");
    return 97;
}
