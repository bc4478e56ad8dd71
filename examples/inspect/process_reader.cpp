// SPDX-License-Identifier: BSL-1.0
#include "process_reader.hpp"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <procyard/ipc/syscall.hpp>
#include <procyard/ipc/unique_fd.hpp>

#include "maps_line.hpp"
#include "ring_view.hpp"

namespace inspect {

namespace {

using procyard::error_code;

std::string read_file(const std::string& path, error_code& ec)
{
    const procyard::unique_fd file(
        procyard::retry_eintr([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
    ec = file ? error_code() : procyard::last_error();
    std::string text;
    while (!ec) {
        std::array<char, 16384> part;
        const auto n =
            procyard::retry_eintr([&] { return ::read(file.get(), part.data(), part.size()); });
        if (n == -1)
            ec = procyard::last_error();
        if (n <= 0)
            break;
        text.append(part.data(), static_cast<std::size_t>(n));
    }
    return text;
}

// False when it is not there any more, or not to be read; `ec` then.
bool copy_from(pid_t pid, std::uint64_t address, std::span<std::byte> to, error_code& ec)
{
    const iovec here{to.data(), to.size()};
    // An address of another process, of which this one makes no use.
    const iovec there{reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)), to.size()};
    const auto n = ::process_vm_readv(pid, &here, 1, &there, 1, 0);
    ec = n == -1 ? procyard::last_error() : error_code();
    return n == static_cast<ssize_t>(to.size());
}

// Memory of channels begins at offset 0 and is mapped in one piece.
bool can_be_channel(const mapping& place)
{
    return place.shared && place.readable && place.offset == 0
        && memory_name(place.path).has_value();
}

std::vector<mapping> find_places(pid_t pid, error_code& ec)
{
    const auto maps = read_file("/proc/" + std::to_string(pid) + "/maps", ec);
    if (ec == boost::system::errc::no_such_file_or_directory)
        ec = procyard::make_errno(ESRCH);
    std::vector<mapping> places;
    for (std::size_t begin = 0; begin < maps.size();) {
        const auto end = std::min(maps.find('\n', begin), maps.size());
        auto line = parse_maps_line(std::string_view(maps).substr(begin, end - begin));
        if (line && can_be_channel(*line))
            places.push_back(std::move(*line));
        begin = end + 1;
    }
    return places;
}

std::optional<seen_memory> read_memory(pid_t pid, mapping place, error_code& ec)
{
    std::array<std::byte, ring_view_bytes> bytes;
    if (place.size() < bytes.size() || !copy_from(pid, place.begin, bytes, ec))
        return std::nullopt;
    auto view = parse_ring(bytes, place.size());
    if (!view)
        return std::nullopt;  // some other memory of this library
    auto name = printable(*memory_name(place.path));
    return seen_memory{std::move(place), std::move(name), std::move(*view)};
}

std::string program_of(pid_t pid)
{
    error_code ignored;
    auto name = read_file("/proc/" + std::to_string(pid) + "/comm", ignored);
    if (name.ends_with('\n'))
        name.pop_back();
    return printable(name);
}

}  // namespace

seen_process read_process(pid_t pid, error_code& ec)
{
    seen_process result{pid, program_of(pid), {}};
    auto places = find_places(pid, ec);
    if (ec)
        return result;
    for (auto& place : places) {
        error_code wrong;
        if (auto memory = read_memory(pid, place, wrong))
            result.memories.push_back(std::move(*memory));
        // EFAULT: unmapped by now. Else it is the same for all of them.
        if (wrong && wrong != boost::system::errc::bad_address)
            ec = wrong;
    }
    // A consumer's position has to be read before its producer's: see depth_of().
    for (auto& memory : result.memories) {
        error_code gone;
        if (sends(memory.view.role))
            if (auto again = read_memory(pid, memory.place, gone))
                memory.view = again->view;
    }
    return result;
}

std::vector<seen_process> read_all_processes()
{
    std::vector<seen_process> all;
    std::error_code unreadable;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", unreadable)) {
        const auto name = entry.path().filename().string();
        pid_t pid = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (error != std::errc() || end != name.data() + name.size())
            continue;
        error_code ec;
        auto one = read_process(pid, ec);
        if (!ec && !one.memories.empty())
            all.push_back(std::move(one));
    }
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.pid < b.pid; });
    return all;
}

}  // namespace inspect
