// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_RUN_INPUT_HPP
#define PROCYARD_RUNTIME_RUN_INPUT_HPP

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/pipe.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// A stream of the user's, of whatever type, as the feeder sees it.
class byte_producer {
public:
    byte_producer() = default;
    byte_producer(const byte_producer&) = delete;
    byte_producer& operator=(const byte_producer&) = delete;
    virtual ~byte_producer() = default;
    // Destroys the stream; or lets go of it, if it is somebody else's.
    virtual void close() noexcept = 0;
    [[nodiscard]] virtual bool is_open() const noexcept = 0;
    // Only while open.
    virtual void read_some(asio::mutable_buffer bytes,
                           asio::any_completion_handler<void(error_code, std::size_t)> handler) = 0;
};

template <class Stream>
class byte_producer_of final : public byte_producer {
public:
    explicit byte_producer_of(Stream stream) : stream_(std::move(stream)) { }

    void read_some(asio::mutable_buffer bytes,
                   asio::any_completion_handler<void(error_code, std::size_t)> handler) override
    {
        std::unwrap_reference_t<Stream>& stream = *stream_;
        stream.async_read_some(bytes, std::move(handler));
    }
    void close() noexcept override { stream_.reset(); }
    [[nodiscard]] bool is_open() const noexcept override { return stream_.has_value(); }

private:
    std::optional<Stream> stream_;
};

struct automatic_source { };
struct command_source { };
struct text_source {
    std::shared_ptr<const std::string> text;
};
struct view_source {
    std::string_view bytes;
};
struct file_source {
    std::filesystem::path path;
};
struct stream_source {
    std::shared_ptr<byte_producer> stream;
};
struct generator_source {
    std::function<asio::awaitable<std::optional<std::string>>()> function;
};
struct writer_source {
    std::function<asio::awaitable<void>(pipe_writer&)> function;
};
using source_description =
    std::variant<automatic_source, command_source, text_source, view_source, file_source,
                 stream_source, generator_source, writer_source>;

struct run_access;

}  // namespace detail

/// What a run feeds to its child's standard input.
///
/// By default: what the command says, and nothing (`/dev/null`) when the command says nothing, so
/// that no run waits for a terminal by accident. A source is fed while the outputs are read, so
/// neither can block the other; a child that does not want the rest of it is no error
/// (`input_result::rejected`). Coroutines run in the run's own strand; they are cancelled
/// (terminal) when nobody reads any more, and waited for.
///
/// On a terminal (`command::terminal`) the end of the input is typed as Ctrl-D.
///
/// A copyable value. Copies share the text, and the stream given to `stream`.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
/// @par Lifetime        Kept by the run until it has completed. So long must live what `view`,
///                      `std::ref` and the captures of a function refer to.
/// @par Cost            Bytes in memory, and a generator's pieces, are written from where they are;
///                      a stream goes through a buffer of 64 KiB. A file is read by the child.
/// @par Example         @snippet examples/guide/feeding.cpp generator
class run_input {
public:
    run_input() = default;
    /// The text, from memory.
    run_input(std::string text)  // NOLINT: a text is an input
        : source_(detail::text_source{std::make_shared<const std::string>(std::move(text))})
    {
    }
    run_input(const char* text)  // NOLINT: as above
        : run_input(std::string(text))
    {
    }

    /// What the command says, even if that is the parent's own (`inherit`).
    [[nodiscard]] static run_input as_command() { return run_input(detail::command_source{}); }
    /// Bytes that stay the caller's and valid until the run has completed.
    [[nodiscard]] static run_input view(std::string_view bytes)
    {
        return run_input(detail::view_source{bytes});
    }
    /// A file, opened for the child, which reads it itself: nothing is copied here.
    [[nodiscard]] static run_input file(std::filesystem::path path)
    {
        return run_input(detail::file_source{std::move(path)});
    }
    /// A stream, to its end of file: a `pipe_reader`, a socket, whatever is an AsyncReadStream. It
    /// is destroyed, and so closed, when the input has ended (a second run finds it closed); give
    /// `std::ref` of one that shall stay open, and keep it alive until the run has completed. Used
    /// from the run's strand.
    template <class AsyncReadStream>
    [[nodiscard]] static run_input stream(AsyncReadStream stream)
    {
        return run_input(detail::stream_source{
            std::make_shared<detail::byte_producer_of<AsyncReadStream>>(std::move(stream))});
    }
    /// A coroutine that is called again and again for the next piece, until it has none.
    [[nodiscard]] static run_input
    generator(std::function<asio::awaitable<std::optional<std::string>>()> next)
    {
        return run_input(detail::generator_source{std::move(next)});
    }
    /// A coroutine that writes to the pipe itself; its end is the end of the input.
    [[nodiscard]] static run_input
    writer(std::function<asio::awaitable<void>(pipe_writer&)> function)
    {
        return run_input(detail::writer_source{std::move(function)});
    }

private:
    friend struct detail::run_access;

    explicit run_input(detail::source_description source) : source_(std::move(source)) { }

    detail::source_description source_;
};

PROCYARD_NAMESPACE_END

#endif
