// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_LINE_OPERATION_HPP
#define PROCYARD_IPC_DETAIL_LINE_OPERATION_HPP

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/line_buffer.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The next line as try_next_line() hands it out.
[[nodiscard]] PROCYARD_IPC_EXPORT std::optional<std::string_view>
take_line(line_buffer& buffer, error_code& ec) noexcept;

// What a line_reader and its pending operation share.
template <class Stream>
struct line_state {
    template <class Arg>
    line_state(Arg&& arg, line_options options) : stream(std::forward<Arg>(arg)),
                                                  buffer(options)
    {
    }

    // The line_reader goes: so does what it is reading.
    void abandon() noexcept
    {
        if (!busy)
            return;
        abandoned = true;
        stop.emit(asio::cancellation_type::terminal);
    }

    Stream stream;
    line_buffer buffer;
    asio::cancellation_signal stop;  // ends the read of the stream
    bool busy = false;
    bool abandoned = false;
};

// async_read_line (TakeLine) and async_wait_line.
//
//   starting --post--> looking --no line yet--> reading --(bytes, eof, error)--> looking
//                         \--line, end, error, cancelled--> done
//
// looking: a turn of the handler's executor; takes the line and completes in this very turn.
// reading: the stream holds the operation; no line has been taken.
template <class Stream, bool TakeLine>
class line_operation {
public:
    explicit line_operation(std::shared_ptr<line_state<Stream>> state)
        : state_(std::move(state)) { }

    template <class Self>
    void operator()(Self& self, error_code ec = {}, std::size_t n = 0)
    {
        switch (step_) {
        case step::starting: start(self); return;
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
    enum class step : std::uint8_t { starting, looking, reading };

    template <class Self>
    void start(Self& self)
    {
        PROCYARD_ASSERT(!state_->busy && "a line_reader has one operation at a time");
        state_->busy = true;
        self.reset_cancellation_state(asio::enable_total_cancellation());
        step_ = step::looking;
        asio::post(std::move(self));
    }

    template <class Self>
    void look(Self& self, const error_code& ec)
    {
        const bool cancelled = self.cancelled() != asio::cancellation_type::none
            || state_->abandoned || ec == asio::error::operation_aborted;
        if (cancelled) {
            complete(self, asio::error::operation_aborted, {});
            return;
        }
        if constexpr (TakeLine) {
            error_code answer;
            const auto line = take_line(state_->buffer, answer);
            if (answer != asio::error::would_block) {
                complete(self, answer, line.value_or(std::string_view()));
                return;
            }
        } else if (state_->buffer.ready()) {
            complete(self, {}, {});
            return;
        }
        if (failure_) {
            complete(self, failure_, {});
            return;
        }
        step_ = step::reading;
        read(self);
    }

    // The read listens to `stop`, which both the handler's slot and the line_reader's end emit.
    template <class Self>
    void read(Self& self)
    {
        // Each time anew: async_compose clears the slot before each step.
        auto slot = self.get_cancellation_state().slot();
        if (slot.is_connected())
            slot.assign([state = std::weak_ptr(state_)](asio::cancellation_type type) {
                if (const auto alive = state.lock())
                    alive->stop.emit(type);
            });
        auto& state = *state_;
        state.stream.async_read_some(
            state.buffer.prepare(),
            asio::bind_cancellation_slot(state.stop.slot(), std::move(self)));
    }

    template <class Self>
    void complete(Self& self, const error_code& ec, std::string_view line)
    {
        state_->busy = false;
        if constexpr (TakeLine) {
            std::string result(line);
            state_.reset();
            self.complete(ec, std::move(result));
        } else {
            state_.reset();
            self.complete(ec);
        }
    }

    std::shared_ptr<line_state<Stream>> state_;
    step step_ = step::starting;
    error_code failure_{};
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
