// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SERVICE_NOTICE_HPP
#define PROCYARD_RUNTIME_SERVICE_NOTICE_HPP

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/runtime/export.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {
struct notice_access;
}

/// What a service says to its manager at one time: one datagram of assignments, as sd_notify(3) has
/// them.
///
/// Of an assignment that is made twice the last one counts. Copies share the descriptors. What is
/// refused is refused here, where it is written, by `std::invalid_argument`,
/// which names the variable: a value with a line feed or a NUL, which would be an assignment of its
/// own or cut the message off.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
/// @par Example         @snippet examples/guide/serving.cpp notices
class PROCYARD_RUNTIME_EXPORT service_notice {
public:
    service_notice() = default;

    // How it goes

    /// READY=1: started, or reloaded.
    service_notice& ready();
    /// RELOADING=1, and when that was (MONOTONIC_USEC). `ready()` has to follow.
    service_notice& reloading();
    /// STOPPING=1
    service_notice& stopping();
    /// STATUS: one line for people.
    service_notice& status(std::string_view text);
    /// ERRNO: why it fails, 1 and above.
    service_notice& error_number(int error);
    /// EXIT_STATUS: what it will exit with, 0 to 255.
    service_notice& exit_status(int code);
    /// MAINPID: another process is the service from now on.
    service_notice& main_pid(pid_t pid);

    // Time

    /// EXTEND_TIMEOUT_USEC: start, run or stop may take so long from now on. Repeat it before it is
    /// over.
    service_notice& extend_timeout(std::chrono::nanoseconds time);
    /// WATCHDOG=1: alive. See `service_notifier::async_feed_watchdog`.
    service_notice& alive();
    /// WATCHDOG=trigger: ill; the manager does what it does to one that gives no sign.
    service_notice& ill();
    /// WATCHDOG_USEC: the manager is to expect signs of life at another interval.
    service_notice& watchdog(std::chrono::nanoseconds interval);

    // Descriptors, which the manager keeps for the next incarnation of the service. There they come
    // as those of socket activation do (`activation_descriptors`).

    /// FDSTORE=1 with a duplicate of the descriptor, FDNAME=`name`. Several may go along in one
    /// notice, at most 253, under one name.
    /// @throws std::invalid_argument          the name is no such name (1 to 255 printable ASCII
    ///                                        characters but ':'), or another than before
    /// @throws boost::system::system_error    there is no duplicate to be had: EBADF, EMFILE
    service_notice& store(int descriptor, std::string_view name);
    /// FDPOLL=0: keep them also when they report an error or a hang-up.
    service_notice& without_polling();
    /// FDSTOREREMOVE=1, FDNAME=`name`: forget those of this name.
    service_notice& remove_stored(std::string_view name);

    /// Any other assignment, such as `X_MY_STATE`.
    /// @throws std::invalid_argument   the name is not made of capital letters, digits and `_`, or
    ///                                 is `BARRIER`, for which there is `async_barrier`
    service_notice& set(std::string_view name, std::string_view value);

    /// What will be sent, an assignment in each line.
    [[nodiscard]] std::string text() const;
    [[nodiscard]] bool empty() const noexcept { return assignments_.empty(); }

private:
    friend struct detail::notice_access;

    void assign(std::string_view name, std::string_view value);
    void assign_time(std::string_view name, std::chrono::nanoseconds time);
    void assign_store_name(std::string_view purpose, std::string_view name);

    std::vector<std::pair<std::string, std::string>> assignments_{};
    std::vector<std::shared_ptr<const unique_fd>> descriptors_{};
};

PROCYARD_NAMESPACE_END

#endif
