// SPDX-License-Identifier: BSL-1.0
#include "plan_builder.hpp"

#include <doctest/doctest.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

using namespace procyard;
using procyard::detail::spawn_plan;

namespace {

// The steps of the command's plan, in their order; a failed build gives none.
std::vector<spawn_step> steps_of(const command& what, const detail::plan_context& context = {})
{
    spawn_plan plan;
    std::vector<spawn_step> steps;
    if (!detail::build_plan(what, context, plan)) {
        for (const auto& op : plan.ops)
            steps.push_back(op.step);
    }
    return steps;
}

std::size_t place_of(const std::vector<spawn_step>& steps, spawn_step step)
{
    const auto found = std::find(steps.begin(), steps.end(), step);
    REQUIRE_MESSAGE(found != steps.end(), "no step ", to_string(step));
    return static_cast<std::size_t>(found - steps.begin());
}

std::vector<std::string> environment_of(const command& what, char** parent)
{
    spawn_plan plan;
    detail::plan_context context;
    context.environment = parent;
    REQUIRE_FALSE(detail::build_plan(what, context, plan));
    plan.seal();
    std::vector<std::string> all;
    for (char* const* entry = plan.exec.envp; *entry != nullptr; ++entry)
        all.emplace_back(*entry);
    std::sort(all.begin(), all.end());
    return all;
}

std::string refusal(const command& what)
{
    return detail::check(what).to_string();
}

command everything()
{
    command what("/bin/true");
    sigset_t blocked;
    ::sigemptyset(&blocked);
    what.working_directory("/").process_group(0).umask(022).nice(1).scheduler(SCHED_BATCH);
    what.cpu_affinity({0, 70}).limit(RLIMIT_CORE, 0).user(1).group(2).supplementary_groups({3, 4});
    what.no_new_privileges().drop_capabilities({7}).parent_death_signal(SIGTERM);
    what.signal_mask(blocked);
    return what;
}

}  // namespace

TEST_SUITE("plan_builder")
{
    TEST_CASE("socket activation: the child's own id, just before the mask, in a place of its own")
    {
        char theirs[] = "LISTEN_PID=1";
        char kept[] = "A=1";
        char* parent[] = {theirs, kept, nullptr};
        detail::plan_context context;
        context.environment = parent;
        command what("/bin/true");
        what.listen_descriptor(stdio::borrow(0), "a").listen_descriptor(stdio::borrow(0), "b");
        CHECK(steps_of(what, context)
              == std::vector{spawn_step::signals, spawn_step::descriptors, spawn_step::environment,
                             spawn_step::signals, spawn_step::exec});
        CHECK(environment_of(what, parent)
              == std::vector<std::string>{"A=1", "LISTEN_FDNAMES=a:b", "LISTEN_FDS=2",
                                          "LISTEN_PID="});
        spawn_plan plan;
        REQUIRE_FALSE(detail::build_plan(what, context, plan));
        plan.seal();
        CHECK(plan.own_id.size > 20);  // the longest number there can be
        std::memcpy(plan.own_id.digits, "4711", 5);
        CHECK(std::any_of(plan.envp.begin(), plan.envp.end(), [](const char* entry) {
            return entry != nullptr && std::strcmp(entry, "LISTEN_PID=4711") == 0;
        }));
    }

    TEST_CASE("a plain command is: signals, descriptors, mask, exec")
    {
        CHECK(steps_of(command("/bin/true"))
              == std::vector{spawn_step::signals, spawn_step::descriptors, spawn_step::signals,
                             spawn_step::exec});
    }

    TEST_CASE("a guardian is told first, while the parent's descriptors are the child's")
    {
        detail::plan_context context;
        context.guardian_book = 9;
        const auto steps = steps_of(everything(), context);
        CHECK(place_of(steps, spawn_step::guardian) == 1);  // after the parent's handlers have gone
        CHECK(place_of(steps, spawn_step::descriptors) > 1);
    }

    TEST_CASE("groups are set before the group and the group before the user (case 12)")
    {
        const auto steps = steps_of(everything());
        CHECK(place_of(steps, spawn_step::supplementary_groups)
              < place_of(steps, spawn_step::group));
        CHECK(place_of(steps, spawn_step::group) < place_of(steps, spawn_step::user));
    }

    TEST_CASE("whatever needs privileges comes before they are given up")
    {
        const auto steps = steps_of(everything());
        const auto user = place_of(steps, spawn_step::user);
        for (const auto step : {spawn_step::nice, spawn_step::scheduler, spawn_step::limit,
                                spawn_step::cpu_affinity, spawn_step::capabilities})
            CHECK_MESSAGE(place_of(steps, step) < user, to_string(step));
    }

    TEST_CASE("the capability set is narrowed before and after the change of user")
    {
        const auto steps = steps_of(everything());
        CHECK(std::count(steps.begin(), steps.end(), spawn_step::capabilities) == 2);
        CHECK(std::find(steps.begin() + static_cast<long>(place_of(steps, spawn_step::user)),
                        steps.end(), spawn_step::capabilities)
              != steps.end());
    }

    TEST_CASE("the parent-death signal follows the credentials, which would clear it")
    {
        const auto steps = steps_of(everything());
        CHECK(place_of(steps, spawn_step::user) < place_of(steps, spawn_step::parent_death_signal));
    }

    TEST_CASE("signals are unblocked last, when no handler of the parent is left")
    {
        const auto steps = steps_of(everything());
        REQUIRE(steps.size() > 2);
        CHECK(steps.front() == spawn_step::signals);
        CHECK(steps[steps.size() - 2] == spawn_step::signals);
        CHECK(steps.back() == spawn_step::exec);
    }

    TEST_CASE("a change of user takes the parent's supplementary groups away, in the same step")
    {
        const auto gives_up_groups = [](const command& what) {
            spawn_plan plan;
            REQUIRE_FALSE(detail::build_plan(what, {}, plan));
            for (const auto& op : plan.ops) {
                if (op.step == spawn_step::user)
                    return op.b != 0;
            }
            REQUIRE_MESSAGE(false, "no change of user");
            return false;
        };
        namespace_options inside;
        inside.user = true;
        CHECK(gives_up_groups(command("/bin/true").user(1)));
        CHECK_FALSE(gives_up_groups(command("/bin/true").user(1).supplementary_groups({2})));
        CHECK_FALSE(gives_up_groups(command("/bin/true").user(1).namespaces(inside)));
    }

    TEST_CASE("a child that leads a session gets no group step, which would fail")
    {
        detail::plan_context context;
        context.lead_group = true;
        const auto steps = steps_of(command("/bin/true").new_session(), context);
        CHECK(std::find(steps.begin(), steps.end(), spawn_step::process_group) == steps.end());
        CHECK(place_of(steps, spawn_step::session) < place_of(steps, spawn_step::descriptors));
    }

    TEST_CASE("optional steps are marked, others are not")
    {
        spawn_plan plan;
        REQUIRE_FALSE(detail::build_plan(
            command("/bin/true").nice(-5).umask(0).optional(spawn_step::nice), {}, plan));
        for (const auto& op : plan.ops)
            CHECK(op.optional == (op.step == spawn_step::nice));
    }

    TEST_CASE("the environment: inherit, set, remove, clear (case 9)")
    {
        char a[] = "A=1";
        char b[] = "B=2";
        char bb[] = "BB=3";
        char odd[] = "no-equals-sign";
        char* parent[] = {a, b, bb, odd, nullptr};
        using list = std::vector<std::string>;

        CHECK(environment_of(command("/x"), parent) == list{"A=1", "B=2", "BB=3", odd});
        CHECK(environment_of(command("/x").env("B", "new"), parent)
              == list{"A=1", "B=new", "BB=3", odd});
        CHECK(environment_of(command("/x").env("C", "1").env("C", "2"), parent)
              == list{"A=1", "B=2", "BB=3", "C=2", odd});
        CHECK(environment_of(command("/x").env_remove("B"), parent) == list{"A=1", "BB=3", odd});
        CHECK(environment_of(command("/x").env("Z", "lost").env_clear().env("K", "v"), parent)
              == list{"K=v"});
        CHECK(environment_of(command("/x").env_clear(), parent).empty());
    }

    TEST_CASE("the parent's environment is passed on, not copied, when nothing changes it")
    {
        char a[] = "A=1";
        char* parent[] = {a, nullptr};
        spawn_plan plan;
        detail::plan_context context;
        context.environment = parent;
        REQUIRE_FALSE(detail::build_plan(command("/x"), context, plan));
        plan.seal();
        CHECK(plan.exec.envp == parent);
    }

    TEST_CASE("CPU numbers become a mask of words")
    {
        spawn_plan plan;
        REQUIRE_FALSE(detail::build_plan(everything(), {}, plan));
        REQUIRE(plan.cpu_mask.size() == 2);
        CHECK(plan.cpu_mask[0] == 1UL);
        CHECK(plan.cpu_mask[1] == 1UL << 6);
    }

    TEST_CASE("a relative program keeps its meaning in another directory (case 11)")
    {
        spawn_plan plan;
        REQUIRE_FALSE(detail::build_plan(command("bin/tool").working_directory("/"), {}, plan));
        CHECK(plan.path == (std::filesystem::current_path() / "bin/tool").native());
    }
}

TEST_SUITE("check")
{
    TEST_CASE("bad input is refused by name (case 9)")
    {
        using std::string;
        CHECK(refusal(command("")) == R"(spawn "": program "the name is empty": Invalid argument)");
        CHECK(refusal(command("x").arg("ok").arg(string("a\0b", 3)))
              == R"(spawn "x": arguments "NUL in argument 2": Invalid argument)");
        CHECK(refusal(command("x").env("a=b", "c"))
              == R"(spawn "x": environment "'=' in the name a=b": Invalid argument)");
        CHECK(refusal(command("x").env("", "c"))
              == R"(spawn "x": environment "a name is empty": Invalid argument)");
        CHECK(refusal(command("x").env("a", string("\0", 1)))
              == R"(spawn "x": environment "NUL in a": Invalid argument)");
        CHECK(refusal(command("x").working_directory(string("/\0", 2)))
              == R"(spawn "x": working directory "NUL in the path": Invalid argument)");
    }

    TEST_CASE("impossible descriptor maps are refused")
    {
        CHECK(detail::check(command("x").std_out(stdio::to_stdout())).step
              == spawn_step::descriptors);
        CHECK(
            detail::check(command("x").std_out(stdio::to_stderr()).std_err(stdio::to_stdout())).step
            == spawn_step::descriptors);
        CHECK(detail::check(command("x").descriptor(1, stdio::null())).step
              == spawn_step::descriptors);
        CHECK(detail::check(command("x").descriptor(-4, stdio::null())).step
              == spawn_step::descriptors);
        CHECK(detail::check(command("x").descriptor(5, stdio::pipe())).step
              == spawn_step::descriptors);
        CHECK(detail::check(command("x").descriptor(1 << 30, stdio::null())).code
              == boost::system::errc::bad_file_descriptor);
        CHECK(detail::check(command("x").std_in(stdio::borrow(-1))).code
              == boost::system::errc::bad_file_descriptor);
        CHECK(detail::check(command("x").std_in(stdio::write_file("f"))).step
              == spawn_step::descriptors);
    }

    TEST_CASE("numbers out of range are refused by the option's name")
    {
        CHECK(detail::check(command("x").parent_death_signal(65)).step
              == spawn_step::parent_death_signal);
        CHECK(detail::check(command("x").parent_death_signal(-1)).step
              == spawn_step::parent_death_signal);
        for (const int number : {0, -1, 65, SIGKILL, SIGSTOP})
            CHECK(detail::check(command("x").ignore_signal(number)).step == spawn_step::signals);
        CHECK(refusal(command("x").umask(01777)) == R"(spawn "x": umask "1777": Invalid argument)");
        CHECK(detail::check(command("x").cpu_affinity({})).step == spawn_step::cpu_affinity);
        CHECK(detail::check(command("x").user(static_cast<uid_t>(-1))).step == spawn_step::user);
        CHECK(detail::check(command("x").group(static_cast<gid_t>(-1))).step == spawn_step::group);
        CHECK(detail::check(command("x").process_group(-1)).step == spawn_step::process_group);
        CHECK(detail::check(command("x").controlling_terminal(-1)).step
              == spawn_step::controlling_terminal);
        CHECK(detail::check(command("x").process_group(7).tree(tree_mode::subreaper)).step
              == spawn_step::tree);
        CHECK(detail::check(command("x").cpu_affinity({1U << 20})).step
              == spawn_step::cpu_affinity);
        CHECK(detail::check(command("x").drop_capabilities({64})).step == spawn_step::capabilities);
        CHECK(detail::check(command("x").process_group(0).new_session()).step
              == spawn_step::process_group);
    }

    TEST_CASE("what is right is not refused")
    {
        CHECK_FALSE(detail::check(everything()));
        CHECK_FALSE(detail::check(command("x").std_in(stdio::pipe()).std_err(stdio::to_stdout())));
    }
}

TEST_SUITE("find_program")
{
    TEST_CASE("looks into absolute directories only (case 10)")
    {
        int error = 0;
        CHECK(detail::find_program("sh", "/bin", error) == "/bin/sh");
        CHECK(detail::find_program("sh", "::/nowhere:/bin", error) == "/bin/sh");
        CHECK(detail::find_program("sh", "", error).empty());
        CHECK(detail::find_program("sh", ".:bin:", error).empty());
        CHECK(error == ENOENT);
    }

    TEST_CASE("passes over directories and files that may not be executed")
    {
        int error = 0;
        CHECK(detail::find_program("bin", "/usr", error).empty());
        CHECK(error == ENOENT);
        CHECK(detail::find_program("passwd", "/etc", error).empty());
        CHECK(error == EACCES);
    }
}
