// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_FRAMED_OPERATION_HPP
#define PROCYARD_IPC_DETAIL_FRAMED_OPERATION_HPP

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/errc.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/frame_buffer.hpp>
#include <procyard/ipc/detail/framed_state.hpp>
#include <procyard/ipc/framed_error.hpp>
#include <procyard/ipc/type_description.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// A sealed frame with the value, or what is wrong with it.
template <encodable_message T>
std::vector<std::byte> make_frame(const T& value, std::size_t limit, frame_checksum checksum,
                                  error_code& ec)
{
    const auto size = encoded_size(value);
    ec = size > limit ? make_error_code(framed_errc::too_long) : error_code();
    if (ec)
        return {};
    std::vector<std::byte> frame(frame_header_bytes + size);
    if (!encode_message(value, std::span(frame).subspan(frame_header_bytes))) {
        ec = framed_errc::not_encodable;
        return {};
    }
    seal_frame(frame, frame_kind::message, checksum);
    return frame;
}

/// The next message that has come. @par Errors   those of frame_buffer::next; `malformed`,
/// `unexpected`, `not_enough_memory`
template <decodable_message T>
std::optional<T> take_message(frame_buffer& buffer, error_code& ec)
{
    const auto frame = buffer.next(ec);
    if (!frame)
        return std::nullopt;
    if (frame->kind != frame_kind::message) {
        buffer.fail(framed_errc::unexpected);
        ec = framed_errc::unexpected;
        return std::nullopt;
    }
    try {
        std::optional<T> value(std::in_place);
        if (decode_message(frame->payload, *value))
            return value;
        ec = framed_errc::malformed;
    } catch (const std::bad_alloc&) {
        ec = make_error_code(boost::system::errc::not_enough_memory);
    }
    return std::nullopt;
}

// What the three operations that read do with what has come. `take` answers with would_block as
// long as there is nothing to complete with.
template <class Receive>
struct message_taker {
    static constexpr bool sends = false;
    std::optional<Receive> value;

    template <class State>
    error_code take(State& state)
    {
        error_code ec;
        value = take_message<Receive>(state.buffer, ec);
        return ec;
    }
    template <class Self>
    void complete(Self& self, const error_code& ec)
    {
        self.complete(ec, value ? std::move(*value) : Receive{});
    }
};

struct nothing_taker {
    static constexpr bool sends = false;

    template <class State>
    error_code take(State& state)
    {
        return state.buffer.ready() ? error_code() : asio::error::would_block;
    }
    template <class Self>
    void complete(Self& self, const error_code& ec)
    {
        self.complete(ec);
    }
};

template <class Send, class Receive>
struct hello_taker {
    static constexpr bool sends = true;

    static frame_hello ours(std::size_t max_message_bytes)
    {
        return {frame_hello::this_version, max_message_bytes, describe<Send>(),
                describe<Receive>()};
    }

    template <class State>
    error_code take(State& state)
    {
        if (state.hello_taken)
            return {};
        error_code ec;
        const auto frame = state.buffer.next(ec);
        if (!frame)
            return ec;
        if (frame->kind != frame_kind::hello)
            ec = framed_errc::unexpected;
        else
            compare(state, frame_hello::parse(frame->payload, ec), ec);
        if (ec)
            // What follows is not meant for us.
            state.buffer.fail(static_cast<framed_errc>(ec.value()));
        return ec;
    }
    template <class Self>
    void complete(Self& self, const error_code& ec)
    {
        self.complete(ec);
    }

private:
    template <class State>
    static void compare(State& state, const frame_hello& theirs, error_code& ec)
    {
        if (ec == framed_errc::other_version)
            state.explanation = "protocol version " + std::to_string(frame_hello::this_version)
                + " here and " + std::to_string(theirs.version) + " there";
        if (ec)
            return;
        state.explanation = compare_hellos(ours(state.options.max_message_bytes), theirs);
        if (!state.explanation.empty()) {
            ec = framed_errc::other_type;
            return;
        }
        state.send_limit = static_cast<std::size_t>(
            std::min<std::uint64_t>(state.send_limit, theirs.max_message_bytes));
        state.hello_taken = true;
    }
};

// What reads: async_receive, async_wait_message, and async_handshake, which sends first.
//
//   starting --post--> looking --nothing yet--> reading --(bytes, eof, error)--> looking
//       |                 \--taken, end, error, cancelled--> done
//       +--hello--> sending --sent--> looking
//
// looking: a turn of the handler's executor; takes and completes in this very turn.
// reading: the stream holds the operation; nothing has been taken.
// sending: the queue holds the operation; what is cancelled here goes on with the next handshake.
template <class Stream, class Taker>
class framed_operation {
public:
    explicit framed_operation(std::shared_ptr<framed_state<Stream>> state,
                              std::vector<std::byte> hello = {})
        : state_(std::move(state)),
          hello_(std::move(hello))
    {
    }

    template <class Self>
    void operator()(Self& self, error_code ec = {}, std::size_t n = 0)
    {
        switch (step_) {
        case step::starting: start(self); return;
        case step::sending:
            if (ec) {
                // If not a byte is out, the next handshake sends it.
                if (sends_hello_)
                    state_->hello_queued = ec == framed_errc::half_sent;
                complete(self, ec);
                return;
            }
            break;
        case step::reading:
            state_->buffer.commit(n);
            if (ec == asio::error::eof)
                state_->buffer.finish();
            else if (ec && ec != asio::error::operation_aborted)
                failure_ = ec;
            break;
        case step::looking: break;
        }
        look(self, ec);
    }

private:
    enum class step : std::uint8_t { starting, sending, looking, reading };

    template <class Self>
    void start(Self& self)
    {
        PROCYARD_ASSERT(!state_->receiving && "a framed stream has one receive at a time");
        state_->receiving = true;
        self.reset_cancellation_state(asio::enable_total_cancellation());
        if constexpr (Taker::sends) {
            // An empty frame is only a place in the queue: it is written when all before it is.
            sends_hello_ = !std::exchange(state_->hello_queued, true);
            auto frame = sends_hello_ ? std::move(hello_) : std::vector<std::byte>();
            step_ = step::sending;
            const auto state = state_;
            state->send(std::move(frame), {}, std::move(self));
        } else {
            step_ = step::looking;
            asio::post(std::move(self));
        }
    }

    template <class Self>
    void look(Self& self, const error_code& ec)
    {
        const bool cancelled = self.cancelled() != asio::cancellation_type::none
            || state_->abandoned || ec == asio::error::operation_aborted;
        if (cancelled) {
            complete(self, asio::error::operation_aborted);
            return;
        }
        error_code answer;
        try {
            answer = taker_.take(*state_);
        } catch (...) {
            state_->receiving = false;  // it is for whoever calls run(); the stream is as before
            throw;
        }
        if (answer != asio::error::would_block) {
            complete(self, answer);
            return;
        }
        if (failure_) {
            complete(self, failure_);
            return;
        }
        step_ = step::reading;
        read(self);
    }

    // The read listens to `stop_reading`, which both the handler's slot and the end of the framed
    // stream emit.
    template <class Self>
    void read(Self& self)
    {
        // Each time anew: async_compose clears the slot before each step.
        auto slot = self.get_cancellation_state().slot();
        if (slot.is_connected())
            slot.assign([state = std::weak_ptr(state_)](asio::cancellation_type type) {
                if (const auto alive = state.lock())
                    alive->stop_reading.emit(type);
            });
        auto& state = *state_;
        state.stream.async_read_some(
            state.buffer.prepare(),
            asio::bind_cancellation_slot(state.stop_reading.slot(), std::move(self)));
    }

    template <class Self>
    void complete(Self& self, const error_code& ec)
    {
        state_->receiving = false;
        auto taker = std::move(taker_);
        state_.reset();
        taker.complete(self, ec);
    }

    std::shared_ptr<framed_state<Stream>> state_;
    std::vector<std::byte> hello_;
    Taker taker_;
    step step_ = step::starting;
    bool sends_hello_ = false;  // and not the handshake before this one
    error_code failure_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
