// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/spawn.hpp>

#include <boost/asio/append.hpp>
#include <boost/asio/error.hpp>

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <future>
#include <new>

#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/syscall.hpp>

#include "child_core.hpp"
#include "child_service.hpp"
#include "clone_child.hpp"
#include "command_access.hpp"
#include "connections.hpp"
#include "kernel_features.hpp"
#include "launch_pad.hpp"
#include "plan_builder.hpp"
#include "raw_syscall.hpp"
#include "spawner_thread.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

using access = command_access;

// The kernel copies a table in steps, up to the highest number that is kept: below this one it is
// cheap.
constexpr int low_numbers = 256;

/// One attempt to spawn, from the checked command to the running child.
class launch {
public:
    launch(const command& what, child_service& service, const asio::any_io_executor& executor)
        : what_(what),
          service_(service),
          core_(std::make_shared<child_core>(service, executor))
    {
    }

    spawn_failure run();
    [[nodiscard]] std::shared_ptr<child_core> take() noexcept { return std::move(core_); }

private:
    spawn_failure prepare();
    void trim_table(launch_pads::lease& pad);
    [[nodiscard]] bool use_slots(launch_pads::lease& pad);
    [[nodiscard]] bool table_could_not_be_trimmed(const spawn_failure& failure) const noexcept;
    spawn_failure clone(launch_pads::lease& pad);
    spawn_failure failure_of_child();
    void reap_failed(const clone_result& made) const noexcept;
    spawn_failure finish();

    const command& what_;
    child_service& service_;
    std::shared_ptr<child_core> core_;
    spawn_plan plan_;
    connections connections_;
    clone_result made_;
};

spawn_failure launch::prepare()
{
    plan_context context;
    context.environment = ::environ;
    context.parent = access::parent_death_signal(what_) != 0 ? ::getpid() : 0;
    context.close_range = has(kernel().close_range);
    const auto& group = access::process_group(what_);
    core_->leads_group = access::tree(what_) != tree_mode::none
        && (!group || *group == 0 || access::new_session(what_));
    context.lead_group = core_->leads_group;
    if (auto failure = build_plan(what_, context, plan_))
        return failure;
    plan_.signals.ignored_realtime = service_.ignored_realtime_signals();
    return connections_.open(what_, service_.may_enlarge_pipe(), plan_);
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
    // parent is out of reach.
    if (has(kernel().pidfd_getfd) && (plan_.namespaces & CLONE_NEWUSER) == 0) {
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
    request.share_descriptors = plan_.descriptors.unshare_above > 0;
    made_ = clone_child(request);
    if (made_.error != 0)
        return make_failure(what_, spawn_step::clone, made_.error);
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
    return make_failure(what_, op.step, op.error, plan_.operand_of(op));
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
    info.tree = core_->leads_group ? tree_mechanism::process_group : tree_mechanism::none;
    info.pidfd = static_cast<bool>(made_.pidfd);
    info.path = std::move(plan_.path);
    info.started = std::chrono::steady_clock::now();
    info.duration = info.started - begin;
    return finish();
}

spawn_failure launch::finish()
{
    for (const auto& op : plan_.ops) {
        if (op.optional && op.error != 0)
            core_->info.not_applied.push_back(
                make_failure(what_, op.step, op.error, plan_.operand_of(op)));
    }
    core_->pid = made_.pid;
    core_->pidfd = std::move(made_.pidfd);
    core_->program = what_.program();
    core_->on_drop = access::on_drop(what_);
    core_->terminal = std::move(connections_.terminal);
    core_->enlarged_pipes = connections_.enlarged_pipes;
    if (connections_.enlarged_pipes != 0)
        service_.count_enlarged_pipes(static_cast<int>(connections_.enlarged_pipes));
    service_.add(core_);

    error_code ec;
    if (connections_.parent_ends[0])
        core_->std_in.assign(std::move(connections_.parent_ends[0]), ec);
    if (!ec && connections_.parent_ends[1])
        core_->std_out.assign(std::move(connections_.parent_ends[1]), ec);
    if (!ec && connections_.parent_ends[2])
        core_->std_err.assign(std::move(connections_.parent_ends[2]), ec);
    if (!ec)
        return {};
    // No memory in the kernel to watch our own end: a child without its streams is no use to
    // anybody.
    core_->on_drop = drop_policy::kill_tree();
    core_->drop();
    return make_failure(what_, spawn_step::pipe, ec.value());
}

void report(child_service& service, const command& what, const spawn_failure& failure)
{
    if (const auto watcher = service.get_observer()) {
        child_event event;
        event.what = child_event::kind::exec_failed;
        event.when = std::chrono::steady_clock::now();
        event.program = what.program();
        event.failure = &failure;
        watcher->on_event(event);
    }
}

std::shared_ptr<child_core> spawn_here(const command& what, child_service& service,
                                       const asio::any_io_executor& executor,
                                       spawn_failure& failure)
{
    service.collect();
    launch attempt(what, service, executor);
    failure = attempt.run();
    if (failure) {
        report(service, what, failure);
        return nullptr;
    }
    auto core = attempt.take();
    core->emit(child_event::kind::spawned);
    return core;
}

/// Where a command is spawned.
struct spawn_site {
    child_service* service = nullptr;
    spawner_thread* thread = nullptr;
};

/// Looks at the command, and makes what is missing of the service and its thread.
spawn_failure find_site(const command& what, const asio::any_io_executor& executor,
                        bool with_thread, spawn_site& site)
{
    if (auto bad = check(what))
        return bad;
    error_code ec;
    site.service = child_service::try_of(executor, ec);
    if (ec)
        return make_failure(what, spawn_step::clone, ec.value(), "child service");
    if (with_thread)
        site.thread = site.service->try_spawner(ec);
    if (ec)
        return make_failure(what, spawn_step::clone, ec.value(), "spawner thread");
    return {};
}

std::shared_ptr<child_core>
spawn_anywhere(const command& what, const asio::any_io_executor& executor, spawn_failure& failure)
{
    spawn_site site;
    failure = find_site(what, executor, access::parent_death_signal(what) != 0, site);
    if (failure)
        return nullptr;
    auto& service = *site.service;
    if (site.thread == nullptr || site.thread->is_current())
        return spawn_here(what, service, executor, failure);

    std::promise<std::shared_ptr<child_core>> promise;
    site.thread->post([&] { promise.set_value(spawn_here(what, service, executor, failure)); });
    return promise.get_future().get();
}

/// An async_spawn on its way: waiting for the spawner thread, being spawned, or given up.
class spawn_operation {
public:
    spawn_operation(command what, asio::any_io_executor executor, spawn_failure* failure_out,
                    pending<void(error_code, child)> handler)
        : what_(std::move(what)),
          executor_(std::move(executor)),
          failure_out_(failure_out),
          handler_(std::move(handler))
    {
    }

    // Release, pairs with the acquire in run(); nothing but the flag is published.
    void cancel() noexcept { cancelled_.store(true, std::memory_order_release); }

    void run(child_service& service)
    {
        spawn_failure failure;
        std::shared_ptr<child_core> core;
        // Acquire, pairs with the release in cancel().
        if (!cancelled_.load(std::memory_order_acquire)) {
            try {
                core = spawn_here(what_, service, executor_, failure);
            } catch (const std::bad_alloc&) {
                // This thread has nobody above it who could catch.
                failure = make_failure(what_, spawn_step::clone, ENOMEM);
            }
        }
        if (cancelled_.load(std::memory_order_acquire)) {
            finish_cancelled(std::move(core));
            return;
        }
        if (failure_out_ != nullptr)
            *failure_out_ = failure;
        handler_.complete(failure.code, core ? child(std::move(core)) : child());
    }

private:
    // Made in spite of the cancellation: killed here, and reaped before the operation says that it
    // was cancelled.
    void finish_cancelled(std::shared_ptr<child_core> core)
    {
        if (!core) {
            handler_.complete(asio::error::operation_aborted, child());
            return;
        }
        error_code ignored;
        core->signal_tree(SIGKILL, ignored);
        auto* const raw = core.get();
        raw->start_wait([waiting = std::move(handler_),
                         core = std::move(core)](error_code, exit_status) mutable {
            waiting.complete(asio::error::operation_aborted, child());
        });
    }

    command what_;
    asio::any_io_executor executor_;
    spawn_failure* failure_out_;
    pending<void(error_code, child)> handler_;
    std::atomic<bool> cancelled_{false};
};

}  // namespace

void start_spawn(command what, asio::any_io_executor executor, spawn_failure* failure,
                 asio::any_completion_handler<void(error_code, child)> handler)
{
    pending<void(error_code, child)> waiting(executor, std::move(handler));
    spawn_site site;
    if (auto bad = find_site(what, executor, true, site)) {
        if (failure != nullptr)
            *failure = bad;
        waiting.complete(bad.code, child());
        return;
    }
    auto slot = waiting.get_cancellation_slot();
    auto operation =
        std::make_shared<spawn_operation>(std::move(what), executor, failure, std::move(waiting));
    if (slot.is_connected()) {
        slot.assign([weak = std::weak_ptr(operation)](asio::cancellation_type) {
            if (const auto self = weak.lock())
                self->cancel();
        });
    }
    site.thread->post([operation, service = site.service] { operation->run(*service); });
}

}  // namespace detail

child spawn(const command& what, asio::any_io_executor executor, spawn_failure& failure)
{
    auto core = detail::spawn_anywhere(what, executor, failure);
    return core ? child(std::move(core)) : child();
}

child spawn(const command& what, asio::any_io_executor executor)
{
    spawn_failure failure;
    auto result = spawn(what, std::move(executor), failure);
    if (failure)
        throw spawn_error(std::move(failure));
    return result;
}

const char* to_string(spawn_mechanism mechanism) noexcept
{
    switch (mechanism) {
    case spawn_mechanism::clone3: return "clone3";
    case spawn_mechanism::clone: return "clone";
    }
    return "unknown";
}

const char* to_string(descriptor_table table) noexcept
{
    switch (table) {
    case descriptor_table::trimmed: return "trimmed";
    case descriptor_table::fetched: return "fetched";
    case descriptor_table::copied: return "copied";
    }
    return "unknown";
}

PROCYARD_NAMESPACE_END
