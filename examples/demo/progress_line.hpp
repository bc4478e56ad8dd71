// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_DEMO_PROGRESS_LINE_HPP
#define PROCYARD_EXAMPLES_DEMO_PROGRESS_LINE_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace demo {

/// What there is to be done: the sizes of the files, in the order in which they are read.
class workload {
public:
    void add_file(std::uint64_t bytes);

    [[nodiscard]] std::size_t files() const noexcept { return ends_.size(); }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return ends_.empty() ? 0 : ends_.back(); }
    /// How many files have been read when so many bytes have.
    [[nodiscard]] std::size_t files_within(std::uint64_t bytes) const;

private:
    std::vector<std::uint64_t> ends_;
};

/// How far it is.
struct progress {
    /// Empty when nobody can tell.
    std::optional<std::uint64_t> bytes_done;
    std::size_t stages_running = 0;
    std::chrono::nanoseconds elapsed{};
};

/// `looking for headers under /usr/include: 6,132 files`
std::string describe_survey(std::string_view directory, const workload& found);
/// `6,132/24,614 files  68.2/270.8 MB  35.1 MB/s  6 stages  0:06 left`
std::string describe(const progress& now, const workload& all);

/// A line on standard error that is written over itself on a terminal; elsewhere a line now and
/// then.
class progress_line {
public:
    progress_line();
    progress_line(const progress_line&) = delete;
    progress_line& operator=(const progress_line&) = delete;
    ~progress_line() { clear(); }

    /// How often it is worth a call of `show`.
    [[nodiscard]] std::chrono::milliseconds interval() const noexcept;
    void show(std::string_view text);
    /// Takes the line from the terminal.
    void clear();
    /// A line of its own that stays, above the progress.
    void print_above(std::string_view text);

private:
    bool terminal_;
    bool shown_ = false;
};

}  // namespace demo

#endif
