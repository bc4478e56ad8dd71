// SPDX-License-Identifier: BSL-1.0
// The ways in which a process can end or become another one, seen from the other end of a channel;
// and what is left when both are gone.
#include <procyard/ipc/channel.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "channel_fixture.hpp"
#include "syscall_refusal.hpp"

namespace asio = boost::asio;
using procyard::channel_errc;
using procyard::error_code;
using procyard::make_channel;
using procyard::receiver;
using procyard::sender;
using procyard::unopened;
using procyard_test::outcome;
using procyard_test::receiving_process;
using procyard_test::run;
using procyard_test::sending_process;

namespace {

/// A message whose codec ends the process, in the middle of it.
struct deadly {
    std::uint64_t number = 0;
    bool kills = false;
};

}  // namespace

template <>
struct procyard::codec<deadly> {
    static std::size_t size(const deadly&) noexcept { return 16; }
    static void encode(const deadly& d, encoder& out)
    {
        out.put(d.number);
        if (d.kills)
            std::terminate();
        out.put(d.number);
    }
    static bool decode(decoder& in, deadly& d)
    {
        std::uint64_t again = 0;
        return in.get(d.number) && in.get(again) && again == d.number;
    }
    static constexpr std::string_view layout = "{u64 u64}";
};

namespace {

void leave(int)
{
    ::_exit(0);
}

volatile sig_atomic_t interrupted = 0;

void count_it(int)
{
    interrupted = interrupted + 1;
}

void no_core()
{
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
}

// In a copy of this process: from here on it dies of any system call that makes something with a
// name, which could stay behind.
bool nothing_with_a_name()
{
    for (const long number : {SYS_mq_open, SYS_shmget, SYS_msgget, SYS_semget, SYS_mknodat,
                              SYS_linkat, SYS_symlinkat, SYS_mkdirat, SYS_bind}) {
        if (!procyard_test::die_at({.number = number, .error_number = 0}))
            return false;
    }
    return procyard_test::die_at({.number = SYS_openat,
                                  .error_number = 0,
                                  .argument = 2,
                                  .mask = O_CREAT,
                                  .value = O_CREAT});
}

// A sender sends one message, and `ends` then. What the receiver is told after the message.
template <class End>
error_code after_one(End ends, bool reaped)
{
    auto both = make_channel<std::uint64_t>();
    sending_process<std::uint64_t> peer(both, [&](unopened<sender<std::uint64_t>> end) {
        asio::io_context ctx;
        sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
        if (!s.try_send(7))
            return 1;
        ends();
        return 1;
    });
    asio::io_context ctx;
    receiver<std::uint64_t> r(ctx.get_executor(), std::move(both.receiver));
    if (reaped)
        (void)peer.result();
    outcome<error_code, std::uint64_t> first;
    outcome<error_code, std::uint64_t> second;
    r.async_receive(first.handler());
    r.async_receive(second.handler());
    run(ctx);
    CHECK(first.result() == 7);
    return second.error();
}

// --- what there is on this machine. Others come and go meanwhile, so it is asked by name. ---

std::vector<std::string> entries_of(const std::string& directory)
{
    std::vector<std::string> names;
    std::error_code ec;
    std::filesystem::directory_iterator all(directory, ec);
    for (; !ec && all != std::filesystem::directory_iterator(); all.increment(ec))
        names.push_back(all->path().filename().string());
    return names;
}

std::vector<std::string> lines_of(const std::string& file)
{
    std::vector<std::string> lines;
    std::ifstream text(file);
    for (std::string line; std::getline(text, line);)
        lines.push_back(line);
    return lines;
}

// "socket:[7]", "pipe:[8]", …, of a process.
std::set<std::string> descriptors_of(const std::string& process)
{
    std::set<std::string> found;
    const auto directory = "/proc/" + process + "/fd";
    for (const auto& each : entries_of(directory)) {
        std::error_code gone;
        const auto what = std::filesystem::read_symlink(directory + '/' + each, gone);
        if (!gone)
            found.insert(what.string());
    }
    return found;
}

std::ptrdiff_t mappings_of(const std::string& process, const std::string& memory)
{
    const auto maps = lines_of("/proc/" + process + "/maps");
    return std::count_if(maps.begin(), maps.end(),
                         [&](const std::string& line) { return line.find(memory) != line.npos; });
}

// Which of these somebody has, and which process maps the memory.
std::vector<std::string> holders_of(const std::set<std::string>& things, const std::string& memory)
{
    std::vector<std::string> found;
    for (const auto& process : entries_of("/proc")) {
        if (process.find_first_not_of("0123456789") != process.npos)
            continue;
        for (const auto& each : descriptors_of(process)) {
            if (things.contains(each) || each.find(memory) != each.npos)
                found.push_back(process + " has " + each);
        }
        if (mappings_of(process, memory) != 0)
            found.push_back(process + " maps " + memory);
    }
    // "[7]", as in the list of all sockets; those that wait to be accepted have no descriptor.
    for (const auto& line : lines_of("/proc/net/unix")) {
        for (const auto& each : things) {
            const auto inode = each.starts_with("socket:[") ? ' ' + each.substr(8, each.size() - 9)
                                                            : std::string();
            if (!inode.empty() && (line + ' ').find(inode + ' ') != line.npos)
                found.push_back(line);
        }
    }
    return found;
}

// What has this in its name, where there are names.
std::vector<std::string> names_with(const std::string& part)
{
    std::vector<std::string> found;
    for (const auto* const directory : {"/dev/shm", "/dev/mqueue", "/tmp", "/run"}) {
        for (const auto& each : entries_of(directory)) {
            if (each.find(part) != each.npos)
                found.push_back(directory + ('/' + each));
        }
    }
    for (const auto& line : lines_of("/proc/net/unix")) {
        if (line.find(part) != line.npos)
            found.push_back(line);
    }
    return found;
}

}  // namespace

TEST_SUITE("channel: a process that ends (cases 36 to 38)")
{
    TEST_CASE("in a signal handler, by a signal, by abort, and as a zombie that nobody reaps")
    {
        for (const bool reaped : {true, false}) {
            CAPTURE(reaped);
            CHECK(after_one([] { ::raise(SIGKILL); }, reaped) == channel_errc::peer_died);
            CHECK(after_one(
                      [] {
                          ::signal(SIGTERM, &leave);
                          ::raise(SIGTERM);
                      },
                      reaped)
                  == channel_errc::peer_died);
            CHECK(after_one(
                      [] {
                          no_core();
                          ::signal(SIGABRT, SIG_DFL);
                          std::abort();
                      },
                      reaped)
                  == channel_errc::peer_died);
        }
    }

    TEST_CASE("by std::terminate in a codec: of that message nothing is to be seen")
    {
        auto ends = make_channel<deadly>();
        sending_process<deadly> peer(ends, [](unopened<sender<deadly>> end) {
            no_core();
            std::set_terminate([] { ::_exit(9); });
            asio::io_context ctx;
            sender<deadly> s(ctx.get_executor(), std::move(end));
            (void)s.try_send({1, false});
            (void)s.try_send({2, true});
            return 0;
        });
        asio::io_context ctx;
        receiver<deadly> r(ctx.get_executor(), std::move(ends.receiver));
        outcome<error_code, deadly> first;
        outcome<error_code, deadly> second;
        r.async_receive(first.handler());
        r.async_receive(second.handler());
        run(ctx);
        CHECK(first.result().number == 1);
        CHECK(second.error() == channel_errc::peer_died);
        CHECK(peer.result() == 9);
    }

    TEST_CASE("by becoming another program: its ends are closed, and that is a death")
    {
        auto ends = make_channel<std::uint64_t>();
        int held[2];
        REQUIRE(::pipe2(held, O_CLOEXEC) == 0);
        sending_process<std::uint64_t> peer(ends, [&](unopened<sender<std::uint64_t>> end) {
            asio::io_context ctx;
            const sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
            if (::dup2(held[0], STDIN_FILENO) == -1)  // cat lives as long as we hold the other end
                return 1;
            ::execlp("cat", "cat", nullptr);
            return 1;
        });
        ::close(held[0]);
        asio::io_context ctx;
        receiver<std::uint64_t> r(ctx.get_executor(), std::move(ends.receiver));
        outcome<error_code, std::uint64_t> received;
        r.async_receive(received.handler());
        run(ctx);
        CHECK(received.error() == channel_errc::peer_died);
        ::close(held[1]);
        CHECK(peer.result() == 0);
    }

    TEST_CASE("both of them: nothing can be left, since nothing has a name")
    {
        const int result = procyard_test::in_fork([] {
            if (!nothing_with_a_name())
                return 1;
            auto ends = make_channel<std::uint64_t>();
            asio::io_context ctx;
            sender<std::uint64_t> s(ctx.get_executor(), std::move(ends.sender));
            receiver<std::uint64_t> r(ctx.get_executor(), std::move(ends.receiver));
            outcome<error_code, std::uint64_t> received;
            r.async_receive(received.handler());
            ctx.poll();
            if (!s.try_send(7))
                return 2;
            ctx.restart();
            ctx.run_for(procyard_test::deadlock_guard);
            ::_exit(received.done() && received.result() == 7 ? 0 : 3);
            return 4;
        });
        CHECK(result == 0);
    }
}

TEST_SUITE("channel: both of its processes are killed (case 38)")
{
    TEST_CASE("no descriptor, socket, memory or name of it is left anywhere")
    {
        const auto name = "case-38-of-" + std::to_string(::getpid());
        const auto memory = "memfd:procyard:" + name;
        int ready[2];
        REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
        auto ends =
            make_channel<std::uint64_t>({.capacity_messages = 4, .name = std::string_view(name)});
        const auto stay = [&](asio::io_context& ctx) {
            (void)!::write(ready[1], "x", 1);
            ctx.run();
            ::pause();  // the other one has been killed first
            return 1;
        };
        sending_process<std::uint64_t> from(ends, [&](unopened<sender<std::uint64_t>> end) {
            asio::io_context ctx;
            sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
            outcome<error_code> sent;
            while (!s.is_connected() || s.try_send(1))
                (void)s.try_send(1);
            s.async_send(1, sent.handler());
            ctx.poll();
            return stay(ctx);
        });
        receiving_process<std::uint64_t> to(ends, [&](unopened<receiver<std::uint64_t>> end) {
            asio::io_context ctx;
            receiver<std::uint64_t> r(ctx.get_executor(), std::move(end));
            outcome<error_code, std::uint64_t> received;
            r.async_receive(received.handler());
            outcome<error_code, error_code> closed;
            r.async_wait_closed(closed.handler());
            while (!received.done())
                ctx.run_one();
            return stay(ctx);
        });
        ::close(ready[1]);
        char both[2];
        REQUIRE(::read(ready[0], &both[0], 1) == 1);
        REQUIRE(::read(ready[0], &both[1], 1) == 1);

        const auto ours = descriptors_of("self");
        std::set<std::string> theirs;
        for (const auto pid : {from.pid(), to.pid()}) {
            const auto process = std::to_string(pid);
            CHECK(mappings_of(process, memory) == 2);  // its own, and the other's
            for (const auto& each : descriptors_of(process)) {
                // Nothing that could have a name in a directory.
                const bool is_unnamed = each.starts_with("socket:[") || each.starts_with("pipe:[")
                    || each.starts_with("anon_inode:");
                CHECK_MESSAGE((ours.contains(each) || is_unnamed), each);
                if (!ours.contains(each) && !each.starts_with("anon_inode:"))
                    theirs.insert(each);
            }
        }
        CHECK(theirs.size() == 2);  // a bell of each; and each presses that of the other
        CHECK(holders_of(theirs, memory).size() == 2 * (theirs.size() + 1));
        CHECK(names_with(name).empty());

        REQUIRE(::kill(from.pid(), SIGKILL) == 0);
        REQUIRE(::kill(to.pid(), SIGKILL) == 0);
        CHECK(from.result() == -SIGKILL);
        CHECK(to.result() == -SIGKILL);
        for (const auto& each : holders_of(theirs, memory))
            CHECK_MESSAGE(false, each);
        CHECK(names_with(name).empty());
        ::close(ready[0]);
    }
}

TEST_SUITE("channel: a process that is interrupted (case 21)")
{
    TEST_CASE("signals that come all the time are no wake-ups, and nothing is lost")
    {
        struct sigaction before{};
        struct sigaction action{};
        action.sa_handler = &count_it;  // without SA_RESTART
        REQUIRE(::sigaction(SIGALRM, &action, &before) == 0);
        constexpr suseconds_t often = 100;
        const itimerval timer{{0, often}, {0, often}};
        REQUIRE(::setitimer(ITIMER_REAL, &timer, nullptr) == 0);

        auto ends = make_channel<std::uint64_t>({.capacity_messages = 4});
        sending_process<std::uint64_t> peer(ends, [](unopened<sender<std::uint64_t>> end) {
            asio::io_context ctx;
            sender<std::uint64_t> s(ctx.get_executor(), std::move(end));
            procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
                for (std::uint64_t n = 0; n < 20'000; ++n)
                    co_await s.async_send(n, asio::use_awaitable);
            });
            s.close();
            return 0;
        });
        asio::io_context ctx;
        receiver<std::uint64_t> r(ctx.get_executor(), std::move(ends.receiver));
        procyard_test::run_coroutine(ctx, [&]() -> asio::awaitable<void> {
            for (std::uint64_t n = 0; n < 20'000; ++n)
                REQUIRE(co_await r.async_receive(asio::use_awaitable) == n);
        });
        const itimerval none{};
        ::setitimer(ITIMER_REAL, &none, nullptr);
        ::sigaction(SIGALRM, &before, nullptr);
        CHECK(peer.result() == 0);
        CHECK(interrupted > 0);
    }
}
