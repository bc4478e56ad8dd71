// SPDX-License-Identifier: BSL-1.0
// Owners of socket files that are killed, that fork, and that race.
#include <procyard/ipc/unix_listener.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/system/errc.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/pipe.hpp>
#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_socket.hpp>

#include "forked.hpp"
#include "socket_file.hpp"
#include "syscall_refusal.hpp"
#include "temporary_directory.hpp"

namespace asio = boost::asio;
namespace detail = procyard::detail;
namespace errc = boost::system::errc;
namespace fs = std::filesystem;
using procyard::error_code;
using procyard::unix_listener;
using procyard::unix_path_endpoint;
using procyard::unix_stream;
using procyard_test::die_at;
using procyard_test::forked;
using procyard_test::refuse;
using procyard_test::syscall_refusal;
using procyard_test::temporary_directory;

namespace {

procyard::raw_pipe open_pipe()
{
    error_code ec;
    auto pipe = procyard::make_raw_pipe(ec);
    REQUIRE_FALSE(ec);
    return pipe;
}

// Reads until the end: it comes when the last of the others has closed its copy.
void wait_for_end(int fd)
{
    char byte = 0;
    while (procyard::retry_eintr([&] { return ::read(fd, &byte, 1); }) > 0) { }
}

// A name that a killed owner has left.
void leave_behind(const std::string& path)
{
    forked owner([&] {
        asio::io_context ctx;
        const unix_listener<> listener(ctx.get_executor(), path);
        ::kill(::getpid(), SIGKILL);
        return 0;
    });
    REQUIRE(owner.result() == -SIGKILL);
    REQUIRE(fs::is_socket(path));
}

bool is_gone(const std::string& path)
{
    error_code ec;
    const auto owner = detail::look_for_owner(path, ec);
    REQUIRE_FALSE(ec);
    return owner == detail::socket_owner::gone;
}

// One of several that want the same name. Says whether it has got it ("o") or somebody else ("-");
// an owner answers with its number who connects, until `leave` ends.
int contender(const std::string& path, int start, int report, int leave)
{
    asio::io_context ctx;
    unix_listener<> listener(ctx.get_executor());
    wait_for_end(start);
    error_code ec;
    do {  // busy: another has the lock and not the processor; the alarm is the bound
        listener.listen(path, {}, ec);
    } while (ec == errc::device_or_resource_busy);
    if (ec && ec != errc::address_in_use)
        return ::write(report, "x", 1) == 1 ? 1 : 2;
    if (::write(report, ec ? "-" : "o", 1) != 1)
        return 2;
    wait_for_end(leave);
    if (ec)
        return 0;
    const int peer = ::accept4(listener.acceptor().native_handle(), nullptr, nullptr, SOCK_CLOEXEC);
    return peer != -1 ? 0 : 3;
}

// Several processes want it at once: exactly one gets it, and has it.
void race_for(const std::string& path)
{
    constexpr std::size_t count = 5;
    auto start = open_pipe();
    auto report = open_pipe();
    auto leave = open_pipe();
    std::vector<std::unique_ptr<forked>> contenders;
    for (std::size_t i = 0; i < count; ++i)
        contenders.push_back(std::make_unique<forked>([&] {
            start.write_end.reset();
            leave.write_end.reset();
            return contender(path, start.read_end.get(), report.write_end.get(),
                             leave.read_end.get());
        }));
    report.write_end.reset();
    start.write_end.reset();  // off they go
    std::string said;
    for (char byte = 0; said.size() < count && ::read(report.read_end.get(), &byte, 1) == 1;)
        said.push_back(byte);
    CHECK(std::count(said.begin(), said.end(), 'o') == 1);
    CHECK(std::count(said.begin(), said.end(), '-') == count - 1);
    asio::io_context ctx;
    unix_stream::socket socket(ctx);
    error_code ec;
    socket.connect(unix_path_endpoint<unix_stream>(path), ec);
    CHECK_FALSE(ec);
    leave.write_end.reset();
    for (auto& each : contenders)
        CHECK(each->result() == 0);
    CHECK_FALSE(fs::exists(path));
}

#ifdef SYS_unlink
constexpr long unlink_number = SYS_unlink;
#else
constexpr long unlink_number = SYS_unlinkat;
#endif

// The system calls of listen(), in their order. Two come only with a name that is taken.
const std::vector<syscall_refusal>& steps_of_listen()
{
    static const std::vector<syscall_refusal> steps{
        {.number = SYS_socket, .error_number = EMFILE},
        {.number = SYS_fchmod, .error_number = EPERM},
        {.number = SYS_bind, .error_number = EACCES},
        {.number = SYS_connect, .error_number = ENOBUFS},
        {.number = unlink_number, .error_number = EPERM},
        {.number = SYS_openat,
         .error_number = EMFILE,
         .argument = 2,
         .mask = O_PATH,
         .value = O_PATH},
        {.number = SYS_listen, .error_number = EOPNOTSUPP},
    };
    return steps;
}

bool clears_a_name(const syscall_refusal& step)
{
    return step.number == SYS_connect || step.number == unlink_number;
}

// Listens in a process of its own, after `filter()`; 0, or the errno of what listen() says.
template <class Filter>
int listen_under(const std::string& path, Filter filter)
{
    return forked([&] {
               asio::io_context ctx;
               unix_listener<> listener(ctx.get_executor());
               error_code ec;
               if (!filter())
                   return 121;
               listener.listen(path, {}, ec);
               return ec.value();
           })
        .result();
}

}  // namespace

TEST_SUITE("unix_listener")
{
    TEST_CASE("killed at any step, who takes a name leaves it to the next")
    {
        for (const bool taken : {false, true}) {
            for (const auto& step : steps_of_listen()) {
                CAPTURE(taken);
                CAPTURE(step.number);
                const temporary_directory directory;
                const auto path = (directory.path() / "s").native();
                if (taken)
                    leave_behind(path);
                const bool reached = taken || !clears_a_name(step);
                // Also the end of a listener that was not stopped takes the name away (unlink).
                if (!reached && step.number == unlink_number)
                    continue;
                CHECK(listen_under(path, [&] { return die_at(step); }) == (reached ? -SIGSYS : 0));
                CHECK(listen_under(path, [] { return true; }) == 0);
                CHECK(fs::is_empty(directory.path()));
            }
        }
    }

    TEST_CASE("a step that fails is told, and leaves no name but a dead one")
    {
        for (const bool taken : {false, true}) {
            for (const auto& step : steps_of_listen()) {
                CAPTURE(taken);
                CAPTURE(step.number);
                if (!taken && clears_a_name(step))
                    continue;
                const temporary_directory directory;
                const auto path = (directory.path() / "s").native();
                if (taken)
                    leave_behind(path);
                CHECK(listen_under(path, [&] { return refuse(step); }) == step.error_number);
                if (fs::exists(path))
                    CHECK(is_gone(path));
                CHECK((taken || fs::is_empty(directory.path())));
                CHECK(listen_under(path, [] { return true; }) == 0);
            }
        }
    }

    TEST_CASE("where a directory cannot be locked a free name is taken, and no other")
    {
        const temporary_directory directory;
        const auto path = (directory.path() / "s").native();
        const auto no_lock = [] { return refuse({.number = SYS_flock, .error_number = ENOLCK}); };
        CHECK(listen_under(path, no_lock) == 0);
        leave_behind(path);
        CHECK(listen_under(path, no_lock) == EADDRINUSE);
        CHECK(is_gone(path));
    }

    TEST_CASE("the name of an owner that was killed is free for the next")
    {
        const temporary_directory directory;
        const auto path = (directory.path() / "s").native();
        for (int round = 0; round < 3; ++round)
            leave_behind(path);  // each in the place of the one before
        asio::io_context ctx;
        {
            const unix_listener<> listener(ctx.get_executor(), path);
            unix_stream::socket socket(ctx);
            CHECK_NOTHROW(socket.connect(unix_path_endpoint<unix_stream>(path)));
        }
        CHECK(fs::is_empty(directory.path()));
    }

    TEST_CASE("of many that want a name at once exactly one gets it")
    {
        const temporary_directory directory;
        const auto path = (directory.path() / "s").native();
        for (int round = 0; round < 4; ++round)
            race_for(path);
    }

    TEST_CASE("of many that want a dead owner's name at once exactly one gets it")
    {
        const temporary_directory directory;
        const auto path = (directory.path() / "s").native();
        for (int round = 0; round < 4; ++round) {
            leave_behind(path);
            race_for(path);
        }
    }

    TEST_CASE("a child of fork() that ends does not take the name along")
    {
        const temporary_directory directory;
        const auto path = (directory.path() / "s").native();
        asio::io_context ctx;
        std::optional<unix_listener<>> listener(std::in_place, ctx.get_executor(), path);
        const int result = procyard_test::in_fork([&] {
            listener.reset();
            return fs::is_socket(path) ? 0 : 1;
        });
        CHECK(result == 0);
        unix_stream::socket socket(ctx);
        CHECK_NOTHROW(socket.connect(unix_path_endpoint<unix_stream>(path)));
    }

    TEST_CASE("an owner lives as long as any process has its socket")
    {
        const temporary_directory directory;
        const auto path = (directory.path() / "s").native();
        auto report = open_pipe();
        auto leave = open_pipe();
        forked owner([&] {
            asio::io_context ctx;
            unix_listener<> listener(ctx.get_executor(), path);
            leave.write_end.reset();
            // Its heir goes when the test says so, and says with the end of `report` that it has.
            const forked heir([&] {
                if (::write(report.write_end.get(), "h", 1) != 1)
                    return 1;
                wait_for_end(leave.read_end.get());
                listener.close();  // before `report`; the name is the owner's
                return fs::is_socket(path) ? 0 : 1;
            });
            char byte = 0;
            (void)!::read(report.read_end.get(), &byte, 1);
            ::kill(::getpid(), SIGKILL);
            return 0;
        });
        REQUIRE(owner.result() == -SIGKILL);
        report.write_end.reset();
        CHECK_FALSE(is_gone(path));
        asio::io_context ctx;
        unix_listener<> next(ctx.get_executor());
        error_code ec;
        next.listen(path, {}, ec);
        CHECK(ec == errc::address_in_use);
        leave.write_end.reset();
        wait_for_end(report.read_end.get());
        next.listen(path, {}, ec);
        CHECK_FALSE(ec);
    }
}

TEST_SUITE("look_for_owner")
{
    TEST_CASE("an owner is alive from bind() on, and gone with its last descriptor")
    {
        const temporary_directory directory;
        for (const int type : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
            CAPTURE(type);
            const auto path = (directory.path() / std::to_string(type)).native();
            error_code ec;
            procyard::unique_fd socket = detail::make_unix_socket(type, ec);
            auto name = unix_path_endpoint<unix_stream>(path);
            REQUIRE(::bind(socket.get(), name.data(), static_cast<socklen_t>(name.size())) == 0);
            CHECK_FALSE(is_gone(path));
            if (type != SOCK_DGRAM) {
                REQUIRE(::listen(socket.get(), 1) == 0);
                CHECK_FALSE(is_gone(path));
            }
            auto second = socket.duplicate(ec);
            socket.reset();
            CHECK_FALSE(is_gone(path));
            second.reset();
            CHECK(is_gone(path));
        }
    }

    TEST_CASE("what is not there is an error, not an answer")
    {
        const temporary_directory directory;
        error_code ec;
        CHECK(detail::look_for_owner((directory.path() / "none").native(), ec)
              == detail::socket_owner::alive);
        CHECK(ec == errc::no_such_file_or_directory);
    }
}
