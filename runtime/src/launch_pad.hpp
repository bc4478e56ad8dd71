// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_LAUNCH_PAD_HPP
#define PROCYARD_RUNTIME_SRC_LAUNCH_PAD_HPP

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// What one spawn needs for its duration: a stack for the child, and launch slots.
///
/// Launch slots are descriptor numbers, reserved while numbers are still low, onto which the
/// descriptors a child needs are put for the moment of the clone. The child, which shares the
/// parent's table at first, then unshares it with everything above the slots cut off, and the
/// kernel copies those few entries instead of thousands. (It trims a table only at its end: with
/// the slots themselves at high numbers nothing is gained.) A placeholder keeps the numbers
/// occupied in between.
class launch_pad {
public:
    static constexpr std::size_t slot_count = 6;
    static constexpr std::size_t stack_bytes = 64 * 1024;

    explicit launch_pad(bool with_slots);
    launch_pad(const launch_pad&) = delete;
    launch_pad& operator=(const launch_pad&) = delete;
    ~launch_pad();

    /// False where no memory was to be had: nothing can be launched from here.
    [[nodiscard]] bool has_stack() const noexcept { return stack_ != nullptr; }
    [[nodiscard]] bool has_slots() const noexcept { return slots_.back().get() >= 0; }
    [[nodiscard]] void* stack() const noexcept { return stack_; }

    /// Puts a duplicate of `fd` into the next free slot; -1 when there is none or dup3 fails.
    [[nodiscard]] int place(int fd) noexcept;
    /// Empties the slots.
    void clear() noexcept;

    std::atomic<bool> busy{false};

private:
    unique_fd placeholder_;
    std::array<unique_fd, slot_count> slots_;
    std::size_t placed_ = 0;
    void* mapping_ = nullptr;
    void* stack_ = nullptr;
};

/// The pads of a context. A spawn takes a free one; where two threads spawn at once, the second
/// does not wait but works without.
class launch_pads {
public:
    /// Holds a pad for one spawn.
    class lease {
    public:
        explicit lease(launch_pad* pad) noexcept : pad_(pad) { }
        explicit lease(std::unique_ptr<launch_pad> own) noexcept
            : own_(std::move(own)),
              pad_(own_.get())
        {
        }
        lease(const lease&) = delete;
        lease& operator=(const lease&) = delete;
        ~lease();
        launch_pad* operator->() const noexcept { return pad_; }
        [[nodiscard]] explicit operator bool() const noexcept { return pad_ != nullptr; }

    private:
        std::unique_ptr<launch_pad> own_;
        launch_pad* pad_;
    };

    launch_pads();
    [[nodiscard]] lease acquire();

private:
    std::array<std::unique_ptr<launch_pad>, 2> pads_;
};

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
