// SPDX-License-Identifier: BSL-1.0
#include "launch.hpp"

#include <boost/container/small_vector.hpp>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "command_access.hpp"
#include "guarded_entry.hpp"
#include "guardian_core.hpp"
#include "kernel_features.hpp"
#include "own_cgroup.hpp"
#include "proc_text.hpp"
#include "raw_syscall.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

using access = command_access;

// The kernel copies a table in steps, up to the highest number that is kept: below this one it is
// cheap.
constexpr int low_numbers = 256;

// What a clone says to namespaces it may not make; EUSERS and ENOSPC: there are too many. EINVAL
// may mean the cgroup as well, which then is tried first.
bool means_no_namespaces(int error, bool with_cgroup) noexcept
{
    return error == EPERM || error == ENOSPC || error == EUSERS
        || (error == EINVAL && !with_cgroup);
}

// What a kernel or a sandbox says to a flag it does not know. A cgroup that takes nobody says other
// things (EBUSY, EACCES).
bool means_no_clone_into_cgroup(int error_number) noexcept
{
    return error_number == EINVAL || error_number == E2BIG || error_number == ENOSYS
        || error_number == EPERM;
}

// What the kernel says of a cgroup that takes no process, or not this one; not of a process that
// could not be made.
bool means_cgroup_takes_nobody(int error_number) noexcept
{
    return error_number == EACCES || error_number == EBUSY || error_number == EOPNOTSUPP
        || error_number == ENODEV || error_number == ENOENT;
}

// What the child's place leaves to choose from.
tree_mode mode_by_place(const command& what, tree_mode without_cgroup)
{
    // A member of somebody else's group is no tree of its own; one in a cgroup of the user's choice
    // gets no other.
    const auto& group = access::process_group(what);
    if (group && *group != 0)
        return tree_mode::none;
    return access::cgroup(what).empty() ? tree_mode::automatic : without_cgroup;
}

}  // namespace

tree_mode chosen_mode(const command& what, tree_mode without_cgroup)
{
    const auto mode = access::tree(what);
    if (mode != tree_mode::automatic || !access::cgroup_parent(what).empty())
        return mode;
    return mode_by_place(what, without_cgroup);
}

spawn_failure launch::prepare()
{
    if (auto failure = prepare_guardian())
        return failure;
    if (auto failure = prepare_tree())
        return failure;
    plan_context context;
    context.environment = ::environ;
    context.parent = access::parent_death_signal(what_) != 0 ? ::getpid() : 0;
    context.close_range = has(kernel().close_range);
    context.lead_group = core_->tree.needs_own_group();
    context.marker = marker_of_child(context);
    context.cgroup_procs = cgroup_procs_.get();
    context.process = ::getpid();
    context.guardian_book = core_->tree.guardian_book();
    context.place_in_book = core_->tree.place_in_book();
    if (auto failure = build_plan(what_, context, plan_))
        return failure;
    plan_.signals.ignored_realtime = service_.ignored_realtime_signals();
    return connections_.open(what_, service_.may_enlarge_pipe(), plan_);
}

// There, and told, before anything is that it would have to clear away.
spawn_failure launch::prepare_guardian()
{
    const auto& guardian = access::guarded_by(what_);
    if (!guardian)
        return {};
    const auto refused = [&](int error, std::string why = {}) {
        return make_failure(what_, spawn_step::guardian, error, std::move(why));
    };
    if (!guardian->is_ours())
        return refused(ECHILD);
    try {
        guardian->keep(core_->executor);
    } catch (const spawn_error& e) {
        return refused(e.code().value(), e.what());
    } catch (const boost::system::system_error& e) {
        return refused(e.code().value(), e.what());
    } catch (const std::runtime_error& e) {
        return refused(EPROTO, e.what());  // it has not become one
    }
    error_code ec;
    core_->tree.set_guarded(guarded_entry(guardian, ec));
    return ec ? refused(ec.value()) : spawn_failure{};
}

// Marks nest: those of who is around it stay.
std::string launch::marker_of_child(const plan_context& context) const
{
    const auto inherited = child_variable(what_, context, tree_marker_name);
    const auto& guardian = access::guarded_by(what_);
    if (!guardian)
        return core_->tree.marker(inherited);
    auto guarded = std::string(inherited);
    if (!guarded.empty())
        guarded += ':';
    guarded += guardian->mark();
    auto all = core_->tree.marker(guarded);
    return all.empty() ? guarded : all;
}

// What the tree is made of is settled before the plan, because parts of it are steps of the plan.
spawn_failure launch::prepare_tree()
{
    tree_request request;
    request.mode = tree_mode_;
    request.without_cgroup = without_cgroup_;
    request.cgroup_parent = access::cgroup_parent(what_).native();
    request.own = &service_.cgroup();
    request.spoken_for = [&service = service_](pid_t pid) { return service.has_child(pid); };
    if (const auto ec = core_->tree.prepare(std::move(request))) {
        const auto& parent = access::cgroup_parent(what_);
        auto failure =
            make_failure(what_, spawn_step::tree, ec.value(),
                         parent.empty() ? std::string(to_string(tree_mode_)) : parent.native());
        if (!access::is_optional(what_, spawn_step::tree))
            return failure;
        // Then as if nothing had been asked for; that cannot fail.
        core_->info.not_applied.push_back(std::move(failure));
        request = {};
        request.mode = mode_by_place(what_, without_cgroup_);
        request.without_cgroup = without_cgroup_;
        request.spoken_for = [&service = service_](pid_t pid) { return service.has_child(pid); };
        request.own = &service_.cgroup();
        (void)core_->tree.prepare(std::move(request));
    }
    if (const auto ec = core_->tree.why_no_subreaper())
        core_->info.not_applied.push_back(make_failure(
            what_, spawn_step::tree, ec.value(), std::string(to_string(tree_mode::subreaper))));
    return prepare_cgroup();
}

// The cgroup to be born in: the tree's own leaf, or the one that was named.
spawn_failure launch::prepare_cgroup()
{
    error_code ec;
    const bool is_optional = access::is_optional(what_, spawn_step::cgroup);
    const auto& named = access::cgroup(what_);
    if (!named.empty()) {
        named_cgroup_ = open_cgroup(named.native(), ec);
        if (ec) {
            auto failure = make_failure(what_, spawn_step::cgroup, ec.value(), named.native());
            if (!is_optional)
                return failure;
            core_->info.not_applied.push_back(std::move(failure));
        }
    }
    const int directory = cgroup_directory();
    // What may fail is a step of the child; a clone fails as a whole.
    if (directory < 0 || (can_clone_into_cgroup() && !is_optional))
        return {};
    cgroup_procs_.reset(::openat(directory, "cgroup.procs", O_WRONLY | O_CLOEXEC));
    if (cgroup_procs_)
        return {};
    auto failure = make_failure(what_, spawn_step::cgroup, errno, named.native());
    if (!is_optional || !named_cgroup_)
        return failure;
    core_->info.not_applied.push_back(std::move(failure));
    named_cgroup_.reset();
    return {};
}

int launch::cgroup_directory() const noexcept
{
    return named_cgroup_ ? named_cgroup_.get() : core_->tree.cgroup_directory();
}

// As the user gave it; empty for a cgroup of the library's own choice.
std::string launch::cgroup_name() const
{
    return named_cgroup_ ? access::cgroup(what_).native() : access::cgroup_parent(what_).native();
}

// The plan knows all but the cgroup, which it has as an open file.
std::string launch::operand_of(const child_op& op) const
{
    return op.step == spawn_step::cgroup ? cgroup_name() : plan_.operand_of(op);
}

// Decides how the child gets its descriptors without a copy of the whole table, or leaves it at the
// copy.
void launch::trim_table(launch_pads::lease& pad)
{
    auto& table = plan_.descriptors;
    if (!has(kernel().close_range) || !has(kernel().close_range_unshare))
        return;
    if (pad->has_slots() && use_slots(pad))
        return;
    // The context was made when low numbers were gone. Not into a user namespace: from there the
    // parent is out of reach; nor into a pid namespace, where it has no number.
    if (has(kernel().pidfd_getfd) && (plan_.namespaces & (CLONE_NEWUSER | CLONE_NEWPID)) == 0) {
        table.unshare_above = 3;
        table.fetch = true;
    }
}

// Moves the sources onto launch slots, so that the child needs none but low numbers. All or
// nothing.
bool launch::use_slots(launch_pads::lease& pad)
{
    boost::container::small_vector<fd_move, 8> placed(plan_.moves.begin(), plan_.moves.end());
    int highest = 2;
    for (auto& move : placed) {
        if (move.source >= low_numbers)
            move.source = pad->place(move.source);
        if (move.source < 0 || move.source >= low_numbers)
            return false;
        highest = std::max(highest, move.source);
    }
    plan_.moves.assign(placed.begin(), placed.end());
    plan_.descriptors.unshare_above = highest + 1;
    return true;
}

std::optional<tree_mode> launch::other_way()
{
    const bool cgroup_failed = made_.error != 0
        || (plan_.child.failed_op >= 0
            && plan_.ops[static_cast<std::size_t>(plan_.child.failed_op)].step
                == spawn_step::cgroup);
    if (!cgroup_failed || cgroup_directory() < 0)
        return std::nullopt;
    // Not into it by the clone, but by a step of the child; and where that failed, without it.
    if (!cgroup_procs_ && !can_clone_into_cgroup())
        return tree_mode_;
    return core_->tree.fall_back() ? std::optional(without_cgroup_) : std::nullopt;
}

spawn_failure launch::clone(launch_pads::lease& pad)
{
    plan_.seal();
    clone_request request;
    request.plan = &plan_.child;
    request.signals = &plan_.signals;
    request.stack = pad->stack();
    request.stack_bytes = launch_pad::stack_bytes;
    request.inherited_mask = access::inherit_signals(what_) && !access::signal_mask(what_)
        ? &plan_.signal_mask
        : nullptr;
    request.namespaces = plan_.namespaces;
    request.cgroup = cgroup_procs_ ? -1 : cgroup_directory();
    request.changes_identity = access::user(what_) || access::group(what_);
    request.share_descriptors = plan_.descriptors.unshare_above > 0;
    made_ = clone_child(request);
    if (plan_.namespaces != 0 && means_no_namespaces(made_.error, request.cgroup >= 0)) {
        if (!access::is_optional(what_, spawn_step::namespaces))
            return make_failure(what_, spawn_step::namespaces, made_.error);
        namespaces_error_ = made_.error;
        plan_.give_up_namespaces();
        return clone(pad);
    }
    if (made_.error != 0) {
        if (request.cgroup >= 0 && means_no_clone_into_cgroup(made_.error))
            clear(kernel().clone_into_cgroup);
        if (request.cgroup >= 0 && means_cgroup_takes_nobody(made_.error))
            return make_failure(what_, spawn_step::cgroup, made_.error, cgroup_name());
        return make_failure(what_, spawn_step::clone, made_.error);
    }
    if (plan_.child.failed_op >= 0) {
        reap_failed(made_);
        return failure_of_child();
    }
    return {};
}

// A sandbox that knows close_range but not its flag, a parent that may not be traced: then by copy,
// now and later.
bool launch::table_could_not_be_trimmed(const spawn_failure& failure) const noexcept
{
    return failure.step == spawn_step::descriptors && plan_.child.failed_op >= 0
        && plan_.ops[static_cast<std::size_t>(plan_.child.failed_op)].b == table_failed;
}

spawn_failure launch::failure_of_child()
{
    const auto& op = plan_.ops[static_cast<std::size_t>(plan_.child.failed_op)];
    return make_failure(what_, op.step, op.error, operand_of(op));
}

// The child has left by exit_group, so this waits for microseconds at most.
void launch::reap_failed(const clone_result& made) const noexcept
{
    siginfo_t info{};
    long result = 0;
    do {
        constexpr int by_pidfd = 3;  // P_PIDFD
        result = made.pidfd
            ? raw_syscall(SYS_waitid, by_pidfd, made.pidfd.get(), raw_arg(&info), WEXITED)
            : raw_syscall(SYS_waitid, P_PID, made.pid, raw_arg(&info), WEXITED);
    } while (result == -EINTR);
}

spawn_failure launch::run()
{
    const auto begin = std::chrono::steady_clock::now();
    if (auto failure = prepare())
        return failure;

    auto pad = service_.pads().acquire();
    if (!pad)
        return make_failure(what_, spawn_step::clone, ENOMEM, "stack");
    const auto moves = plan_.moves;
    trim_table(pad);
    auto failure = clone(pad);
    if (plan_.descriptors.unshare_above > 0 && table_could_not_be_trimmed(failure)) {
        if (failure.code != boost::system::errc::too_many_files_open)
            clear(plan_.descriptors.fetch ? kernel().pidfd_getfd : kernel().close_range_unshare);
        plan_.moves = moves;
        plan_.descriptors.unshare_above = 0;
        plan_.descriptors.fetch = false;
        failure = clone(pad);
    }
    if (failure)
        return failure;

    auto& info = core_->info;
    info.mechanism = made_.mechanism;
    const auto& table = plan_.descriptors;
    info.descriptors = table.unshare_above == 0 ? descriptor_table::copied
        : table.fetch                           ? descriptor_table::fetched
                                                : descriptor_table::trimmed;
    info.tree = core_->tree.mechanism();
    info.pidfd = static_cast<bool>(made_.pidfd);
    info.path = std::move(plan_.path);
    info.started = std::chrono::steady_clock::now();
    info.duration = info.started - begin;
    try {
        return finish();
    } catch (...) {
        disown();
        throw;
    }
}

// There is no memory to keep an account of the child: then it must not be there.
void launch::disown() noexcept
{
    if (core_->id != 0) {
        core_->on_drop = drop_policy::kill_tree();
        core_->drop();
        return;
    }
    if (core_->pidfd)
        made_.pidfd = std::move(core_->pidfd);
    (void)(made_.pidfd ? raw_syscall(SYS_pidfd_send_signal, made_.pidfd.get(), SIGKILL, 0, 0)
                       : raw_syscall(SYS_kill, made_.pid, SIGKILL));
    reap_failed(made_);
}

spawn_failure launch::finish()
{
    connections_.give_away();
    if (namespaces_error_ != 0)
        core_->info.not_applied.push_back(
            make_failure(what_, spawn_step::namespaces, namespaces_error_));
    for (const auto& op : plan_.ops) {
        if (op.optional && op.error != 0)
            core_->info.not_applied.push_back(
                make_failure(what_, op.step, op.error, operand_of(op)));
    }
    core_->pid = made_.pid;
    core_->pidfd = std::move(made_.pidfd);
    const auto untold = core_->tree.attach(core_->pid, core_->pidfd.get());
    core_->program = what_.program();
    core_->on_drop = access::on_drop(what_);
    core_->terminal = std::move(connections_.terminal);
    core_->enlarged_pipes = connections_.enlarged_pipes;
    if (connections_.enlarged_pipes != 0)
        core_->pipe_budget = service_.count_enlarged_pipes(connections_.enlarged_pipes);
    service_.add(core_);
    if (untold) {
        core_->on_drop = drop_policy::kill_tree();
        core_->drop();
        return make_failure(what_, spawn_step::guardian, untold.value());
    }

    error_code ec;
    const auto take = [&](auto& stream, unique_fd& end) {
        if (end && !ec)
            stream.emplace(core_->executor).assign(std::move(end), ec);
    };
    take(core_->std_in, connections_.parent_ends[0]);
    take(core_->std_out, connections_.parent_ends[1]);
    take(core_->std_err, connections_.parent_ends[2]);
    if (!ec)
        return {};
    // No memory in the kernel to watch our own end: a child without its streams is no use to
    // anybody.
    core_->on_drop = drop_policy::kill_tree();
    core_->drop();
    return make_failure(what_, spawn_step::pipe, ec.value());
}

}  // namespace detail
PROCYARD_NAMESPACE_END
