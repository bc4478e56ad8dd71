// SPDX-License-Identifier: BSL-1.0
#include "tree_wait.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <utility>

#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::nanoseconds shortest_interval = 1ms;
constexpr std::chrono::nanoseconds longest_interval = 50ms;

/// One wait. The lock makes a cancellation from another thread as good as one from the executor.
///
/// A wake-up cannot be lost: what the tree named is watched first and asked for again only when it
/// is ready, a pidfd stays ready, and cgroup.events is ready for every change after the reading, as
/// long as there is such a file; who removes it tells us.
class tree_wait final : public tree_watcher, public std::enable_shared_from_this<tree_wait> {
public:
    tree_wait(const asio::any_io_executor& executor, std::shared_ptr<process_tree> tree,
              asio::any_completion_handler<void(error_code)> handler)
        : tree_(std::move(tree)),
          handler_(executor, std::move(handler)),
          descriptor_(executor),
          timer_(executor)
    {
    }

    tree_wait(const tree_wait&) = delete;
    tree_wait& operator=(const tree_wait&) = delete;
    ~tree_wait() { unwatch(); }

    void start()
    {
        auto slot = handler_.get_cancellation_slot();
        if (slot.is_connected()) {
            slot.assign([weak = weak_from_this()](asio::cancellation_type) {
                if (const auto self = weak.lock())
                    self->cancel();
            });
        }
        asio::post(descriptor_.get_executor(), [self = shared_from_this()] { self->step(); });
    }

private:
    void step()
    {
        const std::lock_guard lock(mutex_);
        if (!handler_)
            return;
        unwatch();
        auto event = tree_->next_event(shared_from_this());
        if (event.empty) {
            tree_.reset();
            handler_.complete(error_code{});
        } else if (!watch(std::move(event))) {
            look_later();
        }
    }

    bool watch(tree_event event)
    {
        error_code ec;
        if (!event.descriptor || descriptor_.assign(event.descriptor.get(), ec))
            return false;
        watched_ = std::move(event.descriptor);
        const auto kind = event.priority ? asio::posix::descriptor_base::wait_error
                                         : asio::posix::descriptor_base::wait_read;
        descriptor_.async_wait(kind,
                               [self = shared_from_this()](const error_code&) { self->step(); });
        return true;
    }

    void look_later()
    {
        timer_.expires_after(interval_);
        interval_ = std::min(interval_ * 2, longest_interval);
        timer_.async_wait([self = shared_from_this()](const error_code&) { self->step(); });
    }

    // release, not close: a child that still shares our table would keep the registration alive.
    void unwatch() noexcept
    {
        if (watched_)
            (void)descriptor_.release();
        watched_.reset();
    }

    void stop_waiting()
    {
        error_code ignored;
        if (watched_)
            descriptor_.cancel(ignored);
        timer_.cancel();
    }

    void cancel()
    {
        const std::lock_guard lock(mutex_);
        if (!handler_)
            return;
        tree_.reset();
        stop_waiting();
        handler_.complete(asio::error::operation_aborted);
    }

    // The step that waits for its turn, or is made to come now, finds it so.
    void tree_ended() noexcept override
    {
        const std::lock_guard lock(mutex_);
        if (handler_)
            stop_waiting();
    }

    std::mutex mutex_;
    std::shared_ptr<process_tree> tree_;
    pending<void(error_code)> handler_;
    unique_fd watched_;  // what descriptor_ is about; ours to close
    asio::posix::stream_descriptor descriptor_;
    asio::steady_timer timer_;
    std::chrono::nanoseconds interval_ = shortest_interval;
};

}  // namespace

void start_tree_wait(const asio::any_io_executor& executor, std::shared_ptr<process_tree> tree,
                     asio::any_completion_handler<void(error_code)> handler)
{
    std::make_shared<tree_wait>(executor, std::move(tree), std::move(handler))->start();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
