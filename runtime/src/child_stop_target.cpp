// SPDX-License-Identifier: BSL-1.0
#include "child_stop_target.hpp"

#include <signal.h>

#include <string>
#include <utility>

#include "child_core.hpp"
#include "stop_fsm.hpp"
#include "tree_wait.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

child_stop_target::child_stop_target(std::shared_ptr<child_core> core, asio::any_io_executor strand)
    : core_(std::move(core)),
      strand_(std::move(strand))
{
}

child_stop_target::~child_stop_target() = default;

void child_stop_target::close_stdin() noexcept
{
    if (core_->std_in)
        core_->std_in->close();
}

void child_stop_target::signal(int number, stop_scope scope, error_code& ec) noexcept
{
    if (scope == stop_scope::child)
        core_->signal(number, ec);
    else if (!asks_to_end(number))
        core_->signal_tree(number, ec);
    else {
        if (!std::exchange(asks_, true))
            core_->tree.add_asker();
        core_->ask_tree(number, ec);
    }
}

void child_stop_target::ask_no_more() noexcept
{
    if (std::exchange(asks_, false))
        core_->tree.remove_asker();
}

void child_stop_target::kill_tree(error_code& ec) noexcept
{
    core_->signal_tree(SIGKILL, ec);
}

tree_mechanism child_stop_target::mechanism() const noexcept
{
    return core_->info.tree;
}

std::optional<exit_status> child_stop_target::status() const
{
    return core_->status();
}

bool child_stop_target::tree_empty()
{
    return core_->tree_empty();
}

void child_stop_target::wait_exit(
    asio::any_completion_handler<void(error_code, exit_status)> handler)
{
    core_->start_wait(std::move(handler));
}

void child_stop_target::wait_tree(asio::any_completion_handler<void(error_code)> handler)
{
    // The tree lives in the core, and borrows its pidfd.
    start_tree_wait(strand_, std::shared_ptr<process_tree>(core_, &core_->tree),
                    std::move(handler));
}

void child_stop_target::note_step(std::size_t index, const stop_step& step) noexcept
{
    core_->emit(child_event::kind::ladder_step, static_cast<int>(index), to_string(step));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
