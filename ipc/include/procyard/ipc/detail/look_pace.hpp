// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_DETAIL_LOOK_PACE_HPP
#define PROCYARD_IPC_DETAIL_LOOK_PACE_HPP

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

/// Whether to look at the peer's position at once, or a moment after the last look: where that has
/// been worth it.
///
/// A look takes the line of the position away from the peer, and reading what it tells takes that
/// of the cell which the peer is about to write. Both have to come back before the peer publishes
/// again. An end that keeps up with its peer looks for every few messages, and then both wait for
/// lines more than they do anything else. One that looks once in a microsecond finds what the peer
/// has done in it, and disturbs it once.
///
/// So an end becomes patient after several looks that each brought few messages, most of which were
/// not in vain: who receives an answer, or a message now and then, looks in vain before. It is
/// eager again when to wait has brought hardly a message more, or so many that the peer may have
/// waited in turn; for longer each time.
///
/// Rejected: that the peer publishes less often (what is committed is to be seen, whatever happens
/// next); a pause that grows and shrinks (nothing says how long it should be, and where many rings
/// share an end they are looked at seldom anyway); a look ahead of need, which takes as many lines.
class look_pace {
public:
    /// Before a look at a peer of which nothing is left that could be used. True: better `moment`
    /// after the last look than now. `messages` have gone through so far.
    [[nodiscard]] bool is_patient(std::uint64_t messages) noexcept
    {
        const auto brought = messages - messages_;
        messages_ = messages;
        if (few_ == looks_to_be_patient) {
            if (brought < worth_a_moment)
                be_eager();
        } else if (brought < few || few_ < 0) {
            ++few_;
        } else {
            few_ = 0;
        }
        return few_ == looks_to_be_patient;
    }
    /// The look was in vain. It counts against one that was not: itself is among the few, too.
    void has_found_nothing() noexcept
    {
        if (few_ > 0)
            few_ = std::max(0, few_ - 2);
    }
    /// The look has found more than half of what the ring can hold.
    void has_found_much() noexcept
    {
        if (few_ == looks_to_be_patient)
            be_eager();
    }

    static constexpr std::chrono::nanoseconds moment{1000};
    static constexpr std::uint64_t few = 32;            // messages of a look
    static constexpr std::uint64_t worth_a_moment = 4;  // messages
    static constexpr int looks_to_be_patient = 4;
    static constexpr int least_eager = 64;  // looks
    static constexpr int most_eager = 4096;

private:
    void be_eager() noexcept
    {
        few_ = -eager_;
        eager_ = std::min(2 * eager_, most_eager);
    }

    std::uint64_t messages_ = 0;  // before the last look
    int few_ = 0;                 // looks that brought few; negative: so many more are eager
    int eager_ = least_eager;
};

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
