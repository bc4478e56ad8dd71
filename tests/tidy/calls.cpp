// SPDX-License-Identifier: BSL-1.0
#include "calls.hpp"

#include "masked_text.hpp"

#include <algorithm>
#include <array>

namespace tidy {

namespace {

constexpr std::string_view blanks = " \t\n";

enum class written { as_call, as_global_call, as_something_else };

std::string_view word_ending_at(std::string_view text, std::size_t last)
{
    auto begin = last;
    while (begin > 0 && is_word(text[begin - 1]))
        --begin;
    return text.substr(begin, last - begin + 1);
}

// `x() : pipe(a), open(b) {}`: members, unless the colon belongs to a `?`.
bool in_member_initializers(std::string_view before)
{
    const auto statement = before.substr(std::min(before.find_last_of(";{}") + 1, before.size()));
    const auto colon = statement.find(':');
    if (colon == statement.npos || statement.find('?') < colon)
        return false;
    const auto single = statement.find_first_not_of(':', colon) == colon + 1;
    return single
        || in_member_initializers(statement.substr(std::min(colon + 2, statement.size())));
}

// What the text in front of a name makes of `name(`.
written classify(std::string_view before)
{
    static constexpr std::array<std::string_view, 11> statements = {
        "return", "co_return", "co_await", "co_yield", "throw", "else",
        "do",     "case",      "and",      "or",       "not"};
    const auto last = before.find_last_not_of(blanks);
    if (last == before.npos)
        return written::as_call;
    const char c = before[last];
    if (c == ':' && last > 0 && before[last - 1] == ':') {
        const bool qualified = last > 1 && (is_word(before[last - 2]) || before[last - 2] == '>');
        if (!qualified || word_ending_at(before, last - 2) == "return")
            return written::as_global_call;
        return word_ending_at(before, last - 2) == "std" ? written::as_call
                                                         : written::as_something_else;
    }
    if (is_word(c)) {
        const auto word = word_ending_at(before, last);
        return std::find(statements.begin(), statements.end(), word) != statements.end()
            ? written::as_call
            : written::as_something_else;
    }
    if ((c == ':' || c == ',') && in_member_initializers(before))
        return written::as_something_else;
    const bool logical_and = c == '&' && last > 0 && before[last - 1] == '&';
    if (c == '.' || c == '>' || c == '*' || c == '~' || (c == '&' && !logical_and))
        return written::as_something_else;
    return written::as_call;
}

}  // namespace

std::vector<call> find_calls(std::string_view source, std::string_view masked)
{
    std::vector<call> calls;
    for (auto open = masked.find('('); open != masked.npos; open = masked.find('(', open + 1)) {
        const auto last = open == 0 ? masked.npos : masked.find_last_not_of(blanks, open - 1);
        if (last == masked.npos || !is_word(masked[last]))
            continue;
        const auto name = word_ending_at(masked, last);
        const auto offset = last + 1 - name.size();
        const auto how = classify(masked.substr(0, offset));
        if (how == written::as_something_else)
            continue;
        const auto end = std::min(behind_matching(masked, open), source.size());
        calls.push_back({std::string(name), offset, source.substr(open, end - open),
                         how == written::as_global_call});
    }
    return calls;
}

}  // namespace tidy
