// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/ipc/unique_fd.hpp>

#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"

namespace asio = boost::asio;
using namespace procyard_test;
using procyard::command;
using procyard::readiness;
using procyard::service;
using procyard::service_state;
using procyard::unique_fd;

namespace {

struct listening {
    explicit listening(asio::io_context& ctx)
        : acceptor(ctx, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
          where(acceptor.local_endpoint())
    {
    }
    unique_fd take() { return unique_fd(acceptor.release()); }

    asio::ip::tcp::acceptor acceptor;
    asio::ip::tcp::endpoint where;
};

// Asks again and again, each time by a new connection.
struct client {
    asio::awaitable<void> run()
    {
        const auto ex = co_await asio::this_coro::executor;
        while (!over) {
            asio::ip::tcp::socket socket(ex);
            co_await socket.async_connect(where, asio::use_awaitable);
            co_await asio::async_write(socket, asio::buffer("who?\n", 5), asio::use_awaitable);
            std::string answer;
            co_await asio::async_read_until(socket, asio::dynamic_buffer(answer), '\n',
                                            asio::use_awaitable);
            answered_by.insert(answer.substr(0, answer.find('\n')));
            ++answers;
        }
    }
    void start(asio::io_context& ctx)
    {
        asio::co_spawn(
            ctx, [](client* self) -> asio::awaitable<void> { co_await self->run(); }(this),
            [this](const std::exception_ptr& error) {
                ended = true;
                if (!error)
                    return;
                try {
                    std::rethrow_exception(error);
                } catch (const std::exception& e) {
                    fault = e.what();
                }
            });
    }

    asio::ip::tcp::endpoint where;
    bool over = false;
    bool ended = false;
    std::uint64_t answers = 0;
    std::set<std::string> answered_by{};
    std::string fault{};
};

// How many open files the service's process could have got: what LISTEN_FDS says it has.
service shows(const std::string& what)
{
    return service("a", command::shell("echo " + what + "; exec tail -f /dev/null"))
        .ready_when(readiness::line_with(":"));
}

}  // namespace

TEST_SUITE("supervisor_listen")
{
    TEST_CASE("replaced 20 times under connections: none is refused or reset")
    {
        supervised f;
        listening on(f.ctx);
        const auto where = on.where;
        f.it().add(service("web", helper({"--mode=serve"}))
                       .listen("http", on.take())
                       .ready_when(readiness::line_with("ready")));
        f.it().start();
        f.until("web", service_state::ready);
        client clients[4] = {{where}, {where}, {where}, {where}};
        for (auto& one : clients)
            one.start(f.ctx);
        const auto told = [&] {
            std::string text;
            for (const auto& one : clients)
                text += std::to_string(one.answers) + ' ' + one.fault + ", ";
            return text;
        };
        for (std::uint64_t generation = 2; generation <= 21; ++generation) {
            CAPTURE(told());
            f.it().replace("web");
            f.until("web", service_state::ready, generation);
            // The old one has gone, and the new one has answered everybody once.
            run_until(f.ctx, [&] { return children() == 1; });
            const auto before = clients[0].answers;
            run_until(f.ctx, [&] { return clients[0].answers > before || clients[0].ended; });
        }
        for (auto& one : clients)
            one.over = true;
        std::set<std::string> answered_by;
        for (auto& one : clients) {
            run_until(f.ctx, [&] { return one.ended; });
            CHECK(one.fault == "");
            CHECK(one.answers > 20);
            answered_by.merge(one.answered_by);
        }
        CHECK(answered_by.size() == 21);
        CHECK(f.of("web").restarts == 0);
        f.stop();
    }

    TEST_CASE("one that crashes: connections wait for the next one")
    {
        supervised f;
        listening on(f.ctx);
        const auto where = on.where;
        f.it().add(service("web", helper({"--mode=serve"}))
                       .listen("http", on.take())
                       .backoff(at_once())
                       .ready_when(readiness::line_with("ready")));
        f.it().start();
        f.until("web", service_state::ready);
        ::kill(f.of("web").pid, SIGKILL);
        client one{where};
        one.over = false;
        one.start(f.ctx);
        run_until(f.ctx, [&] { return one.answers > 0 || one.ended; });
        CHECK(one.fault == "");
        one.over = true;
        run_until(f.ctx, [&] { return one.ended; });
        f.stop();
    }

    TEST_CASE("descriptors come from 3 on, in order, with their names, and with their flags")
    {
        supervised f;
        listening one(f.ctx);
        listening two(f.ctx);
        two.acceptor.native_non_blocking(true);
        auto blocking = one.take();
        auto non_blocking = two.take();
        // They are those of the open file, which both processes have.
        const int flags = ::fcntl(blocking.get(), F_GETFL);
        CHECK((flags & O_NONBLOCK) == 0);
        CHECK(::fcntl(non_blocking.get(), F_GETFL) == (flags | O_NONBLOCK));
        std::string seen;
        f.it().add(shows("$LISTEN_FDS:$LISTEN_FDNAMES:$((LISTEN_PID - $$)):$(readlink "
                         "/proc/$$/fd/3 | cut -c 1-6):$(readlink /proc/$$/fd/4 | cut -c 1-6):"
                         "$(sed -n 's/^flags:[[:space:]]*//p' /proc/$$/fdinfo/3 /proc/$$/fdinfo/4)")
                       .listen("first", std::move(blocking))
                       .listen("second one", std::move(non_blocking))
                       .log([&](procyard::service_output, std::string_view line) { seen = line; }));
        f.it().start();
        f.until("a", service_state::ready);
        std::ostringstream expected;
        expected << "2:first:second one:0:socket:socket:" << std::oct << '0' << flags << " 0"
                 << (flags | O_NONBLOCK);
        CHECK(seen == expected.str());
        f.stop();
    }

    TEST_CASE("one that is removed gives up its listeners and its log")
    {
        supervised f;
        listening on(f.ctx);
        auto fd = on.take();
        const int number = fd.get();
        auto sink = std::make_shared<int>(0);
        const std::weak_ptr<int> kept = sink;
        f.it().add(service("web", helper({"--mode=serve"}))
                       .listen("http", std::move(fd))
                       .ready_when(readiness::line_with("ready"))
                       .log([sink = std::move(sink)](procyard::service_output, std::string_view) {
                           ++*sink;
                       }));
        f.it().start();
        f.until("web", service_state::ready);
        f.it().remove("web");
        f.until_removed("web");
        run_until(f.ctx, [&] { return kept.expired(); });
        CHECK(::fcntl(number, F_GETFD) == -1);
        f.stop();
    }

    TEST_CASE("refuses names and numbers that cannot be")
    {
        supervised f;
        const auto refusal = [&](service what) -> std::string {
            try {
                f.it().add(what);
            } catch (const std::invalid_argument& e) {
                return std::string(e.what()).substr(25);
            }
            return "accepted";
        };
        const auto some = [&] { return listening(f.ctx).take(); };
        const auto web = [] { return service("a", helper({"--mode=serve"})); };
        CHECK(refusal(web().listen("a:b", some()))
              == "\"a:b\" is no name of a descriptor: 1 to 255 printable characters, and no colon");
        CHECK(refusal(web().listen("", some())).find("no name") != std::string::npos);
        CHECK(refusal(web().listen("x", unique_fd())) == "its descriptor \"x\" is empty");
        CHECK(refusal(sleeper("a").listen("x", some())) == "only a command gets descriptors");
        CHECK(refusal(service("a", helper({"--mode=serve"}).descriptor(3, procyard::stdio::null()))
                          .listen("x", some()))
              == "its descriptor 3 is one of those by which it gets what it listens on, or what is "
                 "kept for it");
        CHECK(refusal(web().ready_when(readiness::newline_on(4)).keep_descriptors(2)).find("4")
              != std::string::npos);
    }
}
