// SPDX-License-Identifier: BSL-1.0
#include "survivor_record.hpp"

#include <charconv>
#include <cstddef>
#include <system_error>
#include <utility>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::string_view first_line = "procyard supervisor 1";
constexpr std::string_view digits = "0123456789abcdef";

// One word: what would end it is written as %XX.
std::string escaped(std::string_view text)
{
    std::string word;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte > ' ' && byte < 0x7f && c != '%') {
            word += c;
            continue;
        }
        word += '%';
        word += digits[byte >> 4U];
        word += digits[byte & 15U];
    }
    return word.empty() ? "%" : word;
}

std::optional<std::string> unescaped(std::string_view word)
{
    if (word == "%")
        return std::string();
    if (word.empty())
        return std::nullopt;
    std::string text;
    for (std::size_t at = 0; at < word.size(); ++at) {
        if (word[at] != '%') {
            text += word[at];
            continue;
        }
        const auto high = at + 2 < word.size() ? digits.find(word[at + 1]) : digits.npos;
        const auto low = at + 2 < word.size() ? digits.find(word[at + 2]) : digits.npos;
        if (high == digits.npos || low == digits.npos)
            return std::nullopt;
        text += static_cast<char>(high << 4U | low);
        at += 2;
    }
    return text;
}

class words {
public:
    explicit words(std::string_view line) : rest_(line) { }

    std::string_view next()
    {
        const auto word = rest_.substr(0, rest_.find(' '));
        rest_.remove_prefix(std::min(word.size() + 1, rest_.size()));
        return word;
    }
    template <class Number>
    bool next(Number& number)
    {
        const auto word = next();
        const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
        return error == std::errc() && end == word.data() + word.size() && !word.empty();
    }
    bool next(std::string& text)
    {
        auto word = unescaped(next());
        if (word)
            text = std::move(*word);
        return word.has_value();
    }
    [[nodiscard]] bool over() const noexcept { return rest_.empty(); }

private:
    std::string_view rest_;
};

// What it leads: `-`, `g`, `s` or `gs`.
bool parse_lead(std::string_view word, survivor_record& into)
{
    into.leads_group = word.starts_with('g');
    into.leads_session = word.ends_with('s');
    return word == "-" || word == "g" || word == "s" || word == "gs";
}

std::string lead_of(const survivor_record& one)
{
    const auto text =
        std::string(one.leads_group ? "g" : "") + std::string(one.leads_session ? "s" : "");
    return text.empty() ? "-" : text;
}

bool parse_line(std::string_view line, survivor_file& into)
{
    words all(line);
    const auto what = all.next();
    if (what == "marker")
        return all.next(into.marker) && all.over() && !into.marker.empty()
            && into.marker.find(':') == std::string::npos;
    if (what == "machine")
        return all.next(into.machine) && all.over();
    survivor_record one;
    if (what != "lives" || !all.next(one.pid) || one.pid <= 1 || !all.next(one.start_ticks)
        || !all.next(one.generation) || !all.next(one.service) || !all.next(one.cgroup)
        || !parse_lead(all.next(), one) || !all.over())
        return false;
    into.records.push_back(std::move(one));
    return true;
}

}  // namespace

std::string to_text(const survivor_file& file)
{
    std::string text(first_line);
    text += "\nmarker " + escaped(file.marker) + "\nmachine " + escaped(file.machine) + '\n';
    for (const auto& one : file.records) {
        text += "lives " + std::to_string(one.pid) + ' ' + std::to_string(one.start_ticks) + ' '
            + std::to_string(one.generation) + ' ' + escaped(one.service) + ' '
            + escaped(one.cgroup) + ' ' + lead_of(one) + '\n';
    }
    text += "end\n";
    return text;
}

std::optional<survivor_file> parse_survivors(std::string_view text, std::string& fault)
{
    survivor_file file;
    std::size_t number = 0;
    while (!text.empty()) {
        const auto line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        ++number;
        if (line == "end" && number > 1 && text.empty() && !file.marker.empty())
            return file;
        if (number == 1 ? line != first_line : !parse_line(line, file)) {
            fault = "line " + std::to_string(number) + " is none of ours";
            return std::nullopt;
        }
    }
    fault = "it has no end";
    return std::nullopt;
}

bool is_cut_off(std::string_view text, std::string_view machine)
{
    text = text.substr(0, text.find('\0'));
    survivor_file file;
    bool is_first = true;
    for (auto end = text.find('\n'); end != text.npos; end = text.find('\n')) {
        const auto line = text.substr(0, end);
        text.remove_prefix(end + 1);
        if (std::exchange(is_first, false) ? line != first_line : !parse_line(line, file))
            return false;
    }
    return (!is_first || first_line.starts_with(text)) && file.machine != machine;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
