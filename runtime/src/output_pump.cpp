// SPDX-License-Identifier: BSL-1.0
#include "output_pump.hpp"

#include <sys/ioctl.h>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>

#include <algorithm>
#include <string_view>
#include <utility>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::size_t buffer_bytes = std::size_t{64} << 10;
// Read in one turn of the event loop before others have theirs.
constexpr std::size_t turn_bytes = std::size_t{1} << 20;

}  // namespace

output_pump::output_pump(pump_owner& owner, asio::any_io_executor strand,
                         const std::vector<sink_description>& sinks)
    : owner_(owner),
      strand_(std::move(strand))
{
    const sink_context context{strand_, &result_, &limit_hit_};
    sinks_.reserve(sinks.size());
    for (const auto& sink : sinks)
        sinks_.push_back(make_sink(sink, context));
    note_failures();
}

bool output_pump::has_consumer() const noexcept
{
    return std::any_of(sinks_.begin(), sinks_.end(),
                       [](const auto& sink) { return !sink->failure(); });
}

void output_pump::start(pipe_reader& from)
{
    from_ = &from;
    wait();
}

void output_pump::wait()
{
    state_ = state::waiting;
    from_->async_wait_readable(
        asio::bind_executor(strand_, [this, keep = owner_.keep_alive()](const error_code&) {
            // An error, if there is one, comes again with the read, or this is the cut.
            read_burst();
        }));
}

std::size_t output_pump::room() const noexcept
{
    return cut_ ? std::min(cut_budget_, buffer_bytes) : buffer_bytes;
}

void output_pump::read_burst()
{
    // The first byte pays for the buffer: a silent child costs none.
    if (!buffer_)
        buffer_ = std::make_unique_for_overwrite<char[]>(buffer_bytes);
    // After a cut there is no next turn: what was in the pipe may be all that ever comes, and
    // nobody would say that it is readable. The budget bounds that.
    for (std::size_t total = 0; cut_ || aborted_ || total < turn_bytes;) {
        if (aborted_) {
            finish();
            return;
        }
        error_code ec = asio::error::would_block;
        std::size_t n = 0;
        if (room() > 0)
            n = from_->try_read_some(asio::buffer(buffer_.get(), room()), ec);
        if (ec == asio::error::would_block) {
            result_.held_by_descendant = cut_;
            cut_ ? finish() : wait();
            return;
        }
        if (ec) {
            if (ec != asio::error::eof)
                result_.read_error = ec;
            finish();
            return;
        }
        total += n;
        cut_budget_ -= cut_ ? n : 0;
        result_.bytes_seen += n;
        if (!deliver(n))
            return;  // goes on in sink_done()
        owner_.pump_read(*this);
    }
    wait();
}

// True when all sinks have taken the bytes; else sink_done() will say so.
bool output_pump::deliver(std::size_t size)
{
    state_ = state::delivering;
    undelivered_ = 1;  // one more than sinks, so that none of them can be the last within the loop
    const std::string_view bytes(buffer_.get(), size);
    const std::shared_ptr<sink_waiter> waiter(owner_.keep_alive(), this);
    for (const auto& sink : sinks_) {
        if (sink->failure())
            continue;
        ++undelivered_;
        if (sink->write(bytes, waiter))
            --undelivered_;
    }
    if (--undelivered_ > 0)
        return false;
    after_delivery();
    return true;
}

void output_pump::sink_done()
{
    if (--undelivered_ > 0)
        return;
    after_delivery();
    owner_.pump_read(*this);
    read_burst();
}

void output_pump::after_delivery()
{
    state_ = state::idle;
    const auto failures = result_.sink_failures.size();
    note_failures();
    if (result_.sink_failures.size() != failures)
        owner_.pump_sink_failed(*this);
    if (limit_hit_ && !std::exchange(limit_told_, true))
        owner_.pump_limit(*this);
}

void output_pump::note_failures()
{
    for (std::size_t i = 0; i < sinks_.size(); ++i) {
        const auto& failure = sinks_[i]->failure();
        const auto known = [&](const sink_failure& one) { return one.index == i; };
        auto& all = result_.sink_failures;
        if (failure && std::none_of(all.begin(), all.end(), known)) {
            all.push_back(*failure);
            all.back().index = i;
        }
    }
}

void output_pump::cut()
{
    if (state_ == state::done || cut_)
        return;
    cut_ = true;
    // What is there now, and room to see the end of file behind it: a descendant that writes for
    // ever gets no more than that.
    int available = 0;
    if (::ioctl(from_->native_handle(), FIONREAD, &available) == -1)
        available = 0;
    cut_budget_ = static_cast<std::size_t>(available) + 1;
    if (state_ == state::waiting)
        from_->cancel();
}

void output_pump::abort()
{
    if (state_ == state::done || aborted_)
        return;
    aborted_ = true;
    result_.aborted = true;
    if (state_ == state::waiting)
        from_->cancel();
    if (state_ == state::delivering) {
        for (const auto& sink : sinks_)
            sink->abort();
    }
}

void output_pump::finish()
{
    for (const auto& sink : sinks_)
        sink->finish();
    note_failures();
    from_->close();
    buffer_.reset();
    state_ = state::done;
    owner_.pump_done(*this);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
