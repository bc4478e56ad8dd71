// SPDX-License-Identifier: BSL-1.0
#include "masked_text.hpp"

#include <algorithm>

namespace tidy {

namespace {

class masker {
public:
    explicit masker(std::string_view source) : source_(source), out_(source) { }

    std::string run()
    {
        while (at_ < source_.size())
            step();
        return std::move(out_);
    }

private:
    void step()
    {
        const char c = source_[at_];
        if (source_.substr(at_, 2) == "//")
            blank_until(end_of_comment_line());
        else if (source_.substr(at_, 2) == "/*")
            blank_until(behind("*/", at_ + 2));
        else if (c == '"')
            string();
        else if (c == '\'')
            blank_literal('\'');
        else if (is_word(c))
            skip_word(c >= '0' && c <= '9');
        else
            ++at_;
    }

    // A number takes its digit separators along: 1'000 holds no character literal.
    void skip_word(bool number)
    {
        while (at_ < source_.size() && (is_word(source_[at_]) || (number && source_[at_] == '\'')))
            ++at_;
    }

    void string()
    {
        if (at_ == 0 || source_[at_ - 1] != 'R') {
            blank_literal('"');
            return;
        }
        const auto open = std::min(source_.find('(', at_), source_.size());
        const auto delimiter = std::string(source_.substr(at_ + 1, open - at_ - 1));
        blank_until(behind(")" + delimiter + "\"", open));
    }

    void blank_literal(char quote)
    {
        auto end = at_ + 1;
        while (end < source_.size() && source_[end] != quote && source_[end] != '\n')
            end += source_[end] == '\\' ? 2 : 1;
        blank_until(end + 1);
    }

    [[nodiscard]] std::size_t end_of_comment_line() const
    {
        auto end = at_;
        do {
            end = source_.find('\n', end + 1);
        } while (end != source_.npos && source_[end - 1] == '\\');
        return end;
    }

    [[nodiscard]] std::size_t behind(std::string_view closing, std::size_t from) const
    {
        const auto found = source_.find(closing, from);
        return found == source_.npos ? found : found + closing.size();
    }

    void blank_until(std::size_t end)
    {
        for (end = std::min(end, source_.size()); at_ < end; ++at_) {
            if (source_[at_] != '\n')
                out_[at_] = ' ';
        }
    }

    std::string_view source_;
    std::string out_;
    std::size_t at_ = 0;
};

}  // namespace

std::string mask_text(std::string_view source)
{
    return masker(source).run();
}

std::string mask_directives(std::string masked)
{
    std::size_t line = 0;
    bool inside = false;
    while (line < masked.size()) {
        const auto end = std::min(masked.find('\n', line), masked.size());
        const auto first = masked.find_first_not_of(" \t", line);
        inside = inside || (first < end && masked[first] == '#');
        if (inside) {
            inside = end > line && masked[end - 1] == '\\';
            std::fill(masked.begin() + static_cast<std::ptrdiff_t>(line),
                      masked.begin() + static_cast<std::ptrdiff_t>(end), ' ');
        }
        line = end + 1;
    }
    return masked;
}

std::size_t line_of(std::string_view text, std::size_t offset)
{
    const auto before = text.substr(0, offset);
    return 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
}

std::size_t behind_matching(std::string_view masked, std::size_t open)
{
    std::size_t depth = 0;
    for (auto at = open; at < masked.size(); ++at) {
        const char c = masked[at];
        if (c == '(' || c == '[' || c == '{')
            ++depth;
        else if ((c == ')' || c == ']' || c == '}') && --depth == 0)
            return at + 1;
    }
    return masked.npos;
}

}  // namespace tidy
