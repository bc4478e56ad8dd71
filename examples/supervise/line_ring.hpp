// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_SUPERVISE_LINE_RING_HPP
#define PROCYARD_EXAMPLES_SUPERVISE_LINE_RING_HPP

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

namespace supervise {

// The last lines of a service, numbered from 0 on. Whoever follows has a number and no queue: one
// that is slow costs no memory, and is told how many lines it has missed.
class line_ring {
public:
    explicit line_ring(std::size_t most_lines = 200, std::size_t most_bytes = 1 << 20)
        : most_lines_(most_lines),
          most_bytes_(most_bytes)
    {
    }

    void push(std::string line);

    struct part {
        std::string
            text{};  // lines with their ends; before them, in one of its own, what is missed
        std::uint64_t next = 0;
    };
    // From a number on, no more than about so many bytes, but one line at least if there is one.
    [[nodiscard]] part since(std::uint64_t number, std::size_t bytes) const;
    // Of the oldest line there is.
    [[nodiscard]] std::uint64_t begin() const noexcept { return begin_; }
    // Of the next one that comes.
    [[nodiscard]] std::uint64_t end() const noexcept { return begin_ + lines_.size(); }

private:
    std::size_t most_lines_;
    std::size_t most_bytes_;
    std::size_t bytes_ = 0;
    std::uint64_t begin_ = 0;
    std::deque<std::string> lines_{};
};

}  // namespace supervise

#endif
