// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_RUN_OUTPUT_HPP
#define PROCYARD_RUNTIME_RUN_OUTPUT_HPP

#include <sys/types.h>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/line_buffer.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What happens when a child writes more than is captured.
enum class limit_policy : std::uint8_t {
    /// The rest is read and thrown away, and the child goes on. The result says so.
    truncate,
    /// The ladder stops the child.
    stop,
};

/// How much of an output is kept in memory.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct capture_options {
    /// The default is enough for what people read and few machines notice.
    std::size_t limit_bytes = std::size_t{16} << 20;
    limit_policy on_limit = limit_policy::truncate;
};

/// How a file is opened that an output is written to.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct file_sink_options {
    bool append = false;
    /// For a new file, less the umask.
    mode_t mode = 0666;
};

namespace detail {

// A stream of the user's, of whatever type, as the pump sees it.
class byte_consumer {
public:
    byte_consumer() = default;
    byte_consumer(const byte_consumer&) = delete;
    byte_consumer& operator=(const byte_consumer&) = delete;
    virtual ~byte_consumer() = default;
    // Destroys the stream; or lets go of it, if it is somebody else's.
    virtual void close() noexcept = 0;
    [[nodiscard]] virtual bool is_open() const noexcept = 0;
    // Writes all of it. Only while open.
    virtual void write(asio::const_buffer bytes,
                       asio::any_completion_handler<void(error_code, std::size_t)> handler) = 0;
};

template <class Stream>
class byte_consumer_of final : public byte_consumer {
public:
    explicit byte_consumer_of(Stream stream) : stream_(std::move(stream)) { }

    void write(asio::const_buffer bytes,
               asio::any_completion_handler<void(error_code, std::size_t)> handler) override
    {
        std::unwrap_reference_t<Stream>& stream = *stream_;
        asio::async_write(stream, asio::const_buffer(bytes), std::move(handler));
    }
    void close() noexcept override { stream_.reset(); }
    [[nodiscard]] bool is_open() const noexcept override { return stream_.has_value(); }

private:
    std::optional<Stream> stream_;
};

struct capture_sink {
    capture_options options;
};
struct file_sink {
    std::filesystem::path path;
    file_sink_options options;
};
struct callback_sink {
    std::function<void(std::string_view)> function;
};
struct line_sink {
    std::function<void(std::string_view)> function;
    line_options options;
};
struct coroutine_sink {
    std::function<asio::awaitable<void>(std::string_view)> function;
};
struct stream_sink {
    std::shared_ptr<byte_consumer> stream;
};
using sink_description =
    std::variant<capture_sink, file_sink, callback_sink, line_sink, coroutine_sink, stream_sink>;

struct run_access;

}  // namespace detail

/// Where one output of a run goes.
///
/// By default: where the command says, and into memory when the command says nothing (`inherit`) or
/// `pipe`, `socket` or `terminal`. Adding sinks sends it to all of them at once:
/// @code
/// run_options().std_out(run_output().capture({.limit_bytes = 1 << 20}).to_file("build.log"))
/// @endcode
/// All sinks get every byte, in order; the next bytes are read when all have taken the last ones,
/// so a slow one slows the child down (the pipe fills up) and memory stays bounded. One that fails
/// gets nothing more, is reported in `stream_result::sink_failures`, and leaves the others alone;
/// see `run_options::on_sink_failure`. Callbacks and coroutines run in the run's own strand, never
/// two at a time; the bytes they get are valid until they return (or, a coroutine, until it ends).
///
/// A copyable value. Copies share the stream given to `to_stream`.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
/// @par Lifetime        Kept by the run until it has completed. So long must live what `std::ref`
///                      and the captures of a function refer to.
/// @par Cost            One buffer of 64 KiB for all sinks of an output, from its first byte on;
///                      `capture` and `each_line` copy out of it, the others do not. What is
///                      discarded does not come through this process.
/// @par Example         @snippet examples/guide/running.cpp sinks
class PROCYARD_RUNTIME_EXPORT run_output {
public:
    run_output() = default;

    /// Where the command says, even if that is the parent's own (`inherit`).
    [[nodiscard]] static run_output as_command() { return run_output(kind::as_command); }
    /// Nowhere: `/dev/null`.
    [[nodiscard]] static run_output discard() { return run_output(kind::discard); }
    /// Into the other output, in the order of the writes: for `std_err` what a shell calls `2>&1`.
    [[nodiscard]] static run_output merge() { return run_output(kind::merge); }

    /// Into memory: `stream_result::data`. At most once; a later call replaces the options.
    run_output& capture(capture_options options = {});
    /// To a file, written by this process in the turn of the event loop that reads the bytes. (If
    /// the file is the only target, `command::std_out(stdio::write_file(path))` costs nothing.)
    /// Never blocks on a FIFO or a device: what cannot be written at once fails the sink.
    run_output& to_file(std::filesystem::path path, file_sink_options options = {});
    /// To a function.
    run_output& to_callback(std::function<void(std::string_view)> function);
    /// To a function, line by line, without the newline; the last line need not have one. Of a
    /// line that is too long the function gets the beginning, and the rest is dropped; see
    /// `stream_result::long_lines`.
    run_output& each_line(std::function<void(std::string_view)> function,
                          line_options options = {});
    /// To a coroutine, which is awaited before more is read. A cancelled run cancels it (terminal)
    /// and waits for it.
    run_output& to_coroutine(std::function<asio::awaitable<void>(std::string_view)> function);
    /// To a stream: a `pipe_writer`, a socket, whatever is an AsyncWriteStream. It is destroyed,
    /// and so closed, when the output has ended, or the run without one (a second run finds it
    /// closed); give `std::ref` of one that shall stay open, and keep it alive until the run has
    /// completed. Used from the run's strand.
    template <class AsyncWriteStream>
    run_output& to_stream(AsyncWriteStream stream)
    {
        return add(detail::stream_sink{
            std::make_shared<detail::byte_consumer_of<AsyncWriteStream>>(std::move(stream))});
    }

private:
    friend struct detail::run_access;

    enum class kind : std::uint8_t { automatic, as_command, discard, merge, sinks };

    explicit run_output(kind k) : kind_(k) { }
    run_output& add(detail::sink_description sink);

    kind kind_ = kind::automatic;
    std::vector<detail::sink_description> sinks_;
};

PROCYARD_NAMESPACE_END

#endif
