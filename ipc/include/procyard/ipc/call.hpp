// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_CALL_HPP
#define PROCYARD_IPC_CALL_HPP

#include <boost/asio/cancellation_signal.hpp>
#include <boost/system/system_error.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <procyard/ipc/call_error.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/call_record.hpp>

PROCYARD_NAMESPACE_BEGIN

/// A call that has come, to be answered once: by reply() or by fail(), now or later, before others
/// or after them. One that is destroyed without an answer is dropped: the caller gets
/// `call_errc::abandoned`.
///
/// Empty by default and after a move; an empty one has no request. It may outlive its responder,
/// and then answers nobody.
/// @par Thread safety   Distinct objects: safe where their responder is not used at the same time.
///                      Shared objects: unsafe. To answer, and to destroy, is access to the
///                      responder.
/// @par Example
/// ```
/// auto c = co_await requests.async_next(asio::use_awaitable);
/// if (c.request().amount < 0)
///     c.fail(not_positive, "the amount is less than nothing");
/// else
///     c.reply({transfer(c.request())});
/// ```
template <class Request, class Reply>
class call {
public:
    using request_type = Request;
    using reply_type = Reply;

    call() noexcept = default;
    call(call&& other) noexcept = default;
    call& operator=(call&& other) noexcept
    {
        if (this != &other) {
            call old(std::move(*this));  // drops what it has
            record_ = std::move(other.record_);
            desk_ = std::move(other.desk_);
        }
        return *this;
    }
    ~call() { drop(); }

    [[nodiscard]] explicit operator bool() const noexcept { return record_ != nullptr; }

    /// @pre not empty
    [[nodiscard]] const Request& request() const noexcept { return record_->request; }
    /// To be moved from.
    [[nodiscard]] Request& request() noexcept { return record_->request; }

    /// When the caller's patience ends, by this machine's clock; `time_point::max()` when it has
    /// no end. The caller tells it itself: see cancelled(). Transport takes time, so by the
    /// caller's own clock it is a little earlier.
    [[nodiscard]] std::chrono::steady_clock::time_point deadline() const noexcept
    {
        return record_->deadline;
    }

    /// Whether nobody waits for the answer any more: the caller has cancelled, its deadline is
    /// over, it or its stream is gone, or the responder is. reply() and fail() still may be called.
    [[nodiscard]] bool cancelled() const noexcept { return record_->cancelled; }

    /// Gets a terminal cancellation when cancelled() comes true, in a turn of the responder's
    /// executor. For one operation at a time, which must be over before this object is destroyed.
    [[nodiscard]] asio::cancellation_slot get_cancellation_slot() const noexcept
    {
        return record_->stop.slot();
    }

    /// Answers with a value, which is encoded in the call itself.
    /// @par Errors   `call_errc::already_answered`; `framed_errc::too_long`, `not_encodable`: the
    ///               call is still open, for another answer. None when nobody waits any more.
    void reply(const Reply& value, error_code& ec)
    {
        if (!is_open(ec))
            return;
        if (const auto alive = desk_.lock())
            alive->reply(*record_, value, ec);
        record_->answered = !ec;
    }
    /// The same; throws what is an error above.
    void reply(const Reply& value)
    {
        error_code ec;
        reply(value, ec);
        if (ec)
            throw boost::system::system_error(ec, "reply");
    }

    /// Answers with an error: the caller gets `code` in remote_category(), and can ask for the
    /// text. One that is too long for a message is cut.
    /// @pre code != 0
    /// @par Errors   `call_errc::already_answered`
    void fail(int code, std::string text, error_code& ec)
    {
        PROCYARD_ASSERT(code != 0 && "an error code of 0 is no error");
        if (!is_open(ec))
            return;
        if (const auto alive = desk_.lock())
            alive->fail(*record_, code, std::move(text));
        record_->answered = true;
    }
    /// The same; throws what is an error above.
    void fail(int code, std::string text = {})
    {
        error_code ec;
        fail(code, std::move(text), ec);
        if (ec)
            throw boost::system::system_error(ec, "fail");
    }

private:
    using record = detail::call_record<Request>;
    using desk = detail::answer_desk<Request, Reply>;
    template <class Stream, class Req, class Rep>
    friend class responder;
    template <class State>
    friend class detail::next_call_operation;

    call(std::shared_ptr<record> one, std::weak_ptr<desk> where) noexcept
        : record_(std::move(one)),
          desk_(std::move(where))
    {
    }

    [[nodiscard]] bool is_open(error_code& ec) const noexcept
    {
        const bool open = record_ && !record_->answered;
        ec = open ? error_code() : make_error_code(call_errc::already_answered);
        return open;
    }

    void drop() noexcept
    {
        if (!record_ || record_->answered)
            return;
        if (const auto alive = desk_.lock())
            alive->drop(*record_);
    }

    std::shared_ptr<record> record_;
    std::weak_ptr<desk> desk_;
};

PROCYARD_NAMESPACE_END

#endif
