// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_EVENT_LOG_HPP
#define PROCYARD_TESTS_SUPPORT_EVENT_LOG_HPP

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <procyard/runtime/observer.hpp>

namespace procyard_test {

/// Keeps the lines of a context's events, without their "[pid] program: ".
class event_log final : public procyard::observer {
public:
    void on_event(const procyard::child_event& event) noexcept override
    {
        std::ostringstream text;
        text << event;
        const std::string line = text.str();
        const auto head =
            "[" + std::to_string(event.pid) + "] " + std::string(event.program) + ": ";
        const std::lock_guard lock(mutex_);
        lines_.push_back(line.starts_with(head) ? line.substr(head.size()) : line);
        times_.push_back(event.when);
    }

    [[nodiscard]] std::vector<std::string> lines() const
    {
        const std::lock_guard lock(mutex_);
        return lines_;
    }

    /// How many lines are this one.
    [[nodiscard]] std::size_t count(std::string_view line) const
    {
        const std::lock_guard lock(mutex_);
        return static_cast<std::size_t>(std::count(lines_.begin(), lines_.end(), line));
    }

    [[nodiscard]] bool is_in_order() const
    {
        const std::lock_guard lock(mutex_);
        return std::is_sorted(times_.begin(), times_.end());
    }

private:
    mutable std::mutex mutex_;
    std::vector<std::string> lines_;
    std::vector<std::chrono::steady_clock::time_point> times_;
};

/// Watches the context from now on.
inline std::shared_ptr<event_log> watch(boost::asio::io_context& ctx)
{
    auto log = std::make_shared<event_log>();
    procyard::set_observer(ctx.get_executor(), log);
    return log;
}

}  // namespace procyard_test

#endif
