// SPDX-License-Identifier: BSL-1.0
#include "orphan_burial.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <vector>

#include "child_service.hpp"
#include "held_process.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

bool orphans_come_to_us() noexcept
{
    int is_subreaper = 0;
    return ::prctl(PR_GET_CHILD_SUBREAPER, &is_subreaper, 0, 0, 0) == 0 && is_subreaper != 0;
}

bool the_kernel_reaps() noexcept
{
    struct sigaction now{};
    (void)::sigaction(SIGCHLD, nullptr, &now);
    return (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_IGN;
}

// Of all children, whoever waits for them. It stays where it is.
bool anybody_is_dead() noexcept
{
    siginfo_t who{};
    return ::waitid(P_ALL, 0, &who, WEXITED | WNOHANG | WNOWAIT) == 0 && who.si_pid != 0;
}

}  // namespace

orphan_burial::ticket orphan_burial::watch(pid_t leader) noexcept
{
    try {
        ticket made(shared_from_this(), leader);
        leaders_.insert(leader);
        if (!deaths_ && orphans_come_to_us() && !the_kernel_reaps())
            arm();
        // Those that have died before they were listened to.
        if (deaths_)
            look();
        return made;
    } catch (const std::exception&) {
        return {};
    }
}

void orphan_burial::forget(pid_t leader) noexcept
{
    leaders_.erase(leader);
    // Its wait would keep the context running, and its handler is the host's business again.
    if (leaders_.empty())
        deaths_.reset();
}

void orphan_burial::arm()
{
    auto made = std::make_shared<signal_set>(executor_);
    made->add(SIGCHLD);
    deaths_ = std::move(made);
    wait();
}

void orphan_burial::wait()
{
    deaths_->async_wait([weak = weak_from_this(),
                         mine = std::weak_ptr(deaths_)](const error_code& ec, const signal_info&) {
        const auto self = weak.lock();
        // Another set may have taken the place of the one that has told it.
        if (ec || !self || !self->deaths_ || self->deaths_ != mine.lock())
            return;
        try {
            self->look();
            self->wait();
        } catch (const std::exception&) {  // no memory: armed again by the next service
            self->deaths_.reset();
        }
    });
}

// What cannot be looked at for want of a descriptor is looked at when the next one dies.
//
// Each service that starts looks, and each that ends: among thousands, what is paid for each child
// decides. So the kernel is asked first whether anybody is dead at all, which is one system call,
// and a child that somebody waits for is passed over before a file of it is opened.
void orphan_burial::look()
{
    if (!anybody_is_dead() || !proc_is_ours())
        return;
    std::vector<pid_t> children;
    (void)genealogy_.our_children(children);
    for (const auto pid : children) {
        if (!is_to_be_buried(pid))
            continue;
        // Again with a hold on it: somebody else may have reaped it since.
        const auto held = held_process::hold(pid);
        if (held && is_to_be_buried(pid))
            (void)held->reap();
    }
}

bool orphan_burial::is_to_be_buried(pid_t pid) const
{
    const auto* const service = child_service::find(executor_);
    if (service == nullptr || service->has_child(pid))
        return false;
    const auto record = read_stat(pid);
    if (!record || !is_dead(*record) || record->parent != ::getpid())
        return false;
    for (const auto leader : {record->group, record->session}) {
        if (leaders_.contains(leader) && service->has_child(leader))
            return true;
    }
    return false;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
