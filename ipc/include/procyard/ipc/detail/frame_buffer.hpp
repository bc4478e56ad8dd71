// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_FRAME_BUFFER_HPP
#define PROCYARD_IPC_DETAIL_FRAME_BUFFER_HPP

#include <boost/asio/buffer.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/framed_error.hpp>
#include <procyard/ipc/framed_options.hpp>
#include <procyard/ipc/type_description.hpp>

// Frames: bytes in, payloads out; without any input or output.
//
//     'P' 'y' | kind | flags | length of the payload | checksum | payload …
//     0         2      3       4                       8          12
//
// Numbers of the header are little-endian; those of a payload are what its codec makes of them.
// The checksum is CRC-32C of the first eight bytes and the payload, and 0 where the flag says that
// there is none. A length is checked before anything else is read, and memory grows with what has
// come and not with what was announced.

PROCYARD_NAMESPACE_BEGIN

namespace detail {

enum class frame_kind : std::uint8_t { hello = 1, message = 2 };

inline constexpr std::size_t frame_header_bytes = 12;

/// Longest payload that a header can announce.
inline constexpr std::size_t longest_frame = 0xffffffffU;

/// Longest payload of a hello: two descriptions and something more.
inline constexpr std::size_t frame_hello_limit = 4096;

/// Writes the header of a frame whose payload is in its place already.
/// @pre frame.size() >= frame_header_bytes
PROCYARD_IPC_EXPORT void seal_frame(std::span<std::byte> frame, frame_kind kind,
                                    frame_checksum checksum) noexcept;

/// A frame that was found. The payload is valid until the next prepare().
struct frame_view {
    frame_kind kind{};
    std::span<const std::byte> payload;
};

/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
class PROCYARD_IPC_EXPORT frame_buffer {
public:
    explicit frame_buffer(const framed_options& options);

    /// Room for the next `read_bytes` bytes. Ends the validity of the payloads taken before.
    [[nodiscard]] asio::mutable_buffer prepare();
    /// The first `n` bytes of prepare()'s room have been filled.
    void commit(std::size_t n) noexcept { end_ += n; }
    /// The input has ended.
    void finish() noexcept { finished_ = true; }
    /// What comes cannot be understood any more.
    void fail(framed_errc why) noexcept { failure_ = why; }

    /// Takes the next frame. Without one: would_block when it has not come, `asio::error::eof` at
    /// the end between two frames, else what is wrong with what has come.
    [[nodiscard]] std::optional<frame_view> next(error_code& ec) noexcept;
    /// Whether next() would answer anything but would_block. Takes nothing.
    [[nodiscard]] bool ready() noexcept;

    /// The bytes that no frame has taken yet.
    [[nodiscard]] std::size_t buffered() const noexcept { return end_ - begin_; }

private:
    struct header {
        frame_kind kind;
        bool has_checksum;
        std::size_t length;
        std::uint32_t checksum;
    };
    [[nodiscard]] error_code look(header& found) noexcept;
    [[nodiscard]] error_code check_header(header& found) noexcept;

    framed_options options_;
    std::unique_ptr<std::byte[]> data_;
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0;  // first byte not taken
    std::size_t end_ = 0;    // end of the bytes committed
    bool finished_ = false;
    error_code failure_;
};

/// The first frame of both sides.
struct PROCYARD_IPC_EXPORT frame_hello {
    static constexpr std::uint16_t this_version = 1;

    std::uint16_t version = this_version;
    std::uint64_t max_message_bytes = 0;  ///< what is taken at most
    type_description sends;
    type_description receives;

    [[nodiscard]] std::vector<std::byte> to_frame(frame_checksum checksum) const;
    /// Of another version only `version` is read, which stays where it is in every one.
    /// @par Errors   `framed_errc::other_version`, `framed_errc::malformed`
    [[nodiscard]] static frame_hello parse(std::span<const std::byte> payload, error_code& ec);
};

/// Empty when both can talk, else a sentence for each direction in which they cannot.
[[nodiscard]] PROCYARD_IPC_EXPORT std::string compare_hellos(const frame_hello& ours,
                                                             const frame_hello& theirs);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
