// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_CALLER_STATE_HPP
#define PROCYARD_IPC_DETAIL_CALLER_STATE_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <procyard/ipc/call_error.hpp>
#include <procyard/ipc/call_options.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/call_book.hpp>
#include <procyard/ipc/detail/call_messages.hpp>
#include <procyard/ipc/detail/call_peer.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/framed_error.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

template <class Reply>
struct call_waiter {
    pending<void(error_code, Reply)> handler;
    std::vector<std::byte> frame;  // until it is sent
    call_failure* failure;         // where to tell what the responder says; null: nobody asks
};

// The shell around a call_book: a link, and one timer for the earliest deadline. What is completed
// is posted, so that no handler runs before the state is whole.
template <class Stream, class Request, class Reply>
class caller_state : public call_peer<caller_state<Stream, Request, Reply>, Stream,
                                      question<Request>, answer<Reply>> {
    using base =
        call_peer<caller_state<Stream, Request, Reply>, Stream, question<Request>, answer<Reply>>;
    using clock = std::chrono::steady_clock;
    using waiter = call_waiter<Reply>;
    using book = call_book<waiter>;

public:
    template <class Arg>
    caller_state(Arg&& stream, const calls_options& options)
        : base(std::forward<Arg>(stream), options.frames),
          book_(options.max_open_calls),
          timer_(this->executor())
    {
    }

    /// Starts a call. `wrong` is what is wrong with its frame.
    void start(std::vector<std::byte> frame, const error_code& wrong, const call_options& options,
               call_failure* failure, asio::any_completion_handler<void(error_code, Reply)> handler)
    {
        waiter one{{this->executor(), std::move(handler)}, std::move(frame), failure};
        const auto ec = wrong ? wrong : this->ended() ? this->ended() : mute_;
        if (ec) {
            one.handler.complete(ec, {});
            return;
        }
        if (options.deadline <= std::chrono::nanoseconds::zero()) {
            ++counts_.timed_out;
            one.handler.complete(asio::error::timed_out, {});
            return;
        }
        auto slot = one.handler.get_cancellation_slot();
        const auto id = book_.add(std::move(one), deadline_of(options));
        if (slot.is_connected())
            slot.assign([state = this->weak_from_this(), id](asio::cancellation_type) {
                if (const auto alive = state.lock())
                    alive->cancel(id);
            });
        pump();
    }

    [[nodiscard]] caller_statistics statistics() const noexcept
    {
        auto result = counts_;
        result.waiting = book_.waiting();
        result.open = book_.open();
        return result;
    }

    // For call_peer.

    void greeted() { }

    void pump()
    {
        send();
        if (this->ended())
            return;
        arm();
        if (book_.anybody_waits())
            this->listen();
        else
            this->stop_listening();
    }

    error_code take(answer<Reply>&& message)
    {
        return std::visit([this](auto&& each) { return this->take_one(std::move(each)); },
                          std::move(message));
    }

    void fail_all()
    {
        timer_.cancel();
        std::vector<waiter> all;
        book_.abandon(all);
        for (auto& each : all)
            each.handler.complete(this->ended(), {});
    }
    void drop_all()
    {
        std::vector<waiter> all;
        book_.abandon(all);
    }

private:
    static clock::time_point deadline_of(const call_options& options)
    {
        if (options.deadline == std::chrono::nanoseconds::max())
            return book::never;
        return deadline_after(clock::now(), static_cast<std::uint64_t>(options.deadline.count()));
    }

    void send()
    {
        while (auto next = book_.send_next()) {
            auto frame = std::move(next->waiter->frame);
            // The peer may take less than we thought when the call was started.
            if (frame.size() - frame_header_bytes > this->link().send_limit) {
                book_.take_back(next->id).handler.complete(framed_errc::too_long, {});
                continue;
            }
            const bool endless = next->deadline == book::never;
            stamp_call(frame, next->id,
                       endless ? endless_patience : patience_until(next->deadline, clock::now()),
                       this->link().options.checksum);
            say_it(next->id, std::move(frame));
        }
    }

    void say_it(std::uint64_t id, std::vector<std::byte> frame)
    {
        this->say(std::move(frame), [id](caller_state& self, const error_code& ec) {
            if (ec)
                self.fall_mute(id, ec);
        });
    }

    // The stream takes nothing any more. What it gives is another matter: a responder may have
    // answered and gone, and its answers be on their way. So this call ends, and those that were
    // not sent; the others when the stream has come to its end.
    void fall_mute(std::uint64_t id, const error_code& ec)
    {
        mute_ = ec;
        std::vector<waiter> all;
        if (auto gone = book_.withdraw(id))
            all.push_back(std::move(gone->waiter));
        book_.abandon_waiting(all);
        for (auto& each : all)
            each.handler.complete(ec, {});
        pump();
    }

    void cancel(std::uint64_t id)
    {
        auto gone = book_.withdraw(id);
        if (!gone)
            return;
        ++counts_.cancelled;
        leave(std::move(*gone), asio::error::operation_aborted);
        pump();
    }

    void leave(typename book::withdrawn gone, const error_code& ec)
    {
        if (gone.sent)
            say_withdrawal(gone.id);
        gone.waiter.handler.complete(ec, {});
    }

    void say_withdrawal(std::uint64_t id)
    {
        try {
            error_code impossible;  // a few bytes, and nothing that could not be encoded
            auto frame =
                open_frame(question<Request>(call_withdrawal{id}), longest_frame, impossible);
            seal_frame(frame, frame_kind::message, this->link().options.checksum);
            say_it(id, std::move(frame));
        } catch (const std::bad_alloc&) {
            return;  // then the peer works for nobody, and its answer is late
        }
    }

    // Armed too early rather than again for each answer: a timer that finds nothing to do is
    // cheaper than a system call for each call.
    void arm()
    {
        if (!book_.anybody_waits()) {
            if (std::exchange(armed_, book::never) != book::never)
                timer_.cancel();
            return;
        }
        const auto earliest = book_.next_deadline();
        if (earliest >= armed_)
            return;
        armed_ = earliest;
        timer_.expires_at(earliest);
        timer_.async_wait([state = this->weak_from_this()](const error_code& ec) {
            const auto alive = state.lock();
            if (ec || !alive || alive->ended())
                return;
            alive->armed_ = book::never;
            alive->expire();
        });
    }

    void expire()
    {
        const auto now = clock::now();
        while (auto late = book_.expire(now)) {
            ++counts_.timed_out;
            leave(std::move(*late), asio::error::timed_out);
        }
        pump();
    }

    error_code settle(std::uint64_t id, std::optional<waiter>& out)
    {
        switch (book_.answer(id, out)) {
        case book::verdict::awaited: return {};
        case book::verdict::late: ++counts_.late; return {};
        case book::verdict::unknown: break;
        }
        return call_errc::peer_broke_rules;
    }

    error_code take_one(call_reply<Reply>&& message)
    {
        std::optional<waiter> one;
        const auto ec = settle(message.id, one);
        if (one) {
            ++counts_.replies;
            one->handler.complete({}, std::move(message.reply));
        }
        return ec;
    }
    error_code take_one(call_refusal&& message)
    {
        if (message.code == 0)  // would be no error
            return call_errc::peer_broke_rules;
        std::optional<waiter> one;
        const auto ec = settle(message.id, one);
        if (one) {
            ++counts_.failures;
            if (one->failure)
                *one->failure = {message.code, std::move(message.text)};
            one->handler.complete(error_code(message.code, remote_category()), {});
        }
        return ec;
    }
    error_code take_one(call_dropped&& message)
    {
        std::optional<waiter> one;
        const auto ec = settle(message.id, one);
        if (one) {
            ++counts_.failures;
            one->handler.complete(call_errc::abandoned, {});
        }
        return ec;
    }
    error_code take_one(call_limit&& message)
    {
        if (book_.limited() || message.calls == 0)
            return call_errc::peer_broke_rules;
        book_.limit(message.calls);
        return {};
    }

    book book_;
    caller_statistics counts_;
    error_code mute_;  // why nothing can be sent any more
    asio::steady_timer timer_;
    clock::time_point armed_ = book::never;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
