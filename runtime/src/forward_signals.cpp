// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/forward_signals.hpp>

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/error.hpp>

#include <signal.h>
#include <sys/ioctl.h>

#include <memory>

#include <procyard/ipc/syscall.hpp>
#include <procyard/runtime/child.hpp>
#include <procyard/runtime/stdio.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace {

class forwarding {
public:
    forwarding(signal_set set, std::function<void(const signal_info&, error_code&)> target)
        : state_(std::make_unique<state>(state{std::move(set), std::move(target)}))
    {
    }

    template <class Self>
    void operator()(Self& self)
    {
        self.reset_cancellation_state(asio::enable_total_cancellation());
        wait(self);
    }

    template <class Self>
    void operator()(Self& self, error_code ec, const signal_info& info)
    {
        if (!ec)
            pass_on(info, ec);
        if (!ec) {
            wait(self);
            return;
        }
        if (ec == asio::error::operation_aborted)
            pass_on_what_came();
        const auto passed_on = state_->passed_on;
        // The signals' dispositions are as they were before the handler runs.
        state_.reset();
        self.complete(ec, passed_on);
    }

private:
    struct state {
        signal_set set;
        std::function<void(const signal_info&, error_code&)> target;
        std::uint64_t passed_on = 0;
    };

    // More than a set has room for; a sender without end must not keep it from ending.
    static constexpr int most_left = 2048;

    void pass_on(const signal_info& info, error_code& ec)
    {
        state_->target(info, ec);
        state_->passed_on += ec ? 0 : 1;
    }

    // The set goes, and with it what it has heard, of which nobody else would ever know.
    void pass_on_what_came()
    {
        error_code failed;
        for (int more = most_left; more > 0 && !failed; --more) {
            const auto left = state_->set.try_wait();
            if (!left)
                return;
            pass_on(*left, failed);
        }
    }

    template <class Self>
    void wait(Self& self)
    {
        auto& set = state_->set;  // *this is moved from before the call
        set.async_wait(std::move(self));
    }

    std::unique_ptr<state> state_;
};

}  // namespace

void to_child::operator()(const signal_info& info, error_code& ec) const
{
    to_->signal(info.number, ec);
}

void to_tree::operator()(const signal_info& info, error_code& ec) const
{
    to_->signal_tree(info.number, ec);
}

void to_terminal::resize(error_code& ec) const
{
    winsize now{};
    // Where ours is no terminal, there is no size to be had, and none has changed.
    if (::ioctl(terminal_, TIOCGWINSZ, &now) == 0)
        to_->resize_terminal({.rows = now.ws_row, .columns = now.ws_col}, ec);
}

void to_terminal::operator()(const signal_info& info, error_code& ec) const
{
    ec.clear();
    switch (info.number) {
    case SIGWINCH: resize(ec); break;
    case SIGTSTP:
        to_->signal_tree(SIGTSTP, ec);
        // The leader of a session has nobody who could let it go on, thinks the kernel, and so
        // SIGTSTP does not stop it.
        if (!ec)
            to_->signal_tree(SIGSTOP, ec);
        (void)::raise(SIGSTOP);
        break;
    case SIGCONT:
        resize(ec);
        if (!ec)
            to_->signal_tree(SIGCONT, ec);
        break;
    default: to_->signal_tree(info.number, ec);
    }
}

namespace detail {

void start_forwarding(signal_set set, std::function<void(const signal_info&, error_code&)> target,
                      asio::any_completion_handler<void(error_code, std::uint64_t)> handler)
{
    const auto executor = set.get_executor();
    asio::async_compose<asio::any_completion_handler<void(error_code, std::uint64_t)>,
                        void(error_code, std::uint64_t)>(
        forwarding(std::move(set), std::move(target)), handler, executor);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
