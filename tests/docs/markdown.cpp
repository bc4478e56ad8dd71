// SPDX-License-Identifier: BSL-1.0
#include "markdown.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>
#include <stdexcept>

namespace docs {

namespace {

std::vector<std::string> lines_of(std::string_view text)
{
    std::vector<std::string> lines;
    std::istringstream in{std::string(text)};
    for (std::string line; std::getline(in, line);)
        lines.push_back(line);
    return lines;
}

std::string joined(std::vector<std::string> lines)
{
    std::size_t shared = std::string::npos;
    for (const auto& line : lines)
        if (const auto begin = line.find_first_not_of(' '); begin != std::string::npos)
            shared = std::min(shared, begin);
    std::string text;
    for (const auto& line : lines)
        text += (line.size() > shared ? line.substr(shared) : std::string()) + '\n';
    return text;
}

}  // namespace

std::string read(const std::filesystem::path& file)
{
    std::ifstream in(file);
    std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (!in)
        throw std::runtime_error("cannot read " + file.string());
    return text;
}

std::vector<snippet> snippets(std::string_view markdown)
{
    static const std::regex head(R"(^<!-- snippet: (\S+)(?: (\S+))? -->$)");
    std::vector<snippet> found;
    const auto lines = lines_of(markdown);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        std::smatch match;
        if (!std::regex_match(lines[i], match, head))
            continue;
        snippet s{.file = match[1], .tag = match[2], .code = {}, .line = i + 1};
        std::vector<std::string> code;
        for (i += 2; i < lines.size() && lines[i].substr(0, 3) != "```"; ++i)
            code.push_back(lines[i]);
        s.code = joined(code);
        found.push_back(std::move(s));
    }
    return found;
}

std::string tagged_code(std::string_view source, const std::string& tag)
{
    std::vector<std::string> code;
    int marks = tag.empty() ? 1 : 0;
    for (const auto& line : lines_of(source)) {
        const auto text = line.substr(std::min(line.find_first_not_of(' '), line.size()));
        if (!tag.empty() && text == "// [" + tag + "]")
            ++marks;
        else if (text.rfind("// SPDX-License-Identifier:", 0) != 0 && marks == 1)
            code.push_back(line);
    }
    return marks == (tag.empty() ? 1 : 2) ? joined(code) : std::string();
}

std::vector<test_reference> test_references(std::string_view markdown)
{
    static const std::regex pattern(R"re(`(\w+_test)` "([^"]+)")re");
    std::vector<test_reference> found;
    std::size_t number = 0;
    for (const auto& line : lines_of(markdown)) {
        ++number;
        for (std::sregex_iterator at(line.begin(), line.end(), pattern), end; at != end; ++at)
            found.push_back({(*at)[1], (*at)[2], number});
    }
    return found;
}

std::set<std::string> test_names(std::string_view source)
{
    static const std::regex head(R"(TEST_CASE(?:_FIXTURE|_TEMPLATE|_TEMPLATE_DEFINE)?\()");
    static const std::regex literal(R"re(^\s*"((?:[^"\\]|\\.)*)")re");
    std::set<std::string> names;
    std::string text(source);
    for (std::smatch match; std::regex_search(text, match, head);) {
        text = match.suffix();
        // A fixture stands before the name.
        const auto quote = text.find('"');
        text.erase(0, std::min(quote, text.size()));
        std::string name;
        for (std::smatch part; std::regex_search(text, part, literal);) {
            name += part[1];
            text = part.suffix();
        }
        names.insert(std::regex_replace(name, std::regex(R"re(\\(.))re"), "$1"));
    }
    return names;
}

std::vector<std::string> local_links(std::string_view markdown)
{
    static const std::regex pattern(R"(\]\(([^)#:]+)(?:#[^)]*)?\))");
    std::vector<std::string> links;
    const std::string text(markdown);
    for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at)
        links.push_back((*at)[1]);
    return links;
}

}  // namespace docs
