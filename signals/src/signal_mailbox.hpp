// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_SRC_SIGNAL_MAILBOX_HPP
#define PROCYARD_SIGNALS_SRC_SIGNAL_MAILBOX_HPP

#include <signal.h>
#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <procyard/ipc/config.hpp>
#include <procyard/signals/signal_info.hpp>

// What has come of a set's signals and has not been told. Handlers put in, in any threads and in
// the middle of anything; one thread at a time takes out. It knows no descriptor, no Asio and no
// set: the tests of its rules are scripts, and threads under ThreadSanitizer.
//
// docs/memory-model.md argues the order of each atomic operation (chapter "Signals").

PROCYARD_NAMESPACE_BEGIN
namespace detail {

/// The highest number of a signal.
constexpr int last_signal = 64;
/// The kernel's; libc's SIGRTMIN is higher, since it keeps some for itself.
constexpr int first_realtime = 32;

[[nodiscard]] constexpr std::uint64_t signal_bit(int number) noexcept
{
    return std::uint64_t{1} << (number - 1);
}

/// One signal, as it came.
struct signal_record {
    int number = 0;
    int code = 0;
    pid_t pid = 0;
    uid_t uid = 0;
    void* value = nullptr;
};

/// Of what a handler is given. Who has sent it, and the value, only where the code says that they
/// are there: a siginfo_t is a union.
[[nodiscard]] signal_record record_of(int number, const siginfo_t& info) noexcept;

class signal_mailbox {
public:
    static constexpr std::uint32_t queue_capacity = 1024;  // of real-time signals; a power of two

    signal_mailbox() noexcept = default;
    signal_mailbox(const signal_mailbox&) = delete;
    signal_mailbox& operator=(const signal_mailbox&) = delete;
    ~signal_mailbox();

    /// Room for real-time signals. Without it, only their number is told.
    /// @throws std::bad_alloc
    void make_queue();

    /// Async-signal-safe and lock-free. Whoever takes out is to be woken afterwards.
    void post(const signal_record& record) noexcept;

    /// The next one, by the rule in signal_set. False: there is none, or only one that a handler is
    /// about to put in, which will wake.
    [[nodiscard]] bool take(signal_info& taken) noexcept;
    /// Forgets what has come of this number. Nobody may post it meanwhile, else it may stay.
    void forget(int number) noexcept;
    /// As new, but for the room. Nobody may use it meanwhile.
    void reset() noexcept;

    [[nodiscard]] std::uint64_t overflowed() const noexcept;

private:
    // A number that is waiting: when the first one came (upper half, a count that may wrap), and
    // how many (lower half, 0: none, stays at its maximum).
    using waiting = std::atomic<std::uint64_t>;

    // Who has sent a standard signal, of several one of the last. A writer that finds another one
    // at work leaves it to that one: so nobody waits for anybody, and the other's will do.
    struct details {
        std::atomic<std::uint32_t> version{0};  // odd: being written
        std::atomic<std::uint64_t> sender{0};
        std::atomic<void*> value{nullptr};
        std::atomic<int> code{0};

        void write(const signal_record& record) noexcept;
        [[nodiscard]] bool read(signal_info& info, std::uint32_t& at) const noexcept;
    };

    // A place of the queue. `turn` says whose it is: of the position that may write it, or, one
    // higher, of that position's reader.
    struct place {
        std::atomic<std::uint32_t> turn{0};
        signal_record record;
    };

    void count(int number) noexcept;
    [[nodiscard]] bool enqueue(const signal_record& record) noexcept;
    [[nodiscard]] bool dequeue(signal_info& taken) noexcept;
    [[nodiscard]] bool take_standard(signal_info& taken) noexcept;
    [[nodiscard]] bool take_realtime(signal_info& taken) noexcept;
    [[nodiscard]] int longest_waiting(int from, int to, std::uint64_t but_not) const noexcept;

    std::array<waiting, last_signal + 1> waiting_{};
    std::array<details, first_realtime> details_;
    std::atomic<std::uint32_t> clock_{0};
    std::atomic<place*> places_{nullptr};
    std::atomic<std::uint32_t> tail_{0};
    std::uint32_t head_ = 0;
    bool realtime_is_next_ = false;
    std::atomic<std::uint64_t> overflowed_{0};

    static_assert(waiting::is_always_lock_free && std::atomic<place*>::is_always_lock_free,
                  "a handler must not wait for a lock");
};

}  // namespace detail
PROCYARD_NAMESPACE_END

#endif
