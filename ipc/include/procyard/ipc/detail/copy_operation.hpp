// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_COPY_OPERATION_HPP
#define PROCYARD_IPC_DETAIL_COPY_OPERATION_HPP

#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/copy_result.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// async_copy with a stream that is not ours.
//
//   starting --> reading --bytes--> writing --all written--> reading
//   each of them --end, limit, error, cancelled--> done
//
// reading: the buffer is empty. writing: the buffer holds [written_, filled_), which the source has
// given and the sink has not taken.
template <class Source, class Sink>
class copy_operation {
public:
    copy_operation(Source& source, Sink& sink, copy_options options)
        : source_(source),
          sink_(sink),
          options_(std::move(options))
    {
        PROCYARD_ASSERT(options_.buffer_bytes > 0 && "nothing can be copied through no bytes");
    }

    template <class Self>
    void operator()(Self& self)
    {
        if (!std::exchange(started_, true)) {
            self.reset_cancellation_state(asio::enable_total_cancellation());
            if (options_.max_bytes == 0)
                asio::post(std::move(self));
            else
                read(self);
            return;
        }
        complete(self, is_cancelled(self) ? asio::error::operation_aborted : error_code(),
                 copy_side::none);
    }

    template <class Self>
    void operator()(Self& self, error_code ec, std::size_t n)
    {
        if (reading_)
            have_read(self, ec, n);
        else
            have_written(self, ec, n);
    }

private:
    template <class Self>
    void read(Self& self)
    {
        const auto wanted = static_cast<std::size_t>(
            std::min<std::uint64_t>(options_.buffer_bytes, options_.max_bytes - result_.bytes));
        if (!buffer_)
            buffer_ = std::make_unique_for_overwrite<char[]>(wanted);
        reading_ = true;
        const asio::mutable_buffer room(buffer_.get(), wanted);
        auto& source = source_;  // self goes, and *this with it
        source.async_read_some(room, std::move(self));
    }

    template <class Self>
    void have_read(Self& self, const error_code& ec, std::size_t n)
    {
        filled_ = n;
        written_ = 0;
        read_error_ = ec;  // bytes that come with an error are written first
        if (heeded_cancellation(self))
            complete(self, asio::error::operation_aborted, copy_side::none);
        else if (n > 0)
            write(self);
        else
            after_a_block(self);
    }

    template <class Self>
    void write(Self& self)
    {
        reading_ = false;
        const asio::const_buffer rest(buffer_.get() + written_, filled_ - written_);
        auto& sink = sink_;
        sink.async_write_some(rest, std::move(self));
    }

    template <class Self>
    void have_written(Self& self, const error_code& ec, std::size_t n)
    {
        written_ += n;
        result_.bytes += n;
        if (n > 0 && options_.on_progress)
            options_.on_progress(result_.bytes);
        if (is_cancelled(self) || ec == asio::error::operation_aborted)
            complete(self, asio::error::operation_aborted, copy_side::none);
        else if (ec)
            complete(self, ec, copy_side::sink);
        else if (written_ < filled_)
            write(self);
        else
            after_a_block(self);
    }

    // The buffer is empty.
    template <class Self>
    void after_a_block(Self& self)
    {
        if (read_error_ == asio::error::eof) {
            result_.end_of_source = true;
            complete(self, {}, copy_side::none);
        } else if (read_error_ == asio::error::operation_aborted)
            complete(self, read_error_, copy_side::none);
        else if (read_error_)
            complete(self, read_error_, copy_side::source);
        else if (result_.bytes == options_.max_bytes)
            complete(self, {}, copy_side::none);
        else
            read(self);
    }

    template <class Self>
    [[nodiscard]] static bool is_cancelled(Self& self)
    {
        return self.cancelled() != asio::cancellation_type::none;
    }

    // Whether to stop. From the first byte on the promise of a total cancellation cannot be kept
    // any more: then it is not heard.
    template <class Self>
    [[nodiscard]] bool heeded_cancellation(Self& self)
    {
        const bool untouched = result_.bytes == 0 && filled_ == 0;
        if (is_cancelled(self) && (untouched || self.cancelled() != asio::cancellation_type::total))
            return true;
        if (!untouched && std::exchange(total_is_possible_, false))
            self.reset_cancellation_state(asio::enable_partial_cancellation());
        return false;
    }

    template <class Self>
    void complete(Self& self, const error_code& ec, copy_side failed)
    {
        if (written_ < filled_)
            result_.unwritten.assign(buffer_.get() + written_, filled_ - written_);
        buffer_.reset();
        result_.failed = failed;
        auto result = std::move(result_);
        self.complete(ec, std::move(result));
    }

    Source& source_;
    Sink& sink_;
    copy_options options_;
    copy_result result_{};
    std::unique_ptr<char[]> buffer_;
    std::size_t filled_ = 0;
    std::size_t written_ = 0;
    error_code read_error_{};
    bool started_ = false;
    bool reading_ = false;
    bool total_is_possible_ = true;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
