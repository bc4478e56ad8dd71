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

}  // namespace

std::string read(const std::filesystem::path& file)
{
    std::ifstream in(file);
    std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (!in)
        throw std::runtime_error("cannot read " + file.string());
    return text;
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

std::set<std::string> contract_names(std::string_view source, std::string_view contract)
{
    static const std::regex use(R"(PROCYARD_OPERATION_CONTRACT\((\w+)\))");
    static const std::regex behaviour(R"re(TEST_CASE\(#Operation "([^"]+)"\))re");
    std::set<std::string> names;
    const std::string users(source);
    const std::string behaviours(contract);
    for (std::sregex_iterator at(users.begin(), users.end(), use), end; at != end; ++at) {
        for (std::sregex_iterator b(behaviours.begin(), behaviours.end(), behaviour); b != end; ++b)
            names.insert((*at)[1].str() + (*b)[1].str());
    }
    return names;
}

std::set<std::string> shell_test_names(std::string_view script)
{
    static const std::regex head(R"(^test_(\w+)\(\))");
    std::set<std::string> names;
    for (const auto& line : lines_of(script)) {
        std::smatch match;
        if (std::regex_search(line, match, head))
            names.insert(match[1]);
    }
    return names;
}

}  // namespace docs
