// SPDX-License-Identifier: BSL-1.0
// docs/options.md: options that take a child away from its parent. Some need privileges; without,
// the spawn fails, by the option's name, and that is what this program prints then.
#include <signal.h>

#include "guide.hpp"

namespace {

asio::awaitable<void> run_or_say_why_not(command what)
{
    auto executor = co_await asio::this_coro::executor;
    what.std_out(stdio::pipe());
    spawn_failure failure;
    child c = spawn(what, executor, failure);
    if (!c) {
        std::cout << failure << '\n';
        co_return;
    }
    std::cout << co_await read_all(c.std_out());
    expect((co_await c.async_wait()).success(), "it ran");
}

asio::awaitable<void> co_main()
{
    // [user]
    command harmless("id");
    harmless
        .user(65534)           // and no groups but this one:
        .group(65534)          // supplementary_groups({…}) would give it some
        .drop_capabilities()   // from all five sets; or drop_capabilities({CAP_NET_BIND_SERVICE})
        .no_new_privileges();  // no set-user-id program gains anything
    // [user]
    // [namespaces]
    command sealed = command::shell("id -u; echo pid $$");
    sealed.namespaces({.user = true, .pid = true, .network = true});  // root, but only in there
    // [namespaces]
    // [cgroup]
    command job("true");
    job.cgroup_parent("/sys/fs/cgroup/my.slice/jobs");  // a leaf of its own, made in there
    command member("true");
    member.cgroup("/sys/fs/cgroup/my.slice/batch");  // born as a member of this one
    // [cgroup]
    // [signals]
    sigset_t blocked;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGUSR1);
    command careful("grep", {"-E", "SigBlk|SigIgn", "/proc/self/status"});
    careful
        .signal_mask(blocked)           // by default nothing is blocked,
        .ignore_signal(SIGHUP)          // and nothing ignored, whatever the parent does
        .parent_death_signal(SIGTERM);  // when this process dies, even of SIGKILL
    // [signals]
    co_await run_or_say_why_not(harmless);
    co_await run_or_say_why_not(sealed);
    co_await run_or_say_why_not(job);
    co_await run_or_say_why_not(member);
    co_await run_or_say_why_not(careful);
}

}  // namespace

int main()
{
    return run_main(co_main());
}
