// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_FAN_IN_CORE_HPP
#define PROCYARD_IPC_DETAIL_FAN_IN_CORE_HPP

#include <boost/asio/any_io_executor.hpp>

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <procyard/ipc/channel_statistics.hpp>
#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_core.hpp>
#include <procyard/ipc/detail/channel_end.hpp>
#include <procyard/ipc/detail/operation_queue.hpp>
#include <procyard/ipc/detail/spin_budget.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/fan_in_options.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// What a fan-in has for its next operation: a message of this source, or its end.
struct fan_in_found {
    source_id source{};
    channel_core* channel = nullptr;  ///< has a message
    error_code ended{};               ///< it has none and will have none
};

/// How a fan-in looks for whose turn it is.
enum class fan_in_look : std::uint8_t {
    awake,         ///< at those that do not sleep; the others ring, and an operation hears that
    all,           ///< at those that sleep as well, a load or two each
    before_sleep,  ///< for an operation: would_block says that it may sleep
};

/// A fan-in, all but the type of its messages.
///
/// The doorbells of all sources are in one epoll set, for which its operations wait. So a source
/// that has nothing costs nothing: to let its sender know that it has to ring is a store in memory,
/// and said once, until it rings.
///
/// Each source keeps the doorbell that it has as a channel. Rejected: one bell that all senders
/// press. A receiver may be opened, and its sender have come, long before it becomes a source, and
/// it can be removed again; a bell that hangs up tells of one sender's death, and a common one of
/// the last one's; and who presses it without end would keep all others from being heard.
///
/// Rejected: an operation of each idle source in the reactor. It makes two system calls for each
/// that becomes idle, holds memory for each, and keeps run() from returning though nobody waits.
/// @par Thread safety   As channel_core.
class PROCYARD_IPC_EXPORT fan_in_core : public std::enable_shared_from_this<fan_in_core> {
public:
    [[nodiscard]] static std::shared_ptr<fan_in_core> open(const asio::any_io_executor& ex,
                                                           const fan_in_options& options,
                                                           std::uint64_t busy_after,
                                                           error_code& ec);
    fan_in_core(const fan_in_core&) = delete;
    fan_in_core& operator=(const fan_in_core&) = delete;
    ~fan_in_core();

    [[nodiscard]] operation_queue& operations() noexcept { return *operations_; }

    /// @par Errors   EBADF: no end, or a closed one; EINVAL: another executor, or no such lane;
    ///               ENOSPC, ENOMEM: the kernel watches no more.
    source_id add(std::shared_ptr<channel_core> channel, const source_options& options,
                  error_code& ec);
    bool remove(source_id id) noexcept;
    void close() noexcept;
    [[nodiscard]] bool is_open() const noexcept { return open_; }

    /// Whose turn it is, without taking anything. would_block: nobody has anything.
    /// @par Errors   EMFILE, ENFILE, ENOMEM: a sender cannot be met for now; ENOSPC: as add.
    [[nodiscard]] error_code find(fan_in_found& found, fan_in_look how);
    /// A message, or all that there were, have been taken of what was found.
    void has_taken(const fan_in_found& found, bool all = false);
    /// Its end has been told. What is known of it can be asked for until the next one's.
    void has_told_end(const fan_in_found& found);
    /// It lends messages; nothing else can be received meanwhile.
    void lends(const fan_in_found& found);

    [[nodiscard]] std::size_t source_count() const noexcept;
    [[nodiscard]] std::string name(source_id id) const;
    [[nodiscard]] std::string explanation(source_id id) const;
    [[nodiscard]] channel_statistics statistics(source_id id) const noexcept;

private:
    struct source;
    struct sources;

    fan_in_core(const asio::any_io_executor& ex, const fan_in_options& options,
                std::uint64_t busy_after, unique_fd epoll);

    [[nodiscard]] const source* known(source_id id) const noexcept;
    [[nodiscard]] error_code find_now(fan_in_found& found, fan_in_look how);
    [[nodiscard]] error_code find_or_sleep(fan_in_found& found);
    [[nodiscard]] error_code spin(fan_in_found& found);
    [[nodiscard]] bool look(source& s, error_code& ec);
    [[nodiscard]] bool has_something(source& s);
    [[nodiscard]] bool has_something_by_now(source& s);
    [[nodiscard]] error_code watch(source& s) noexcept;
    void unwatch(source& s) noexcept;
    [[nodiscard]] error_code put_to_sleep(source& s);
    [[nodiscard]] error_code put_all_to_sleep();
    void hear_doorbells();
    [[nodiscard]] source* of_label(std::uint64_t label) const noexcept;
    void hear(std::uint64_t label);

    const fan_in_options options_;
    const std::uint64_t busy_after_;
    const pid_t owner_;  // a copy of this process, made by fork(), leaves everything alone
    unique_fd epoll_;
    std::shared_ptr<operation_queue> operations_;
    std::unique_ptr<sources> sources_;
    std::shared_ptr<channel_core> lender_;  // of the last batch
    spin_budget spin_;
    bool open_ = true;
    bool has_slept_ = false;
    std::uint64_t taken_ = 0;  // since the doorbells were listened to
};

/// The channel of an end, which is none afterwards.
[[nodiscard]] PROCYARD_IPC_EXPORT std::shared_ptr<channel_core> take_core(channel_end& end);

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
