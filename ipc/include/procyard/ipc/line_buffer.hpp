// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_LINE_BUFFER_HPP
#define PROCYARD_IPC_LINE_BUFFER_HPP

#include <boost/asio/buffer.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What a line is and how long it may be.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct line_options {
    /// Most bytes a line may have, its end not counted.
    std::size_t max_line_bytes = std::size_t{1} << 20U;
    /// Whether a carriage return before the newline belongs to the line's end.
    bool strip_carriage_return = false;
    /// How many bytes are asked for at once.
    std::size_t read_bytes = std::size_t{64} << 10U;
};

/// Bytes in, lines out; without any input or output of its own.
///
/// A line ends with a newline; the last one may end with the input instead. Empty lines count, NUL
/// bytes are bytes. A line that is too long is reported as soon as it is, with its first
/// `max_line_bytes` bytes; what follows up to its end is dropped, and the next line is whole again.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
/// @par Cost            Linear in the bytes, whatever their lines. Memory for the longest line that
///                      came and one read, at most doubled; none before the first prepare().
class PROCYARD_IPC_EXPORT line_buffer {
public:
    enum class status : std::uint8_t {
        line,       ///< a line was taken
        too_long,   ///< the beginning of a line that is too long was taken
        need_more,  ///< no line yet, and the input goes on
        end         ///< no line any more
    };

    explicit line_buffer(line_options options = {});

    line_buffer(line_buffer&& other) noexcept;
    line_buffer& operator=(line_buffer&& other) noexcept;
    ~line_buffer() = default;

    /// Room for the next `read_bytes` bytes. Ends the validity of the lines taken before.
    [[nodiscard]] asio::mutable_buffer prepare();
    /// The first `n` bytes of prepare()'s room have been filled.
    void commit(std::size_t n) noexcept;
    /// Copies bytes in; the same as prepare() and commit().
    void append(std::string_view bytes);
    /// The input has ended. What is left without a newline is the last line.
    void finish() noexcept { finished_ = true; }

    /// Takes the next line, without its end. `line` is valid until the next prepare() or append(),
    /// and empty when the answer is need_more or end.
    [[nodiscard]] status next(std::string_view& line) noexcept;
    /// Whether next() would answer anything but need_more. Takes nothing.
    [[nodiscard]] bool ready() noexcept;

    [[nodiscard]] bool finished() const noexcept { return finished_; }
    /// The bytes that no line has taken yet.
    [[nodiscard]] std::string_view buffered() const noexcept
    {
        return {data_.get() + begin_, end_ - begin_};
    }
    /// Takes the first `n` bytes of buffered(), for who goes on without lines.
    void consume(std::size_t n) noexcept;

private:
    struct found {
        status what;
        std::size_t size_bytes;   // of the line
        std::size_t taken_bytes;  // line and end
    };
    void make_room();
    [[nodiscard]] found look() noexcept;
    [[nodiscard]] bool exceeds_limit(std::string_view line, bool complete) const noexcept;
    void skip_rest_of_line() noexcept;

    line_options options_;
    std::unique_ptr<char[]> data_;
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0;    // first byte not taken
    std::size_t scanned_ = 0;  // no newline in [begin_, scanned_)
    std::size_t end_ = 0;      // end of the bytes committed
    bool skipping_ = false;    // up to the next newline: the rest of a line that is too long
    bool finished_ = false;
};

PROCYARD_NAMESPACE_END

#endif
