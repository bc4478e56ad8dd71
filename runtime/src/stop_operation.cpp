// SPDX-License-Identifier: BSL-1.0
#include "stop_operation.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <utility>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

stop_operation::stop_operation(std::shared_ptr<stop_target> target, stop_ladder ladder,
                               asio::any_io_executor strand, const asio::any_io_executor& ex,
                               handler_type handler)
    : target_(std::move(target)),
      clock_(ladder.clock ? std::move(ladder.clock) : steady_timer_clock()),
      strand_(std::move(strand)),
      handler_(ex, std::move(handler)),
      fsm_(std::move(ladder.steps))
{
    result_.tree = target_->mechanism();
}

void stop_operation::start()
{
    auto slot = handler_.get_cancellation_slot();
    if (slot.is_connected()) {
        // The signal may be emitted in any thread that its owner sees fit: hop.
        slot.assign([weak = weak_from_this()](asio::cancellation_type) {
            const auto self = weak.lock();
            if (!self)
                return;
            self->cancel_requested_.store(true, std::memory_order_relaxed);
            asio::post(self->strand_, [self] { self->cancel(); });
        });
    }
    asio::post(strand_, [self = shared_from_this()] { self->begin(); });
}

void stop_operation::begin()
{
    result_.started = clock_->now();
    // Relaxed: a cancellation that this does not see yet is in the strand's queue.
    if (cancel_requested_.load(std::memory_order_relaxed))
        cancel();
    if (fsm_.done())
        return;
    // What is known goes first: nobody is signalled who is gone. Asked once: another thread may be
    // reaping it at this moment, and who is told neither now nor by a wait is never told.
    const auto known = target_->status();
    if (known)
        on_exit(*known);
    if (!fsm_.done() && target_->tree_empty())
        on_tree_empty();
    if (fsm_.done())
        return;
    const auto self = shared_from_this();
    if (!known) {
        target_->wait_exit(asio::bind_executor(
            strand_,
            asio::bind_cancellation_slot(exit_wait_.slot(),
                                         [self](const error_code& ec, exit_status status) {
                                             if (!ec)
                                                 self->on_exit(status);
                                         })));
    }
    if (!result_.tree_empty) {
        target_->wait_tree(asio::bind_executor(
            strand_, asio::bind_cancellation_slot(tree_wait_.slot(), [self](const error_code& ec) {
                if (!ec)
                    self->on_tree_empty();
            })));
    }
    feed(stop_event::started);
}

void stop_operation::on_exit(const exit_status& status)
{
    if (fsm_.done())
        return;
    result_.status = status;
    feed(stop_event::exited);
}

void stop_operation::on_tree_empty()
{
    if (fsm_.done())
        return;
    result_.tree_empty = true;
    feed(stop_event::tree_empty);
}

void stop_operation::feed(stop_event event)
{
    for (auto order = fsm_.resume(event);; order = fsm_.resume(stop_event::performed)) {
        switch (order.kind) {
        case stop_order_kind::wait: return;
        case stop_order_kind::perform: perform(order.step); break;
        case stop_order_kind::perform_resume: {
            error_code ignored;  // who could not be sent the signal is in the record already
            target_->signal(SIGCONT, order.step.scope, ignored);
            break;
        }
        case stop_order_kind::perform_kill: {
            error_code ec;
            target_->kill_tree(ec);
            // A repeated sweep is the same rung.
            if (result_.taken.empty() || result_.taken.back().step.action != stop_action::kill)
                record(order.step, ec);
            break;
        }
        case stop_order_kind::arm:
            grace_.arm(*clock_, strand_, clock_->after(order.delay), shared_from_this(),
                       &stop_operation::on_grace_over);
            return;
        case stop_order_kind::complete: finish({}); return;
        case stop_order_kind::abandon: finish(asio::error::operation_aborted); return;
        }
    }
}

void stop_operation::perform(const stop_step& step)
{
    error_code ec;
    switch (step.action) {
    case stop_action::close_stdin: target_->close_stdin(); break;
    case stop_action::signal: target_->signal(step.signal, step.scope, ec); break;
    case stop_action::kill:
        if (step.scope == stop_scope::tree)
            target_->kill_tree(ec);
        else
            target_->signal(SIGKILL, step.scope, ec);
        break;
    }
    record(step, ec);
}

void stop_operation::record(const stop_step& step, error_code error)
{
    target_->note_step(result_.taken.size(), step);
    result_.taken.push_back({step, clock_->now(), error});
}

void stop_operation::finish(error_code ec)
{
    grace_.cancel();
    exit_wait_.emit(asio::cancellation_type::terminal);
    tree_wait_.emit(asio::cancellation_type::terminal);
    result_.finished = clock_->now();
    target_->ask_no_more();
    // Free before the call: the handler may start the next operation on the same child.
    target_.reset();
    handler_.complete_now(ec, std::move(result_));
}

void start_stop(std::shared_ptr<stop_target> target, const asio::any_io_executor& ex,
                stop_ladder ladder, stop_operation::handler_type handler)
{
    std::make_shared<stop_operation>(std::move(target), std::move(ladder),
                                     asio::any_io_executor(asio::make_strand(ex)), ex,
                                     std::move(handler))
        ->start();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
