// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_RESPONDER_STATE_HPP
#define PROCYARD_IPC_DETAIL_RESPONDER_STATE_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <procyard/ipc/call.hpp>
#include <procyard/ipc/call_error.hpp>
#include <procyard/ipc/call_options.hpp>
#include <procyard/ipc/codec.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/call_messages.hpp>
#include <procyard/ipc/detail/call_peer.hpp>
#include <procyard/ipc/detail/call_record.hpp>
#include <procyard/ipc/detail/open_calls.hpp>
#include <procyard/ipc/detail/pending.hpp>
#include <procyard/ipc/framed_error.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The shell around open_calls: a link, the calls that nobody has taken yet, and who waits for one.
// It listens while somebody waits, and while a call is open, whose cancellation may come.
template <class Stream, class Request, class Reply>
class responder_state final : public call_peer<responder_state<Stream, Request, Reply>, Stream,
                                               answer<Reply>, question<Request>>,
                              public answer_desk<Request, Reply> {
    using base = call_peer<responder_state<Stream, Request, Reply>, Stream, answer<Reply>,
                           question<Request>>;

public:
    using request_type = Request;
    using reply_type = Reply;
    using record = call_record<Request>;
    using record_pointer = std::shared_ptr<record>;
    using waiter = pending<void(error_code)>;

    template <class Arg>
    responder_state(Arg&& stream, const calls_options& options)
        : base(std::forward<Arg>(stream), options.frames),
          calls_(options.max_open_calls)
    {
    }
    ~responder_state() = default;

    /// The call that has come first, if there is one.
    [[nodiscard]] record_pointer take_arrived()
    {
        if (arrived_.empty())
            return nullptr;
        auto one = std::move(arrived_.front());
        arrived_.pop_front();
        return one;
    }

    /// Completes when take_arrived() may have something, or it has ended.
    void wait(asio::any_completion_handler<void(error_code)> handler)
    {
        waiter one(this->executor(), std::move(handler));
        auto slot = one.get_cancellation_slot();
        const auto id = ++last_waiter_;
        waiting_.emplace_back(id, std::move(one));
        if (slot.is_connected())
            slot.assign([state = this->weak_from_this(), id](asio::cancellation_type) {
                if (const auto alive = state.lock())
                    alive->cancel_wait(id);
            });
        pump();
    }

    /// Wakes one that waits, if there is something for it.
    void wake()
    {
        if (arrived_.empty() || waiting_.empty())
            return;
        auto one = std::move(waiting_.front().second);
        waiting_.pop_front();
        one.complete({});
    }

    [[nodiscard]] responder_statistics statistics() const noexcept
    {
        auto result = counts_;
        result.open = calls_.open();
        result.unsent = calls_.unsent();
        return result;
    }

    // For call.

    void reply(const record& one, const Reply& value, error_code& ec) override
    {
        ec.clear();
        if (this->ended())
            return;
        if (one.cancelled) {
            drop(one);
            return;
        }
        auto frame =
            open_frame(call_reply_view<Reply>{one.id, &value}, this->link().send_limit, ec);
        if (ec)
            return;
        ++counts_.replies;
        answer_with(one.id, std::move(frame));
    }

    void fail(const record& one, int code, std::string text) override
    {
        if (this->ended())
            return;
        if (one.cancelled) {
            drop(one);
            return;
        }
        constexpr std::size_t around =
            1 + sizeof(std::uint64_t) + sizeof(std::int32_t) + sizeof(std::uint32_t);
        const auto room = std::max(this->link().send_limit, around) - around;
        text.resize(std::min(text.size(), room));
        ++counts_.failures;
        say_answer(one.id, call_refusal{one.id, code, std::move(text)});
    }

    void drop(const record& one) noexcept override
    {
        if (this->ended() || this->is_copy())
            return;
        ++counts_.abandoned;
        try {
            say_answer(one.id, call_dropped{one.id});
        } catch (...) {
            this->give_up();
        }
    }

    // For call_peer.

    void greeted()
    {
        auto frame =
            open_frame(answer<Reply>(call_limit{calls_.limit()}), longest_frame, impossible_);
        seal_frame(frame, frame_kind::message, this->link().options.checksum);
        this->say(std::move(frame), [](responder_state& self, const error_code& ec) {
            if (ec)
                self.end(ec);
        });
    }

    void pump()
    {
        if (this->ended())
            return;
        if ((!waiting_.empty() || calls_.open() != 0) && calls_.may_read())
            this->listen();
        else
            this->stop_listening();
    }

    error_code take(question<Request>&& message)
    {
        return std::visit([this](auto&& each) { return this->take_one(std::move(each)); },
                          std::move(message));
    }

    void fail_all()
    {
        arrived_.clear();
        auto waiting = std::exchange(waiting_, {});
        for (auto& [id, one] : waiting)
            one.complete(this->ended());
        std::vector<record_pointer> all;
        calls_.abandon(all);
        for (const auto& each : all)
            each->cancel();
    }
    void drop_all()
    {
        // Out of here first: who waits may own the responder, which ends with it.
        auto arrived = std::exchange(arrived_, {});
        auto waiting = std::exchange(waiting_, {});
    }

private:
    void answer_with(std::uint64_t id, std::vector<std::byte> frame)
    {
        if (!calls_.answer(id))
            return;
        seal_frame(frame, frame_kind::message, this->link().options.checksum);
        this->say(std::move(frame), [](responder_state& self, const error_code& ec) {
            self.calls_.sent();
            if (ec)
                self.end(ec);
            else
                self.pump();
        });
        pump();
    }
    template <class Message>
    void say_answer(std::uint64_t id, Message message)
    {
        answer_with(id, open_frame(answer<Reply>(std::move(message)), longest_frame, impossible_));
    }

    void cancel_wait(std::uint64_t id)
    {
        const auto found = std::find_if(waiting_.begin(), waiting_.end(),
                                        [id](const auto& each) { return each.first == id; });
        if (found == waiting_.end())
            return;
        auto one = std::move(found->second);
        waiting_.erase(found);
        one.complete(asio::error::operation_aborted);
        pump();
    }

    error_code take_one(call_start<Request>&& message)
    {
        auto one = std::make_shared<record>();
        one->id = message.id;
        one->request = std::move(message.request);
        one->deadline = message.patience_ns == endless_patience
            ? std::chrono::steady_clock::time_point::max()
            : deadline_after(std::chrono::steady_clock::now(), message.patience_ns);
        if (calls_.open(one->id, one) == open_calls<record_pointer>::verdict::against_the_rules)
            return call_errc::peer_broke_rules;
        ++counts_.calls;
        arrived_.push_back(std::move(one));
        wake();
        return {};
    }

    error_code take_one(call_withdrawal&& message)
    {
        record_pointer one;
        if (calls_.cancel(message.id, one)
            == open_calls<record_pointer>::verdict::against_the_rules)
            return call_errc::peer_broke_rules;
        if (!one || one->cancelled)
            return {};
        ++counts_.cancelled;
        const auto unseen = std::find(arrived_.begin(), arrived_.end(), one);
        if (unseen != arrived_.end()) {
            arrived_.erase(unseen);
            drop(*one);
        }
        one->cancel();
        return {};
    }

    open_calls<record_pointer> calls_;
    responder_statistics counts_;
    std::deque<record_pointer> arrived_;
    std::deque<std::pair<std::uint64_t, waiter>> waiting_;
    std::uint64_t last_waiter_ = 0;
    error_code impossible_;  // of what is small, and can always be encoded
};

// async_next. Takes the call in the very turn that runs the handler, so that one which loses a race
// has taken none.
//
//   starting --post--> looking --none--> waiting --woken, cancelled, ended--> looking
//                          \--taken, ended, cancelled--> done
template <class State>
class next_call_operation {
public:
    explicit next_call_operation(std::shared_ptr<State> state) : state_(std::move(state)) { }

    template <class Self>
    void operator()(Self& self, error_code ec = {})
    {
        if (!started_) {
            started_ = true;
            self.reset_cancellation_state(asio::enable_total_cancellation());
            asio::post(std::move(self));
            return;
        }
        if (self.cancelled() != asio::cancellation_type::none)
            ec = asio::error::operation_aborted;
        else if (state_->ended())
            ec = state_->ended();
        auto one = ec ? nullptr : state_->take_arrived();
        if (!ec && !one) {
            const auto state = state_;
            state->wait(std::move(self));
            return;
        }
        const auto state = std::move(state_);
        if (ec)
            state->wake();  // it may have been woken for a call, which is another one's then
        self.complete(ec, one ? taken(state, std::move(one)) : call_type());
    }

private:
    using call_type = call<typename State::request_type, typename State::reply_type>;

    static call_type taken(const std::shared_ptr<State>& state, typename State::record_pointer one)
    {
        return call_type(std::move(one), state);
    }

    std::shared_ptr<State> state_;
    bool started_ = false;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
