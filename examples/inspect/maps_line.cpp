// SPDX-License-Identifier: BSL-1.0
#include "maps_line.hpp"

#include <charconv>
#include <system_error>

namespace inspect {

namespace {

// Takes parts of a line from its front; once something is missing, nothing is found any more.
class line_parser {
public:
    explicit line_parser(std::string_view text) : left_(text) { }

    template <class Number>
    Number number(int base)
    {
        Number n = 0;
        const auto* const end = left_.data() + left_.size();
        const auto [stop, error] = std::from_chars(left_.data(), end, n, base);
        if (error != std::errc())
            good_ = false;
        else
            left_.remove_prefix(static_cast<std::size_t>(stop - left_.data()));
        return n;
    }
    void expect(char c)
    {
        if (left_.empty() || left_.front() != c)
            good_ = false;
        else
            left_.remove_prefix(1);
    }
    /// Whether the flag is `yes`; else it has to be `no`.
    bool flag(char yes, char no)
    {
        const char c = left_.empty() ? '\0' : left_.front();
        expect(c == yes ? yes : no);
        return c == yes;
    }
    std::string_view rest()
    {
        const auto begin = left_.find_first_not_of(' ');
        return begin == std::string_view::npos ? std::string_view() : left_.substr(begin);
    }
    [[nodiscard]] bool good() const { return good_; }

private:
    std::string_view left_;
    bool good_ = true;
};

}  // namespace

std::optional<mapping> parse_maps_line(std::string_view line)
{
    mapping result;
    line_parser in(line);
    result.begin = in.number<std::uint64_t>(16);
    in.expect('-');
    result.end = in.number<std::uint64_t>(16);
    in.expect(' ');
    result.readable = in.flag('r', '-');
    result.writable = in.flag('w', '-');
    (void)in.flag('x', '-');
    result.shared = in.flag('s', 'p');
    in.expect(' ');
    result.offset = in.number<std::uint64_t>(16);
    in.expect(' ');
    result.device_major = in.number<std::uint32_t>(16);
    in.expect(':');
    result.device_minor = in.number<std::uint32_t>(16);
    in.expect(' ');
    result.inode = in.number<std::uint64_t>(10);
    if (!in.good() || result.end <= result.begin)
        return std::nullopt;
    result.path = in.rest();
    return result;
}

std::optional<std::string_view> memory_name(std::string_view path) noexcept
{
    constexpr std::string_view begin = "/memfd:procyard";
    constexpr std::string_view end = " (deleted)";
    if (!path.starts_with(begin) || !path.ends_with(end) || path.size() < begin.size() + end.size())
        return std::nullopt;
    path.remove_prefix(begin.size());
    path.remove_suffix(end.size());
    if (path.empty())
        return path;
    if (path.front() != ':')
        return std::nullopt;
    return path.substr(1);
}

std::string printable(std::string_view text)
{
    std::string result(text);
    for (auto& c : result)
        if (c < ' ' || c > '~')
            c = '?';
    return result;
}

}  // namespace inspect
