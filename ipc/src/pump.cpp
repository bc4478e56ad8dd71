// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/detail/pump.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <sys/uio.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include <procyard/ipc/detail/pending.hpp>

#include "pump_io.hpp"
#include "stream_core.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Both mutexes, so that neither number can be closed and used again by somebody else meanwhile.

pump_step stream_core::splice_some(stream_core& source, stream_core& sink,
                                   std::uint64_t most) noexcept
{
    const std::scoped_lock lock(source.mutex_, sink.mutex_);
    return splice_now(source.fd_.get(), sink.fd_.get(), most);
}

pump_step stream_core::copy_some(stream_core& source, stream_core& sink, pump_buffer& buffer,
                                 std::uint64_t most)
{
    char* const room = buffer.room();
    const std::scoped_lock lock(source.mutex_, sink.mutex_);
    pump_step step;
    for (int call = 0; call < pump_calls_per_turn && step.bytes < most; ++call) {
        if (buffer.empty()) {
            const auto size = std::min<std::uint64_t>(buffer.capacity(), most - step.bytes);
            const iovec into{room, static_cast<std::size_t>(size)};
            const auto [ec, n] = source.transfer({&into, 1});
            buffer.filled(n);
            if (ec == asio::error::would_block)
                return {pump_status::source_empty, step.bytes};
            if (ec == asio::error::eof)
                return {pump_status::end, step.bytes};
            if (ec)
                return {pump_status::source_failed, step.bytes, ec};
        }
        const auto rest = buffer.rest();
        const iovec from{const_cast<char*>(rest.data()), rest.size()};  // writev does not write it
        const auto [ec, n] = sink.transfer({&from, 1});
        buffer.taken(n);
        step.bytes += n;
        if (ec == asio::error::would_block)
            return {pump_status::sink_full, step.bytes};
        if (ec)
            return {pump_status::sink_failed, step.bytes, ec};
    }
    return step;
}

namespace {

// A copy between two streams of ours.
//
//   start --post--> turn --enough for one turn--> turn
//                     \--source empty, sink full--> waiting --woken--> turn
//                     \--end, limit, failure, closed, cancelled--> done
//
//   turn:    moves what can be moved without waiting, by splice until that turns out unsupported,
//            then through the buffer.
//   waiting: for one side. From the first wait for the source on, a second operation waits for the
//            reader behind the sink to go; it is ended together with the pump.
//
// All of it runs on the source's I/O executor, whatever the sink's is. Only a cancellation may come
// from elsewhere; the mutex is for it.
class pump : public std::enable_shared_from_this<pump> {
public:
    pump(const std::shared_ptr<stream_core>& source, const std::shared_ptr<stream_core>& sink,
         copy_options options, copy_handler handler)
        : source_(source),
          sink_(sink),
          source_epoch_(source->epoch()),
          sink_epoch_(sink->epoch()),
          options_(std::move(options)),
          buffer_(options_.buffer_bytes),
          handler_(source->executor(), std::move(handler))
    {
        result_.mechanism =
            options_.allow_splice ? copy_mechanism::splice : copy_mechanism::read_write;
    }

    void start()
    {
        auto slot = handler_.get_cancellation_slot();
        if (slot.is_connected())
            slot.assign([self = weak_from_this()](asio::cancellation_type type) {
                if (const auto alive = self.lock())
                    alive->cancel(type);
            });
        next_turn();
    }

private:
    void next_turn()
    {
        asio::post(source_->executor(), [self = shared_from_this()] { self->turn(); });
    }

    void turn()
    {
        if (is_aborted())
            return finish(asio::error::operation_aborted, copy_side::none);
        if (source_->native_handle() < 0)
            return finish(asio::error::bad_descriptor, copy_side::source);
        if (sink_->native_handle() < 0)
            return finish(asio::error::bad_descriptor, copy_side::sink);
        if (result_.bytes == options_.max_bytes)
            return finish({}, copy_side::none);

        const auto step = move_some();
        if (step.bytes > 0 && options_.on_progress)
            options_.on_progress(result_.bytes);
        switch (step.status) {
        case pump_status::more: return next_turn();
        case pump_status::source_empty: return wait_for_source();
        case pump_status::sink_full: return wait(*sink_, stream_wait::writable, copy_side::sink);
        case pump_status::end: result_.end_of_source = true; return finish({}, copy_side::none);
        case pump_status::source_failed: return finish(step.ec, copy_side::source);
        case pump_status::sink_failed: return finish(step.ec, copy_side::sink);
        case pump_status::unsupported:
            result_.mechanism = copy_mechanism::read_write;
            return next_turn();
        }
    }

    [[nodiscard]] pump_step move_some()
    {
        const auto most = options_.max_bytes - result_.bytes;
        const auto step = result_.mechanism == copy_mechanism::splice
            ? stream_core::splice_some(*source_, *sink_, most)
            : stream_core::copy_some(*source_, *sink_, buffer_, most);
        const std::lock_guard lock(mutex_);
        result_.bytes += step.bytes;
        untouched_ = result_.bytes == 0 && buffer_.empty();
        return step;
    }

    void wait_for_source()
    {
        if (is_sink_gone())
            return finish(asio::error::broken_pipe, copy_side::sink);
        if (!std::exchange(watching_sink_, true))
            start_wait(*sink_, stream_wait::closed, end_watch_,
                       [self = weak_from_this()](error_code ec) {
                           if (const auto alive = self.lock())
                               alive->sink_ended(ec);
                       });
        wait(*source_, stream_wait::readable, copy_side::source);
    }

    void wait(stream_core& side, stream_wait what, copy_side whose)
    {
        start_wait(side, what, wake_, [self = shared_from_this(), whose](error_code ec) {
            if (ec && ec != asio::error::operation_aborted)
                self->finish(ec, whose);
            else
                self->turn();
        });
    }

    // `handler` runs on the source's executor; `signal` ends the wait.
    template <class Handler>
    void start_wait(stream_core& side, stream_wait what, asio::cancellation_signal& signal,
                    Handler handler)
    {
        const auto& io = source_->executor();
        const auto place =
            side.executor() == io ? handler_place::same_turn : handler_place::elsewhere;
        const std::lock_guard lock(mutex_);
        side.start(what,
                   asio::bind_executor(
                       io, asio::bind_cancellation_slot(signal.slot(), std::move(handler))),
                   place);
        if (cancelled_ || sink_ended_)
            signal.emit(asio::cancellation_type::terminal);
    }

    // The reader behind the sink is gone, or the sink has been closed; or the sink has no reader.
    void sink_ended(const error_code& ec)
    {
        if (ec && ec != asio::error::operation_aborted)
            return;
        const std::lock_guard lock(mutex_);
        sink_ended_ = true;
        sink_gone_ = !ec;
        wake_.emit(asio::cancellation_type::terminal);
    }

    [[nodiscard]] bool is_sink_gone()
    {
        const std::lock_guard lock(mutex_);
        return sink_gone_;
    }

    void cancel(asio::cancellation_type type)
    {
        const std::lock_guard lock(mutex_);
        const bool too_late = type == asio::cancellation_type::total && !untouched_;
        if (type == asio::cancellation_type::none || too_late)
            return;
        cancelled_ = true;
        wake_.emit(asio::cancellation_type::terminal);
    }

    // Closing, cancelling or releasing either stream ends the copy as well.
    [[nodiscard]] bool is_aborted()
    {
        const std::lock_guard lock(mutex_);
        return cancelled_ || source_->epoch() != source_epoch_ || sink_->epoch() != sink_epoch_;
    }

    void finish(const error_code& ec, copy_side failed)
    {
        {
            const std::lock_guard lock(mutex_);
            end_watch_.emit(asio::cancellation_type::terminal);
        }
        result_.failed = failed;
        result_.unwritten = buffer_.rest();
        handler_.complete_now(ec, std::move(result_));
    }

    std::shared_ptr<stream_core> source_;
    std::shared_ptr<stream_core> sink_;
    std::uint64_t source_epoch_;
    std::uint64_t sink_epoch_;
    copy_options options_;
    copy_result result_{};
    pump_buffer buffer_;
    pending<void(error_code, copy_result)> handler_;
    bool watching_sink_ = false;

    std::mutex mutex_;  // for what follows
    bool sink_ended_ = false;
    bool sink_gone_ = false;
    bool untouched_ = true;
    bool cancelled_ = false;
    asio::cancellation_signal wake_;       // ends the wait for a side
    asio::cancellation_signal end_watch_;  // ends the wait for the sink's reader to go
};

}  // namespace

void start_pump(const std::shared_ptr<stream_core>& source,
                const std::shared_ptr<stream_core>& sink, copy_options options,
                copy_handler handler)
{
    PROCYARD_ASSERT(options.buffer_bytes > 0 && "nothing can be copied through no bytes");
    std::make_shared<pump>(source, sink, std::move(options), std::move(handler))->start();
}

}  // namespace detail

PROCYARD_NAMESPACE_END
