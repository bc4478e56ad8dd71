// SPDX-License-Identifier: BSL-1.0
#include "config.hpp"

#include <boost/property_tree/ini_parser.hpp>
#include <boost/property_tree/ptree.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

#include <procyard/runtime/probes.hpp>

#include "values.hpp"

namespace supervise {

namespace {

using boost::property_tree::ptree;
using setter = std::function<void(service_config&, const std::string&)>;
constexpr std::string_view general = "supervisor";
constexpr std::string_view variable_prefix = "env.";

// The parser keeps no positions: they are looked for where there is something to say of them.
std::size_t line_of(const std::string& text, std::string_view section, std::string_view key)
{
    std::istringstream lines(text);
    std::string line;
    bool inside = false;
    for (std::size_t number = 1; std::getline(lines, line); ++number) {
        const auto first = line.find_first_not_of(" \t");
        const std::string_view rest =
            first == line.npos ? std::string_view() : std::string_view(line).substr(first);
        if (rest.starts_with('['))
            inside = rest.substr(1, rest.find(']') - 1) == section;
        if (!inside)
            continue;
        if (key.empty())
            return number;
        const auto after = rest.starts_with(key) ? rest.substr(key.size()) : std::string_view();
        if (after.substr(std::min(after.find_first_not_of(" \t"), after.size())).starts_with('='))
            return number;
    }
    return 0;
}

// A word and what follows it.
std::pair<std::string, std::string> split(const std::string& value)
{
    const auto space = std::min(value.find(' '), value.size());
    return {value.substr(0, space), space < value.size() ? value.substr(space + 1) : ""};
}

std::optional<probe_config> to_probe(const std::string& value)
{
    using kind = probe_config::kind;
    const auto [word, rest] = split(value);
    if (word == "tcp")
        return probe_config{kind::tcp, static_cast<std::uint16_t>(to_number(rest, 1, 65535))};
    if (word == "command" && !rest.empty())
        return probe_config{kind::command, 0, rest};
    if (!word.starts_with("http:"))
        return std::nullopt;
    (void)procyard::http_probe(value);  // says what is wrong with it
    return probe_config{kind::http, 0, value};
}

void set_health(service_config& one, const std::string& value)
{
    one.health.probe = to_probe(value);
    if (!one.health.probe)
        throw std::invalid_argument('"' + value
                                    + "\" is none of: tcp PORT, http://…, command COMMAND");
}

void set_ready(service_config& one, const std::string& value)
{
    using kind = ready_config::kind;
    const auto [word, rest] = split(value);
    if (word == "started" && rest.empty())
        one.ready = {kind::started};
    else if (word == "notify" && rest.empty())
        one.ready = {kind::notify};
    else if (word == "newline")
        one.ready = {kind::newline, static_cast<int>(to_number(rest, 3, 1023))};
    else if (word == "line" && !rest.empty())
        one.ready = {kind::line, 0, rest};
    else if (const auto probe = to_probe(value))
        one.ready = {.what = kind::probe, .probe = *probe};
    else
        throw std::invalid_argument("\"" + value
                                    + "\" is none of: started, notify, newline NUMBER, line TEXT, "
                                      "tcp PORT, http://…, command COMMAND");
}

void set_restart(service_config& one, const std::string& value)
{
    using procyard::restart_kind;
    if (value == "always")
        one.restart = restart_kind::permanent;
    else if (value == "on-failure")
        one.restart = restart_kind::transient;
    else if (value == "never")
        one.restart = restart_kind::temporary;
    else
        throw std::invalid_argument('"' + value + "\" is none of: always, on-failure, never");
}

void set_backoff(service_config& one, const std::string& value)
{
    const auto words = to_words(value);
    if (words.size() != 2)
        throw std::invalid_argument('"' + value + "\" is no pair of durations: FIRST LONGEST");
    one.backoff.first = to_duration(words[0]);
    one.backoff.cap = to_duration(words[1]);
    if (one.backoff.cap < one.backoff.first)
        throw std::invalid_argument('"' + value + "\": the longest delay is less than the first");
}

void set_listen(service_config& one, const std::string& value)
{
    for (const auto& word : to_words(value)) {
        const auto colon = word.find(':');
        if (colon == word.npos || colon == 0)
            throw std::invalid_argument('"' + word + "\" is no NAME:PORT");
        one.listen[word.substr(0, colon)] =
            static_cast<std::uint16_t>(to_number(word.substr(colon + 1), 0, 65535));
    }
}

const std::map<std::string, setter, std::less<>>& service_keys()
{
    using one = service_config;
    using text = const std::string;
    static const std::map<std::string, setter, std::less<>> keys{
        {"command", [](one& s, text& v) { s.command = v; }},
        {"directory", [](one& s, text& v) { s.directory = v; }},
        {"depends_on", [](one& s, text& v) { s.depends_on = to_words(v); }},
        {"restart", set_restart},
        {"one_shot", [](one& s, text& v) { s.one_shot = to_bool(v); }},
        {"ready", set_ready},
        {"start_timeout", [](one& s, text& v) { s.start_timeout = to_duration(v); }},
        {"grace", [](one& s, text& v) { s.grace = to_duration(v); }},
        {"watchdog", [](one& s, text& v) { s.watchdog = to_duration(v); }},
        {"health", set_health},
        {"health_interval", [](one& s, text& v) { s.health.interval = to_duration(v); }},
        {"health_timeout", [](one& s, text& v) { s.health.most = to_duration(v); }},
        {"health_failures",
         [](one& s, text& v) { s.health.failures = static_cast<unsigned>(to_number(v, 1, 1000)); }},
        {"may_extend", [](one& s, text& v) { s.may_extend = to_duration(v); }},
        {"backoff", set_backoff},
        {"listen", set_listen},
        {"keep_descriptors",
         [](one& s, text& v) {
             s.keep_descriptors = static_cast<unsigned>(to_number(v, 0, 1000));
         }},
        {"log", [](one& s, text& v) { s.log = v; }},
        {"log_size", [](one& s, text& v) { s.rotation.most_bytes = to_bytes(v); }},
        {"log_age", [](one& s, text& v) { s.rotation.most_age = to_duration(v); }},
        {"log_keep",
         [](one& s, text& v) { s.rotation.keep = static_cast<unsigned>(to_number(v, 0, 1000)); }},
    };
    return keys;
}

// False: there is no such key.
bool set_general(config& all, std::string_view key, const std::string& value)
{
    using procyard::restart_strategy;
    if (key == "strategy") {
        if (value != "one" && value != "all" && value != "rest")
            throw std::invalid_argument('"' + value + "\" is none of: one, all, rest");
        all.strategy = value == "one" ? restart_strategy::one_for_one
            : value == "all"          ? restart_strategy::one_for_all
                                      : restart_strategy::rest_for_one;
    } else if (key == "restarts") {
        all.intensity.restarts = static_cast<unsigned>(to_number(value, 0, 1'000'000));
    } else if (key == "window") {
        all.intensity.window = to_duration(value);
    } else if (key == "stop_budget") {
        all.stop_budget = to_duration(value);
    } else if (key == "state") {
        all.state = value;
    } else if (key == "guardian") {
        all.guardian = to_bool(value);
    } else {
        return false;
    }
    return true;
}

bool set_of_service(service_config& one, std::string_view key, const std::string& value)
{
    if (key.starts_with(variable_prefix) && key.size() > variable_prefix.size()) {
        one.environment[std::string(key.substr(variable_prefix.size()))] = value;
        return true;
    }
    const auto found = service_keys().find(key);
    if (found == service_keys().end())
        return false;
    found->second(one, value);
    return true;
}

// Each after those it needs; those that need nobody stay in the order of the file.
std::vector<service_config>
in_order(std::vector<service_config> all,
         const std::function<void(const service_config&, const std::string&)>& refuse)
{
    std::vector<service_config> sorted;
    const auto is_in = [](const std::vector<service_config>& some, const std::string& name) {
        return std::any_of(some.begin(), some.end(),
                           [&](const service_config& one) { return one.name == name; });
    };
    for (const auto& one : all) {
        for (const auto& name : one.depends_on) {
            if (!is_in(all, name))
                refuse(one, "there is no service \"" + name + '"');
        }
    }
    while (!all.empty()) {
        const auto next = std::find_if(all.begin(), all.end(), [&](const service_config& one) {
            return std::all_of(one.depends_on.begin(), one.depends_on.end(),
                               [&](const std::string& name) { return is_in(sorted, name); });
        });
        if (next == all.end())
            refuse(all.front(), "services that need each other can never start");
        sorted.push_back(std::move(*next));
        all.erase(next);
    }
    return sorted;
}

std::vector<std::string> sections_of(const std::string& text)
{
    std::vector<std::string> names;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        const auto begin = line.find_first_not_of(" \t\r");
        const auto end = line.find(']');
        if (begin == line.npos || line[begin] != '[' || end == line.npos)
            continue;
        const auto first = line.find_first_not_of(" \t", begin + 1);
        const auto last = line.find_last_not_of(" \t", end - 1);
        names.push_back(first <= last ? line.substr(first, last - first + 1) : "");
    }
    return names;
}

ptree parse_tree(const std::string& text, const std::string& file)
{
    std::istringstream stream(text);
    ptree tree;
    try {
        boost::property_tree::read_ini(stream, tree);
    } catch (const boost::property_tree::ini_parser_error& error) {
        throw std::runtime_error(file + ':' + std::to_string(error.line()) + ": "
                                 + error.message());
    }
    return tree;
}

}  // namespace

config parse_config(const std::string& text, const std::string& file)
{
    config all;
    const auto refuse = [&](const std::string& section, std::string_view key,
                            const std::string& why) {
        const auto line = line_of(text, section, key);
        throw std::runtime_error(file + ':' + std::to_string(line) + ": [" + section + "] "
                                 + std::string(key) + (key.empty() ? "" : ": ") + why);
    };
    const auto tree = parse_tree(text, file);
    // The parser passes over blocks without keys.
    for (const auto& section : sections_of(text)) {
        if (section != general && tree.find(section) == tree.not_found())
            refuse(section, "", "has no command");
    }
    for (const auto& [section, keys] : tree) {
        if (keys.empty() && !keys.data().empty())
            throw std::runtime_error(file + ": \"" + section + "\" stands before the first block");
        service_config one;
        one.name = section;
        for (const auto& [key, value] : keys) {
            try {
                const bool known = section == general ? set_general(all, key, value.data())
                                                      : set_of_service(one, key, value.data());
                if (!known)
                    throw std::invalid_argument("there is no such key");
            } catch (const std::invalid_argument& error) {
                refuse(section, key, error.what());
            }
        }
        if (section == general)
            continue;
        if (section.find('/') != std::string::npos)
            refuse(section, "", "a name has no slash");
        if (one.command.empty())
            refuse(section, "", "has no command");
        for (const auto& [key, value] : keys) {
            if (!one.health.probe && key.starts_with("health_"))
                refuse(section, key, "without health there is nobody to ask");
        }
        if (one.one_shot && one.restart == procyard::restart_kind::permanent)
            one.restart = procyard::restart_kind::transient;
        all.services.push_back(std::move(one));
    }
    if (all.services.empty())
        throw std::runtime_error(file + ": there is no service in it");
    all.services =
        in_order(std::move(all.services), [&](const service_config& one, const std::string& why) {
            refuse(one.name, "depends_on", why);
        });
    return all;
}

config read_config(const std::string& file)
{
    std::ifstream stream(file);
    if (!stream)
        throw std::runtime_error(file + ": " + std::strerror(errno));
    return parse_config({std::istreambuf_iterator<char>(stream), {}}, file);
}

}  // namespace supervise
