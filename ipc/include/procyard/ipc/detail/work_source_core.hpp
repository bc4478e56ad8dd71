// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_WORK_SOURCE_CORE_HPP
#define PROCYARD_IPC_DETAIL_WORK_SOURCE_CORE_HPP

#include <boost/asio/any_io_executor.hpp>

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/detail/channel_core.hpp>
#include <procyard/ipc/detail/work_broker.hpp>
#include <procyard/ipc/detail/work_records.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/unique_fd.hpp>
#include <procyard/ipc/work_options.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// By this machine's steady clock.
[[nodiscard]] inline bool is_lease_over(std::int64_t deadline_ns) noexcept
{
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::nanoseconds(now).count() >= deadline_ns;
}

/// A consumer of a work queue, all but the type of its items: what it has asked for, what it has,
/// and what it says about it.
///
/// It never holds, or has asked for, more than `most_leases` items; so there is always room in the
/// channel of answers.
/// @par Thread safety   As channel_core.
class PROCYARD_IPC_EXPORT work_source_core {
public:
    /// Opens both channels. `items_of` makes the terms of the one, once its options are known:
    /// `own`, but for what the queue says of the capacity. `explanation`: of an error, if there is
    /// anything to be said.
    [[nodiscard]] static std::shared_ptr<work_source_core>
    open(const asio::any_io_executor& ex, unique_fd from, const channel_options& own,
         channel_terms (*items_of)(const channel_options&), std::string& explanation,
         error_code& ec);
    work_source_core(const work_source_core&) = delete;
    work_source_core& operator=(const work_source_core&) = delete;
    ~work_source_core();

    [[nodiscard]] const std::shared_ptr<channel_core>& items() const noexcept { return items_; }
    [[nodiscard]] const std::shared_ptr<channel_core>& answers() const noexcept { return answers_; }

    /// Sees to it that somebody knows that an item is wanted here. ENOBUFS: there are as many as
    /// may be.
    [[nodiscard]] error_code ask();
    /// As many items ahead as it wants to have.
    void ask_ahead();
    /// Whether one that has come was asked for. If not, the queue breaks the rules.
    [[nodiscard]] bool has_asked() const noexcept { return wanted_ > 0; }
    /// An item has come. False: too late, its lease is over, and it has been given back.
    [[nodiscard]] bool has_received(std::uint64_t lease, std::int64_t deadline_ns,
                                    std::uint64_t refused);
    /// Answers for an item. ETIMEDOUT: its lease is over, and the answer is worth nothing.
    [[nodiscard]] error_code answer(work_reply what, std::uint64_t lease, std::int64_t deadline_ns);
    /// Answers for one that is destroyed without an answer, as the policy says. Not in a copy of
    /// the process, made by fork(): the original has the item still.
    void drop(std::uint64_t lease, std::int64_t deadline_ns);
    void close() noexcept;

    std::size_t prefetch = 0;
    lease_policy policy = lease_policy::give_back;
    std::uint64_t refused = 0;  ///< by the queue, of what was sent

private:
    work_source_core() noexcept;

    const pid_t owner_;
    std::shared_ptr<channel_core> items_;
    std::shared_ptr<channel_core> answers_;
    std::size_t most_leases_ = 0;
    std::size_t wanted_ = 0;  // asked for, and not come yet
    std::size_t held_ = 0;    // come, and not answered yet
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
