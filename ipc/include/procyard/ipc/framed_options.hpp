// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_FRAMED_OPTIONS_HPP
#define PROCYARD_IPC_FRAMED_OPTIONS_HPP

#include <cstddef>
#include <cstdint>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Whether frames carry a checksum.
enum class frame_checksum : std::uint8_t {
    none,   ///< for pipes and sockets, which do not change bytes
    crc32c  ///< CRC-32C of header and message; both sides have to ask for it
};

/// How a framed stream is used.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct framed_options {
    /// Most bytes a message may have, in both directions. Up to 2^32 - 1.
    std::size_t max_message_bytes = std::size_t{1} << 20U;
    /// What is sent with each frame, and asked of each that comes. A checksum that comes unasked is
    /// checked as well.
    frame_checksum checksum = frame_checksum::none;
    /// How many bytes are asked for at once.
    std::size_t read_bytes = std::size_t{64} << 10U;
};

PROCYARD_NAMESPACE_END

#endif
