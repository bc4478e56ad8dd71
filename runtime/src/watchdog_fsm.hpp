// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_WATCHDOG_FSM_HPP
#define PROCYARD_RUNTIME_SRC_WATCHDOG_FSM_HPP

#include <cstddef>
#include <cstdint>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// When a sign of life may be given.
//
//   resting --turn--> asking (ask, look soon)
//   asking  --turn, answers are missing--> asking (look soon)
//   asking  --turn, all have answered--> resting (feed)
//
//   resting: every loop has run a handler since it was asked. With no other loop than the one that
//            has the turn, each turn feeds.
//   asking:  some have not. Nobody is asked twice: a loop that is stuck would find a heap of
//            questions, and whoever has answered has done so for this sign.
//
// The answers are looked for, and do not come: a loop that answers may outlive the one that has
// asked, which it must not touch then.
class watchdog_fsm {
public:
    enum class action : std::uint8_t {
        ask,   // all loops
        look,  // for answers that are to come
        feed,
    };

    explicit watchdog_fsm(bool has_loops) noexcept : has_loops_(has_loops) { }

    // `missing`: how many of those that were asked have not answered.
    [[nodiscard]] action turn(std::size_t missing) noexcept
    {
        if (!has_loops_)
            return action::feed;
        if (!asking_) {
            asking_ = true;
            return action::ask;
        }
        if (missing > 0)
            return action::look;
        asking_ = false;
        return action::feed;
    }

private:
    const bool has_loops_;
    bool asking_ = false;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
