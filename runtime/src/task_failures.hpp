// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_TASK_FAILURES_HPP
#define PROCYARD_RUNTIME_SRC_TASK_FAILURES_HPP

#include <cstddef>
#include <exception>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/shutdown_report.hpp>

#include "exception_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The failures of a coordinator's background tasks until its report is made: the first ones, and
// how many more there were. A service may run for years, and each of its connections fail.
class task_failures {
public:
    static constexpr std::size_t most = 16;

    // From any thread.
    void note(const task_name& name, const std::exception_ptr& failure)
    {
        const std::lock_guard lock(mutex_);
        if (first_.size() < most)
            first_.push_back({"tasks", name, failure, exception_text(failure)});
        else
            ++others_;
    }

    void move_to(std::vector<shutdown_failure>& report)
    {
        const std::lock_guard lock(mutex_);
        for (auto& one : first_)
            report.push_back(std::move(one));
        first_.clear();
        if (const auto others = std::exchange(others_, 0); others != 0)
            report.push_back(
                {"tasks", "others", nullptr, std::to_string(others) + " more have failed"});
    }

private:
    std::mutex mutex_;
    std::vector<shutdown_failure> first_{};
    std::size_t others_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
