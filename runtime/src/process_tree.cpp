// SPDX-License-Identifier: BSL-1.0
#include "process_tree.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <new>
#include <utility>

#include <procyard/ipc/syscall.hpp>

#include "proc_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// Unique among all trees that could be around one process: by pid and counter here, by chance on
// the other side of a pid namespace or of a reboot in a restored environment.
std::string make_id()
{
    // Relaxed: only distinctness matters.
    static std::atomic<std::uint64_t> next_number{0};
    std::uint64_t chance = 0;
    // Without randomness (not seeded yet) the rest is still unique in this namespace.
    (void)retry_eintr([&] { return ::getrandom(&chance, sizeof chance, GRND_NONBLOCK); });
    char text[64];
    std::snprintf(text, sizeof text, "%d-%" PRIu64 "-%016" PRIx64, ::getpid(),
                  next_number.fetch_add(1, std::memory_order_relaxed), chance);
    return text;
}

}  // namespace

// A leaf with members, which were let go, stays, and so does what its guardian knows of it.
process_tree::~process_tree()
{
    remove_leaf();
    if (leaf_)
        guarded_.leave();
}

void process_tree::remove_leaf() noexcept
{
    try {
        if (leaf_)
            (void)leaf_.remove();
    } catch (const std::bad_alloc&) {  // then it stays for the next one to clear away
    }
    // After the directory: who is killed in between leaves the name of nothing.
    if (!leaf_ && ended_)
        guarded_.close();
}

error_code process_tree::prepare(tree_request request)
{
    const std::lock_guard lock(mutex_);
    auto mode = request.mode;
    if (mode == tree_mode::automatic || mode == tree_mode::cgroup) {
        const bool wants_cgroup = mode == tree_mode::cgroup || !request.cgroup_parent.empty();
        why_no_cgroup_ = make_leaf(request);
        may_fall_back_ = !wants_cgroup;
        mechanism_ = why_no_cgroup_ ? tree_mechanism::process_group : tree_mechanism::cgroup;
        if (wants_cgroup || !why_no_cgroup_)
            return why_no_cgroup_;
        mode = request.without_cgroup;
    }
    switch (mode) {
    case tree_mode::automatic:
    case tree_mode::cgroup: break;  // settled above
    case tree_mode::subreaper:
        if (const auto ec = become_subreaper()) {
            if (request.mode != tree_mode::automatic)
                return ec;
            why_no_subreaper_ = ec;
            mechanism_ = tree_mechanism::process_group;
            return {};
        }
        mechanism_ = tree_mechanism::subreaper;
        spoken_for_ = std::move(request.spoken_for);
        id_ = make_id();
        return {};
    case tree_mode::process_group: mechanism_ = tree_mechanism::process_group; return {};
    case tree_mode::none: mechanism_ = tree_mechanism::none; return {};
    }
    return {};
}

error_code process_tree::make_leaf(const tree_request& request)
{
    error_code ec;
    if (!request.cgroup_parent.empty()) {
        const auto parent = open_cgroup(request.cgroup_parent, ec);
        if (!ec)
            leaf_ = cgroup_leaf::create(parent.get(), guarded_, ec);
        return ec;
    }
    own_cgroup for_this_one;
    auto& own = request.own != nullptr ? *request.own : for_this_one;
    const int parent = own.directory(ec);
    if (!ec)
        leaf_ = cgroup_leaf::create(parent, guarded_, ec);
    return ec;
}

// Whether we are one is asked first: the kernel walks through all that descends from us each time
// it is told, so that each of thousands of spawns would cost a look at all before it. Once is
// enough: who is born later has it from its parent, and nobody else comes to descend from us.
error_code process_tree::become_subreaper()
{
    int is_one = 0;
    if (::prctl(PR_GET_CHILD_SUBREAPER, &is_one, 0UL, 0UL, 0UL) == 0 && is_one != 0)
        return {};
    return ::prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL) == -1 ? last_error() : error_code{};
}

unique_fd process_tree::open_cgroup_procs(error_code& ec) const
{
    return leaf_.open_procs(ec);
}

bool process_tree::sweeps() const noexcept
{
    return mechanism_ == tree_mechanism::process_group || mechanism_ == tree_mechanism::subreaper;
}

bool process_tree::needs_own_group() const noexcept
{
    return sweeps();
}

std::string process_tree::marker(std::string_view inherited) const
{
    if (id_.empty() || inherited.empty())
        return id_;
    std::string value(inherited);
    value += ':';
    value += id_;
    return value;
}

bool process_tree::fall_back()
{
    const std::lock_guard lock(mutex_);
    if (!may_fall_back_ || mechanism_ != tree_mechanism::cgroup || leader_.pid() != -1)
        return false;
    leaf_ = {};
    guarded_.no_leaf();
    why_no_cgroup_ = make_errno(EOPNOTSUPP);
    mechanism_ = tree_mechanism::process_group;
    return true;
}

error_code process_tree::attach(pid_t pid, int pidfd)
{
    const std::lock_guard lock(mutex_);
    PROCYARD_ASSERT(leader_.pid() == -1 && "a tree has one leader");
    leader_ = held_process::borrow(pid, pidfd);
    leads_session_ = sweeps() && ::getsid(pid) == pid;
    return guarded_.child_made(pid);
}

void process_tree::adopt(cgroup_leaf leaf)
{
    const std::lock_guard lock(mutex_);
    leaf_ = std::move(leaf);
    mechanism_ = tree_mechanism::cgroup;
}

tree_sweep& process_tree::sweep()
{
    if (!sweep_) {
        sweep_ = std::make_unique<tree_sweep>(sweep_options{id_, spoken_for_});
        sweep_->attach(leader_.pid(), leader_.descriptor(), leads_session_);
    }
    return *sweep_;
}

// The usual end: the child led a group, nobody has stayed in it, and there is nothing else to look
// for. One system call, and no sweep is ever made.
bool process_tree::group_has_ended(bool just_now) const noexcept
{
    if (leads_session_ || mechanism_ != tree_mechanism::process_group)
        return false;
    auto ec = leader_.signal_group(0);
    // Before Linux 6.9: by number, which cannot have been given out again since the reaping.
    if (ec == make_errno(ENOTSUP) && just_now && ::kill(-leader_.pid(), 0) == -1)
        ec = last_error();
    return ec == make_errno(ESRCH);
}

void process_tree::leader_reaped(bool just_now) noexcept
{
    const std::lock_guard lock(mutex_);
    if (over() || std::exchange(leader_reaped_, true))
        return;
    leader_.set_reaped();
    if (!sweeps())
        return;
    if (!sweep_ && group_has_ended(just_now)) {
        end();
        return;
    }
    try {
        sweep().leader_reaped(just_now);
    } catch (const std::bad_alloc&) {
        // The followers that only the number of the group could have shown are not found.
    }
}

error_code process_tree::signal(int number)
{
    const std::lock_guard lock(mutex_);
    if (over())
        return {};
    switch (mechanism_) {
    case tree_mechanism::cgroup: return leaf_.signal(number);
    case tree_mechanism::subreaper:
    case tree_mechanism::process_group: return sweep().signal(number);
    case tree_mechanism::none: return leader_.signal(number);
    }
    return {};
}

error_code process_tree::ask(int number)
{
    if (!sweeps())
        return signal(number);
    const std::lock_guard lock(mutex_);
    return over() ? error_code{} : sweep().ask(number);
}

void process_tree::add_asker() noexcept
{
    const std::lock_guard lock(mutex_);
    ++askers_;
}

void process_tree::remove_asker() noexcept
{
    const std::lock_guard lock(mutex_);
    if (--askers_ == 0 && sweep_)
        (void)sweep_->ask(0);
}

error_code process_tree::suspend()
{
    const std::lock_guard lock(mutex_);
    if (over())
        return {};
    switch (mechanism_) {
    case tree_mechanism::cgroup: return leaf_.freeze();
    case tree_mechanism::subreaper:
    case tree_mechanism::process_group: return sweep().suspend();
    case tree_mechanism::none: return leader_.signal(SIGSTOP);
    }
    return {};
}

error_code process_tree::resume()
{
    const std::lock_guard lock(mutex_);
    if (over())
        return {};
    switch (mechanism_) {
    case tree_mechanism::cgroup: {
        const auto thawed = leaf_.thaw();
        const auto continued = leaf_.signal(SIGCONT);  // who stopped by a signal, as a shell's jobs
        return thawed ? thawed : continued;
    }
    case tree_mechanism::subreaper:
    case tree_mechanism::process_group: return sweep().resume();
    case tree_mechanism::none: return leader_.signal(SIGCONT);
    }
    return {};
}

sweep_result process_tree::kill() noexcept
{
    const std::lock_guard lock(mutex_);
    sweep_result result;
    if (over())
        return result;
    try {
        switch (mechanism_) {
        case tree_mechanism::cgroup: result.error = leaf_.kill(); break;
        case tree_mechanism::subreaper:
        case tree_mechanism::process_group: return sweep().kill();
        case tree_mechanism::none:
            result.members = 1;
            result.error = leader_.signal(SIGKILL);
            break;
        }
    } catch (const std::bad_alloc&) {
        result.error = make_errno(ENOMEM);
        (void)leader_.signal(SIGKILL);
    }
    result.settled = !result.error;
    return result;
}

// Who finds a cgroup empty removes it, and the kernel tells of a change no sooner than 10 ms after
// the one before: what it has put off goes with the file. So the others are told here. (Leaving the
// leaf to the last of them would leave it for good where the process ends meanwhile.)
tree_event process_tree::next_event(const std::shared_ptr<tree_watcher>& asker)
{
    tree_event event;
    std::vector<std::weak_ptr<tree_watcher>> others;
    {
        const std::lock_guard lock(mutex_);
        event = look();
        if (event.empty)
            others.swap(watchers_);
        else if (event.priority && asker && !watch(asker))
            event.descriptor.reset();
    }
    for (const auto& one : others) {
        const auto other = one.lock();
        if (other && other != asker)
            other->tree_ended();
    }
    return event;
}

// False: there is no memory for it.
bool process_tree::watch(const std::shared_ptr<tree_watcher>& asker) noexcept
{
    bool is_known = false;
    std::erase_if(watchers_, [&](const std::weak_ptr<tree_watcher>& one) {
        is_known = is_known || (!one.owner_before(asker) && !asker.owner_before(one));
        return one.expired();
    });
    try {
        if (!is_known)
            watchers_.push_back(asker);
    } catch (const std::bad_alloc&) {
        return false;
    }
    return true;
}

tree_event process_tree::look()
{
    if (over())
        return {.empty = true};
    if (mechanism_ == tree_mechanism::cgroup)
        return next_cgroup_event();
    int member = leader_.descriptor();
    const bool is_empty = sweeps() ? sweep().empty() : !leader_.alive();
    if (is_empty) {
        end();
        return {.empty = true};
    }
    if (sweeps())
        member = sweep().wait_descriptor();
    tree_event event;
    // A duplicate: the member's may be closed before the asker's wait is over.
    if (member >= 0)
        event.descriptor.reset(::fcntl(member, F_DUPFD_CLOEXEC, 0));
    return event;
}

tree_event process_tree::next_cgroup_event()
{
    tree_event event;
    error_code ec;
    event.descriptor = leaf_.open_events(ec);
    event.priority = true;
    const bool gone = ec == make_errno(ENOENT) || ec == make_errno(ENODEV);
    if (gone || (event.descriptor && !cgroup_leaf::populated(event.descriptor.get(), ec))) {
        end();
        return {.empty = true};
    }
    if (ec)
        event.descriptor.reset();
    return event;
}

void process_tree::end() noexcept
{
    ended_ = true;
    sweep_.reset();
    try {
        if (leaf_)
            last_usage_ = leaf_.usage();
    } catch (const std::bad_alloc&) {  // then what it has used is not known
    }
    remove_leaf();
}

std::vector<pid_t> process_tree::members() const
{
    const std::lock_guard lock(mutex_);
    if (over())
        return {};
    if (mechanism_ == tree_mechanism::cgroup)
        return leaf_.members();
    if (sweep_)
        return sweep_->members();
    return leader_.alive() ? std::vector{leader_.pid()} : std::vector<pid_t>{};
}

cgroup_usage process_tree::usage() const
{
    const std::lock_guard lock(mutex_);
    return leaf_ ? leaf_.usage() : last_usage_;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
