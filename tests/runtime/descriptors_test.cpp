// SPDX-License-Identifier: BSL-1.0
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <procyard/ipc/pipe.hpp>

#include "host_state.hpp"
#include "spawning.hpp"
#include "temporary_directory.hpp"

using namespace procyard;
using namespace procyard_test;

namespace {

/// What the child has open: number -> what it is.
using table = std::map<int, std::string>;

table parse(const std::string& text)
{
    table open;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        const auto space = line.find(' ');
        open.emplace(std::stoi(line.substr(0, space)), line.substr(space + 1));
    }
    return open;
}

// The child's own list, through its standard output.
table open_in(asio::io_context& ctx, command what)
{
    return parse(output_of(ctx, std::move(what.args({"--mode=descriptors"}))));
}

std::set<int> numbers(const table& open)
{
    std::set<int> all;
    for (const auto& [number, target] : open)
        all.insert(number);
    return all;
}

std::string name_of(int fd)
{
    char target[512];
    const auto n =
        ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target);
    return {target, n > 0 ? static_cast<std::size_t>(n) : 0};
}

unique_fd open_file(const std::filesystem::path& path, int flags = O_RDWR | O_CREAT)
{
    unique_fd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
    REQUIRE(fd);
    return fd;
}

/// Descriptors of this process that a careless library would hand down: no close-on-exec.
std::vector<unique_fd> leaky_descriptors(int count, int from = 3)
{
    std::vector<unique_fd> all;
    for (int i = 0; i < count; ++i) {
        const unique_fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        // tidy: allow cloexec: the test wants descriptors that leak
        all.emplace_back(::fcntl(null.get(), F_DUPFD, from));
        REQUIRE(all.back());
    }
    return all;
}

command lister()
{
    return command(PROCYARD_TEST_HELPER);
}

}  // namespace

TEST_SUITE("command descriptors")
{
    TEST_CASE("of forty inheritable descriptors a child gets none (case 19 complaint 08)")
    {
        asio::io_context ctx;
        const auto low = leaky_descriptors(40);
        CHECK(numbers(open_in(ctx, lister())) == std::set{0, 1, 2});
        const auto high = leaky_descriptors(3, 900);
        CHECK(numbers(open_in(ctx, lister())) == std::set{0, 1, 2});
        CHECK(numbers(open_in(ctx, lister().descriptor(7, stdio::borrow(high[1].get()))))
              == std::set{0, 1, 2, 7});
        CHECK(numbers(open_in(ctx, lister().descriptor(950, stdio::borrow(low[20].get()))))
              == std::set{0, 1, 2, 950});
    }

    TEST_CASE("descriptors above a lowered limit are closed too (case 20)")
    {
        asio::io_context ctx;
        const auto high = leaky_descriptors(3, 500);
        const lowered_limit limit(RLIMIT_NOFILE, 200);
        CHECK(numbers(open_in(ctx, lister())) == std::set{0, 1, 2});
        // Also when one of them is handed down, to where there is another one.
        CHECK(open_in(ctx,
                      lister()
                          .descriptor(3, stdio::borrow(high[0].get()))
                          .descriptor(4, stdio::borrow(3)))[3]
              == "/dev/null");
    }

    TEST_CASE("a mapped descriptor is passed once more as a stream (case 21)")
    {
        asio::io_context ctx;
        const temporary_directory files;
        const auto file = open_file(files.path() / "file");
        const auto open = open_in(ctx,
                                  lister()
                                      .std_in(stdio::borrow(file.get()))
                                      .std_err(stdio::borrow(file.get()))
                                      .descriptor(5, stdio::borrow(file.get())));
        CHECK(numbers(open) == std::set{0, 1, 2, 5});
        for (const int number : {0, 2, 5})
            CHECK(open.at(number) == name_of(file.get()));
    }

    TEST_CASE("the parent's own flags stay as they were (case 21)")
    {
        asio::io_context ctx;
        const temporary_directory files;
        const auto file = open_file(files.path() / "file");
        const auto other = leaky_descriptors(1);
        CHECK(numbers(open_in(ctx, lister().descriptor(file.get(), stdio::borrow(file.get()))))
              == std::set{0, 1, 2, file.get()});
        CHECK(::fcntl(file.get(), F_GETFD) == FD_CLOEXEC);
        CHECK(::fcntl(other[0].get(), F_GETFD) == 0);
    }

    TEST_CASE("all permutations of 0, 1 and 2 land where they should (case 22)")
    {
        asio::io_context ctx;
        const temporary_directory files;
        std::array<unique_fd, 3> saved;
        std::array<std::string, 3> names;
        auto report = make_raw_pipe(*std::make_unique<error_code>());
        std::vector<std::pair<std::array<int, 3>, table>> seen;

        warm_up(ctx);
        for (int fd = 0; fd < 3; ++fd) {
            saved[static_cast<std::size_t>(fd)].reset(::fcntl(fd, F_DUPFD_CLOEXEC, 10));
            const auto file = open_file(files.path() / std::to_string(fd));
            names[static_cast<std::size_t>(fd)] = name_of(file.get());
            ::dup2(file.get(), fd);
        }
        std::array<int, 3> order{0, 1, 2};
        std::vector<spawn_failure> failures;
        do {
            // Nothing may be checked here: the test's own output is redirected.
            spawn_failure failure;
            auto c = spawn(lister()
                               .args({"--mode=descriptors", "9"})
                               .std_in(stdio::borrow(order[0]))
                               .std_out(stdio::borrow(order[1]))
                               .std_err(stdio::borrow(order[2]))
                               .descriptor(9, stdio::borrow(report.write_end.get())),
                           ctx.get_executor(), failure);
            if (failure) {
                failures.push_back(failure);
                continue;
            }
            outcome<error_code, exit_status> ended;
            c.async_wait(ended.handler());
            ctx.restart();
            ctx.run();
            char text[4096];
            const auto n = ::read(report.read_end.get(), text, sizeof text);
            seen.emplace_back(order, parse({text, n > 0 ? static_cast<std::size_t>(n) : 0}));
        } while (std::next_permutation(order.begin(), order.end()));
        for (int fd = 0; fd < 3; ++fd)
            ::dup2(saved[static_cast<std::size_t>(fd)].get(), fd);

        CHECK(failures.empty());
        REQUIRE(seen.size() == 6);
        for (const auto& [from, open] : seen) {
            CHECK(numbers(open) == std::set{0, 1, 2, 9});
            for (int fd = 0; fd < 3; ++fd)
                CHECK(open.at(fd)
                      == names[static_cast<std::size_t>(from[static_cast<std::size_t>(fd)])]);
        }
    }

    TEST_CASE("a ring of descriptors is turned by one, whatever its numbers")
    {
        asio::io_context ctx;
        warm_up(ctx);
        const temporary_directory files;
        // Numbers of the library's own (slots, pipes) are among the lowest ones: all are targets.
        for (const int from : {3, 20, 300}) {
            std::vector<unique_fd> ring;
            for (int i = 0; i < 12; ++i) {
                const auto file = open_file(files.path() / std::to_string(i));
                ring.emplace_back(::fcntl(file.get(), F_DUPFD_CLOEXEC, from));
            }
            command what = lister();
            for (std::size_t i = 0; i < ring.size(); ++i)
                what.descriptor(ring[(i + 1) % ring.size()].get(), stdio::borrow(ring[i].get()));
            const auto open = open_in(ctx, what);
            CHECK(open.size() == 3 + ring.size());
            for (std::size_t i = 0; i < ring.size(); ++i)
                CHECK(open.at(ring[(i + 1) % ring.size()].get()) == name_of(ring[i].get()));
        }
    }

    TEST_CASE("targets may be numbers that the library itself uses")
    {
        asio::io_context ctx;
        warm_up(ctx);
        const temporary_directory files;
        const auto file = open_file(files.path() / "file");
        command what = lister();
        what.std_in(stdio::pipe()).std_err(stdio::pipe());
        std::set<int> expected{0, 1, 2};
        for (int number = 3; number < 64; ++number) {
            what.descriptor(number, stdio::borrow(file.get()));
            expected.insert(number);
        }
        const auto open = open_in(ctx, what);
        CHECK(numbers(open) == expected);
        for (int number = 3; number < 64; ++number)
            CHECK(open.at(number) == name_of(file.get()));
        CHECK(open.at(0).starts_with("pipe:"));
        CHECK(open.at(1) != open.at(2));
    }

    TEST_CASE("the highest number there may be is a target like any other")
    {
        asio::io_context ctx;
        const temporary_directory files;
        const auto a = open_file(files.path() / "a");
        const auto b = open_file(files.path() / "b");
        const lowered_limit limit(RLIMIT_NOFILE, 100);
        const auto open = open_in(ctx,
                                  lister()
                                      .descriptor(99, stdio::borrow(a.get()))
                                      .descriptor(a.get(), stdio::borrow(b.get()))
                                      .descriptor(b.get(), stdio::borrow(a.get())));
        CHECK(numbers(open) == std::set{0, 1, 2, a.get(), b.get(), 99});
        CHECK(open.at(a.get()) == name_of(b.get()));
        CHECK(open.at(b.get()) == name_of(a.get()));
        CHECK(open.at(99) == name_of(a.get()));
        CHECK(failure_of(ctx, lister().descriptor(100, stdio::borrow(a.get()))).code
              == boost::system::errc::bad_file_descriptor);
    }

    TEST_CASE("one file is input and output, or both outputs (case 24)")
    {
        asio::io_context ctx;
        const temporary_directory files;
        files.write("both", "in");
        const auto both = open_file(files.path() / "both", O_RDWR);
        CHECK(status_of(ctx,
                        command::shell("read x; echo \" and out: $x\"")
                            .std_in(stdio::borrow(both.get()))
                            .std_out(stdio::borrow(both.get())))
                  .success());
        CHECK(files.read("both") == "in and out: in\n");
        const auto out = open_file(files.path() / "out");
        CHECK(status_of(ctx,
                        command::shell("echo one; echo two >&2; echo three")
                            .std_out(stdio::borrow(out.get()))
                            .std_err(stdio::borrow(out.get())))
                  .success());
        CHECK(files.read("out") == "one\ntwo\nthree\n");
    }

    TEST_CASE("a second child holds no end of the first one's pipes (case 25 complaint 07)")
    {
        asio::io_context ctx;
        auto a =
            spawn(helper({"--mode=until-eof", "5"}).std_in(stdio::pipe()).std_out(stdio::pipe()),
                  ctx.get_executor());
        CHECK(read_line(ctx, a.std_out()).starts_with("ready"));
        auto b = spawn(helper({"--mode=pause"}).std_out(stdio::pipe()).std_in(stdio::null()),
                       ctx.get_executor());
        CHECK(read_line(ctx, b.std_out()).starts_with("ready"));
        a.std_in().close();
        CHECK(wait(ctx, a) == exit_status::exited(5));
        // And the parent holds none of its ends either: this is the end of file.
        CHECK(read_all(ctx, a.std_out()).empty());
    }

    TEST_CASE("the child's ends are blocking (case 28 complaint 21)")
    {
        asio::io_context ctx;
        for (const auto& kind : {stdio::pipe(), stdio::socket()}) {
            auto c = spawn(
                lister().args({"--mode=descriptors"}).std_in(kind).std_out(kind).std_err(kind),
                ctx.get_executor());
            for (const auto& [number, what] : parse(read_all(ctx, c.std_out())))
                CHECK(what.find("nonblocking") == std::string::npos);
            for (const int ours : {c.std_in().native_handle(), c.std_out().native_handle()})
                CHECK((::fcntl(ours, F_GETFL) & O_NONBLOCK) != 0);
            CHECK(wait(ctx, c).success());
        }
        // An end that was non-blocking in our loop is blocking in the next child.
        auto first = spawn(helper({"--mode=pause"}).std_out(stdio::pipe()), ctx.get_executor());
        CHECK(read_line(ctx, first.std_out()).starts_with("ready"));
        const auto open =
            open_in(ctx, lister().std_in(stdio::descriptor(std::move(first.std_out()))));
        CHECK(open.at(0).find("nonblocking") == std::string::npos);
    }

    TEST_CASE("a borrowed descriptor keeps its flags, a handed over one is made blocking")
    {
        asio::io_context ctx;
        error_code ec;
        auto pipe = make_raw_pipe(ec);
        ::fcntl(pipe.read_end.get(), F_SETFL, O_NONBLOCK);
        CHECK(open_in(ctx, lister().std_in(stdio::borrow(pipe.read_end.get())))
                  .at(0)
                  .find(" nonblocking")
              != std::string::npos);
        CHECK(open_in(ctx, lister().std_in(stdio::descriptor(std::move(pipe.read_end))))
                  .at(0)
                  .find(" nonblocking")
              == std::string::npos);
    }

    TEST_CASE("a descriptor that is not open is refused by its number")
    {
        asio::io_context ctx;
        const auto failure = failure_of(ctx, lister().descriptor(5, stdio::borrow(777)));
        CHECK(failure.step == spawn_step::descriptors);
        CHECK(failure.operand == "777");
        CHECK(failure.code == boost::system::errc::bad_file_descriptor);
        CHECK(failure_of(ctx, lister().std_in(stdio::borrow(-1))).step == spawn_step::descriptors);
        CHECK(failure_of(ctx, lister().std_in(stdio::descriptor(unique_fd()))).step
              == spawn_step::descriptors);
    }

    TEST_CASE("without descriptors every spawn fails clearly and leaks nothing")
    {
        const auto what = command("true")
                              .std_in(stdio::pipe())
                              .std_out(stdio::socket())
                              .std_err(stdio::terminal())
                              .descriptor(7, stdio::read_file("/dev/null"));
        int failures = 0;
        int successes = 0;
        const auto before = children();
        const descriptor_check no_leak;
        rlim_t lowest = 0;
        {
            const unique_fd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
            lowest = static_cast<rlim_t>(std::max(probe.get(), 8));
        }
        for (rlim_t limit = lowest; limit < lowest + 45; ++limit) {
            // A fresh context each time: its own descriptors are among those that cannot be had.
            asio::io_context ctx;
            spawn_failure failure;
            outcome<error_code, child> spawned;
            outcome<error_code, exit_status> ended;
            {
                const lowered_limit none_left(RLIMIT_NOFILE, limit);
                auto c = spawn(what, ctx.get_executor(), failure);
                if (c)
                    c.async_wait(ended.handler());
                async_spawn(what, ctx.get_executor(), spawned.handler());
                ctx.run();
            }
            REQUIRE(spawned.done());
            if (failure) {
                ++failures;
                CHECK_MESSAGE(failure.code == boost::system::errc::too_many_files_open, failure);
                CHECK_FALSE(procyard::to_string(failure.step) == "spawn");
            } else {
                ++successes;
                CHECK(ended.done());
            }
            if (spawned.error())
                CHECK_MESSAGE(spawned.error() == boost::system::errc::too_many_files_open,
                              spawned.error().message());
            spawned.value.reset();
            // The same context works as soon as there are descriptors again.
            CHECK(status_of(ctx, what).success());
            run(ctx);
            CHECK(children() == before);
        }
        CHECK(failures > 10);
        CHECK(successes > 10);
    }
}
