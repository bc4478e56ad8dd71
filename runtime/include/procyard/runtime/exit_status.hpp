// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_EXIT_STATUS_HPP
#define PROCYARD_RUNTIME_EXIT_STATUS_HPP

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What a child used, as the kernel accounted it when the child was reaped (its own
/// descendants' share included as far as they were waited for).
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct resource_usage {
    std::chrono::microseconds user_time{};
    std::chrono::microseconds system_time{};
    std::uint64_t max_rss_bytes = 0;
    std::uint64_t minor_faults = 0;
    std::uint64_t major_faults = 0;
    std::uint64_t voluntary_switches = 0;
    std::uint64_t involuntary_switches = 0;

    friend bool operator==(const resource_usage&, const resource_usage&) = default;
};

/// How a child ended: it exited with a code, a signal ended it, or somebody else took the
/// status.
///
/// A type and not an int, because 15 and SIGTERM are different things, and because "nobody
/// knows" must never look like success.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
class PROCYARD_RUNTIME_EXPORT exit_status {
public:
    /// Unknown: the kernel's record of the status was gone before it could be read (see
    /// `unknown()`).
    exit_status() noexcept = default;

    [[nodiscard]] static exit_status exited(int code) noexcept;
    [[nodiscard]] static exit_status signaled(int signal_number, bool core_dumped = false,
                                              bool out_of_memory = false) noexcept;
    [[nodiscard]] static exit_status unknown() noexcept { return {}; }
    /// From a status word of the `wait` family. A stopped or continued status is a contract
    /// violation.
    [[nodiscard]] static exit_status from_wait_status(int status) noexcept;

    /// The child called exit, with any code.
    [[nodiscard]] bool is_exited() const noexcept { return kind_ == kind::exited; }
    /// A signal ended the child.
    [[nodiscard]] bool is_signaled() const noexcept { return kind_ == kind::signaled; }
    /// The child is gone, and its status went to somebody else: the host ignores SIGCHLD or
    /// waited for any child, and the kernel is too old (before 6.15) to tell afterwards.
    [[nodiscard]] bool is_unknown() const noexcept { return kind_ == kind::unknown; }

    /// Exited with code 0, and nothing else.
    [[nodiscard]] bool success() const noexcept { return kind_ == kind::exited && value_ == 0; }

    /// The exit code, 0…255; empty unless `is_exited()`.
    [[nodiscard]] std::optional<int> code() const noexcept;
    /// The signal's number; empty unless `is_signaled()`.
    [[nodiscard]] std::optional<int> signal() const noexcept;
    [[nodiscard]] bool core_dumped() const noexcept { return core_dumped_; }
    /// The kernel's out-of-memory killer ended the child. Only known for a child with a cgroup
    /// of its own.
    [[nodiscard]] bool out_of_memory() const noexcept { return out_of_memory_; }

    /// What a shell would report in `$?`: the code, or 128 + signal. Unknown gives 255.
    [[nodiscard]] int shell_code() const noexcept;

    /// What the child used; all zero when the status is unknown.
    [[nodiscard]] const resource_usage& usage() const noexcept { return usage_; }
    /// The same status with another usage.
    [[nodiscard]] exit_status with_usage(const resource_usage& usage) const noexcept;
    /// The same death, by the out-of-memory killer.
    [[nodiscard]] exit_status with_out_of_memory() const noexcept;

    /// `exit 3`, `killed by SIGSEGV (core dumped)`, `killed by SIGKILL (out of memory)`,
    /// `unknown exit status`.
    [[nodiscard]] std::string to_string() const;

    /// Whether both ended the same way; what they used does not count.
    friend bool operator==(const exit_status& a, const exit_status& b) noexcept
    {
        return a.kind_ == b.kind_ && a.value_ == b.value_ && a.core_dumped_ == b.core_dumped_
            && a.out_of_memory_ == b.out_of_memory_;
    }

private:
    enum class kind : std::uint8_t { unknown, exited, signaled };

    kind kind_ = kind::unknown;
    bool core_dumped_ = false;
    bool out_of_memory_ = false;
    int value_ = 0;
    resource_usage usage_;
};

PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const exit_status& status);

/// `SIGTERM`, `SIGRTMIN+3`, `signal 99`: the symbolic name of a signal number.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string signal_name(int signal_number);

PROCYARD_NAMESPACE_END

#endif
