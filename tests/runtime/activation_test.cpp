// SPDX-License-Identifier: BSL-1.0
// Socket activation, taken and given: sd_listen_fds(3).
#include <procyard/runtime/activation.hpp>

#include <doctest/doctest.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/local/datagram_protocol.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <list>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/spawn.hpp>

#include "feature_off.hpp"
#include "forked.hpp"
#include "host_state.hpp"
#include "procyard_test.hpp"
#include "spawning.hpp"

using namespace procyard;
using namespace procyard_test;
using asio::ip::tcp;

namespace {

template <class F>
std::string refusal(F f)
{
    try {
        f();
    } catch (const std::exception& error) {
        return error.what();
    }
    return "nothing";
}

bool has(const std::string& text, const std::string& part)
{
    return text.find(part) != std::string::npos;
}

// In a copy of this process, with these descriptors as 3, 4, … and the variables that belong to
// them: what a program finds at its start.
template <class Body>
std::string given(const std::vector<int>& descriptors, const std::string& count, const char* names,
                  Body body)
{
    int ends[2] = {};
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const unique_fd from(ends[0]);
    unique_fd to(ends[1]);
    forked copy([&] {
        // High, where nothing is in the way.
        const int answer = ::fcntl(to.get(), F_DUPFD_CLOEXEC, 200);
        std::vector<int> parked;
        for (const int fd : descriptors)
            parked.push_back(::fcntl(fd, F_DUPFD_CLOEXEC, 200));
        for (std::size_t i = 0; i < parked.size(); ++i)
            ::dup2(parked[i], 3 + static_cast<int>(i));
        for (int fd = 3 + static_cast<int>(parked.size()); fd < 200; ++fd)
            ::close(fd);
        ::setenv("LISTEN_FDS", count.c_str(), 1);
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        if (names != nullptr)
            ::setenv("LISTEN_FDNAMES", names, 1);
        else
            ::unsetenv("LISTEN_FDNAMES");
        std::string said;
        try {
            said = body();
        } catch (const std::exception& error) {
            said = error.what();
        }
        return ::write(answer, said.data(), said.size()) == static_cast<ssize_t>(said.size()) ? 0
                                                                                              : 1;
    });
    to.reset();
    std::string text;
    std::array<char, 1024> buffer{};
    for (ssize_t n = 0; (n = ::read(from.get(), buffer.data(), buffer.size())) > 0;)
        text.append(buffer.data(), static_cast<std::size_t>(n));
    CHECK(copy.result() == 0);
    return text;
}

// Of every kind.
struct sockets {
    asio::io_context ctx{};
    tcp::acceptor listener{ctx, tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
    asio::ip::udp::socket datagrams{ctx, asio::ip::udp::v4()};
    asio::local::stream_protocol::socket unbound{ctx, asio::local::stream_protocol()};
};

}  // namespace

TEST_SUITE("activation_descriptors")
{
    TEST_CASE("without any there are none")
    {
        const variable count("LISTEN_FDS", nullptr);
        activation_descriptors none(manager_variables::keep);
        CHECK(none.empty());
        CHECK(none.size() == 0);
        CHECK_FALSE(none.contains("unknown"));
        CHECK(has(refusal([&] { (void)none.take(0); }), "activation descriptor 0"));
        CHECK(has(refusal([&] { (void)none.take("http"); }), "\"http\""));
        CHECK_THROWS_AS((void)none.name(0), std::out_of_range);
    }

    TEST_CASE("those of another process are not ours")
    {
        const variable count("LISTEN_FDS", "1");
        const variable process("LISTEN_PID", std::to_string(::getppid()).c_str());
        CHECK(activation_descriptors(manager_variables::keep).empty());
    }

    TEST_CASE("are taken by place or name, once, and are closed on exec at once")
    {
        sockets s;
        const int listener = s.listener.native_handle();
        CHECK(given({listener, listener, s.datagrams.native_handle()}, "3", "web:web:log",
                    [] {
                        activation_descriptors all(manager_variables::keep);
                        std::ostringstream said;
                        said << all.size() << all.name(0) << all.name(1) << all.name(2);
                        for (int fd = 3; fd < 6; ++fd)
                            said << (::fcntl(fd, F_GETFD) == FD_CLOEXEC);
                        said << ' ' << all.take("web").get() << all.take("web").get()
                             << all.contains("web") << all.contains("log");
                        said << ' ' << refusal([&] { (void)all.take("web"); });
                        said << ' ' << refusal([&] { (void)all.take(1); });
                        said << ' ' << all.take(2).get();
                        return said.str();
                    })
              == "3webweblog111 3401 activation descriptor \"web\": No such file or directory "
                 "[system:2] "
                 "activation descriptor 1 has been taken: No such file or directory [system:2] 5");
    }

    TEST_CASE("the environment is left, or taken out also when it is malformed")
    {
        sockets s;
        const int listener = s.listener.native_handle();
        const auto left = [] {
            std::string text;
            for (const char* name : {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"})
                text += ::getenv(name) == nullptr ? '-' : '+';
            return text;
        };
        CHECK(given({listener}, "1", "a",
                    [&] {
                        const activation_descriptors all(manager_variables::keep);
                        return left();
                    })
              == "+++");
        CHECK(given({listener}, "1", "a",
                    [&] {
                        const activation_descriptors all(manager_variables::remove);
                        return left();
                    })
              == "---");
        CHECK(given({listener}, "-1", "a",
                    [&] {
                        auto text = refusal(
                            [] { (void)activation_descriptors(manager_variables::remove); });
                        return left() + (has(text, "LISTEN_FDS=\"-1\"") ? "named" : text);
                    })
              == "---named");
    }

    TEST_CASE("one that is not open, or was taken before, is an error, and nothing has happened")
    {
        sockets s;
        const int listener = s.listener.native_handle();
        CHECK(given({listener}, "2", nullptr,
                    [] {
                        auto text =
                            refusal([] { (void)activation_descriptors(manager_variables::keep); });
                        return text + (::fcntl(3, F_GETFD) == 0 ? " untouched" : " changed");
                    })
              == "LISTEN_FDS=\"2\": descriptor 4 is not open: Bad file descriptor [system:9] "
                 "untouched");
        CHECK(has(given({listener}, "2147483000", nullptr,
                        [] {
                            activation_descriptors all(manager_variables::keep);
                            return std::string("huge");
                        }),
                  "descriptor 4 is not open"));
        CHECK(has(given({listener, listener}, "2", nullptr,
                        [] {
                            activation_descriptors first(manager_variables::keep);
                            const auto kept = first.take(1);
                            return refusal(
                                [] { (void)activation_descriptors(manager_variables::keep); });
                        }),
                  "descriptor 3 is closed on exec, so it has been taken before"));
    }

    TEST_CASE("become sockets and acceptors of Asio's, or whatever is made of a descriptor")
    {
        sockets s;
        const int listener = s.listener.native_handle();
        const auto port = std::to_string(s.listener.local_endpoint().port());
        int pipe_ends[2] = {};
        REQUIRE(::pipe2(pipe_ends, O_CLOEXEC) == 0);
        const unique_fd read_end(pipe_ends[0]);
        const unique_fd write_end(pipe_ends[1]);
        CHECK(given({listener, s.datagrams.native_handle(), s.unbound.native_handle(), listener,
                     pipe_ends[0], pipe_ends[1]},
                    "6", "web:log:peer:any:in:out",
                    [] {
                        asio::io_context ctx;
                        const auto ex = ctx.get_executor();
                        activation_descriptors all(manager_variables::remove);
                        auto web = all.take<tcp::acceptor>("web", ex);
                        auto log = all.take<asio::ip::udp::socket>("log", ex);
                        auto peer = all.take<asio::local::stream_protocol::socket>(2, ex);
                        auto any =
                            all.take<asio::basic_socket_acceptor<asio::generic::stream_protocol>>(
                                "any", ex);
                        auto in = all.take<asio::posix::stream_descriptor>("in", ex);
                        auto out = all.take<pipe_writer>("out", ex);
                        std::ostringstream said;
                        said << web.local_endpoint().port() << log.is_open() << peer.is_open()
                             << any.is_open() << in.is_open() << out.is_open()
                             << all.contains("in");
                        return said.str();
                    })
              == port + "111110");
    }

    TEST_CASE("one that is not what is wanted says what it is, and stays")
    {
        sockets s;
        const auto mismatch = [](auto wanted) {
            return [wanted] {
                asio::io_context ctx;
                activation_descriptors all(manager_variables::remove);
                const auto text = refusal([&] { wanted(all, ctx.get_executor()); });
                return text + (all.contains("a") ? " (there)" : " (gone)");
            };
        };
        const auto acceptor = mismatch(
            [](auto& all, const auto& ex) { (void)all.template take<tcp::acceptor>("a", ex); });
        const auto socket = mismatch(
            [](auto& all, const auto& ex) { (void)all.template take<tcp::socket>("a", ex); });
        const auto local = mismatch([](auto& all, const auto& ex) {
            (void)all.template take<asio::local::stream_protocol::acceptor>("a", ex);
        });
        const std::string end = ": Protocol wrong type for socket [system:91] (there)";
        CHECK(given({s.datagrams.native_handle()}, "1", "a", acceptor)
              == "activation descriptor 0 (\"a\") is a datagram socket of AF_INET, and not a "
                 "listening stream socket of AF_INET or AF_INET6"
                  + end);
        CHECK(given({s.listener.native_handle()}, "1", "a", socket)
              == "activation descriptor 0 (\"a\") is a listening stream socket of AF_INET, and not "
                 "a stream socket of AF_INET or AF_INET6"
                  + end);
        CHECK(given({s.listener.native_handle()}, "1", "a", local)
              == "activation descriptor 0 (\"a\") is a listening stream socket of AF_INET, and not "
                 "a listening stream socket of AF_UNIX"
                  + end);
        const unique_fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        CHECK(
            given({null.get()}, "1", "a", acceptor)
            == "activation descriptor 0 (\"a\") is a character device, and not a listening stream "
               "socket of AF_INET or AF_INET6"
                + end);
    }
}

TEST_SUITE("command::listen_descriptor")
{
    // Says what a program finds.
    command program()
    {
        return command::shell("echo $((LISTEN_PID - $$)) $LISTEN_FDS $LISTEN_FDNAMES;"
                              "ls /proc/self/fd | tr '\\n' ' '; readlink /proc/self/fd/[34]")
            .std_out(stdio::pipe());
    }

    std::string said_by(asio::io_context & ctx, const command& what)
    {
        child c = spawn(what, ctx.get_executor());
        auto text = read_all(ctx, c.std_out());
        run(ctx);
        return text;
    }

    std::string name_of(int fd)
    {
        std::array<char, 128> name{};
        const auto path = "/proc/self/fd/" + std::to_string(fd);
        const auto size = ::readlink(path.c_str(), name.data(), name.size());
        return {name.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
    }

    TEST_CASE("the child has them from 3 on, and its own id as LISTEN_PID")
    {
        const descriptor_check check;
        sockets s;
        const int one = s.listener.native_handle();
        const int two = s.datagrams.native_handle();
        // In the child 3 is ls's own directory where nothing else is.
        CHECK(said_by(s.ctx,
                      program()
                          .listen_descriptor(stdio::borrow(one), "web")
                          .listen_descriptor(stdio::borrow(two), "log"))
              == "0 2 web:log\n0 1 2 3 4 5 " + name_of(one) + '\n' + name_of(two) + '\n');
    }

    TEST_CASE("any number of children get them, and the command's own variables do not count")
    {
        sockets s;
        auto what =
            program().env("LISTEN_PID", "1").env("LISTEN_FDS", "7").env_remove("LISTEN_FDNAMES");
        error_code ec;
        unique_fd mine(s.listener.native_handle());
        what.listen_descriptor(stdio::descriptor(mine.duplicate(ec)), "web");
        (void)mine.release();
        for (int i = 0; i < 3; ++i)
            CHECK(said_by(s.ctx, what).starts_with("0 1 web\n"));
        const variable theirs("LISTEN_PID", "1");
        CHECK(said_by(s.ctx, what.env_clear()).starts_with("0 1 web\n"));
    }

    TEST_CASE("O_NONBLOCK stays as whoever has the listener already needs it")
    {
        sockets some;
        some.listener.native_non_blocking(true);
        const auto is_nonblocking = [&] {
            return (::fcntl(some.listener.native_handle(), F_GETFL) & O_NONBLOCK) != 0;
        };
        command owner("true");
        owner.listen_descriptor(stdio::descriptor(unique_fd(
                                    ::fcntl(some.listener.native_handle(), F_DUPFD_CLOEXEC, 3))),
                                "web");
        command borrower("true");
        borrower.listen_descriptor(stdio::borrow(some.listener.native_handle()), "web");
        for (const auto* what : {&owner, &borrower, &owner}) {
            CHECK(status_of(some.ctx, *what).success());
            CHECK(is_nonblocking());
        }
    }

    TEST_CASE("any arrangement of our numbers becomes theirs, and channels and others go around")
    {
        sockets s;
        // Our 4 shall be its 3, and our 3 its 4.
        const auto place = [&](int fd, int at) {
            return unique_fd(::fcntl(fd, F_DUPFD_CLOEXEC, at));
        };
        const auto low = place(s.listener.native_handle(), 3);
        const auto high = place(s.datagrams.native_handle(), low.get() + 1);
        CHECK(has(said_by(s.ctx,
                          program()
                              .descriptor(5, stdio::null())
                              .listen_descriptor(stdio::borrow(high.get()), "a")
                              .listen_descriptor(stdio::borrow(low.get()), "b")),
                  name_of(high.get()) + '\n' + name_of(low.get()) + '\n'));
    }

    TEST_CASE("however the process is made, by whom, and however many there are")
    {
        sockets s;
        const auto borrowed = stdio::borrow(s.listener.native_handle());
        using features = detail::kernel_features;
        const std::vector<std::vector<features::flag features::*>> missing{
            {},
            {&features::clone3},
            {&features::pidfd},
            {&features::close_range_unshare},
            {&features::close_range},
            {&features::clone3, &features::pidfd, &features::close_range,
             &features::close_range_unshare, &features::pidfd_getfd}};
        for (const auto& lacks : missing) {
            std::list<feature_off> off;
            for (const auto one : lacks)
                off.emplace_back(one);
            CAPTURE(lacks.size());
            CHECK(said_by(s.ctx, program().listen_descriptor(borrowed, "web"))
                      .starts_with("0 1 web\n"));
            CHECK_MESSAGE(
                said_by(s.ctx,
                        program().listen_descriptor(borrowed, "web").parent_death_signal(SIGKILL))
                    .starts_with("0 1 web\n"),
                "by the spawner thread");
            auto many = program();
            std::string names = "web";
            for (int i = 1; i < 100; ++i)
                names += ":web";
            for (int i = 0; i < 100; ++i)
                many.listen_descriptor(borrowed, "web");
            CHECK(said_by(s.ctx, many).starts_with("0 100 " + names + '\n'));
        }
    }

    TEST_CASE("in a pid namespace it is the id in there")
    {
        sockets s;
        namespace_options own;
        own.pid = true;
        own.user = ::geteuid() != 0;
        spawn_failure failure;
        child c = spawn(command::shell("echo $LISTEN_PID $$")
                            .std_out(stdio::pipe())
                            .namespaces(own)
                            .listen_descriptor(stdio::borrow(s.listener.native_handle()), "a"),
                        s.ctx.get_executor(), failure);
        if (!c) {
            CHECK(failure.step == spawn_step::namespaces);
            return;
        }
        CHECK(read_all(s.ctx, c.std_out()) == "1 1\n");
        run(s.ctx);
    }

    TEST_CASE("what cannot be given is refused before anything happens, by name")
    {
        sockets s;
        const auto borrowed = stdio::borrow(s.listener.native_handle());
        const auto refused = [&](const command& what) {
            spawn_failure failure;
            const child none = spawn(what, s.ctx.get_executor(), failure);
            CHECK_FALSE(none);
            return failure.to_string();
        };
        CHECK(has(refused(command("true").listen_descriptor(borrowed, "a:b")), "\"a:b\""));
        CHECK(has(refused(command("true").listen_descriptor(borrowed, "")), "\"\""));
        CHECK(has(refused(command("true").listen_descriptor(stdio::null(), "a")),
                  "listen descriptor a is neither owned nor borrowed"));
        CHECK(has(refused(command("true")
                              .descriptor(4, stdio::null())
                              .listen_descriptor(borrowed, "a")
                              .listen_descriptor(borrowed, "b")),
                  "4 is the number of listen descriptor b"));
        CHECK(has(refused(command("true").listen_descriptor(stdio::borrow(987), "a")), "987"));
    }
}
