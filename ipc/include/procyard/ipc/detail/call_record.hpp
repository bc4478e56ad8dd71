// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_CALL_RECORD_HPP
#define PROCYARD_IPC_DETAIL_CALL_RECORD_HPP

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_type.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

template <class State>
class next_call_operation;

// A call at the responder, shared by it and the call object.
template <class Request>
struct call_record {
    std::uint64_t id = 0;
    Request request{};
    std::chrono::steady_clock::time_point deadline{};
    asio::cancellation_signal stop;
    bool cancelled = false;
    bool answered = false;

    // May run whatever is bound to the slot.
    void cancel()
    {
        if (!std::exchange(cancelled, true))
            stop.emit(asio::cancellation_type::terminal);
    }
};

// Where a call takes its answer; does not depend on the stream.
template <class Request, class Reply>
class answer_desk {
public:
    virtual void reply(const call_record<Request>& one, const Reply& value, error_code& ec) = 0;
    virtual void fail(const call_record<Request>& one, int code, std::string text) = 0;
    virtual void drop(const call_record<Request>& one) noexcept = 0;

protected:
    answer_desk() = default;
    ~answer_desk() = default;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
