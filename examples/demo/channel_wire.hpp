// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_CHANNEL_WIRE_HPP
#define PROCYARD_EXAMPLES_DEMO_CHANNEL_WIRE_HPP

// What the two processes of `demo channel` have to agree upon.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace demo {

/// A message of a length that is known at run time only. Received in batches, where it lies.
using bytes = std::span<const std::byte>;

/// There and back.
struct ball {
    std::uint64_t number;
    std::array<std::uint64_t, 7> ballast;
};

/// What the child says of itself: when it is ready, now and then, and at its end.
struct report {
    std::uint64_t messages;
    std::uint64_t wrong;  ///< of another length or number than was due
    std::uint64_t calls;  ///< to wake us, or to read from a pipe
    std::uint64_t last;   ///< not 0: this is the end
};

/// The message's number, at its beginning and at its end.
inline void stamp(std::span<std::byte> message, std::uint64_t number)
{
    std::memcpy(message.data(), &number, sizeof number);
    std::memcpy(message.data() + message.size() - sizeof number, &number, sizeof number);
}

/// Looks whether each message is the one that was due.
class sequence_check {
public:
    explicit sequence_check(std::size_t size) noexcept : size_(size) { }

    void take(bytes message) noexcept
    {
        std::uint64_t front = 0;
        std::uint64_t back = 0;
        if (message.size() == size_) {
            std::memcpy(&front, message.data(), sizeof front);
            std::memcpy(&back, message.data() + size_ - sizeof back, sizeof back);
        }
        ++messages_;
        if (front != messages_ || back != messages_)
            ++wrong_;
    }

    [[nodiscard]] std::uint64_t messages() const noexcept { return messages_; }
    [[nodiscard]] std::uint64_t wrong() const noexcept { return wrong_; }

private:
    std::size_t size_;
    std::uint64_t messages_ = 0;
    std::uint64_t wrong_ = 0;
};

/// What a pipe is read by, and written by where messages are put together.
constexpr std::size_t pipe_buffer_bytes = 65536;

}  // namespace demo

#endif
