// SPDX-License-Identifier: BSL-1.0
// What pool_model_test's world knows of a pool, without a look into its machine.
#ifndef PROCYARD_TESTS_RUNTIME_POOL_KNOWN_HPP
#define PROCYARD_TESTS_RUNTIME_POOL_KNOWN_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "pool_fsm.hpp"

namespace procyard_test {

/// What the world knows of a task, from what it has said and was told.
struct known_task {
    procyard::detail::pool_task_terms terms{};
    bool admitted = false;
    bool over = false;
    bool cancelled = false;
    bool asked = false;       // to be left, whether begun or not
    bool asked_off = false;   // to be left if it has not been begun
    bool begun_ever = false;  // by anybody, as far as an honest worker has said
    bool lied_about = false;  // a worker has denied to have begun it, or claimed to
    unsigned strikes = 0;
    unsigned suspicions = 0;  // workers that died before they had begun it, as the next one
    procyard::detail::pool_worker_number worker = 0;  // who has it now
    procyard::timer_clock::time_point delivered_at{};

    [[nodiscard]] unsigned most_suspicions(unsigned most_strikes) const
    {
        return terms.idempotent && most_strikes > 3 ? most_strikes : 3;
    }
    [[nodiscard]] bool must_be_alone() const { return strikes + suspicions > 0; }
};

/// A worker of the world, which the machine has started and has not been told the end of.
struct known_worker {
    std::size_t slot = 0;
    bool ready = false;
    bool retired = false;
    bool killed = false;
    std::optional<procyard::timer_clock::time_point> terminated{};
    bool stubborn = false;  // answers nothing, and ends only by a kill
    bool alone = false;
    // Those that have not ended, in the order of delivery.
    std::vector<procyard::detail::pool_task_number> tasks{};
    std::vector<char> begun{};
    std::vector<std::uint64_t> places{};  // the how manieth delivery each was
    std::vector<char> withdrawn{};        // it has heard of it before it could begin it
    std::uint64_t delivered = 0;
    std::uint64_t touched = 0;  // the last one of which anything had come to it when it died
    std::uint64_t started = 0;
    std::uint64_t answered = 0;  // the last one
    procyard::timer_clock::time_point beat{};

    bool has_begun(procyard::detail::pool_task_number task) const
    {
        for (std::size_t i = 0; i < tasks.size(); ++i) {
            if (tasks[i] == task)
                return begun[i] != 0;
        }
        return false;
    }
};

}  // namespace procyard_test

#endif
