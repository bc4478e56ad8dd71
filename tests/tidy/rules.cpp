// SPDX-License-Identifier: BSL-1.0
#include "rules.hpp"

#include "calls.hpp"
#include "functions.hpp"
#include "masked_text.hpp"

#include <algorithm>
#include <array>
#include <regex>

namespace tidy {

namespace {

constexpr std::size_t longest_file = 800;
constexpr std::size_t longest_line = 100;
constexpr std::size_t longest_function = 70;
// The resume() of a state machine is one switch, read from top to bottom.
constexpr std::size_t longest_resume = 130;

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> beginnings)
{
    return std::any_of(beginnings.begin(), beginnings.end(),
                       [&](std::string_view b) { return text.starts_with(b); });
}

template <class... Names>
bool is_any_of(std::string_view name, Names... names)
{
    return ((name == names) || ...);
}

template <class F>
void for_each_word(std::string_view text, std::string_view word, F f)
{
    for (auto at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
        const auto end = at + word.size();
        if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end])))
            f(at);
    }
}

// The mode of an fopen.
std::string_view last_string(std::string_view arguments)
{
    const auto end = arguments.rfind('"');
    if (end == arguments.npos || end == 0)
        return {};
    const auto begin = arguments.rfind('"', end - 1);
    return begin == arguments.npos ? std::string_view() : arguments.substr(begin, end - begin);
}

bool first_is_minus_one(std::string_view arguments)
{
    static const std::regex minus_one(R"(^\(\s*-\s*1\b)");
    return std::regex_search(arguments.begin(), arguments.end(), minus_one);
}

class checker {
public:
    checker(std::string_view path, std::string_view text)
        : path_(path),
          text_(text),
          masked_(is_code() ? mask_text(text) : std::string())
    {
        for (std::size_t begin = 0; begin < text.size();) {
            const auto end = std::min(text.find('\n', begin), text.size());
            lines_.push_back(text.substr(begin, end - begin));
            begin = end + 1;
        }
    }

    std::vector<finding> run()
    {
        check_licence();
        check_markers();
        if (!is_document())
            check_length();
        if (is_script())
            check_script_sleeps();
        if (is_code()) {
            check_lines();
            check_functions();
            check_includes();
            check_words();
            for (const auto& c : find_calls(text_, masked_)) {
                check_descriptor_call(c);
                check_process_call(c);
            }
        }
        std::erase_if(found_, [this](const finding& f) { return allowed(f); });
        std::sort(found_.begin(), found_.end(),
                  [](const finding& a, const finding& b) { return a.line < b.line; });
        return std::move(found_);
    }

private:
    [[nodiscard]] bool is_code() const
    {
        return path_.ends_with(".cpp") || path_.ends_with(".hpp");
    }

    [[nodiscard]] bool is_script() const
    {
        return path_.ends_with(".sh") || text_.starts_with("#!/bin/");
    }

    [[nodiscard]] bool is_document() const { return path_.ends_with(".md"); }

    [[nodiscard]] bool in_library() const
    {
        return starts_with_any(path_, {"ipc/", "signals/", "runtime/"});
    }

    [[nodiscard]] bool in_child() const { return path_.find("/child_main.") != path_.npos; }

    void report(std::size_t line, std::string rule, std::string reason)
    {
        found_.push_back({line, std::move(rule), std::move(reason)});
    }

    // `tidy: allow RULE: reason`; an empty reason allows nothing.
    [[nodiscard]] bool allowed(const finding& f) const
    {
        const auto says_so = [&](std::string_view line) {
            const auto phrase = "tidy: allow " + f.rule + ": ";
            const auto at = line.find(phrase);
            return at != line.npos && line.size() > at + phrase.size();
        };
        if (f.line == 0 || f.line > lines_.size())
            return false;
        if (says_so(lines_[f.line - 1]))
            return true;
        for (auto above = f.line - 1; above > 0; --above) {
            const auto line = lines_[above - 1];
            const auto first = line.find_first_not_of(' ');
            const std::string_view comment = is_code() ? "//" : "#";
            if (first == line.npos || !line.substr(first).starts_with(comment))
                return false;
            if (says_so(line))
                return true;
        }
        return false;
    }

    void check_licence()
    {
        const bool wanted = is_code() || path_.ends_with("CMakeLists.txt")
            || path_.ends_with(".cmake") || path_.ends_with(".in") || path_.ends_with(".sh")
            || path_.ends_with(".py") || path_.ends_with(".pml") || text_.starts_with("#!");
        const std::size_t last = text_.starts_with("#!") ? 2 : 1;
        for (std::size_t n = 0; n < std::min(last, lines_.size()); ++n) {
            if (lines_[n].ends_with("SPDX-License-Identifier: BSL-1.0"))
                return;
        }
        if (wanted)
            report(1, "licence", "the first line is not SPDX-License-Identifier: BSL-1.0");
    }

    void check_markers()
    {
        // Put together here, or this file would be its own first finding.
        for (const auto& marker :
             {std::string("TO") + "DO", std::string("FIX") + "ME", std::string("X") + "XX"})
            for_each_word(text_, marker, [&](std::size_t at) {
                report(line_of(text_, at), "marker", "unfinished work belongs into an issue");
            });
    }

    void check_length()
    {
        if (lines_.size() > longest_file)
            report(lines_.size(), "file-length",
                   std::to_string(lines_.size()) + " lines; a file has at most "
                       + std::to_string(longest_file));
    }

    void check_lines()
    {
        for (std::size_t n = 0; n < lines_.size(); ++n) {
            // Characters of UTF-8, not bytes.
            const auto columns = std::count_if(lines_[n].begin(), lines_[n].end(), [](char c) {
                return (static_cast<unsigned>(c) & 0xC0U) != 0x80U;
            });
            if (static_cast<std::size_t>(columns) > longest_line)
                report(n + 1, "line-length",
                       std::to_string(columns) + " columns; a line has at most "
                           + std::to_string(longest_line));
        }
    }

    void check_functions()
    {
        for (const auto& f : find_functions(text_)) {
            const auto limit = f.name == "resume" ? longest_resume : longest_function;
            if (f.line_count > limit)
                report(f.first_line, "function-length",
                       f.name + " has " + std::to_string(f.line_count) + " lines; at most "
                           + std::to_string(limit));
        }
    }

    void check_includes()
    {
        if (!in_library())
            return;
        const bool umbrella = path_.find("/include/procyard/") != path_.npos
            && std::count(path_.begin(), path_.end(), '/') == 3;
        for (std::size_t n = 0; n < lines_.size(); ++n) {
            const auto line = lines_[n];
            if (!line.starts_with("#include"))
                continue;
            if (line.find("<boost/asio.hpp>") != line.npos)
                report(n + 1, "asio-header",
                       "<boost/asio.hpp> costs every user seconds; include what is named");
            static const std::regex module(R"(<procyard/[a-z]+\.hpp>)");
            if (!umbrella && std::regex_search(line.begin(), line.end(), module))
                report(n + 1, "umbrella", "umbrella headers are for users; include the header");
        }
    }

    void check_words()
    {
        const auto each = [this](std::string_view word, auto f) {
            for_each_word(masked_, word, [&](std::size_t at) { f(line_of(masked_, at)); });
        };
        each("P_ALL", [this](std::size_t line) {
            // Who looks and leaves everybody where they are takes nobody from anybody.
            if (lines_[line - 1].find("WNOWAIT") == std::string_view::npos)
                report(line, "wait-any", "waits for children that belong to somebody else");
        });
        for (const char* word : {"sleep_for", "sleep_until"})
            each(word, [&](std::size_t line) { report_sleep(line, word); });
        if (!in_library())
            return;
        each("asio::detached", [this](std::size_t line) {
            report(line, "detached", "a detached operation's failure is seen by nobody");
        });
        for (const std::string word : {"fstream", "ifstream", "ofstream"})
            each(word, [&](std::size_t line) {
                if (!lines_[line - 1].starts_with("#include"))
                    report(line, "cloexec", "std::" + word + " opens without O_CLOEXEC");
            });
    }

    void report_sleep(std::size_t line, const std::string& what)
    {
        if (in_library() || path_.starts_with("tests/"))
            report(line, "sleep", what + ": wait for what happens, not for time to pass");
    }

    // A script's own sleep waits for time to pass. One of 1000 seconds or more outlasts every test:
    // it is the program of a child that somebody has to end.
    void check_script_sleeps()
    {
        if (!starts_with_any(path_, {"tests/", "examples/"}))
            return;
        static const std::regex for_ever(R"(^\s+[0-9]{4,}\b(?![.smhd]))");
        for (std::size_t n = 0; n < lines_.size(); ++n) {
            const auto line = lines_[n];
            const auto first = line.find_first_not_of(' ');
            if (first == line.npos || line[first] == '#')
                continue;
            for_each_word(line, "sleep", [&](std::size_t at) {
                const auto rest = line.substr(at + 5);
                if (!std::regex_search(rest.begin(), rest.end(), for_ever))
                    report(n + 1, "sleep", "sleep: wait for what happens, not for time to pass");
            });
        }
    }

    void check_descriptor_call(const call& c)
    {
        // Without arguments it is a local function of that name.
        if (path_.starts_with("bench/") || c.arguments == "()")
            return;
        const bool says_cloexec = c.arguments.find("CLOEXEC") != c.arguments.npos;
        const bool takes_flag = is_any_of(c.name, "open", "openat", "open64", "openat2", "pipe2",
                                          "socket", "socketpair", "accept4", "mkostemp",
                                          "memfd_create", "eventfd", "epoll_create1", "signalfd",
                                          "timerfd_create", "inotify_init1", "posix_openpt");
        const bool takes_none = is_any_of(c.name, "pipe", "accept", "dup", "creat", "mkstemp",
                                          "epoll_create", "inotify_init", "openpty", "tmpfile");
        const bool copies = is_any_of(c.name, "dup2", "dup3");
        const bool duplicates =
            c.name == "fcntl" && c.arguments.find("F_DUPFD") != std::string::npos;
        const bool opens_file =
            c.name == "fopen" && last_string(c.arguments).find('e') == std::string_view::npos;
        if (((takes_flag || duplicates) && !says_cloexec) || takes_none || opens_file)
            report(line_of(text_, c.offset), "cloexec",
                   c.name + " without CLOEXEC: a child started meanwhile gets the descriptor");
        else if (copies && !in_child() && !path_.starts_with("tests/") && !says_cloexec)
            report(line_of(text_, c.offset), "cloexec",
                   c.name + " belongs to the child's side (child_main)");
    }

    void check_process_call(const call& c)
    {
        const bool library_or_example = in_library() || path_.starts_with("examples/");
        if (is_any_of(c.name, "fork", "vfork", "forkpty", "daemon") && library_or_example
            && !in_child())
            report(line_of(text_, c.offset), "fork",
                   c.name + " outside of child_main: copies what it must not touch");
        if ((is_any_of(c.name, "waitpid", "wait4") && first_is_minus_one(c.arguments))
            || c.name == "wait3" || (c.name == "wait" && c.global))
            report(line_of(text_, c.offset), "wait-any",
                   "waits for children that belong to somebody else");
        if (is_any_of(c.name, "sleep", "usleep", "nanosleep", "clock_nanosleep"))
            report_sleep(line_of(text_, c.offset), c.name);
    }

    std::string_view path_;
    std::string_view text_;
    std::string masked_;
    std::vector<std::string_view> lines_;
    std::vector<finding> found_;
};

}  // namespace

std::vector<finding> check_file(std::string_view path, std::string_view text)
{
    return checker(path, text).run();
}

}  // namespace tidy
