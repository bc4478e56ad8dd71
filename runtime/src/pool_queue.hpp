// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_POOL_QUEUE_HPP
#define PROCYARD_RUNTIME_SRC_POOL_QUEUE_HPP

#include <cstddef>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include <procyard/ipc/config.hpp>

#include "pool_index.hpp"
#include "pool_tasks.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Tasks in the order in which they are to be begun: the highest priority first, of equal ones the
// first that was submitted, also if it has been begun before.
//
// A list for each priority that has tasks. Nodes of those that have become empty are used again,
// and one that is the only one stays: who uses one priority never touches the map. Rejected: a heap
// of tasks, which costs a logarithm for the many whose order is that of their coming.
class pool_queue {
public:
    pool_queue() = default;
    pool_queue(pool_queue&&) = default;
    pool_queue& operator=(pool_queue&&) = default;

    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    // no_place if it is empty
    [[nodiscard]] pool_place first() const noexcept
    {
        return size_ == 0 ? no_place : levels_.begin()->second.first();
    }

    void insert(pool_tasks& tasks, pool_place at)
    {
        level_of(tasks[at].terms.priority).insert(tasks, at);
        ++size_;
    }

    // @pre it is in this queue
    void erase(pool_tasks& tasks, pool_place at)
    {
        const auto level = levels_.begin()->first == tasks[at].terms.priority
            ? levels_.begin()
            : levels_.find(tasks[at].terms.priority);
        level->second.erase(tasks, at);
        --size_;
        if (!level->second.empty() || levels_.size() == 1)
            return;
        auto node = levels_.extract(level);
        spare_.reserve(most_spare);
        if (spare_.size() < most_spare)
            spare_.push_back(std::move(node));
    }

private:
    using levels = std::map<int, pool_task_list, std::greater<>>;
    static constexpr std::size_t most_spare = 16;

    [[nodiscard]] pool_task_list& level_of(int priority)
    {
        if (levels_.empty())
            return levels_[priority];
        if (levels_.begin()->first == priority)
            return levels_.begin()->second;
        if (size_ == 0) {
            // The only one, which is empty, becomes this one.
            auto node = levels_.extract(levels_.begin());
            node.key() = priority;
            return levels_.insert(std::move(node)).position->second;
        }
        const auto found = levels_.find(priority);
        if (found != levels_.end())
            return found->second;
        if (spare_.empty())
            return levels_[priority];
        auto node = std::move(spare_.back());
        spare_.pop_back();
        node.key() = priority;
        return levels_.insert(std::move(node)).position->second;
    }

    levels levels_{};  // none is empty, unless there is only one
    std::vector<levels::node_type> spare_{};
    std::size_t size_ = 0;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
