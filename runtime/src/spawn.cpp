// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/spawn.hpp>

#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <future>
#include <memory>
#include <new>
#include <utility>

#include <procyard/ipc/detail/pending.hpp>

#include "child_access.hpp"
#include "child_core.hpp"
#include "child_service.hpp"
#include "command_access.hpp"
#include "launch.hpp"
#include "spawn_whole_tree.hpp"
#include "spawner_thread.hpp"
#include "tree_wait.hpp"

PROCYARD_NAMESPACE_BEGIN
namespace detail {

namespace {

using access = command_access;

void report(child_service& service, const command& what, const spawn_failure& failure)
{
    if (const auto watcher = service.observers()->get()) {
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
                                       spawn_failure& failure, tree_mode without_cgroup)
{
    service.collect();
    auto mode = chosen_mode(what, without_cgroup);
    for (;;) {
        launch attempt(what, service, executor, mode, without_cgroup);
        failure = attempt.run();
        if (!failure) {
            auto core = attempt.take();
            core->emit(child_event::kind::spawned);
            return core;
        }
        const auto other = attempt.other_way();
        if (!other)
            break;
        mode = *other;
    }
    report(service, what, failure);
    return nullptr;
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
    if (auto bad = check(what)) {
        if (auto* const service = child_service::find(executor))
            report(*service, what, bad);
        return bad;
    }
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
    constexpr auto without_cgroup = tree_mode::process_group;
    spawn_site site;
    failure = find_site(what, executor, access::parent_death_signal(what) != 0, site);
    if (failure)
        return nullptr;
    auto& service = *site.service;
    if (site.thread == nullptr || site.thread->is_current())
        return spawn_here(what, service, executor, failure, without_cgroup);

    std::promise<std::shared_ptr<child_core>> promise;
    site.thread->post([&] {
        try {
            promise.set_value(spawn_here(what, service, executor, failure, without_cgroup));
        } catch (...) {
            // The caller's to know. That thread has nobody above it who could catch.
            promise.set_exception(std::current_exception());
        }
    });
    return promise.get_future().get();
}

/// An async_spawn on its way: waiting for the spawner thread, being spawned, or given up.
///
/// The spawner thread has nobody above it who could catch: what finds no memory there is tried
/// again by the thread, and goes on where it was. So the handler stays in here until its turn.
class spawn_operation : public std::enable_shared_from_this<spawn_operation> {
public:
    spawn_operation(command what, asio::any_io_executor executor, tree_mode without_cgroup,
                    spawn_failure* failure_out, pending<void(error_code, child)> handler)
        : what_(std::move(what)),
          without_cgroup_(without_cgroup),
          executor_(std::move(executor)),
          failure_out_(failure_out),
          handler_(std::move(handler))
    {
    }

    // Who waits behind a slow exec has nothing to undo, and does not wait for that one's end.
    void cancel()
    {
        auto found = phase::queued;
        if (phase_.compare_exchange_strong(found, phase::given_up))
            return handler_.complete(asio::error::operation_aborted, child());
        found = phase::running;
        (void)phase_.compare_exchange_strong(found, phase::cancelled);
    }

    void run(child_service& service)
    {
        auto found = phase::queued;
        if (!has_begun_ && !phase_.compare_exchange_strong(found, phase::running))
            return;
        has_begun_ = true;
        if (!is_over_)
            spawn(service);
        if (phase_.load() == phase::cancelled)
            finish_cancelled();
        else
            asio::post(executor_, [self = shared_from_this()] { self->complete(); });
    }

private:
    enum class phase : std::uint8_t {
        queued,
        running,    // the handler is the spawner thread's from here on
        cancelled,  // while it was running
        given_up,   // before
    };

    void spawn(child_service& service)
    {
        spawn_failure failure;
        try {
            core_ = spawn_here(what_, service, executor_, failure, without_cgroup_);
        } catch (...) {
            failure = make_failure_of_exception(what_);
        }
        is_over_ = true;
        result_ = failure.code;
        // From here on it goes with the operation, as the handler does.
        if (core_)
            made_ = child_access::make(core_);
        if (failure_out_ != nullptr)
            *failure_out_ = std::move(failure);
    }

    // Made in spite of the cancellation: killed here with all that it has started, and gone before
    // the operation says that it was cancelled.
    void finish_cancelled()
    {
        result_ = asio::error::operation_aborted;
        if (!core_)
            return asio::post(executor_, [self = shared_from_this()] { self->complete(); });
        error_code ignored;
        core_->signal_tree(SIGKILL, ignored);
        core_->start_wait(
            [self = shared_from_this()](error_code ec, exit_status) { self->wait_for_tree(ec); });
    }

    // Until it is empty: an orphan that comes to us as a subreaper is reaped by who looks at the
    // tree, and this one nobody else knows. Rejected: to leave that to the drop of the child, which
    // has ended by then, and may have left a daemon behind on purpose.
    void wait_for_tree(error_code ec)
    {
        bool waits = false;
        try {
            if (!ec) {
                // Once more: the first time there may have been no memory to look for all of it,
                // and who is not killed is waited for without end. Free where nobody is left.
                error_code ignored;
                core_->signal_tree(SIGKILL, ignored);
                start_tree_wait(executor_, std::shared_ptr<process_tree>(core_, &core_->tree),
                                [self = shared_from_this()](error_code) { self->let_go(); });
                waits = true;
            }
        } catch (const std::bad_alloc&) {
            waits = false;  // then as much as is done by now
        }
        if (!waits)
            let_go();
    }

    void let_go()
    {
        made_ = {};
        complete();
    }

    void complete()
    {
        core_.reset();
        handler_.complete_now(result_, std::move(made_));
    }

    command what_;
    tree_mode without_cgroup_;
    asio::any_io_executor executor_;
    spawn_failure* failure_out_;
    pending<void(error_code, child)> handler_;
    std::atomic<phase> phase_{phase::queued};
    // Of the spawner thread, and then of the handler's turn.
    bool has_begun_ = false;
    bool is_over_ = false;
    error_code result_{};
    std::shared_ptr<child_core> core_{};
    child made_{};
};

void start_spawn(command what, asio::any_io_executor executor, tree_mode without_cgroup,
                 spawn_failure* failure,
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
    auto operation = std::make_shared<spawn_operation>(std::move(what), executor, without_cgroup,
                                                       failure, std::move(waiting));
    if (slot.is_connected()) {
        slot.assign([weak = std::weak_ptr(operation)](asio::cancellation_type) {
            if (const auto self = weak.lock())
                self->cancel();
        });
    }
    site.thread->post([operation, service = site.service] { operation->run(*service); });
}

}  // namespace

void start_spawn(command what, asio::any_io_executor executor, spawn_failure* failure,
                 asio::any_completion_handler<void(error_code, child)> handler)
{
    start_spawn(std::move(what), std::move(executor), tree_mode::process_group, failure,
                std::move(handler));
}

void start_spawn_whole_tree(command what, asio::any_io_executor executor, spawn_failure& failure,
                            asio::any_completion_handler<void(error_code, child)> handler)
{
    start_spawn(std::move(what), std::move(executor), tree_mode::subreaper, &failure,
                std::move(handler));
}

}  // namespace detail

child spawn(const command& what, asio::any_io_executor executor, spawn_failure& failure)
{
    auto core = detail::spawn_anywhere(what, executor, failure);
    return core ? detail::child_access::make(std::move(core)) : child();
}

child spawn(const command& what, asio::any_io_executor executor)
{
    spawn_failure failure;
    auto result = spawn(what, std::move(executor), failure);
    if (failure)
        throw spawn_error(std::move(failure));
    return result;
}

std::string_view to_string(spawn_mechanism mechanism) noexcept
{
    switch (mechanism) {
    case spawn_mechanism::clone3: return "clone3";
    case spawn_mechanism::clone: return "clone";
    }
    return "unknown";
}

std::string_view to_string(descriptor_table table) noexcept
{
    switch (table) {
    case descriptor_table::trimmed: return "trimmed";
    case descriptor_table::fetched: return "fetched";
    case descriptor_table::copied: return "copied";
    }
    return "unknown";
}

PROCYARD_NAMESPACE_END
