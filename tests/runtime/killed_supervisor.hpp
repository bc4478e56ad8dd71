// SPDX-License-Identifier: BSL-1.0
// What a supervisor does that is killed at any moment. Each service holds a lock on a file as long
// as anything of it lives, and says so where it finds the file locked.
#ifndef PROCYARD_TESTS_RUNTIME_KILLED_SUPERVISOR_HPP
#define PROCYARD_TESTS_RUNTIME_KILLED_SUPERVISOR_HPP

#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <optional>
#include <random>
#include <set>
#include <string>

#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/unix_socket.hpp>
#include <procyard/runtime/guardian.hpp>
#include <procyard/runtime/supervisor.hpp>

#include <doctest/doctest.h>

#include "killed_host.hpp"
#include "procyard_test.hpp"
#include "spawning.hpp"
#include "supervisor_fixture.hpp"

namespace procyard_test {

/// A command of the helper's that holds a file. A daemon goes with its service when that is
/// stopped: by its cgroup, which is made in `cgroups`, or by a subreaper, if that is empty.
inline procyard::command exclusive(const char* mode, const std::filesystem::path& file,
                                   const std::string& cgroups,
                                   const std::optional<procyard::guardian>& guardian)
{
    procyard::command what(PROCYARD_TEST_HELPER);
    what.arg(mode).arg(file.string());
    if (cgroups.empty())
        what.tree(procyard::tree_mode::subreaper);
    else
        what.tree(procyard::tree_mode::cgroup).cgroup_parent(cgroups);
    if (guardian)
        what.guarded_by(*guardian);
    return what;
}

/// A socket that listens at an abstract name of this process: gone with the last who has it.
inline procyard::unique_fd listening_in(boost::asio::io_context& ctx,
                                        const std::filesystem::path& where)
{
    using procyard::unix_stream;
    const auto name = where.string() + '-' + std::to_string(::getpid());
    unix_stream::acceptor acceptor(ctx, procyard::unix_abstract_endpoint<unix_stream>(name));
    return procyard::unique_fd(acceptor.release());
}

inline void add_services(boost::asio::io_context& ctx, procyard::supervisor& all,
                         const std::filesystem::path& where, const std::string& cgroups,
                         const std::optional<procyard::guardian>& guardian = std::nullopt)
{
    using procyard::readiness;
    using procyard::service;
    const auto holding = [&](const char* name, const char* mode) {
        return service(name, exclusive(mode, where / name, cgroups, guardian));
    };
    all.add(holding("a", "--mode=exclusive").ready_when(readiness::line_with("ready")));
    all.add(holding("b", "--mode=exclusive-daemon")
                .ready_when(readiness::line_with("ready"))
                .listen("front", listening_in(ctx, where))
                .depends_on({"a"}));
    all.add(service("group", procyard::restart_strategy::one_for_one,
                    {holding("c", "--mode=exclusive-daemon").ready_when(readiness::told())}));
    // Never comes to rest.
    all.add(holding("d", "--mode=exclusive-exit")
                .backoff({
                    .first = std::chrono::milliseconds(1),
                    .cap = std::chrono::milliseconds(1),
                }));
}

inline procyard::supervisor_options in(const std::filesystem::path& where)
{
    procyard::supervisor_options options;
    options.state_directory = where / "of the supervisor";
    options.intensity = {1'000'000, std::chrono::hours(1)};
    return options;
}

/// The host that is killed: supervises until then, and tells each event. With a guardian it has no
/// state directory.
inline void supervise_at(const std::filesystem::path& where, const std::string& cgroups = "",
                         bool with_guardian = false)
{
    boost::asio::io_context ctx;
    auto options = in(where);
    std::optional<procyard::guardian> guardian;
    if (with_guardian) {
        options.state_directory.clear();
        guardian.emplace(ctx.get_executor());
    }
    options.on_event = [](const procyard::service_event& event) {
        std::cout << event << std::endl;
    };
    procyard::supervisor all(ctx.get_executor(), options);
    add_services(ctx, all, where, cgroups, guardian);
    all.start();
    ctx.run();
}

/// The host that comes last: all is ready, and is stopped.
inline void stop_in_order_at(const std::filesystem::path& where, const std::string& cgroups = "")
{
    supervised f(in(where));
    add_services(f.ctx, f.it(), where, cgroups);
    f.it().start();
    for (const char* const name : {"a", "b"})
        f.until(name, procyard::service_state::ready);
    CHECK(f.stop().left.empty());
}

inline int wanted_kills()
{
    const char* const wanted = std::getenv("PROCYARD_SUPERVISOR_KILLS");
    const int kills = wanted != nullptr ? std::atoi(wanted) : 25;
    REQUIRE(kills > 0);
    return kills;
}

/// The names in a directory and below it.
inline std::set<std::string> names_in(const std::filesystem::path& where)
{
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(where)) {
        if (!is_of_sanitizer(entry.path()))
            names.insert(entry.path().lexically_relative(where).string());
    }
    return names;
}

/// Kills as many hosts with guardians as one wishes, and looks after each one for what is left.
inline void kill_guarded_again_and_again(
    const std::filesystem::path& where, const std::function<void()>& check_more = [] { })
{
    const int kills = wanted_kills();
    std::mt19937 random(20261124);
    boost::asio::io_context ctx;
    for (int i = 0; i < kills; ++i) {
        CAPTURE(i);
        auto host = start_host(ctx, "host: supervises with a guardian", where);
        kill_some_time(ctx, host, random, 12);
        // What it leaves are our orphans, and its guardian is the last of them.
        bury_until(0);
        for (const auto& name : names_in(where))
            CHECK_MESSAGE(name.size() == 1, name);  // a service's own
        CHECK(text_of("/proc/net/unix").find(where.string()) == std::string::npos);
        check_more();
    }
    MESSAGE(kills << " kills");
}

/// Kills so many hosts as one wishes, and lets one stop in order: all that there was, was ours, and
/// is dead.
inline void kill_again_and_again(const std::filesystem::path& where)
{
    const int kills = wanted_kills();
    std::mt19937 random(20261122);
    boost::asio::io_context ctx;
    for (int i = 0; i < kills; ++i) {
        auto host = start_host(ctx, "host: supervises", where);
        kill_some_time(ctx, host, random, 12);
        bury_orphans();
    }
    auto last = start_host(ctx, "host: stops in order", where);
    const auto output = read_all(ctx, last.std_out());
    const auto status = wait(ctx, last);
    CHECK_MESSAGE(status.success(), output);
    bury_orphans();
    CHECK(children() == 0);
    // What is there is the services' own, and the state.
    CHECK(names_in(where)
          == std::set<std::string>{"a", "b", "c", "d", "of the supervisor",
                                   "of the supervisor/lock", "of the supervisor/state"});
    CHECK(text_of("/proc/net/unix").find(where.string()) == std::string::npos);
    const auto state = text_of(where / "of the supervisor" / "state");
    CHECK_MESSAGE(state.find("lives") == std::string::npos, state);
    MESSAGE(kills << " kills");
}

}  // namespace procyard_test

#endif
