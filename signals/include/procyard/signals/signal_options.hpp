// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_SIGNALS_SIGNAL_OPTIONS_HPP
#define PROCYARD_SIGNALS_SIGNAL_OPTIONS_HPP

#include <cstdint>
#include <iosfwd>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/signals/export.hpp>

PROCYARD_NAMESPACE_BEGIN

/// How a set shall get at its signals.
enum class signal_mode : std::uint8_t {
    /// For each signal: `signalfd` where every thread blocks it, else `sigaction`.
    automatic,
    /// By a handler. Works in any program, beside whatever handlers there are.
    sigaction,
    /// By a descriptor, and no handler: for programs that block their signals at their start, see
    /// `block_signals()`. Adding one that a thread does not block is `signal_errc::not_blocked`.
    signalfd,
};

/// How a set, or one of its signals, is served in fact.
enum class signal_mechanism : std::uint8_t { none, sigaction, signalfd, mixed };

/// What a second signal does.
enum class second_signal : std::uint8_t {
    /// It is told, as the first one.
    is_told,
    /// The first signal of the set is told, as a request to end. The next one, whichever of the set
    /// it is, ends the process, as if it had never had a handler: it dies *by* that signal. This is
    /// decided in the handler, so it works however the event loop is stuck. Not by a signalfd.
    dies_of_it,
};

/// How a set of signals behaves.
struct signal_set_options {
    signal_mode mode = signal_mode::automatic;
    second_signal second = second_signal::is_told;
};

/// What has become of the signals of a set.
struct signal_statistics {
    std::uint64_t told = 0;        ///< how many times a wait, or try_wait(), has succeeded
    std::uint64_t signals = 0;     ///< the sum of their counts
    std::uint64_t overflowed = 0;  ///< real-time signals that found the set's queue full
};

/// `none`, `sigaction`, `signalfd`, `mixed`.
[[nodiscard]] PROCYARD_SIGNALS_EXPORT std::string_view
to_string(signal_mechanism mechanism) noexcept;
PROCYARD_SIGNALS_EXPORT std::ostream& operator<<(std::ostream& out, signal_mechanism mechanism);

PROCYARD_NAMESPACE_END

#endif
