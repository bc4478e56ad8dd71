// SPDX-License-Identifier: BSL-1.0
#include "manager_text.hpp"

#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdint>
#include <limits>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::size_t longest_name = 255;            // as systemd's FDNAME_MAX
constexpr std::size_t longest_socket_address = 107;  // sun_path, without its end

// The whole text is one decimal number, without a sign.
template <class Number>
std::optional<Number> parse_number(std::string_view text) noexcept
{
    Number number{};
    const char* const end = text.data() + text.size();
    if (text.empty() || text.front() < '0' || text.front() > '9')
        return std::nullopt;
    const auto [stop, ec] = std::from_chars(text.data(), end, number);
    return ec == std::errc() && stop == end ? std::optional(number) : std::nullopt;
}

pid_t parse_process(const char* name, std::string_view value)
{
    const auto number = parse_number<pid_t>(value);
    if (!number || *number <= 0)
        refuse_variable(name, value, "not the id of a process", EINVAL);
    return *number;
}

std::string parse_socket(std::string_view value)
{
    const auto refuse = [value](const char* why, int error_number = EINVAL) {
        refuse_variable(notify_socket_variable, value, why, error_number);
    };
    if (value.starts_with("vsock:"))
        refuse("a manager on another machine, which is not supported", EAFNOSUPPORT);
    if (value.size() < 2 || (value.front() != '/' && value.front() != '@'))
        refuse("neither an absolute path nor '@' and an abstract name");
    // Of an abstract name the '@' stands for the NUL in front of it.
    if (value.size() > longest_socket_address + (value.front() == '@' ? 1 : 0))
        refuse("too long for the address of a socket", ENAMETOOLONG);
    return std::string(value);
}

std::vector<std::string> parse_names(std::string_view list, std::size_t count)
{
    std::vector<std::string> names;
    for (std::string_view rest = list; names.size() <= count;) {
        const auto end = std::min(rest.find(':'), rest.size());
        names.emplace_back(rest.substr(0, end));
        if (end == rest.size())
            break;
        rest.remove_prefix(end + 1);
    }
    if (names.size() != count)
        refuse_variable(listen_names_variable, list,
                        "not as many names as LISTEN_FDS has descriptors (" + std::to_string(count)
                            + ')',
                        EINVAL);
    return names;
}

}  // namespace

void refuse_variable(const char* name, std::string_view value, std::string_view why,
                     int error_number)
{
    // A value of somebody else's, in a message for people.
    constexpr std::size_t enough = 200;
    std::string text = std::string(name) + "=\"" + std::string(value.substr(0, enough));
    text += value.size() > enough ? "…\": " : "\": ";
    throw boost::system::system_error(make_errno(error_number), text + std::string(why));
}

bool is_descriptor_name(std::string_view name) noexcept
{
    return !name.empty() && name.size() <= longest_name
        && std::all_of(name.begin(), name.end(),
                       [](char c) { return c >= ' ' && c < 127 && c != ':'; });
}

service_manager parse_manager(const char* socket, const char* watchdog_time,
                              const char* watchdog_pid, pid_t self)
{
    service_manager manager;
    if (socket == nullptr)
        return manager;  // a watchdog that nobody could hear is none
    manager.socket = parse_socket(socket);
    // For whom it is comes first: what is said to others is theirs to understand.
    if (watchdog_time == nullptr
        || (watchdog_pid != nullptr && parse_process(watchdog_pid_variable, watchdog_pid) != self))
        return manager;
    constexpr auto longest = std::numeric_limits<std::int64_t>::max() / 1000;  // in nanoseconds
    const auto time = parse_number<std::int64_t>(watchdog_time);
    if (!time || *time <= 0)
        refuse_variable(watchdog_time_variable, watchdog_time, "not a time in microseconds",
                        EINVAL);
    manager.watchdog = std::chrono::microseconds(std::min(*time, longest));
    return manager;
}

std::vector<std::string> parse_activation(const char* count, const char* pid, const char* names,
                                          pid_t self)
{
    if (count == nullptr || pid == nullptr || parse_process(listen_pid_variable, pid) != self)
        return {};
    constexpr int most = INT_MAX - first_activation_descriptor;
    const auto number = parse_number<int>(count);
    if (!number || *number < 1 || *number > most)
        refuse_variable(listen_count_variable, count, "not a number of descriptors", EINVAL);
    if (names != nullptr)
        return parse_names(names, static_cast<std::size_t>(*number));
    // Of as many as can be open; whether they are is looked at before they are given names.
    return std::vector<std::string>(static_cast<std::size_t>(std::min(*number, 1 << 20)),
                                    "unknown");
}

}  // namespace detail

PROCYARD_NAMESPACE_END
