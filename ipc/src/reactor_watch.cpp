// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/reactor_watch.hpp>

#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/system/system_error.hpp>

#include <fcntl.h>

#include <new>
#include <utility>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Hears of notify_fork(). What it knows outlives it, for what is destroyed after its context.
class reactor_home::service final : public asio::execution_context::service {
public:
    static asio::execution_context::id id;

    explicit service(asio::execution_context& context)
        : asio::execution_context::service(context),
          process_(std::make_shared<std::atomic<pid_t>>(::getpid()))
    {
    }

    [[nodiscard]] const std::shared_ptr<std::atomic<pid_t>>& process() const noexcept
    {
        return process_;
    }

private:
    void shutdown() override { }
    void notify_fork(asio::execution_context::fork_event event) override
    {
        // Relaxed: a copy has one thread when it says what it is.
        if (event == asio::execution_context::fork_child)
            process_->store(::getpid(), std::memory_order_relaxed);
    }

    const std::shared_ptr<std::atomic<pid_t>> process_;
};

asio::execution_context::id reactor_home::service::id;

reactor_home::reactor_home(const asio::any_io_executor& ex)
    : process_(asio::use_service<service>(asio::query(ex, asio::execution::context)).process())
{
}

bool reactor_home::is_anothers() const noexcept
{
    return process_ && process_->load(std::memory_order_relaxed) != ::getpid();
}

reactor_watch::~reactor_watch()
{
    leave();
    // Asio would take it out, and close the number, which is not ours. If there is no memory for
    // that, it does.
    if (is_entered())
        (void)::new (std::nothrow) asio::posix::stream_descriptor(std::move(*watch_));
}

error_code reactor_watch::enter(const asio::any_io_executor& ex, int fd)
{
    error_code ec;
    if (is_entered())
        return ec;
    try {
        if (!watch_) {
            home_ = reactor_home(ex);
            watch_.emplace(ex);
        }
        watch_->assign(fd, ec);
    } catch (const boost::system::system_error& e) {
        ec = e.code();
    }
    return ec;
}

void reactor_watch::leave() noexcept
{
    if (!is_entered())
        return;
    if (home_.is_anothers() && ::fcntl(watch_->native_handle(), F_GETFD) != -1)
        return;
    (void)watch_->release();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
