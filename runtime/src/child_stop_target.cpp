// SPDX-License-Identifier: BSL-1.0
#include "child_stop_target.hpp"

#include <signal.h>

#include <boost/asio/error.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <string>
#include <utility>

#include <procyard/ipc/detail/pending.hpp>

#include "child_core.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

// The end of a process group is an event nobody is told of, so it is looked for: soon, and then
// ever less often. On the machine's clock, whatever clock the ladder uses: it looks at the machine.
class tree_watch : public std::enable_shared_from_this<tree_watch> {
public:
    tree_watch(std::shared_ptr<child_core> core, const asio::any_io_executor& strand,
               asio::any_completion_handler<void(error_code)> handler)
        : core_(std::move(core)),
          timer_(strand),
          handler_(strand, std::move(handler))
    {
    }

    void start()
    {
        auto slot = handler_.get_cancellation_slot();
        if (slot.is_connected()) {
            slot.assign([weak = weak_from_this()](asio::cancellation_type) {
                if (const auto self = weak.lock())
                    self->timer_.cancel();
            });
        }
        look_after({});
    }

private:
    void look_after(std::chrono::nanoseconds delay)
    {
        timer_.expires_after(delay);
        timer_.async_wait([self = shared_from_this()](const error_code& ec) { self->look(ec); });
    }

    void look(const error_code& ec)
    {
        if (ec) {
            handler_.complete_now(asio::error::operation_aborted);
            return;
        }
        if (core_->tree_empty()) {
            handler_.complete_now({});
            return;
        }
        delay_ = std::min(delay_ * 2, std::chrono::nanoseconds(std::chrono::milliseconds(20)));
        look_after(delay_);
    }

    std::shared_ptr<child_core> core_;
    asio::steady_timer timer_;
    pending<void(error_code)> handler_;
    std::chrono::nanoseconds delay_ = std::chrono::microseconds(100);
};

}  // namespace

child_stop_target::child_stop_target(std::shared_ptr<child_core> core, asio::any_io_executor strand)
    : core_(std::move(core)),
      strand_(std::move(strand))
{
}

child_stop_target::~child_stop_target() = default;

void child_stop_target::close_stdin() noexcept
{
    core_->std_in.close();
}

void child_stop_target::signal(int number, stop_scope scope, error_code& ec) noexcept
{
    if (scope == stop_scope::child)
        core_->signal(number, ec);
    else
        core_->signal_tree(number, ec);
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
    std::make_shared<tree_watch>(core_, strand_, std::move(handler))->start();
}

void child_stop_target::note_step(std::size_t index, const stop_step& step) noexcept
{
    core_->emit(child_event::kind::ladder_step, static_cast<int>(index), to_string(step));
}

}  // namespace detail

PROCYARD_NAMESPACE_END
