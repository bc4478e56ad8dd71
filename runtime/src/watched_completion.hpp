// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_WATCHED_COMPLETION_HPP
#define PROCYARD_RUNTIME_SRC_WATCHED_COMPLETION_HPP

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>

#include <exception>
#include <utility>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The completion handler of a coroutine that somebody waits for. Where an operation cannot be begun
// in a coroutine, for want of memory, Asio destroys it, completes nothing, and lets the exception
// out of run(): then `lost` is called, in a turn of its own. Not when the context goes down.
//
// By a post, and not from the destructor: that runs in the middle of whatever Asio does, and while
// a context goes down it must touch nothing. Without memory for that either nobody is told.
template <class Ended, class Lost>
class watched_completion {
public:
    watched_completion(asio::any_io_executor ex, Ended ended, Lost lost)
        : executor_(std::move(ex)),
          ended_(std::move(ended)),
          lost_(std::move(lost))
    {
    }
    watched_completion(watched_completion&& other) noexcept
        : executor_(std::move(other.executor_)),
          ended_(std::move(other.ended_)),
          lost_(std::move(other.lost_)),
          is_due_(std::exchange(other.is_due_, false))
    {
    }
    watched_completion& operator=(watched_completion&& other) = delete;
    ~watched_completion()
    {
        if (!is_due_)
            return;
        try {
            asio::post(executor_, std::move(lost_));
        } catch (...) {
            is_due_ = false;  // without memory for that, too, nobody can be told
        }
    }

    template <class... Results>
    void operator()(const std::exception_ptr& error, Results... results)
    {
        is_due_ = false;
        ended_(error, results...);
    }

private:
    asio::any_io_executor executor_;
    Ended ended_;
    Lost lost_;
    bool is_due_ = true;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
