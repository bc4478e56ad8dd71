// SPDX-License-Identifier: BSL-1.0
#include "run_shell.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "run_access.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using access = run_access;

}  // namespace

run_shell::run_shell(asio::any_io_executor ex, run_options options)
    : ex_(std::move(ex)),
      strand_(asio::make_strand(ex_)),
      options_(std::move(options)),
      clock_(access::clock(options_) ? access::clock(options_) : steady_timer_clock()),
      called_(clock_->now())
{
    if (!access::ladder(options_).clock)
        access::ladder(options_).clock = clock_;
}

void run_shell::start(asio::cancellation_slot slot)
{
    if (slot.is_connected()) {
        slot.assign([weak = weak_from_this()](asio::cancellation_type) {
            if (const auto self = weak.lock())
                self->request_cancel();
        });
    }
    asio::post(strand_, [self = shared_from_this()] { self->begin(); });
}

// In whatever thread the caller emits.
void run_shell::request_cancel()
{
    cancel_requested_.store(true, std::memory_order_relaxed);
    asio::post(strand_, [self = shared_from_this()] { self->on_cancel(); });
}

void run_shell::begin()
{
    // Relaxed: a cancellation that is not seen here is in the strand's queue.
    if (cancel_requested_.load(std::memory_order_relaxed)) {
        fail(asio::error::operation_aborted);
        return;
    }
    if (!prepare())
        return;
    phase_ = phase::launching;
    launch();
}

// --- streams ------------------------------------------------------------------------------------

// A file that cannot be opened fails the run before anything is spawned, as one the command names
// would; unless its loss is to be borne.
std::optional<std::size_t> run_shell::add_output(const char* name, const std::string& program,
                                                 const std::vector<sink_description>& sinks)
{
    auto pump = std::make_unique<output_pump>(*this, strand_, sinks);
    if (stops_for(*pump)) {
        const auto failures = pump->take_result().sink_failures;
        const auto& first = failures.front();
        failure_.code = make_spawn_error(spawn_step::open_file, first.error.value());
        failure_.step = spawn_step::open_file;
        failure_.program = program;
        failure_.operand = first.sink;
        fail(failure_.code);
        return std::nullopt;
    }
    outputs_.push_back({name, std::move(pump)});
    return outputs_.size() - 1;
}

bool run_shell::can_hear(const std::string& program)
{
    if (!access::idle_deadline(options_) || !outputs_.empty())
        return true;
    failure_.step = spawn_step::options;
    failure_.code = make_spawn_error(spawn_step::options, EINVAL);
    failure_.program = program;
    failure_.operand = "idle deadline, and no output that comes through this process";
    fail(failure_.code);
    return false;
}

void run_shell::connect_output(std::size_t index, pipe_reader& end) noexcept
{
    outputs_[index].end = &end;
}

void run_shell::connect_input(pipe_writer& end, bool terminal) noexcept
{
    input_end_ = &end;
    input_is_terminal_ = terminal;
}

stream_result run_shell::take_output(std::size_t index)
{
    return outputs_[index].pump ? outputs_[index].pump->take_result() : stream_result{};
}

void run_shell::stop_feeding() noexcept
{
    if (feeder_)
        feeder_->stop();
}

// --- beginning and end --------------------------------------------------------------------------

void run_shell::fail(error_code ec)
{
    phase_ = phase::done;
    if (ec == asio::error::operation_aborted)
        reason_ = run_reason::cancelled;
    times_.total = clock_->now() - called_;
    report(ec);
}

void run_shell::launched(std::shared_ptr<stop_target> target)
{
    phase_ = phase::running;
    target_ = std::move(target);
    launched_ = last_output_ = clock_->now();
    run_fsm::setup setup{.descendants = access::descendants(options_)};
    for (auto& output : outputs_) {
        if (output.end == nullptr || !output.end->is_open())
            output.pump.reset();  // two outputs are one, or it went elsewhere
        setup.outputs += output.pump ? 1U : 0U;
    }
    if (input_end_ != nullptr && input_end_->is_open()) {
        feeder_ = std::make_unique<input_feeder>(*this, strand_,
                                                 access::source(access::std_in(options_)));
        setup.inputs = 1;
    }
    fsm_ = run_fsm(setup);
    for (const auto& output : outputs_) {
        if (output.pump)
            output.pump->start(*output.end);
    }
    if (feeder_)
        feeder_->start(*input_end_, input_is_terminal_);
    wait_end();
    arm_deadline();
    if (access::idle_deadline(options_) && setup.outputs > 0)
        arm_idle();
    if (cancelled_while_launching_)  // too late to prevent it
        feed(run_event::cancelled);
}

void run_shell::ended()
{
    // The ladder may have seen the end first, and with it the end of all that was waited for.
    if (phase_ != phase::running)
        return;
    idle_.cancel();
    ended_ = clock_->now();
    times_.run = ended_ - launched_;
    // Asked now, so that descendant_policy::stop has nothing to do for a child without any.
    if (access::descendants(options_) != descendant_policy::leave && target_->tree_empty())
        feed(run_event::tree_empty);
    feed(run_event::exited);
    if (access::descendants(options_) == descendant_policy::wait && phase_ == phase::running)
        watch_tree();
}

void run_shell::watch_tree()
{
    target_->wait_tree(asio::bind_executor(
        strand_,
        asio::bind_cancellation_slot(tree_cancel_.slot(),
                                     [self = shared_from_this()](const error_code& ec) {
                                         if (ec)
                                             return;
                                         self->ended_ = self->clock_->now();
                                         self->feed(run_event::tree_empty);
                                     })));
}

void run_shell::complete()
{
    phase_ = phase::done;
    deadline_.cancel();
    idle_.cancel();
    drain_.cancel();
    tree_cancel_.emit(asio::cancellation_type::terminal);
    if (feeder_)
        input_ = feeder_->take_result();
    const auto finished = clock_->now();
    reason_ = fsm_.reason();
    times_.drain = finished - ended_;
    times_.total = finished - called_;
    target_.reset();
    report(fsm_.cancelled() ? error_code(asio::error::operation_aborted) : error_code());
}

// --- the machine --------------------------------------------------------------------------------

void run_shell::feed(run_event event)
{
    act(fsm_.resume(event));
}

void run_shell::act(run_action actions)
{
    const auto self = shared_from_this();
    if (has(actions, run_action::start_ladder))
        start_ladder();
    if (has(actions, run_action::hurry_ladder)) {
        if (const auto ladder = ladder_.lock())
            ladder->hurry();
    }
    if (has(actions, run_action::arm_drain)) {
        drain_.arm(*clock_, strand_, clock_->after(access::drain_grace(options_)), self,
                   &run_shell::on_drain_over);
    }
    if (has(actions, run_action::close_input))
        feeder_->stop();
    for (const auto& output : outputs_) {
        if (output.pump && has(actions, run_action::cut_outputs))
            output.pump->cut();
        if (output.pump && has(actions, run_action::abort_outputs))
            output.pump->abort();
    }
    if (has(actions, run_action::complete))
        complete();
}

void run_shell::start_ladder()
{
    stopping();
    auto done = [self = shared_from_this()](const error_code&, stop_result result) {
        self->on_stopped(std::move(result));
    };
    const auto ladder =
        std::make_shared<stop_operation>(target_, access::ladder(options_), strand_, strand_,
                                         asio::bind_executor(strand_, std::move(done)));
    ladder_ = ladder;
    ladder->start();
}

void run_shell::on_stopped(stop_result result)
{
    times_.stop = result.duration();
    ended_ = result.finished;
    stop_ = std::move(result);
    stopped();
    feed(run_event::stop_done);
}

// --- what it hears ------------------------------------------------------------------------------

void run_shell::on_cancel()
{
    switch (phase_) {
    case phase::launching:
        cancelled_while_launching_ = true;
        cancel_launch();
        return;
    case phase::running: feed(run_event::cancelled); return;
    case phase::idle:
    case phase::done: return;
    }
}

void run_shell::arm_deadline()
{
    if (!access::deadline(options_))
        return;
    const auto limit = *access::deadline(options_);
    const auto until = timer_clock::time_point::max() - called_ < limit
        ? timer_clock::time_point::max()
        : called_ + limit;
    deadline_.arm(*clock_, strand_, until, shared_from_this(), &run_shell::on_deadline);
}

void run_shell::on_deadline()
{
    emit(child_event::kind::limit_hit, "deadline", std::nullopt);
    feed(run_event::deadline);
}

void run_shell::arm_idle()
{
    const auto limit = *access::idle_deadline(options_);
    const auto until = timer_clock::time_point::max() - last_output_ < limit
        ? timer_clock::time_point::max()
        : last_output_ + limit;
    idle_.arm(*clock_, strand_, until, shared_from_this(), &run_shell::on_idle_alarm);
}

// The alarm is not moved with every byte; it looks back when it rings.
void run_shell::on_idle_alarm()
{
    // While a sink holds an output up, nobody listens to the child.
    if (std::any_of(outputs_.begin(), outputs_.end(),
                    [](const outlet& output) { return output.pump && output.pump->is_held_up(); }))
        last_output_ = clock_->now();
    if (clock_->now() - last_output_ < *access::idle_deadline(options_)) {
        arm_idle();
        return;
    }
    emit(child_event::kind::limit_hit, "idle deadline", std::nullopt);
    feed(run_event::idle);
}

void run_shell::pump_read(output_pump&)
{
    if (access::idle_deadline(options_))
        last_output_ = clock_->now();
}

void run_shell::pump_limit(output_pump& pump)
{
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        if (outputs_[i].pump.get() == &pump)
            emit(child_event::kind::limit_hit, outputs_[i].name, i);
    }
    feed(run_event::output_limit);
}

void run_shell::pump_sink_failed(output_pump& pump)
{
    if (stops_for(pump))
        feed(run_event::sink_failed);
}

void run_shell::pump_done(output_pump&)
{
    feed(run_event::output_done);
}

void run_shell::feeder_failed()
{
    feed(run_event::input_failed);
}

bool run_shell::stops_for(const output_pump& pump) const noexcept
{
    switch (access::on_sink_failure(options_)) {
    case sink_failure_policy::go_on: return false;
    case sink_failure_policy::stop_without_consumer:
        return pump.has_failure() && !pump.has_consumer();
    case sink_failure_policy::stop: return pump.has_failure();
    }
    return false;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
