// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_DESCRIPTOR_IO_HPP
#define PROCYARD_IPC_SRC_DESCRIPTOR_IO_HPP

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// What a descriptor is, as far as it decides how to write to it without a SIGPIPE.
enum class descriptor_kind : std::uint8_t {
    unknown,  // not asked yet
    pipe,     // pipe or FIFO
    socket,
    plain,  // file, directory, character or block device: raises no SIGPIPE
    other   // what the kernel may invent
};

[[nodiscard]] descriptor_kind kind_of(int fd) noexcept;

// One transfer without waiting; `buffers` hold at least one byte. At the end of the stream
// asio::error::eof, when it would wait asio::error::would_block.
struct transfer_result {
    error_code ec{};
    std::size_t bytes = 0;
};

[[nodiscard]] transfer_result read_now(int fd, std::span<const iovec> buffers) noexcept;

// Never raises SIGPIPE.
[[nodiscard]] transfer_result write_now(int fd, descriptor_kind kind,
                                        std::span<const iovec> buffers) noexcept;

// poll(2) on one descriptor: the events that hold, among `events` and POLLERR, POLLHUP, POLLNVAL;
// 0 when none came within the time (-1: for ever, 0: only look).
[[nodiscard]] short poll_one(int fd, short events, int timeout_ms) noexcept;

// Sets or clears O_NONBLOCK; `access_mode` receives the O_ACCMODE bits and O_PATH.
[[nodiscard]] error_code set_nonblocking(int fd, bool on, int& access_mode) noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
