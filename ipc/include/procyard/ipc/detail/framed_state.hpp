// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_FRAMED_STATE_HPP
#define PROCYARD_IPC_DETAIL_FRAMED_STATE_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/frame_buffer.hpp>
#include <procyard/ipc/detail/frame_queue.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/framed_error.hpp>
#include <procyard/ipc/framed_options.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

using frame_waiter = pending<void(error_code)>;

// What a framed stream and its pending operations share. The receiving half belongs to the one
// operation that receives; the sending half is a queue and at most one write.
template <class Stream>
struct framed_state : std::enable_shared_from_this<framed_state<Stream>> {
    using done = typename frame_queue<frame_waiter>::done;

    template <class Arg>
    framed_state(Arg&& arg, const framed_options& wanted)
        : stream(std::forward<Arg>(arg)),
          options(limited(wanted)),
          buffer(options),
          send_limit(options.max_message_bytes)
    {
    }

    static framed_options limited(framed_options options)
    {
        options.max_message_bytes = std::min(options.max_message_bytes, longest_frame);
        return options;
    }

    // Queues a frame, sealed already. `ec` is what is wrong with it: then it is not sent.
    void send(std::vector<std::byte> frame, const error_code& ec,
              asio::any_completion_handler<void(error_code)> handler)
    {
        frame_waiter waiter(stream.get_executor(), std::move(handler));
        if (ec || abandoned) {
            waiter.complete(ec ? ec : asio::error::operation_aborted);
            return;
        }
        auto slot = waiter.get_cancellation_slot();
        const auto id = queue.next_id();
        // Before it is in the queue: without memory for this, it must not be sent.
        if (slot.is_connected())
            slot.assign([state = this->weak_from_this(), id](asio::cancellation_type type) {
                if (const auto alive = state.lock())
                    alive->cancel(id, type);
            });
        queue.push(std::move(frame), std::move(waiter));
        write();
    }

    void cancel(std::uint64_t id, asio::cancellation_type type)
    {
        std::vector<done> ended;
        if (queue.cancel(id, type, ended))
            stop_writing.emit(type);
        for (auto& each : ended)
            each.waiter.complete(each.ec);
    }

    void write()
    {
        if (queue.in_flight() || !queue.waiting())
            return;
        const auto buffers = queue.gather();
        if (buffers.empty()) {  // only places in the queue, and nothing is before them
            for (auto& each : written(0, {}))
                each.waiter.complete(each.ec);
            return;
        }
        starting = true;
        try {
            stream.async_write_some(
                buffers, asio::bind_cancellation_slot(stop_writing.slot(), write_handler(*this)));
            starting = false;
        } catch (const std::bad_alloc&) {
            starting = false;
            for (auto& each : written(0, error_code(ENOMEM, boost::system::system_category())))
                each.waiter.complete(each.ec);
        } catch (...) {
            starting = false;
            std::vector<done> ended;
            queue.drop(ended);
            throw;
        }
    }

    std::vector<done> written(std::size_t n, const error_code& ec)
    {
        std::vector<done> ended;
        queue.written(n, ec, ended);
        return ended;
    }

    // Owns the state as long as the stream owns the handler. If the handler is destroyed without a
    // call, since the context goes down, the handlers in the queue have to go as well: they may own
    // the framed stream, and with it the queue that they are in.
    class write_handler {
    public:
        explicit write_handler(framed_state& state) : state_(state.shared_from_this()) { }
        write_handler(write_handler&&) noexcept = default;
        write_handler(const write_handler&) = delete;
        write_handler& operator=(const write_handler&) = delete;
        write_handler& operator=(write_handler&&) = delete;
        ~write_handler()
        {
            if (!state_ || state_->starting)
                return;  // moved from, called, or the stream has not taken it
            std::vector<done> ended;
            state_->queue.drop(ended);
        }

        void operator()(const error_code& ec, std::size_t n)
        {
            auto state = std::move(state_);
            auto ended = state->written(n, ec);
            state->write();
            state.reset();
            for (auto& each : ended)
                each.waiter.complete_now(each.ec);
        }

    private:
        std::shared_ptr<framed_state> state_;
    };

    // The framed stream goes: so does what it is doing.
    void abandon()
    {
        abandoned = true;
        if (receiving)
            stop_reading.emit(asio::cancellation_type::terminal);
        std::vector<done> ended;
        const bool writing = queue.in_flight();
        queue.abandon(ended);
        if (writing)
            stop_writing.emit(asio::cancellation_type::terminal);
        for (auto& each : ended)
            each.waiter.complete(each.ec);
    }

    Stream stream;
    framed_options options;
    frame_buffer buffer;
    frame_queue<frame_waiter> queue;
    std::size_t send_limit;  // what the peer takes, once it has said so
    std::string explanation;
    asio::cancellation_signal stop_reading;
    asio::cancellation_signal stop_writing;
    bool hello_queued = false;
    bool hello_taken = false;
    bool receiving = false;
    bool starting = false;  // a write: the stream may throw
    bool abandoned = false;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
