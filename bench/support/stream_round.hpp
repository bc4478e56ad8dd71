// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_BENCH_STREAM_ROUND_HPP
#define PROCYARD_BENCH_STREAM_ROUND_HPP

#include <cstddef>
#include <string>
#include <vector>

#include "round.hpp"

namespace bench {

/// `stdout child= bytes= read_bytes= pipe_bytes= kind=`: one child writes `bytes`, the parent reads
/// them. `copy child= bytes= pipe_bytes=`: the parent moves them on into a second child, through
/// two pipes of that size. `lines child= bytes= read_bytes= pipe_bytes=`: the parent looks at each
/// line.
///
/// The parent stays on the first processor and the writer on the second, so that no round measures
/// where the scheduler happened to put them.
class stream_round {
public:
    explicit stream_round(const round_options& options);

    [[nodiscard]] const std::string& child() const noexcept { return child_; }
    [[nodiscard]] std::size_t read_bytes() const noexcept { return read_bytes_; }

    /// Size asked of the kernel for each pipe, 0 for its default.
    [[nodiscard]] std::size_t pipe_bytes() const noexcept { return pipe_bytes_; }

    /// Whether the row asks for a socketpair as the child's stdout.
    [[nodiscard]] bool socket() const noexcept { return socket_; }

    /// Arguments, without the program, of the child that writes, of the one that writes lines and
    /// of the one that reads until end of file.
    [[nodiscard]] std::vector<std::string> writer_arguments() const;
    [[nodiscard]] std::vector<std::string> line_writer_arguments() const;
    [[nodiscard]] std::vector<std::string> sink_arguments() const;

    void start() noexcept { started_us_ = now_us(); }
    void add(std::size_t bytes) noexcept { moved_ += bytes; }
    /// Ends the round: every byte must have come through.
    void print() const;

private:
    std::string child_;
    std::size_t bytes_;
    std::size_t read_bytes_;
    std::size_t pipe_bytes_;
    bool socket_;
    std::size_t moved_ = 0;
    double started_us_ = 0;
};

}  // namespace bench

#endif
