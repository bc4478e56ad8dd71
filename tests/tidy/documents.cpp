// SPDX-License-Identifier: BSL-1.0
#include "documents.hpp"

#include <algorithm>
#include <regex>

namespace tidy {

namespace {

std::vector<std::string> lines_of(std::string_view text)
{
    std::vector<std::string> lines;
    for (std::size_t begin = 0; begin < text.size();) {
        const auto end = std::min(text.find('\n', begin), text.size());
        lines.emplace_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return lines;
}

std::string without_common_indentation(const std::vector<std::string>& lines)
{
    auto common = std::string::npos;
    for (const auto& line : lines)
        common = std::min(common, line.find_first_not_of(' '));
    std::string out;
    for (const auto& line : lines)
        out += (line.empty() ? line : line.substr(common)) + '\n';
    return out;
}

// The code block that begins on the line behind `at`.
std::optional<std::string> block_behind(const std::vector<std::string>& lines, std::size_t at)
{
    if (at + 1 >= lines.size() || !lines[at + 1].starts_with("```"))
        return std::nullopt;
    std::string out;
    for (auto n = at + 2; n < lines.size(); ++n) {
        if (lines[n].starts_with("```"))
            return out;
        out += lines[n] + '\n';
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> snippet_of(std::string_view source, std::string_view tag)
{
    const auto mark = "// [" + std::string(tag) + "]";
    const auto is_mark = [&](const std::string& line) {
        const auto first = line.find_first_not_of(' ');
        return first != line.npos && line.substr(first) == mark;
    };
    const auto lines = lines_of(source);
    const auto first = std::find_if(lines.begin(), lines.end(), is_mark);
    if (first == lines.end())
        return std::nullopt;
    const auto last = std::find_if(first + 1, lines.end(), is_mark);
    if (last == lines.end())
        return std::nullopt;
    return without_common_indentation({first + 1, last});
}

std::vector<finding> check_document(std::string_view markdown, const read_file& from_root,
                                    const read_file& from_document)
{
    static const std::regex quotation(R"(<!-- snippet (\S+) (\S+) -->)");
    static const std::regex link(R"(\]\(([^)\s#:]+)(#[^)\s]*)?\))");
    std::vector<finding> found;
    const auto lines = lines_of(markdown);
    bool in_block = false;
    std::size_t begin = 0;
    for (std::size_t n = 0; n < lines.size(); ++n) {
        // One that is open ends with the bare mark: any other is that of a block which was put
        // into it by mistake, and turns the rest of the page inside out.
        if (in_block && lines[n].starts_with("```") && lines[n] != "```")
            found.push_back({n + 1, "block", "a block begins inside another"});
        if (lines[n].starts_with("```")) {
            in_block = !in_block;
            begin = n;
        }
        if (in_block)
            continue;
        std::smatch match;
        if (std::regex_match(lines[n], match, quotation)) {
            const auto source = from_root(match.str(1));
            const auto snippet = source ? snippet_of(*source, match.str(2)) : std::nullopt;
            if (!snippet)
                found.push_back({n + 1, "snippet", "there is no such snippet"});
            else if (block_behind(lines, n) != snippet)
                found.push_back({n + 1, "snippet", "the block is not what the file says"});
        } else if (lines[n].starts_with("<!-- snippet")) {
            found.push_back({n + 1, "snippet", "a quotation is: <!-- snippet FILE TAG -->"});
        }
        for (std::sregex_iterator at(lines[n].begin(), lines[n].end(), link), end; at != end; ++at)
            if (!from_document(at->str(1)))
                found.push_back({n + 1, "link", at->str(1) + " does not exist"});
    }
    if (in_block)
        found.push_back({begin + 1, "block", "a block has no end"});
    return found;
}

}  // namespace tidy
