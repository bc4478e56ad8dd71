// SPDX-License-Identifier: BSL-1.0
#include "procyard_test.hpp"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

namespace procyard_test {

namespace fs = std::filesystem;

namespace {

bool is_number(const std::string& name)
{
    return !name.empty()
        && std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); });
}

// State letter and parent of a process: "pid (name, may hold spaces) S ppid ..."
std::pair<char, pid_t> state_and_parent(const fs::path& process)
{
    std::ifstream file(process / "stat");
    std::string line;
    std::getline(file, line);
    const auto end_of_name = line.rfind(')');
    if (end_of_name == std::string::npos)
        return {'?', 0};
    std::istringstream rest(line.substr(end_of_name + 1));
    char state = '?';
    pid_t parent = 0;
    rest >> state >> parent;
    return {state, parent};
}

template <class Matches>
std::size_t count_children(Matches matches)
{
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        if (!is_number(entry.path().filename()))
            continue;
        const auto [state, parent] = state_and_parent(entry.path());
        if (parent == ::getpid() && matches(state))
            ++count;
    }
    return count;
}

}  // namespace

std::vector<std::string> open_descriptor_list()
{
    std::vector<std::string> list;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
        std::error_code ec;
        const auto target = fs::read_symlink(entry.path(), ec).string();
        // The iterator's own descriptor: on this very directory.
        const auto self = "/proc/" + std::to_string(::getpid()) + "/fd";
        if (!ec && target != self)
            list.push_back(entry.path().filename().string() + " -> " + target);
    }
    std::sort(list.begin(), list.end());
    return list;
}

std::size_t open_descriptors()
{
    return open_descriptor_list().size();
}

std::size_t zombie_children()
{
    return count_children([](char state) { return state == 'Z'; });
}

std::size_t children()
{
    return count_children([](char) { return true; });
}

std::size_t watched_descriptors()
{
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator("/proc/self/fdinfo")) {
        std::ifstream file(entry.path());
        for (std::string line; std::getline(file, line);)
            count += line.starts_with("tfd:") ? 1U : 0U;
    }
    return count;
}

std::size_t threads()
{
    const fs::directory_iterator tasks("/proc/self/task");
    return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

}  // namespace procyard_test
