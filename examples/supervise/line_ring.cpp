// SPDX-License-Identifier: BSL-1.0
#include "line_ring.hpp"

#include <utility>

namespace supervise {

void line_ring::push(std::string line)
{
    bytes_ += line.size();
    lines_.push_back(std::move(line));
    while (lines_.size() > 1 && (lines_.size() > most_lines_ || bytes_ > most_bytes_)) {
        bytes_ -= lines_.front().size();
        lines_.pop_front();
        ++begin_;
    }
}

line_ring::part line_ring::since(std::uint64_t number, std::size_t bytes) const
{
    part made;
    if (number < begin_) {
        made.text = "(" + std::to_string(begin_ - number) + " lines missed)\n";
        number = begin_;
    }
    for (; number < end() && made.text.size() < bytes; ++number)
        made.text += lines_[static_cast<std::size_t>(number - begin_)] + '\n';
    made.next = number;
    return made;
}

}  // namespace supervise
