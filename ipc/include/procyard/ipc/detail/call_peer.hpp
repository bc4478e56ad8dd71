// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_CALL_PEER_HPP
#define PROCYARD_IPC_DETAIL_CALL_PEER_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/errc.hpp>

#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include <procyard/ipc/call_error.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/framed_operation.hpp>
#include <procyard/ipc/detail/framed_state.hpp>
#include <procyard/ipc/framed_error.hpp>
#include <procyard/ipc/framed_options.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

template <class Stream>
void close_stream(Stream& stream) noexcept
{
    error_code ignored;  // of a close there is nothing to be done about
    if constexpr (requires { stream.lowest_layer().close(ignored); })
        (void)stream.lowest_layer().close(ignored);
    else if constexpr (requires { stream.close(ignored); })
        (void)stream.close(ignored);
    else if constexpr (requires { stream.close(); })
        stream.close();
}

// What a caller and a responder have in common: a stream of frames, and at most one operation that
// listens to it: the handshake first, then waits for messages. It listens while somebody needs it,
// so that an idle one keeps no event loop busy.
//
// Derived has greeted(), take(Receive&&) -> error_code, pump() (decides whether to listen),
// fail_all() (it has ended: ended() says why) and drop_all() (the io_context goes down: no handler
// may be called, but all have to go, since they may own this object, and with it themselves).
template <class Derived, class Stream, class Send, class Receive>
class call_peer : public std::enable_shared_from_this<Derived> {
public:
    template <class Arg>
    call_peer(Arg&& stream, const framed_options& options)
        : link_(std::make_shared<framed_state<Stream>>(std::forward<Arg>(stream), options)),
          executor_(link_->stream.get_executor())
    {
    }

    [[nodiscard]] framed_state<Stream>& link() noexcept { return *link_; }
    [[nodiscard]] const asio::any_io_executor& executor() const noexcept { return executor_; }
    [[nodiscard]] const error_code& ended() const noexcept { return ended_; }

    // The end: of the stream, of honesty, or of the object.
    void end(const error_code& ec)
    {
        if (ended_)
            return;
        ended_ = ec;
        stop_listening();
        // The peer of another type says so itself, and may not have read yet what we are.
        const bool broken = ec.category() == framed_category() || ec.category() == call_category();
        if (broken && ec != framed_errc::other_type && ec != framed_errc::other_version)
            close_stream(link_->stream);
        derived().fail_all();
    }

    void abandon()
    {
        end(asio::error::operation_aborted);
        if (link_)
            link_->abandon();
        link_.reset();
    }

protected:
    ~call_peer() = default;

    [[nodiscard]] bool greeted() const noexcept { return greeted_; }
    /// This is a copy of the process, made by fork(), and the stream is the original's.
    [[nodiscard]] bool is_copy() const noexcept { return owner_ != ::getpid(); }

    void listen()
    {
        if (listening_)
            return;
        listening_ = true;
        auto handler = asio::bind_cancellation_slot(stop_->slot(), listener(derived()));
        if (greeted_) {
            asio::async_compose<decltype(handler), void(error_code)>(
                framed_operation<Stream, nothing_taker>(link_), handler, link_->stream);
            return;
        }
        using taker = hello_taker<Send, Receive>;
        auto hello =
            taker::ours(link_->options.max_message_bytes).to_frame(link_->options.checksum);
        asio::async_compose<decltype(handler), void(error_code)>(
            framed_operation<Stream, taker>(link_, std::move(hello)), handler, link_->stream);
    }
    void stop_listening()
    {
        if (listening_ && !std::exchange(stopping_, true))
            stop_->emit(asio::cancellation_type::total);
    }

    // `sent(derived, ec)` when the stream has taken the frame.
    template <class Sent>
    void say(std::vector<std::byte> frame, Sent sent)
    {
        handing_over_ = true;
        try {
            link_->send(std::move(frame), {}, speaker<Sent>(derived(), std::move(sent)));
            handing_over_ = false;
        } catch (const std::bad_alloc&) {
            handing_over_ = false;
            give_up();
        }
    }

    // There was no memory for a frame. The peer would wait for ever for what it says: better both
    // sides hear of the end.
    void give_up() noexcept
    {
        close_stream(link_->stream);
        try {
            end(error_code(ENOMEM, boost::system::system_category()));
        } catch (...) {
            return;  // no memory to say so either: the next operation does
        }
    }

private:
    // Holds the signal, which the operation looks at for as long as it lives, and not this object,
    // which may go.
    class listener {
    public:
        explicit listener(Derived& peer) : peer_(peer.weak_from_this()), stop_(peer.stop_) { }
        listener(listener&&) noexcept = default;
        listener(const listener&) = delete;
        listener& operator=(const listener&) = delete;
        listener& operator=(listener&&) = delete;
        ~listener()
        {
            if (const auto alive = peer_.lock())
                alive->drop_all();
        }

        void operator()(const error_code& ec)
        {
            if (const auto alive = std::exchange(peer_, {}).lock())
                alive->heard(ec);
        }

    private:
        std::weak_ptr<Derived> peer_;  // null after a move or a call
        std::shared_ptr<asio::cancellation_signal> stop_;
    };

    // Waits for the stream to take a frame. Where nobody listens, since the peer does not read, it
    // is the only one to notice that the context goes down. Destroyed by an exception while it is
    // handed over, it says nothing: that is for whoever speaks.
    template <class Sent>
    class speaker {
    public:
        speaker(Derived& peer, Sent sent) : peer_(peer.weak_from_this()), sent_(std::move(sent)) { }
        speaker(speaker&&) noexcept = default;
        speaker(const speaker&) = delete;
        speaker& operator=(const speaker&) = delete;
        speaker& operator=(speaker&&) = delete;
        ~speaker()
        {
            if (const auto alive = peer_.lock(); alive && !alive->handing_over_)
                alive->drop_all();
        }

        void operator()(const error_code& ec)
        {
            const auto alive = std::exchange(peer_, {}).lock();
            if (!alive || alive->ended())
                return;
            if (ec == boost::system::errc::not_enough_memory)
                alive->give_up();
            else
                sent_(*alive, ec);
        }

    private:
        std::weak_ptr<Derived> peer_;  // null after a move or a call
        Sent sent_;
    };

    [[nodiscard]] Derived& derived() noexcept { return static_cast<Derived&>(*this); }

    void heard(const error_code& ec)
    {
        listening_ = false;
        const bool stopped = std::exchange(stopping_, false);
        if (ended_)
            return;
        if (ec && !(stopped && ec == asio::error::operation_aborted)) {
            end(ec);
            return;
        }
        if (!ec && !std::exchange(greeted_, true))
            derived().greeted();
        else if (!ec)
            take_all();
        if (!ended_)
            derived().pump();
    }

    void take_all()
    {
        try {
            error_code ec;
            while (!ec && !ended_)  // a cancellation that is passed on may run anything
                ec = take_one_message();
            if (ec && ec != asio::error::would_block)
                end(ec);
        } catch (...) {
            // Of a codec, or of what is bound to a slot: it is for whoever calls run(). Who waits
            // must not do so for ever.
            end(framed_errc::malformed);
            throw;
        }
    }

    error_code take_one_message()
    {
        error_code ec;
        auto message = take_message<Receive>(link_->buffer, ec);
        return message ? derived().take(std::move(*message)) : ec;
    }

    std::shared_ptr<framed_state<Stream>> link_;  // null when abandoned
    asio::any_io_executor executor_;
    std::shared_ptr<asio::cancellation_signal> stop_ =
        std::make_shared<asio::cancellation_signal>();
    error_code ended_;
    const pid_t owner_ = ::getpid();
    bool listening_ = false;
    bool stopping_ = false;
    bool greeted_ = false;
    bool handing_over_ = false;  // a frame to the stream
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
