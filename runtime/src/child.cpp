// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/child.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>

#include <sys/ioctl.h>

#include <cerrno>

#include <procyard/ipc/syscall.hpp>

#include "child_core.hpp"
#include "child_stop_target.hpp"
#include "stop_operation.hpp"
#include "tree_wait.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

void start_wait(const std::shared_ptr<child_core>& core,
                asio::any_completion_handler<void(error_code, exit_status)> handler)
{
    core->start_wait(std::move(handler));
}

void start_child_stop(const std::shared_ptr<child_core>& core, stop_ladder ladder,
                      asio::any_completion_handler<void(error_code, stop_result)> handler)
{
    start_stop(std::make_shared<child_stop_target>(core, core->executor), core->executor,
               std::move(ladder), std::move(handler));
}

void start_wait_tree(const std::shared_ptr<child_core>& core,
                     asio::any_completion_handler<void(error_code)> handler)
{
    const auto slot = handler.get_cancellation_slot();
    pending<void(error_code)> waiting(core->executor, std::move(handler));
    // A tree in which nobody lives may still have a zombie for a leader.
    auto reap = [core, waiting = std::move(waiting)](const error_code& ec) mutable {
        if (!ec)
            (void)core->try_reap();
        waiting.complete_now(ec);
    };
    start_tree_wait(core->executor, std::shared_ptr<process_tree>(core, &core->tree),
                    asio::bind_cancellation_slot(slot, std::move(reap)));
}

}  // namespace detail

child& child::operator=(child&& other) noexcept
{
    child old(std::move(*this));
    core_ = std::move(other.core_);
    return *this;
}

child::~child()
{
    if (core_)
        core_->drop();
}

child::executor_type child::get_executor() const noexcept
{
    return core_->executor;
}
pid_t child::id() const noexcept
{
    return core_->pid;
}
int child::pidfd() const noexcept
{
    return core_->pidfd.get();
}
const spawn_info& child::info() const noexcept
{
    return core_->info;
}
pipe_writer& child::std_in()
{
    return core_->std_in ? *core_->std_in : core_->closed().std_in;
}
pipe_reader& child::std_out()
{
    return core_->std_out ? *core_->std_out : core_->closed().std_out;
}
pipe_reader& child::std_err()
{
    return core_->std_err ? *core_->std_err : core_->closed().std_err;
}

void child::resize_terminal(window_size size, error_code& ec) noexcept
{
    ec = {};
    const winsize window{size.rows, size.columns, 0, 0};
    if (!core_->terminal)
        ec = make_errno(ENOTTY);
    else if (::ioctl(core_->terminal.get(), TIOCSWINSZ, &window) == -1)
        ec = last_error();
}

std::optional<exit_status> child::try_wait()
{
    (void)core_->try_reap();
    return core_->status();
}

void child::signal(int number, error_code& ec) noexcept
{
    core_->signal(number, ec);
}

void child::signal(int number)
{
    error_code ec;
    core_->signal(number, ec);
    if (ec)
        throw boost::system::system_error(ec, "child::signal");
}

void child::signal_tree(int number, error_code& ec)
{
    core_->signal_tree(number, ec);
}
void child::on_drop(drop_policy policy) noexcept
{
    core_->on_drop = policy;
}

pid_t child::detach() noexcept
{
    const pid_t pid = core_->pid;
    core_->on_drop = drop_policy::detach();
    child let_go(std::move(*this));
    return pid;
}

PROCYARD_NAMESPACE_END
