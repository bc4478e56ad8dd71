// SPDX-License-Identifier: BSL-1.0
// A walk through what a peer does, one machine instruction after the other, and the way back to any
// of its steps.
//
// A step that changes neither the shared memory nor, by a system call, a descriptor leaves the
// other side with what it had before. So a peer is walked through an operation once, to find the
// steps that do; other peers are brought to these and to some others at full speed, by a breakpoint
// (where there is none, one step after the other).
#ifndef PROCYARD_TESTS_IPC_STEPPED_WALK_HPP
#define PROCYARD_TESTS_IPC_STEPPED_WALK_HPP

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <procyard/ipc/channel.hpp>

#include "single_step.hpp"
#include "skip.hpp"

namespace procyard_test {

constexpr std::size_t never = 3'000'000;  // more instructions than any operation has

/// The peer's memory as this process sees it, and whether it has changed since the last look.
class peer_memory {
public:
    peer_memory()
    {
        std::ifstream maps("/proc/self/maps");
        for (std::string line; std::getline(maps, line);) {
            if (line.find(" r--s ") == line.npos || line.find("/memfd:procyard") == line.npos)
                continue;
            std::istringstream text(line);
            std::uintptr_t begin = 0;
            std::uintptr_t end = 0;
            char dash = 0;
            text >> std::hex >> begin >> dash >> end;
            pieces_.push_back(
                {reinterpret_cast<const char*>(begin), std::vector<char>(end - begin)});
        }
        (void)has_changed();
    }

    [[nodiscard]] bool has_changed()
    {
        bool changed = false;
        for (auto& [at, seen] : pieces_) {
            if (std::memcmp(at, seen.data(), seen.size()) == 0)
                continue;
            std::memcpy(seen.data(), at, seen.size());
            changed = true;
        }
        return changed;
    }

private:
    struct piece {
        const char* at;
        std::vector<char> seen;
    };
    std::vector<piece> pieces_;
};

/// What has been found on the way.
struct walk {
    std::vector<std::uintptr_t> instructions;  ///< where the n-th lies
    std::set<std::size_t> points;              ///< after how many something may happen
    std::size_t acted_at = never;              ///< when it has begun to wait
    std::size_t missed = 0;                    ///< runs that did not come by where they should; see
                                               ///< play_at
    bool by_steps = false;                     ///< one after the other, and not by a breakpoint

    /// How often the one at `to` is executed before, from `from` on.
    [[nodiscard]] std::size_t hits(std::size_t from, std::size_t to) const
    {
        const auto at = instructions.begin();
        return static_cast<std::size_t>(std::count(at + static_cast<std::ptrdiff_t>(from),
                                                   at + static_cast<std::ptrdiff_t>(to),
                                                   instructions[to]));
    }
};

/// What a walk has found to lie at an address.
struct instruction_kind {
    bool calls = false;    ///< the system
    bool repeats = false;  ///< is a step for each repetition
};

/// The whole operation. `act` is called when it waits.
template <class Act>
walk walk_through(single_stepped& copy, Act act)
{
    walk found;
    std::unordered_map<std::uintptr_t, instruction_kind> kinds;
    peer_memory memory;
    while (copy.marks().finished.load() == 0) {
        const auto n = found.instructions.size();
        if (n >= never)
            FAIL("it does not come to an end");
        if (found.acted_at == never && copy.marks().started.load() != 0) {
            found.acted_at = n;
            act();
        }
        const auto at = copy.instruction();
        const auto [known, is_new] = kinds.try_emplace(at);
        if (is_new)
            known->second = {copy.is_system_call(at), copy.repeats(at)};
        std::size_t steps = 1;
        if (known->second.repeats)
            steps = copy.step_past();
        else
            copy.step();
        found.instructions.insert(found.instructions.end(), steps, at);
        // Which of its repetitions have changed something is not known: each one may have.
        if (known->second.calls || memory.has_changed()) {
            for (auto point = n; point <= n + steps; ++point)
                found.points.insert(point);
        }
    }
    return found;
}

/// From step `from` to step `to` of a walk, or to its end. False: it has gone another way than the
/// walk, since an allocator remembers what came before, and has come to its end.
inline bool go_on(single_stepped& copy, walk& known, std::size_t from, std::size_t to)
{
    if (to == from)
        return true;
    bool came_by = true;
    if (!known.by_steps && to < known.instructions.size() && known.instructions[to] != 0) {
        came_by = copy.run_to(known.instructions[to], known.hits(from, to));
    } else {
        auto n = from;
        for (; n < to && copy.marks().finished.load() == 0; ++n)
            copy.step();
        came_by = n == to || to >= known.instructions.size();
    }
    known.missed += came_by ? 0U : 1U;
    return came_by;
}

/// What `play(n, known)` returns, which brings a peer to the n-th step by go_on. Where that has
/// gone another way, and has not come by there, another one goes there step by step; `missed` of
/// what is known counts those alone that have not come by then either.
template <class Play>
auto play_at(Play play, std::size_t n, walk& known)
{
    const auto missed = known.missed;
    auto result = play(n, known);
    if (known.missed == missed)
        return result;
    known.missed = missed;
    known.by_steps = true;
    result = play(n, known);
    known.by_steps = false;
    return result;
}

/// In the copy: until a handler has been called. Never sleeps in the kernel, so that each step is
/// one; and not for ever, if a step is missed.
template <class Outcome>
void poll_until_done(boost::asio::io_context& ctx, step_marks& marks, Outcome& result)
{
    marks.started.store(1);
    for (int polls = 0; !result.done() && polls < 10'000; ++polls)
        ctx.poll();
}

/// Runs a coroutine as far as it comes by now. An exception fails the test.
template <class Coroutine>
void begin_coroutine(boost::asio::io_context& ctx, Coroutine coroutine)
{
    boost::asio::co_spawn(ctx, std::move(coroutine),
                          [](std::exception_ptr failure) { REQUIRE_FALSE(failure); });
    ctx.poll();
}

/// Of a channel's two ends, which is whose.
template <class End>
struct sides;

template <class T>
struct sides<procyard::sender<T>> {
    static constexpr bool is_producer = true;
    using other_end = procyard::receiver<T>;
    static auto& own(procyard::unopened_channel<T>& ends) { return ends.sender; }
    static auto& other(procyard::unopened_channel<T>& ends) { return ends.receiver; }
};

template <class T>
struct sides<procyard::receiver<T>> {
    static constexpr bool is_producer = false;
    using other_end = procyard::sender<T>;
    static auto& own(procyard::unopened_channel<T>& ends) { return ends.receiver; }
    static auto& other(procyard::unopened_channel<T>& ends) { return ends.sender; }
};

/// PROCYARD_EVERY_STEP in the environment: of so many steps one is tried, of 1 each. 0: it does not
/// say, and those of interest are enough.
inline std::size_t step_stride()
{
    const auto* const asked = std::getenv("PROCYARD_EVERY_STEP");
    if (asked == nullptr)
        return 0;
    char* end = nullptr;
    const auto stride = std::strtoul(asked, &end, 10);
    REQUIRE_MESSAGE((stride != 0 && *end == '\0'), "PROCYARD_EVERY_STEP: ", std::string(asked));
    return stride;
}

/// The steps of a walk that are tried: those of interest, and some others.
inline void add_other_points(walk& known)
{
    constexpr std::size_t others = 12;
    const auto length = known.instructions.size();
    const auto stride = step_stride() != 0 ? step_stride() : length / others + 1;
    for (std::size_t n = 0; n < length; n += stride)
        known.points.insert(n);
}

/// A walk, if `limit` is `never`; else the way to its step `limit`. Then the peer is killed. `act`
/// is called when it waits. False: it has gone another way, and has not been killed in time.
template <class Act>
[[nodiscard]] bool walk_and_kill(single_stepped& copy, std::size_t limit, walk& known, Act act)
{
    bool in_time = true;
    if (limit == never) {
        known = walk_through(copy, act);
    } else if (known.by_steps) {
        bool has_acted = false;
        for (std::size_t n = 0; n < limit && copy.marks().finished.load() == 0; ++n) {
            if (!has_acted && copy.marks().started.load() != 0) {
                has_acted = true;
                act();
            }
            copy.step();
        }
    } else if (limit <= known.acted_at) {
        in_time = go_on(copy, known, 0, limit);
    } else {
        in_time = go_on(copy, known, 0, known.acted_at);
        if (in_time) {
            act();
            in_time = go_on(copy, known, known.acted_at, limit);
        }
    }
    copy.kill_hard();
    return in_time;
}

/// Kills everywhere. `kill_after(limit, known)`: a peer does something to its end, or is killed
/// after `limit` steps of what is known of it; how much of it those who survive have found done, or
/// none where nobody may be traced. `done`: how much more that is when it was not killed before. Of
/// a run that was not killed in time it does not matter what is returned: there is another one,
/// step by step.
template <class KillAfter>
void kill_everywhere(KillAfter kill_after, std::uint64_t done)
{
    walk known;
    // Also for what this process does but once, and its copies would do each time.
    const std::optional<std::uint64_t> none = kill_after(std::size_t{0}, known);
    if (!none)
        return skip("nobody may be traced here");
    const std::optional<std::uint64_t> all = kill_after(never, known);
    REQUIRE(all);
    CHECK(*all - *none == done);
    add_other_points(known);
    const auto length = known.instructions.size();
#if defined(__SANITIZE_ADDRESS__)
    constexpr std::size_t one_of = 4;  // to fork takes a sanitizer its time; in Release are all
#else
    constexpr std::size_t one_of = 1;
#endif
    std::size_t index = 0;
    for (const auto n : known.points) {
        if (index++ % one_of != 0)
            continue;
        CAPTURE(length);
        CAPTURE(n);
        const std::optional<std::uint64_t> got = play_at(kill_after, n, known);
        REQUIRE(got);
        REQUIRE(*got >= *none);
        REQUIRE(*got <= *all);
    }
}

}  // namespace procyard_test

#endif
