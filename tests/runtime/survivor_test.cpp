// SPDX-License-Identifier: BSL-1.0
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/runtime/supervisor.hpp>

#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"
#include "survivor_book.hpp"
#include "survivor_record.hpp"
#include "survivor_sweep.hpp"
#include "temporary_directory.hpp"
#include "test_process.hpp"

using namespace procyard_test;
using procyard::detail::is_cut_off;
using procyard::detail::may_be_swept;
using procyard::detail::parse_survivors;
using procyard::detail::survivor_book;
using procyard::detail::survivor_file;
using procyard::detail::survivor_record;
using procyard::detail::survivor_sweep;
using procyard::detail::to_text;

namespace {

std::string text_of(const std::filesystem::path& file)
{
    std::ifstream stream(file);
    return {std::istreambuf_iterator<char>(stream), {}};
}

std::string fault_of(std::string_view text)
{
    std::string fault;
    CHECK_FALSE(parse_survivors(text, fault));
    return fault;
}

std::string refusal(const std::filesystem::path& where)
{
    try {
        const survivor_book book(where);
    } catch (const std::exception& e) {
        return e.what();
    }
    return "opened";
}

void sweep_all(survivor_sweep& sweep)
{
    // A killed process needs a moment of the kernel's to be dead.
    bool left = true;
    for (int i = 0; i < 100'000 && left; ++i) {
        left = sweep.pass();
        ::sched_yield();
    }
    CHECK_FALSE(left);
}

}  // namespace

TEST_SUITE("survivors")
{
    TEST_CASE("what is written is read again, whatever the names are")
    {
        survivor_file file;
        file.marker = "supervisor-0123";
        file.machine = "boot pid:[4026531836]";
        file.records = {{"web", 3, 100, 12345678901ULL, "/user.slice/procyard-5-1", true, true},
                        {"one", 3, 101, 5, "/", true, false},
                        {"two", 3, 102, 5, "/", false, true},
                        {"a name\nwith 100 % of \x01 everything \xff", 1, 2, 0, "", false, false}};
        std::string fault;
        const auto read = parse_survivors(to_text(file), fault);
        REQUIRE_MESSAGE(read, fault);
        CHECK(read->marker == file.marker);
        CHECK(read->machine == file.machine);
        CHECK(read->records == file.records);
    }

    TEST_CASE("what is none of ours is not guessed at")
    {
        const std::string head = "procyard supervisor 1\nmarker x\nmachine y\n";
        CHECK(fault_of("") == "it has no end");
        CHECK(fault_of(head) == "it has no end");
        CHECK(fault_of("hello\n") == "line 1 is none of ours");
        CHECK(fault_of("procyard supervisor 1\nend\n") == "line 2 is none of ours");
        CHECK(fault_of(head + "end\nend\n") == "line 4 is none of ours");
        for (const char* const line :
             {"lives", "lives 1 2 3 a % g", "lives 0 2 3 a % g", "lives -5 2 3 a % g",
              "lives 5 2 3 a %", "lives 5 2 3 a % g b", "lives 5 x 3 a % g", "lives 5 2 3 %4 % g",
              "lives 5 2 3 a % x", "lives 5 2 3 a % gg", "lives 99999999999 2 3 a % g",
              "marker a:b", "marker", "nothing"})
            CHECK_MESSAGE(fault_of(head + line + "\nend\n") == "line 4 is none of ours",
                          std::string(line));
    }

    TEST_CASE("a book keeps its marker, and what lived when its supervisor was killed")
    {
        const temporary_directory where;
        const auto directory = where.path() / "state";
        std::string marker;
        {
            survivor_book book(directory);
            marker = book.marker();
            CHECK(book.old().empty());
            (void)book.add("self", 1, ::getpid());
            (void)book.add("gone", 1, 0x3fffffff);
            book.write();
            CHECK(refusal(directory).find("is that of process " + std::to_string(::getpid())
                                          + ", which lives")
                  != std::string::npos);
        }
        survivor_book book(directory);
        CHECK(book.marker() == marker);
        REQUIRE(book.old().size() == 1);
        CHECK(book.old().front().pid == ::getpid());
        // Until it is known that they have gone, they stay.
        CHECK(text_of(directory / "state").find("lives") != std::string::npos);
        book.forget_the_old();
        book.write();
        CHECK(text_of(directory / "state").find("lives") == std::string::npos);
    }

    TEST_CASE("what lived before the machine was started again is not looked for")
    {
        const temporary_directory where;
        const auto directory = where.path() / "state";
        std::filesystem::create_directory(directory);
        std::filesystem::permissions(directory, std::filesystem::perms::owner_all);
        survivor_file file;
        file.marker = "supervisor-1";
        file.machine = "another boot";
        file.records = {{"web", 3, 100, 1, ""}};
        std::ofstream(directory / "state") << to_text(file);
        const survivor_book book(directory);
        CHECK(book.marker() == "supervisor-1");
        CHECK(book.old().empty());
    }

    TEST_CASE("what is left of a file after a power cut is another run's, and kept for people")
    {
        survivor_file file;
        file.marker = "supervisor-1";
        file.machine = "another boot";
        file.records = {{"web", 3, ::getpid(), 1, ""}};
        const auto whole = to_text(file);
        for (std::size_t size = 0; size + 1 < whole.size(); ++size) {
            CAPTURE(size);
            const temporary_directory where;
            const auto directory = where.path() / "state";
            std::filesystem::create_directory(directory);
            std::filesystem::permissions(directory, std::filesystem::perms::owner_all);
            const auto left = whole.substr(0, size) + std::string(size % 3, '\0');
            std::ofstream(directory / "state") << left;
            CHECK(refusal(directory) == "opened");
            CHECK(text_of(directory / "state.cut") == left);
            const survivor_book book(directory);
            CHECK(book.old().empty());
        }
    }

    TEST_CASE("a file that was cut since the machine was started is refused, as one that is none")
    {
        const temporary_directory where;
        const auto directory = where.path() / "state";
        {
            survivor_book book(directory);
            (void)book.add("self", 1, ::getpid());
            book.write();
        }
        const auto whole = text_of(directory / "state");
        for (const std::size_t lost : {2U, 4U, 5U, 20U}) {
            std::ofstream(directory / "state") << whole.substr(0, whole.size() - lost);
            CHECK(refusal(directory).find("state/state\": ") != std::string::npos);
        }
        CHECK(is_cut_off(whole.substr(0, whole.find("machine")), "this"));
        CHECK_FALSE(is_cut_off("hello", "this"));
        CHECK_FALSE(is_cut_off("hello\n", "this"));
        CHECK_FALSE(is_cut_off("procyard supervisor 2\n", "this"));
        CHECK_FALSE(is_cut_off("procyard supervisor 1\nkill 1\n", "this"));
    }

    TEST_CASE("refuses a directory that others may write, and a file that is none, by its path")
    {
        const temporary_directory where;
        const auto open = where.path() / "open";
        std::filesystem::create_directory(open);
        ::chmod(open.c_str(), 0777);
        CHECK(refusal(open).find("may be written by other users") != std::string::npos);
        CHECK(refusal(where.path() / "no" / "such").find("No such file") != std::string::npos);
        const auto bad = where.path() / "bad";
        std::filesystem::create_directory(bad);
        ::chmod(bad.c_str(), 0700);
        std::ofstream(bad / "state") << "procyard supervisor 1\nmarker x\nkill 1\n";
        CHECK(refusal(bad).find("bad/state\": line 3 is none of ours") != std::string::npos);
    }

    TEST_CASE("kills by the marker, whatever session it is in, and nobody else")
    {
        test_process marked({"daemon"}, {.environment = {"PROCYARD_TREE=outer:supervisor-x"}});
        test_process other({"pause"}, {.environment = {"PROCYARD_TREE=outer:supervisor-y"}});
        (void)marked.expect("member", 1);
        (void)other.expect("ready", 1);
        survivor_sweep sweep("supervisor-x", {});
        sweep_all(sweep);
        CHECK(marked.reap() == SIGKILL);
        CHECK(marked.read_to_end() != "never");
        CHECK(::kill(other.pid(), 0) == 0);
        CHECK(sweep.killed() >= 2);
    }

    TEST_CASE("kills by pid and start time, with the tree; another start time is a stranger's")
    {
        test_process mine({"setsid"});
        test_process stranger({"pause"});
        (void)mine.expect("member", 2);
        (void)stranger.expect("ready", 1);
        const temporary_directory where;
        survivor_book book(where.path() / "state");
        (void)book.add("mine", 1, mine.pid());
        (void)book.add("stranger", 1, stranger.pid());
        book.write();
        std::string fault;
        auto file = parse_survivors(text_of(where.path() / "state" / "state"), fault);
        REQUIRE(file);
        REQUIRE(file->records.size() == 2);
        file->records[1].start_ticks += 1;
        survivor_sweep sweep("supervisor-nobody", file->records);
        sweep_all(sweep);
        CHECK(mine.reap() == SIGKILL);
        (void)mine.read_to_end();
        CHECK(::kill(stranger.pid(), 0) == 0);
    }

    TEST_CASE("kills the group and the session of a leader that is dead, and of no other number")
    {
        for (const auto where :
             {test_process::placement::own_group, test_process::placement::own_session}) {
            test_process family({"family", "1"}, {.where = where});
            (void)family.expect("member", 2);
            const temporary_directory place;
            survivor_file file;
            {
                survivor_book book(place.path() / "state");
                (void)book.add("family", 1, family.pid());
                book.write();
                std::string fault;
                file = parse_survivors(text_of(place.path() / "state" / "state"), fault).value();
            }
            ::kill(family.pid(), SIGKILL);
            CHECK(family.reap() == SIGKILL);
            auto later = file.records;
            later.at(0).start_ticks += 1'000'000;
            survivor_sweep none("supervisor-nobody", later);
            sweep_all(none);
            CHECK(none.killed() == 0);
            survivor_sweep sweep("supervisor-nobody", file.records);
            sweep_all(sweep);
            CHECK(sweep.killed() == 1);
            (void)family.read_to_end();  // returns when nobody of them lives
        }
    }

    TEST_CASE("two of one name and number are two, and each is taken back by itself")
    {
        test_process one({"pause"});
        test_process two({"pause"});
        const temporary_directory where;
        survivor_book book(where.path() / "state");
        const auto first = book.add("a", 1, one.pid());
        (void)book.add("a", 1, two.pid());
        book.remove(first);
        book.write();
        const auto text = text_of(where.path() / "state" / "state");
        CHECK(text.find("lives " + std::to_string(one.pid()) + ' ') == std::string::npos);
        CHECK(text.find("lives " + std::to_string(two.pid()) + ' ') != std::string::npos);
    }

    TEST_CASE("a cgroup that we are in ourselves is nobody's leaf")
    {
        const std::string leaf = "/user.slice/procyard-5-1";
        CHECK(may_be_swept(leaf, "/"));
        CHECK(may_be_swept(leaf, "/user.slice"));
        CHECK(may_be_swept(leaf, "/user.slice/procyard-5-10"));
        CHECK_FALSE(may_be_swept(leaf, leaf));
        CHECK_FALSE(may_be_swept(leaf, leaf + "/below"));
        CHECK_FALSE(may_be_swept("/user.slice/of others", "/"));
        CHECK_FALSE(may_be_swept("", "/"));
    }

    TEST_CASE("whoever waits hears when the survivors are gone, and may make what they held")
    {
        const temporary_directory where;
        procyard::supervisor_options options;
        options.state_directory = where.path() / "state";
        const auto marker = survivor_book(options.state_directory).marker();
        test_process before({"pause"}, {.environment = {"PROCYARD_TREE=" + marker}});
        (void)before.expect("ready", 1);
        supervised f(options);
        outcome<procyard::error_code> gone;
        f.it().async_sweep(gone.handler());
        CHECK_FALSE(gone.done());
        run_until(f.ctx, [&] { return gone.done(); });
        CHECK(gone.error() == procyard::error_code());
        CHECK(before.read_to_end() != "never");
        outcome<procyard::error_code> again;
        f.it().async_sweep(again.handler());
        run_until(f.ctx, [&] { return again.done(); });
        CHECK(again.error() == procyard::error_code());
        f.stop();
    }

    TEST_CASE("survivors that do not go in time end the supervisor, which says who they are")
    {
        const temporary_directory where;
        procyard::supervisor_options options;
        options.state_directory = where.path() / "state";
        options.sweep_budget = std::chrono::nanoseconds(0);
        const auto marker = survivor_book(options.state_directory).marker();
        test_process before({"pause"}, {.environment = {"PROCYARD_TREE=" + marker}});
        (void)before.expect("ready", 1);
        supervised f(options);
        outcome<procyard::error_code> gone;
        outcome<procyard::error_code, procyard::supervisor_result> end;
        f.it().async_sweep(gone.handler());
        f.it().async_wait(end.handler());
        f.it().add(sleeper("a"));
        f.it().start();
        run_until(f.ctx, [&] { return gone.done() && end.done(); });
        CHECK(gone.error() == boost::asio::error::timed_out);
        CHECK(end.result().failed);
        // It may have died since, and then has no name any more.
        CHECK_MESSAGE(end.result().culprit.starts_with("survivors of another supervisor"),
                      end.result().culprit);
        CHECK(f.events.empty());
    }

    TEST_CASE("a wait for the sweep is cancelled by each type, and by the supervisor's end")
    {
        using boost::asio::cancellation_type;
        const temporary_directory where;
        procyard::supervisor_options options;
        options.state_directory = where.path() / "state";
        const auto marker = survivor_book(options.state_directory).marker();
        for (const auto type :
             {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
            test_process before({"pause"}, {.environment = {"PROCYARD_TREE=" + marker}});
            (void)before.expect("ready", 1);
            supervised f(options);
            outcome<procyard::error_code> cancelled;
            outcome<procyard::error_code> destroyed;
            boost::asio::cancellation_signal signal;
            f.it().async_sweep(
                boost::asio::bind_cancellation_slot(signal.slot(), cancelled.handler()));
            f.it().async_sweep(destroyed.handler());
            signal.emit(type);
            f.guarded.reset();
            run_until(f.ctx, [&] { return cancelled.done() && destroyed.done(); });
            CHECK(cancelled.error() == boost::asio::error::operation_aborted);
            CHECK(destroyed.error() == boost::asio::error::operation_aborted);
        }
    }

    TEST_CASE("a supervisor that starts kills the others' first, and its own have the marker")
    {
        const temporary_directory where;
        procyard::supervisor_options options;
        options.state_directory = where.path() / "state";
        std::string marker;
        {
            const survivor_book book(options.state_directory);
            marker = book.marker();
        }
        test_process before({"pause"}, {.environment = {"PROCYARD_TREE=" + marker}});
        (void)before.expect("ready", 1);
        supervised f(options);
        std::string seen;
        // Dead, and not reaped, it is a zombie.
        const auto is_dead =
            "grep -q '^State:.Z' /proc/" + std::to_string(before.pid()) + "/status";
        f.it().add(procyard::service("a",
                                     procyard::command::shell(
                                         is_dead + " && first=first; echo $first:$PROCYARD_TREE"))
                       .one_shot()
                       .log([&](procyard::service_output, std::string_view line) { seen = line; }));
        CHECK(f.events.empty());
        f.it().start();
        f.until("a", procyard::service_state::exited);
        CHECK(before.reap() == SIGKILL);
        // What holds its tree may have a mark of its own behind it.
        CHECK_MESSAGE(seen.starts_with("first:" + marker), seen);
        f.stop();
    }
}
