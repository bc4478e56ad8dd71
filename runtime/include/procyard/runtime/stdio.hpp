// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_STDIO_HPP
#define PROCYARD_RUNTIME_STDIO_HPP

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

class pipe_reader;
class pipe_writer;

namespace detail {
struct stdio_access;
}

/// The size of a terminal, in characters.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct window_size {
    unsigned short rows = 24;
    unsigned short columns = 80;

    friend bool operator==(const window_size&, const window_size&) = default;
};

/// What one descriptor of a child is connected to.
///
/// A copyable value. One that owns a descriptor shares it with its copies; the descriptor is closed
/// with the last of them, and every child spawned from it gets a duplicate.
/// @par Thread safety   Distinct objects: safe, copies included. Shared objects: unsafe.
/// @par Lifetime        A borrowed number must be open whenever a child is spawned from it. The
///                      child has a duplicate of its own, whatever becomes of this object.
/// @par Cost            Whatever is to be opened is opened by each spawn, and closed again in this
///                      process before the spawn returns, but for its own end of a pipe, socket or
///                      terminal.
/// @par Example         @snippet examples/guide/connecting.cpp merge
class PROCYARD_RUNTIME_EXPORT stdio {
public:
    /// The parent's descriptor of the same number (the default for 0, 1 and 2). Closed in the
    /// parent means closed in the child.
    [[nodiscard]] static stdio inherit() noexcept;

    /// `/dev/null`.
    [[nodiscard]] static stdio null() noexcept;

    /// A pipe to the parent, whose end is `child::std_in()`, `std_out()` or `std_err()`.
    ///
    /// `capacity_bytes` is how much the pipe holds at least. Unprivileged processes are held to
    /// /proc/sys/fs/pipe-max-size and to a total per user; what the kernel refuses fails the spawn
    /// (`spawn_step::pipe`), naming the stream and the bytes. 0 takes the library's default, which
    /// is only a wish: 1 MiB for the child's outputs when the kernel grants it, since a larger pipe
    /// is what makes a fast producer fast (fewer switches), and the kernel's own default for its
    /// input.
    [[nodiscard]] static stdio pipe(std::size_t capacity_bytes = 0) noexcept;

    /// A Unix stream socket to the parent: two to three times the throughput of a pipe for bulk
    /// data.
    ///
    /// It behaves as a pipe does but for two things: the child cannot reopen it through
    /// `/dev/stdin` and its kin, and a program that looks at its descriptors sees a socket.
    [[nodiscard]] static stdio socket() noexcept;

    /// Reads from a file. The path is opened by the parent, relative to the parent's directory,
    /// when the child is spawned. The open never waits, so a FIFO must have its other side open by
    /// then (ENXIO if not), here and with the two below.
    [[nodiscard]] static stdio read_file(std::filesystem::path path);
    /// Writes to a file, created with `mode` (less the parent's umask) or truncated.
    [[nodiscard]] static stdio write_file(std::filesystem::path path, mode_t mode = 0666);
    /// Appends to a file, created with `mode` (less the parent's umask) if need be.
    [[nodiscard]] static stdio append_file(std::filesystem::path path, mode_t mode = 0666);

    /// A descriptor handed over. Its O_NONBLOCK is cleared when a child is spawned, since programs
    /// do not expect it (note that the flag belongs to the open file description: duplicates
    /// elsewhere become blocking too).
    [[nodiscard]] static stdio descriptor(unique_fd fd);
    /// The end of another child's pipe, handed over; it leaves this process' event loop.
    [[nodiscard]] static stdio descriptor(pipe_reader&& end);
    /// The end of another child's pipe, handed over; it leaves this process' event loop.
    [[nodiscard]] static stdio descriptor(pipe_writer&& end);

    /// A descriptor that stays the caller's: it must be open when a child is spawned (looked at
    /// before anything is created), and is passed as it is, flags included.
    [[nodiscard]] static stdio borrow(int fd) noexcept;

    /// Whatever the child's standard output is connected to (`2>&1`).
    [[nodiscard]] static stdio to_stdout() noexcept;
    /// Whatever the child's standard error is connected to (`1>&2`).
    [[nodiscard]] static stdio to_stderr() noexcept;

    /// A new pseudo-terminal, whose other side is the parent's. All descriptors of a command that
    /// ask for a terminal share one, and the size is that of the first that names it; the child
    /// becomes the leader of a session with this controlling terminal.
    [[nodiscard]] static stdio terminal(window_size size = {}) noexcept;

private:
    friend struct detail::stdio_access;

    enum class kind : std::uint8_t {
        inherit,
        null,
        pipe,
        socket,
        read_file,
        write_file,
        append_file,
        owned,
        borrowed,
        to_stdout,
        to_stderr,
        terminal,
    };

    explicit stdio(kind k) noexcept : kind_(k) { }

    kind kind_;
    mode_t mode_ = 0;
    int number_ = -1;
    window_size window_;
    std::size_t capacity_bytes_ = 0;
    std::filesystem::path path_;
    std::shared_ptr<const unique_fd> owned_;
};

PROCYARD_NAMESPACE_END

#endif
