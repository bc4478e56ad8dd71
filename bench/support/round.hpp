// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_ROUND_HPP
#define PROCYARD_BENCH_ROUND_HPP

#include <cstddef>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>

namespace bench {

/// What the driver asks of one round: `contender COMMAND key=value …`.
///
/// A contender is one process per round, so that its memory and its descriptors are what the row
/// says and nothing that an earlier round left.
class round_options {
public:
    round_options(int argc, char** argv);

    [[nodiscard]] const std::string& command() const noexcept { return command_; }

    /// The value of `key`, or `otherwise` where the driver did not name it.
    [[nodiscard]] std::string text(const std::string& key, std::string otherwise = {}) const;
    [[nodiscard]] long number(const std::string& key, long otherwise) const;
    [[nodiscard]] double real(const std::string& key, double otherwise) const;

private:
    std::string command_;
    std::map<std::string, std::string> values_;
};

/// Microseconds on the monotonic clock.
[[nodiscard]] double now_us() noexcept;

/// Touches `mib` MiB of private pages of 4 KiB and keeps them: what a fork has to copy the page
/// tables of.
void hold_memory(long mib);

/// Opens `count` descriptors, each its own file, close-on-exec, and keeps them. Raises
/// RLIMIT_NOFILE as far as it goes.
void hold_descriptors(long count);

/// Keeps this process on one processor. A machine that has fewer is left alone.
void pin_to(long processor);

/// Bytes of anonymous memory this process has touched.
[[nodiscard]] std::size_t anonymous_bytes();

/// Prints the figures of the round as one JSON object and line, which is all a contender prints.
void report(std::initializer_list<std::pair<const char*, double>> figures);

/// Leaves with a message unless `held`: a figure of a round that went wrong must never be reported.
void require(bool held, const char* what);

}  // namespace bench

#endif
