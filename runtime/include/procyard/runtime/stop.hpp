// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_STOP_HPP
#define PROCYARD_RUNTIME_STOP_HPP

#include <signal.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include <procyard/ipc/config.hpp>
#include <procyard/runtime/clock.hpp>
#include <procyard/runtime/exit_status.hpp>
#include <procyard/runtime/export.hpp>
#include <procyard/runtime/tree.hpp>

PROCYARD_NAMESPACE_BEGIN

/// What one rung of a ladder does.
enum class stop_action : std::uint8_t {
    /// Closes the writing end of the child's standard input, if it is ours.
    close_stdin,
    /// Sends a signal. One that asks (any but SIGKILL, SIGSTOP and SIGCONT) is followed by SIGCONT,
    /// because a suspended process does not see it otherwise.
    signal,
    /// SIGKILL, with the tree's own means: all at once where it is a cgroup, else frozen first so
    /// that nobody forks away.
    kill,
};

/// Whom it addresses.
enum class stop_scope : std::uint8_t {
    /// Every member of the child's tree.
    tree,
    /// The child alone. Skipped once the child has ended.
    child,
};

/// One rung of a ladder, and how long to wait before the next.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct stop_step {
    stop_action action = stop_action::signal;
    /// Only with `stop_action::signal`.
    int signal = SIGTERM;
    stop_scope scope = stop_scope::tree;
    /// The next rung is taken this much later, unless the tree is empty by then. The grace of a
    /// step that addressed the child alone also ends when the child does.
    std::chrono::nanoseconds grace{};

    friend bool operator==(const stop_step&, const stop_step&) = default;
};

/// `close stdin`, `SIGTERM to the tree`, `SIGKILL to the child`.
[[nodiscard]] PROCYARD_RUNTIME_EXPORT std::string to_string(const stop_step& step);

/// How a child is asked to stop: rungs from polite to firm.
///
/// Whatever the rungs, the ladder ends when the tree is empty (not when the child has ended: its
/// descendants count), and SIGKILL to the whole tree follows the last rung. A value; build it from
/// a name and add to it:
/// @code
/// stop_ladder{}.close_stdin(2s).signal(SIGINT, 1s).signal(SIGTERM, 5s)
/// @endcode
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT stop_ladder {
    // Not an aggregate: GCC 12 destroys one that is made inside a co_await expression twice.
    stop_ladder() = default;

    std::vector<stop_step> steps{};
    /// Measures the graces; null: the machine's steady clock.
    std::shared_ptr<timer_clock> clock{};

    /// Closes stdin and sends SIGTERM to the tree; SIGKILL after `grace`. The default everywhere.
    [[nodiscard]] static stop_ladder
    polite(std::chrono::nanoseconds grace = std::chrono::seconds(5));
    /// SIGTERM to the tree; SIGKILL after `grace`. Stdin stays open.
    [[nodiscard]] static stop_ladder
    terminate(std::chrono::nanoseconds grace = std::chrono::seconds(5));
    /// As a user at a terminal would: SIGINT, after `patience` SIGTERM, after `grace` SIGKILL.
    [[nodiscard]] static stop_ladder
    interrupt_first(std::chrono::nanoseconds patience = std::chrono::seconds(2),
                    std::chrono::nanoseconds grace = std::chrono::seconds(5));
    /// For a filter that ends at the end of its input: closes stdin, and goes on as `polite` only
    /// after `patience`.
    [[nodiscard]] static stop_ladder
    end_of_input(std::chrono::nanoseconds patience = std::chrono::seconds(5),
                 std::chrono::nanoseconds grace = std::chrono::seconds(5));
    /// SIGKILL to the tree, at once.
    [[nodiscard]] static stop_ladder kill();

    stop_ladder& close_stdin(std::chrono::nanoseconds grace = {});
    stop_ladder& signal(int number, std::chrono::nanoseconds grace,
                        stop_scope scope = stop_scope::tree);
};

/// One rung that was taken.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct stop_record {
    stop_step step{};
    timer_clock::time_point at{};
    /// Why the signal could not be sent, e.g. EPERM from a child that changed its user. The ladder
    /// goes on.
    error_code error{};
};

/// What it took to stop a child.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct PROCYARD_RUNTIME_EXPORT stop_result {
    exit_status status{};
    /// The rungs taken, in order: none when the tree was empty already.
    std::vector<stop_record> taken{};
    /// How the tree was held together, so what `tree_empty` is worth. Of a pipeline the weakest.
    tree_mechanism tree = tree_mechanism::none;
    /// No member of the tree is left. Only false when the stop was cancelled.
    bool tree_empty = false;
    timer_clock::time_point started{};
    timer_clock::time_point finished{};

    [[nodiscard]] std::chrono::nanoseconds duration() const noexcept { return finished - started; }
    /// SIGKILL was needed.
    [[nodiscard]] bool forced() const noexcept;
    /// `close stdin, SIGTERM to the tree; after 5 s SIGKILL to the tree; empty after 5.01 s`
    [[nodiscard]] std::string to_string() const;
};

PROCYARD_RUNTIME_EXPORT std::ostream& operator<<(std::ostream& out, const stop_result& result);

PROCYARD_NAMESPACE_END

#endif
