// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/line_buffer.hpp>

#include <boost/asio/error.hpp>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include <procyard/ipc/detail/line_operation.hpp>
#include <procyard/ipc/stream_error.hpp>

PROCYARD_NAMESPACE_BEGIN

line_buffer::line_buffer(line_options options) : options_(options)
{
    PROCYARD_ASSERT(options.max_line_bytes > 0 && "a line of no bytes cannot be told from none");
    PROCYARD_ASSERT(options.read_bytes > 0 && "nothing can be read into no bytes");
}

line_buffer::line_buffer(line_buffer&& other) noexcept
    : options_(other.options_),
      data_(std::move(other.data_)),
      capacity_(std::exchange(other.capacity_, 0)),
      begin_(std::exchange(other.begin_, 0)),
      scanned_(std::exchange(other.scanned_, 0)),
      end_(std::exchange(other.end_, 0)),
      skipping_(std::exchange(other.skipping_, false)),
      finished_(std::exchange(other.finished_, false))
{
}

line_buffer& line_buffer::operator=(line_buffer&& other) noexcept
{
    if (this != &other) {
        std::destroy_at(this);
        std::construct_at(this, std::move(other));
    }
    return *this;
}

asio::mutable_buffer line_buffer::prepare()
{
    if (capacity_ - end_ < options_.read_bytes)
        make_room();
    return {data_.get() + end_, options_.read_bytes};
}

// Moves what is not taken to the front. With room for twice as much, as many bytes must arrive
// before the next move as this one moves; so each byte pays for a bounded number of moves.
void line_buffer::make_room()
{
    const std::size_t size = end_ - begin_;
    const std::size_t wanted = 2 * size + options_.read_bytes;
    if (capacity_ < wanted) {
        auto data = std::make_unique_for_overwrite<char[]>(wanted);
        if (size != 0)
            std::memcpy(data.get(), data_.get() + begin_, size);
        data_ = std::move(data);
        capacity_ = wanted;
    } else if (size != 0) {
        std::memmove(data_.get(), data_.get() + begin_, size);
    }
    scanned_ -= begin_;
    begin_ = 0;
    end_ = size;
}

void line_buffer::commit(std::size_t n) noexcept
{
    PROCYARD_ASSERT(n <= capacity_ - end_ && "more was committed than there was room for");
    end_ += n;
    if (skipping_)
        skip_rest_of_line();
}

void line_buffer::append(std::string_view bytes)
{
    while (!bytes.empty()) {
        const auto room = prepare();
        const std::size_t n = std::min(room.size(), bytes.size());
        std::memcpy(room.data(), bytes.data(), n);
        commit(n);
        bytes.remove_prefix(n);
    }
}

line_buffer::status line_buffer::next(std::string_view& line) noexcept
{
    const found it = look();
    line = {};
    if (it.what == status::need_more || it.what == status::end)
        return it.what;
    line = {data_.get() + begin_, it.size_bytes};
    begin_ += it.taken_bytes;
    scanned_ = std::max(scanned_, begin_);
    if (it.what == status::too_long) {
        skipping_ = true;
        skip_rest_of_line();
    } else if (begin_ == end_) {
        begin_ = scanned_ = end_ = 0;  // `line` stays: its bytes are not touched before prepare()
    }
    return it.what;
}

bool line_buffer::ready() noexcept
{
    return look().what != status::need_more;
}

void line_buffer::consume(std::size_t n) noexcept
{
    PROCYARD_ASSERT(n <= end_ - begin_ && "more bytes were taken than there are");
    begin_ += n;
    scanned_ = std::max(scanned_, begin_);
}

// The next line, without taking it. Remembers up to where there is no newline.
line_buffer::found line_buffer::look() noexcept
{
    const char* const begin = data_.get() + begin_;
    const std::size_t size = end_ - begin_;
    const void* const newline =
        end_ == scanned_ ? nullptr : std::memchr(data_.get() + scanned_, '\n', end_ - scanned_);
    std::size_t line_size = size;
    std::size_t taken = size;
    if (newline != nullptr) {
        line_size = static_cast<std::size_t>(static_cast<const char*>(newline) - begin);
        taken = line_size + 1;
        scanned_ = begin_ + line_size;
    } else {
        scanned_ = end_;
    }

    const bool complete = newline != nullptr || finished_;
    if (exceeds_limit({begin, line_size}, newline != nullptr))
        return {status::too_long, options_.max_line_bytes, options_.max_line_bytes};
    if (!complete)
        return {status::need_more, 0, 0};
    if (newline == nullptr && size == 0)
        return {status::end, 0, 0};
    const bool strip = options_.strip_carriage_return && newline != nullptr && line_size > 0
        && begin[line_size - 1] == '\r';
    return {status::line, strip ? line_size - 1 : line_size, taken};
}

// `complete`: the newline has been seen. Before that, a carriage return at the end of the bytes may
// still turn out to belong to the line's end.
bool line_buffer::exceeds_limit(std::string_view line, bool complete) const noexcept
{
    if (line.size() <= options_.max_line_bytes)
        return false;
    const bool may_strip =
        options_.strip_carriage_return && line.back() == '\r' && (complete || !finished_);
    return !may_strip || line.size() - 1 > options_.max_line_bytes;
}

void line_buffer::skip_rest_of_line() noexcept
{
    const void* const newline =
        end_ == begin_ ? nullptr : std::memchr(data_.get() + begin_, '\n', end_ - begin_);
    if (newline == nullptr) {
        begin_ = scanned_ = end_;
        return;
    }
    skipping_ = false;
    begin_ = static_cast<std::size_t>(static_cast<const char*>(newline) - data_.get()) + 1;
    scanned_ = begin_;
}

namespace detail {

std::optional<std::string_view> take_line(line_buffer& buffer, error_code& ec) noexcept
{
    std::string_view line;
    switch (buffer.next(line)) {
    case line_buffer::status::line: ec.clear(); return line;
    case line_buffer::status::too_long: ec = stream_errc::line_too_long; return line;
    case line_buffer::status::need_more: ec = asio::error::would_block; break;
    case line_buffer::status::end: ec = asio::error::eof; break;
    }
    return std::nullopt;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
