// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/service_notifier.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <new>

#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/syscall.hpp>

#include "notifier_core.hpp"
#include "watchdog_fsm.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using notify_handler = asio::any_completion_handler<void(error_code)>;

// What the two long operations share: a strand of their own, in which everything happens, also when
// a cancellation or the end of the notifier comes from elsewhere. Asio's operations own them, so
// they go down with the context.
class long_operation : public notifier_attendant,
                       public std::enable_shared_from_this<long_operation> {
public:
    long_operation(const std::shared_ptr<notifier_core>& core, notify_handler handler)
        : core_(core),
          strand_(core->executor()),
          handler_(core->executor(), std::move(handler))
    {
    }

    void launch()
    {
        if (auto slot = handler_.get_cancellation_slot(); slot.is_connected())
            slot.assign([self = weak_from_this()](asio::cancellation_type type) {
                const auto alive = self.lock();
                if (alive && type != asio::cancellation_type::none)
                    alive->abandon();
            });
        if (const auto core = core_.lock())
            core->attend(weak_from_this());
        asio::post(strand_, [self = shared_from_this()] {
            if (!self->is_over())
                self->begin();
        });
    }

    void abandon() noexcept override
    {
        asio::dispatch(strand_,
                       [self = shared_from_this()] { self->end(asio::error::operation_aborted); });
    }

protected:
    using strand_type = asio::strand<asio::any_io_executor>;

    virtual void begin() = 0;

    [[nodiscard]] bool is_over() const noexcept { return !handler_; }
    [[nodiscard]] const strand_type& strand() const noexcept { return strand_; }

    void end(const error_code& ec)
    {
        if (is_over())
            return;
        stop_waiting_.emit(asio::cancellation_type::terminal);
        stop_sending_.emit(asio::cancellation_type::terminal);
        handler_.complete(ec);
    }

    // For whatever this operation waits for besides.
    template <class Handler>
    [[nodiscard]] auto waiting(Handler handler)
    {
        return asio::bind_cancellation_slot(stop_waiting_.slot(),
                                            asio::bind_executor(strand_, std::move(handler)));
    }
    template <class Handler>
    void send(std::shared_ptr<const outgoing_notice> what, Handler handler)
    {
        const auto core = core_.lock();
        if (!core)
            return end(asio::error::operation_aborted);
        start_sending(core, std::move(what),
                      asio::bind_cancellation_slot(
                          stop_sending_.slot(), asio::bind_executor(strand_, std::move(handler))));
    }

    template <class Derived>
    [[nodiscard]] std::shared_ptr<Derived> self()
    {
        return std::static_pointer_cast<Derived>(shared_from_this());
    }

private:
    std::weak_ptr<notifier_core> core_;
    strand_type strand_;
    pending<void(error_code)> handler_;
    asio::cancellation_signal stop_waiting_;
    asio::cancellation_signal stop_sending_;
};

// A pipe whose writing end the manager gets, and closes when it has read the message: so it has
// read all that came before.
class barrier final : public long_operation {
public:
    barrier(const std::shared_ptr<notifier_core>& core, notify_handler handler)
        : long_operation(core, std::move(handler)),
          closed_(core->executor())
    {
    }
    ~barrier() override
    {
        if (!closed_.is_open())
            return;
        const unique_fd gone(closed_.release());  // see notifier_core::close
    }

private:
    void begin() override
    {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0)
            return end(last_error());
        unique_fd read_end(ends[0]);
        unique_fd write_end(ends[1]);
        error_code ec;
        closed_.assign(read_end.get(), ec);
        if (ec)
            return end(ec);
        (void)read_end.release();
        // The last reference to our writing end goes with the sending.
        send(std::make_shared<outgoing_notice>("BARRIER=1", std::move(write_end)),
             [mine = self<barrier>()](const error_code& failed) { mine->on_sent(failed); });
    }

    void on_sent(const error_code& ec)
    {
        if (ec || is_over())
            return end(ec);
        closed_.async_wait(
            asio::posix::stream_descriptor::wait_read,
            waiting([mine = self<barrier>()](const error_code& failed) { mine->end(failed); }));
    }

    asio::posix::stream_descriptor closed_;
};

class feeding final : public long_operation {
public:
    feeding(const std::shared_ptr<notifier_core>& core, watchdog_options options,
            std::chrono::nanoseconds interval, notify_handler handler)
        : long_operation(core, std::move(handler)),
          options_(std::move(options)),
          interval_(interval),
          fsm_(!options_.loops.empty()),
          sign_(std::make_shared<outgoing_notice>(service_notice().alive()))
    {
        if (!options_.clock)
            options_.clock = steady_timer_clock();
    }

private:
    using action = watchdog_fsm::action;
    using time_point = timer_clock::time_point;

    void begin() override
    {
        heard_ = options_.clock->now();
        wait_until(heard_);
    }

    void wait_until(time_point when)
    {
        if (is_over())
            return;
        options_.clock->async_wait_until(asio::any_io_executor(strand()), when,
                                         waiting([mine = self<feeding>()](const error_code& ec) {
                                             if (!ec)
                                                 mine->on_turn();
                                         }));
    }

    void on_turn()
    {
        if (is_over())
            return;
        // Acquire, pairs with the release of the answers.
        const auto what = fsm_.turn(missing_->load(std::memory_order_acquire));
        if (what == action::feed)
            feed();
        if (what == action::ask)
            ask();
        // A sign is due twice in each interval; that it may be given is seen soon enough for the
        // manager to hear it in time.
        if (what == action::ask || options_.loops.empty())
            due_ = options_.clock->after(interval_ / 2);
        wait_until(what == action::feed ? due_ : options_.clock->after(interval_ / 8));
    }

    void ask()
    {
        missing_->store(options_.loops.size(), std::memory_order_relaxed);
        for (const auto& loop : options_.loops) {
            // Here a handler of that loop has run. It touches nothing of ours but the count.
            asio::post(loop,
                       [missing = missing_] { missing->fetch_sub(1, std::memory_order_release); });
        }
    }

    void feed()
    {
        if (is_sending_)
            return;  // the manager's queue is full; it will read it
        is_sending_ = true;
        send(sign_, [mine = self<feeding>()](const error_code& ec) { mine->on_sent(ec); });
    }

    // A manager that starts again is away for a moment: it is told at the next turn.
    void on_sent(const error_code& ec)
    {
        is_sending_ = false;
        if (is_over())
            return;
        const auto now = options_.clock->now();
        if (!ec)
            heard_ = now;
        else if (ec == asio::error::operation_aborted || now - heard_ >= interval_)
            end(ec);
    }

    watchdog_options options_;
    const std::chrono::nanoseconds interval_;
    watchdog_fsm fsm_;
    const std::shared_ptr<const outgoing_notice> sign_;
    // Of the loops that were asked.
    const std::shared_ptr<std::atomic<std::size_t>> missing_ =
        std::make_shared<std::atomic<std::size_t>>(0);
    time_point heard_{};  // when the manager was last there
    time_point due_{};
    bool is_sending_ = false;
};

void complete_later(const notifier_core& core, notify_handler handler, const error_code& ec)
{
    pending<void(error_code)>(core.executor(), std::move(handler)).complete(ec);
}

}  // namespace

void start_notify(const std::shared_ptr<notifier_core>& core, const service_notice& notice,
                  notify_handler handler)
{
    start_sending(core, std::make_shared<outgoing_notice>(notice), std::move(handler));
}

void start_barrier(const std::shared_ptr<notifier_core>& core, notify_handler handler)
{
    if (!core->is_supervised())
        return complete_later(*core, std::move(handler), {});
    std::make_shared<barrier>(core, std::move(handler))->launch();
}

void start_feeding(const std::shared_ptr<notifier_core>& core, watchdog_options options,
                   notify_handler handler)
{
    auto interval = options.interval;
    if (!interval)
        interval = core->manager().watchdog;
    constexpr std::chrono::microseconds shortest(2);
    if (interval && *interval < shortest)
        return complete_later(*core, std::move(handler), make_errno(EINVAL));
    if (!interval || !core->is_supervised())
        return complete_later(*core, std::move(handler), {});
    std::make_shared<feeding>(core, std::move(options), *interval, std::move(handler))->launch();
}

}  // namespace detail

service_notifier::service_notifier(const asio::any_io_executor& ex, manager_variables then)
    : service_notifier(ex, service_manager::from_environment(then))
{
}

service_notifier::service_notifier(const asio::any_io_executor& ex, service_manager manager)
    : core_(std::make_shared<detail::notifier_core>(ex, std::move(manager)))
{
}

service_notifier::service_notifier(service_notifier&& other) noexcept = default;

service_notifier& service_notifier::operator=(service_notifier&& other) noexcept
{
    const service_notifier old(std::move(*this));
    core_ = std::move(other.core_);
    return *this;
}

service_notifier::~service_notifier()
{
    if (core_)
        core_->close();
}

bool service_notifier::is_supervised() const noexcept
{
    return core_->is_supervised();
}

std::optional<std::chrono::microseconds> service_notifier::watchdog() const noexcept
{
    return core_->manager().watchdog;
}

void service_notifier::try_notify(const service_notice& notice, error_code& ec) noexcept
{
    try {
        const detail::outgoing_notice what(notice);
        ec = what.fault();
        if (!ec && core_->is_supervised())
            ec = core_->send(what);
    } catch (const std::bad_alloc&) {
        ec = make_errno(ENOMEM);
    }
}

service_notifier::executor_type service_notifier::get_executor() const noexcept
{
    return core_->executor();
}

PROCYARD_NAMESPACE_END
