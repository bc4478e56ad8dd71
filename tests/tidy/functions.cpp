// SPDX-License-Identifier: BSL-1.0
#include "functions.hpp"

#include "masked_text.hpp"

#include <algorithm>
#include <regex>

namespace tidy {

namespace {

enum class block { container, function, initializer };

// What stands in front of a block, from the end of the statement before it.
class head {
public:
    explicit head(std::string_view text)
        : text_(without_operator_symbols(without_template_lists(text)))
    {
    }

    [[nodiscard]] block kind() const
    {
        static const std::regex container(
            R"(\s*((export|inline|typedef|static|constexpr|extern)\s+)*)"
            R"((namespace|class|struct|union|enum|extern|TEST_SUITE)\b)");
        if (std::regex_search(text_, container, std::regex_constants::match_continuous))
            return block::container;
        const auto parameters = text_.find('(');
        if (parameters == text_.npos || outside_brackets(text_, '=') != text_.npos)
            return block::initializer;
        if (initializes_member(text_, behind_matching(text_, parameters)))
            return block::initializer;
        return block::function;
    }

    [[nodiscard]] std::string name() const
    {
        const auto end = text_.find_last_not_of(" \n\t", text_.find('(') - 1);
        auto begin = end;
        while (begin > 0 && is_word(text_[begin - 1]))
            --begin;
        return text_.substr(begin, end - begin + 1);
    }

private:
    // `x() : a_(1), b_{2} {`: the brace behind a name belongs to the member, the other one opens
    // the body.
    static bool initializes_member(const std::string& text, std::size_t behind_parameters)
    {
        if (behind_parameters == text.npos)
            return false;
        const auto rest = text.substr(behind_parameters);
        for (std::size_t at = 0; at < rest.size(); ++at) {
            if (rest[at] != ':')
                continue;
            if (at + 1 < rest.size() && rest[at + 1] == ':') {
                ++at;
                continue;
            }
            const char last = rest[rest.find_last_not_of(" \n\t")];
            return is_word(last) || last == '>';
        }
        return false;
    }

    static std::size_t outside_brackets(std::string_view text, char wanted)
    {
        int depth = 0;
        for (std::size_t at = 0; at < text.size(); ++at) {
            depth += text[at] == '(' || text[at] == '[';
            depth -= text[at] == ')' || text[at] == ']';
            if (depth == 0 && text[at] == wanted)
                return at;
        }
        return text.npos;
    }

    static std::string without_operator_symbols(const std::string& text)
    {
        if (text.find("operator") == text.npos)
            return text;
        static const std::regex operator_name(R"(\boperator\s*[^\s\w(]+)");
        return std::regex_replace(text, operator_name, "operator");
    }

    static std::string without_template_lists(std::string_view text)
    {
        std::string out(text);
        if (out.find("template") == out.npos)
            return out;
        static const std::regex keyword(R"(\btemplate\s*<)");
        std::smatch found;
        while (std::regex_search(out, found, keyword)) {
            auto at = static_cast<std::size_t>(found.position() + found.length());
            for (int depth = 1; at < out.size() && depth > 0; ++at) {
                depth += out[at] == '<';
                depth -= out[at] == '>';
            }
            const auto begin = out.begin() + found.position();
            std::fill(begin, out.begin() + static_cast<std::ptrdiff_t>(at), ' ');
        }
        return out;
    }

    std::string text_;
};

class finder {
public:
    explicit finder(std::string_view source) : code_(mask_directives(mask_text(source)))
    {
        // They stand without a semicolon and would belong to the next declaration.
        for (const std::string_view macro :
             {"PROCYARD_NAMESPACE_BEGIN", "PROCYARD_NAMESPACE_END"}) {
            for (auto at = code_.find(macro); at != code_.npos; at = code_.find(macro, at))
                code_.replace(at, macro.size(), macro.size(), ' ');
        }
    }

    std::vector<function> run()
    {
        std::size_t begin = 0;
        std::size_t at = 0;
        while (at < code_.size())
            at = step(at, begin);
        return std::move(found_);
    }

private:
    // Walks over one character or one block; `begin` is where the declaration at hand starts.
    std::size_t step(std::size_t at, std::size_t& begin)
    {
        switch (code_[at]) {
        case '(':
        case '[': return std::min(behind_matching(code_, at), code_.size());
        case ';':
        case '}': begin = at + 1; return at + 1;
        case ':':
            if (ends_access_label(begin, at))
                begin = at + 1;
            return at + 1;
        case '{': return enter(at, begin);
        default: return at + 1;
        }
    }

    std::size_t enter(std::size_t at, std::size_t& begin)
    {
        const head before(std::string_view(code_).substr(begin, at - begin));
        const auto kind = before.kind();
        if (kind == block::container) {
            begin = at + 1;
            return at + 1;
        }
        const auto end = std::min(behind_matching(code_, at), code_.size());
        if (kind == block::function) {
            const auto first = line_of(code_, code_.find_first_not_of(" \n\t", begin));
            found_.push_back({before.name(), first, line_of(code_, end - 1) - first + 1});
            begin = end;
        }
        return end;
    }

    [[nodiscard]] bool ends_access_label(std::size_t begin, std::size_t at) const
    {
        static const std::regex label(R"(^\s*(public|private|protected)\s*$)");
        return std::regex_match(code_.substr(begin, at - begin), label);
    }

    std::string code_;
    std::vector<function> found_;
};

}  // namespace

std::vector<function> find_functions(std::string_view source)
{
    return finder(source).run();
}

}  // namespace tidy
