// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_COPY_RESULT_HPP
#define PROCYARD_IPC_COPY_RESULT_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How bytes went from a source to a sink.
enum class copy_mechanism : std::uint8_t {
    read_write,  ///< through a buffer of this process, some or all of them
    splice       ///< moved by the kernel, all of them
};

/// Which side of a copy failed.
enum class copy_side : std::uint8_t { none, source, sink };

/// How a copy is made.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct copy_options {
    /// Stops with success after so many bytes; what follows stays in the source.
    std::uint64_t max_bytes = std::numeric_limits<std::uint64_t>::max();
    /// Size of the buffer where one is needed.
    std::size_t buffer_bytes = std::size_t{256} << 10U;
    /// Whether the kernel may move the bytes. Without it every byte passes through this process.
    bool allow_splice = true;
    /// Called with the bytes copied so far, each time there are more; in a turn of the copy.
    std::function<void(std::uint64_t)> on_progress = nullptr;
};

/// What a copy did.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct copy_result {
    /// Bytes that the sink has taken.
    std::uint64_t bytes = 0;
    copy_mechanism mechanism = copy_mechanism::read_write;
    /// Whether the source has ended; not so when `max_bytes` ended the copy first.
    bool end_of_source = false;
    /// Whose error the error code is; `none` for operation_aborted.
    copy_side failed = copy_side::none;
    /// Bytes that were read from the source and that the sink has not taken. Empty unless the copy
    /// failed or was cancelled.
    std::string unwritten = {};
};

PROCYARD_NAMESPACE_END

#endif
