// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/service_notice.hpp>

#include <boost/system/system_error.hpp>

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>

#include <procyard/ipc/descriptor_passing.hpp>

#include "manager_text.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace {

[[noreturn]] void refuse(std::string_view name, std::string_view why)
{
    throw std::invalid_argument("service_notice: " + std::string(name) + ": " + std::string(why));
}

bool is_variable_name(std::string_view name)
{
    return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    });
}

std::int64_t now_on_monotonic_clock()
{
    timespec now{};
    (void)::clock_gettime(CLOCK_MONOTONIC, &now);
    return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1'000;
}

}  // namespace

void service_notice::assign(std::string_view name, std::string_view value)
{
    if (value.find('\n') != std::string_view::npos)
        refuse(name, "a line feed in the value");
    if (value.find('\0') != std::string_view::npos)
        refuse(name, "a NUL in the value");
    const auto found = std::find_if(assignments_.begin(), assignments_.end(),
                                    [name](const auto& one) { return one.first == name; });
    if (found != assignments_.end())
        found->second = value;
    else
        assignments_.emplace_back(name, value);
}

void service_notice::assign_time(std::string_view name, std::chrono::nanoseconds time)
{
    if (time.count() <= 0)
        refuse(name, "the time is not positive");
    // Not less than was meant: 1 ns would be none.
    assign(name, std::to_string(std::chrono::ceil<std::chrono::microseconds>(time).count()));
}

service_notice& service_notice::ready()
{
    assign("READY", "1");
    return *this;
}

service_notice& service_notice::reloading()
{
    assign("RELOADING", "1");
    assign("MONOTONIC_USEC", std::to_string(now_on_monotonic_clock()));
    return *this;
}

service_notice& service_notice::stopping()
{
    assign("STOPPING", "1");
    return *this;
}

service_notice& service_notice::status(std::string_view text)
{
    assign("STATUS", text);
    return *this;
}

service_notice& service_notice::error_number(int error)
{
    if (error < 1)
        refuse("ERRNO", std::to_string(error) + " is no error");
    assign("ERRNO", std::to_string(error));
    return *this;
}

service_notice& service_notice::exit_status(int code)
{
    if (code < 0 || code > 255)
        refuse("EXIT_STATUS", std::to_string(code) + " is not between 0 and 255");
    assign("EXIT_STATUS", std::to_string(code));
    return *this;
}

service_notice& service_notice::main_pid(pid_t pid)
{
    if (pid < 1)
        refuse("MAINPID", std::to_string(pid) + " is not the id of a process");
    assign("MAINPID", std::to_string(pid));
    return *this;
}

service_notice& service_notice::extend_timeout(std::chrono::nanoseconds time)
{
    assign_time("EXTEND_TIMEOUT_USEC", time);
    return *this;
}

service_notice& service_notice::alive()
{
    assign("WATCHDOG", "1");
    return *this;
}

service_notice& service_notice::ill()
{
    assign("WATCHDOG", "trigger");
    return *this;
}

service_notice& service_notice::watchdog(std::chrono::nanoseconds interval)
{
    assign_time("WATCHDOG_USEC", interval);
    return *this;
}

// A manager takes one name from a message, and one purpose.
void service_notice::assign_store_name(std::string_view purpose, std::string_view name)
{
    if (!detail::is_descriptor_name(name))
        refuse(purpose, "\"" + std::string(name) + "\" is not the name of a descriptor");
    for (const auto& [other, value] : assignments_) {
        if (other.starts_with("FDSTORE") && other != purpose)
            refuse(purpose, "not in one notice with " + other);
        if (other == "FDNAME" && value != name)
            refuse(purpose,
                   "\"" + value + "\" and \"" + std::string(name) + "\" cannot be in one notice");
    }
    assign(purpose, "1");
    assign("FDNAME", name);
}

service_notice& service_notice::store(int descriptor, std::string_view name)
{
    if (descriptors_.size() == max_passed_descriptors)
        refuse("FDSTORE", "more descriptors than one message can carry");
    unique_fd borrowed(descriptor);
    error_code ec;
    auto copy = borrowed.duplicate(ec, 3);
    (void)borrowed.release();
    if (ec)
        throw boost::system::system_error(
            ec, "service_notice: FDSTORE: descriptor " + std::to_string(descriptor));
    assign_store_name("FDSTORE", name);
    descriptors_.push_back(std::make_shared<const unique_fd>(std::move(copy)));
    return *this;
}

service_notice& service_notice::without_polling()
{
    assign("FDPOLL", "0");
    return *this;
}

service_notice& service_notice::remove_stored(std::string_view name)
{
    assign_store_name("FDSTOREREMOVE", name);
    return *this;
}

service_notice& service_notice::set(std::string_view name, std::string_view value)
{
    if (!is_variable_name(name))
        refuse(name, "a name is made of capital letters, digits and '_'");
    if (name == "BARRIER")
        refuse(name, "stands alone: async_barrier()");
    assign(name, value);
    return *this;
}

std::string service_notice::text() const
{
    std::string all;
    for (const auto& [name, value] : assignments_)
        all.append(name).append("=").append(value).append("\n");
    return all;
}

PROCYARD_NAMESPACE_END
