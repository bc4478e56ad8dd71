// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_RUNTIME_SRC_RESIDENT_MEMORY_HPP
#define PROCYARD_RUNTIME_SRC_RESIDENT_MEMORY_HPP

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// Of `/proc/PID/statm`: "6521 1023 …", the second is what is resident, in pages. 0: it is none.
[[nodiscard]] inline std::size_t resident_pages(std::string_view statm) noexcept
{
    const auto begin = statm.find(' ');
    std::size_t pages = 0;
    if (begin != std::string_view::npos)
        (void)std::from_chars(statm.data() + begin + 1, statm.data() + statm.size(), pages);
    return pages;
}

// How much memory of a process is resident; 0 where that cannot be known. No allocation.
[[nodiscard]] inline std::size_t resident_bytes(pid_t pid) noexcept
{
    std::array<char, 32> path{};
    (void)std::snprintf(path.data(), path.size(), "/proc/%d/statm", static_cast<int>(pid));
    const unique_fd file(::open(path.data(), O_RDONLY | O_CLOEXEC));
    std::array<char, 128> text{};
    const auto size = file ? ::read(file.get(), text.data(), text.size()) : 0;
    if (size <= 0)
        return 0;
    return resident_pages({text.data(), static_cast<std::size_t>(size)})
        * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
