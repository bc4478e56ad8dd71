// SPDX-License-Identifier: BSL-1.0
#include "top_commands.hpp"

#include <signal.h>

#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

namespace demo {

namespace {

using namespace procyard;

// What find takes for a header; the names end with NUL, since they may contain anything else.
const std::vector<std::string> headers = {"-type", "f",     "(",     "-name", "*.h",
                                          "-o",    "-name", "*.hh",  "-o",    "-name",
                                          "*.hpp", "-o",    "-name", "*.hxx", ")"};
constexpr auto identifier = "[A-Za-z_][A-Za-z0-9_]*";

// Bytes are bytes, and they sort by their value.
command program(tree_mode mode, std::string name, std::initializer_list<std::string_view> arguments)
{
    command what(std::move(name));
    what.tree(mode);
    // After `kill -9` of the demo nobody is there to stop the trees. Each program of a pipeline
    // dies then; what it has started in turn (the cat of xargs) ends when it writes next.
    what.args(arguments).env("LC_ALL", "C").parent_death_signal(SIGKILL);
    return what;
}

}  // namespace

command list_sizes(const std::string& directory, tree_mode mode)
{
    return program(mode, "find", {"-H", directory}).args(headers).args({"-printf", "%s\n"});
}

command list_files(const std::string& directory, tree_mode mode)
{
    return program(mode, "find", {"-H", directory}).args(headers).args({"-printf", "%s %p\\0"});
}

pipeline top_pipeline(const std::string& directory, tree_mode mode, stage::function count)
{
    auto find = program(mode, "find", {"-H", directory}).args(headers).args({"-print0"});
    auto cat = program(mode, "xargs", {"-0", "-r", "cat", "--"});
    auto words = program(mode, extractor, {"-a", "-o", "-E", identifier});
    auto order = program(mode, "sort", {"-k1,1nr", "-k2"});
    auto first = program(mode, "head", {"-n", "20"});
    return find | cat | words | stage("count", std::move(count)) | order | first;
}

command top_script(const std::string& directory, tree_mode mode)
{
    constexpr auto script = R"sh(
        find -H "$1" -type f \( -name '*.h' -o -name '*.hh' -o -name '*.hpp' -o -name '*.hxx' \) \
            -print0 | xargs -0 -r cat -- | grep -a -o -E '[A-Za-z_][A-Za-z0-9_]*' |
            sort | uniq -c | sort -k1,1nr -k2 | head -n 20)sh";
    return program(mode, "sh", {"-c", script, "sh", directory});
}

command parallel_script(const std::string& directory, unsigned processes, tree_mode mode)
{
    constexpr auto script = R"sh(
        find -H "$1" -type f \( -name '*.h' -o -name '*.hh' -o -name '*.hpp' -o -name '*.hxx' \) \
            -print0 | xargs -0 -r -n 256 -P "$2" grep -a -h -o -E '[A-Za-z_][A-Za-z0-9_]*' -- |
            sort | uniq -c | sort -k1,1nr -k2 | head -n 20)sh";
    return program(mode, "sh", {"-c", script, "sh", directory, std::to_string(processes)});
}

}  // namespace demo
