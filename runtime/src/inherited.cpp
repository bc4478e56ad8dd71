// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/inherited.hpp>

#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <optional>

#include <procyard/ipc/channel_error.hpp>
#include <procyard/ipc/syscall.hpp>

#include "passed_end.hpp"

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

struct entry {
    int number = -1;
    std::uint64_t inode = 0;
    channel_options options;
};

std::string_view cut(std::string_view& text, char at) noexcept
{
    const auto end = std::min(text.find(at), text.size());
    const auto head = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return head;
}

template <class Number>
bool read(std::string_view& text, Number& number) noexcept
{
    const auto field = cut(text, ':');
    const auto [end, ec] = std::from_chars(field.data(), field.data() + field.size(), number);
    return ec == std::errc() && end == field.data() + field.size();
}

// What a parent that is older than these options does not say is as it is without being told.
bool read_policies(std::string_view& text, channel_options& options) noexcept
{
    if (text.empty())
        return true;
    unsigned policies = 0;  // see plan_builder.cpp
    if (!read(text, policies) || !read(text, options.max_message_bytes)
        || policies / when_full_count > static_cast<unsigned>(huge_page_policy::required))
        return false;
    options.full = static_cast<when_full>(policies % when_full_count);
    options.huge_pages = static_cast<huge_page_policy>(policies / when_full_count);
    options.name = text;
    return true;
}

// Of an entry that says nothing else of an end that has one of its own; see passed_end.hpp.
std::optional<std::size_t> peer_bytes_of(std::string_view one) noexcept
{
    std::size_t bytes = 0;
    if (!one.starts_with(peer_bytes_field))
        return std::nullopt;
    one.remove_prefix(peer_bytes_field.size());
    if (!read(one, bytes) || !one.empty())
        return std::nullopt;
    return bytes;
}

// What is behind a name. Empty: it is malformed, and nobody's.
std::optional<entry> read_entry(std::string_view one) noexcept
{
    entry found;
    int across = 0;
    if (!read(one, found.number) || !read(one, found.inode)
        || !read(one, found.options.capacity_messages) || !read(one, found.options.capacity_bytes)
        || !read(one, across) || !read_policies(one, found.options) || found.number <= 2)
        return std::nullopt;
    found.options.across_users = across != 0;
    return found;
}

// The number may be somebody else's by now.
bool is_still_it(const entry& found) noexcept
{
    struct stat about{};
    return ::fstat(found.number, &about) == 0 && S_ISSOCK(about.st_mode)
        && about.st_ino == found.inode;
}

// Keeps all of them from the children of this process, and finds the one.
std::optional<entry> find_entry(std::string_view list, std::string_view wanted) noexcept
{
    std::optional<entry> result;
    std::optional<std::size_t> peer_bytes;
    while (!list.empty()) {
        auto one = cut(list, ';');
        const auto name = cut(one, '=');
        if (const auto bytes = peer_bytes_of(one); bytes && name == wanted)
            peer_bytes = bytes;
        const auto found = read_entry(one);
        if (!found)
            continue;
        if (is_still_it(*found))
            (void)::fcntl(found->number, F_SETFD, FD_CLOEXEC);
        if (name == wanted)
            result = found;
    }
    if (result && peer_bytes)
        result->options.max_peer_bytes = *peer_bytes;
    return result;
}

}  // namespace

inherited_end find_inherited(std::string_view name, error_code& ec)
{
    const char* const list = std::getenv(std::string(channels_variable).c_str());
    const auto found = list == nullptr ? std::nullopt : find_entry(list, name);
    if (!found) {
        ec = channel_errc::not_passed;
        return {};
    }
    if (!is_still_it(*found)) {
        ec = channel_errc::already_taken;
        return {};
    }
    unique_fd given(found->number);
    // Not under this number any more, by which it would be found again.
    auto socket = given.duplicate(ec);
    if (ec)
        (void)given.release();  // another try may find a free number
    return {std::move(socket), found->options};
}

void throw_inherited(const error_code& ec, std::string_view name, const std::string& explanation)
{
    auto what = "inherited channel \"" + std::string(name) + '"';
    if (!explanation.empty())
        what += " (" + explanation + ')';
    throw boost::system::system_error(ec, what);
}

}  // namespace detail

PROCYARD_NAMESPACE_END
