// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_EXAMPLES_INSPECT_MAPS_LINE_HPP
#define PROCYARD_EXAMPLES_INSPECT_MAPS_LINE_HPP

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace inspect {

/// A line of /proc/PID/maps: what is mapped where.
struct mapping {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool readable = false;
    bool writable = false;
    bool shared = false;
    std::uint64_t offset = 0;  ///< in the file
    std::uint32_t device_major = 0;
    std::uint32_t device_minor = 0;
    std::uint64_t inode = 0;
    std::string path;  ///< as the kernel writes it; empty: none

    [[nodiscard]] std::uint64_t size() const noexcept { return end - begin; }
    /// Whether both are of the same file.
    [[nodiscard]] bool same_file(const mapping& other) const noexcept
    {
        return inode == other.inode && device_major == other.device_major
            && device_minor == other.device_minor;
    }

    friend bool operator==(const mapping&, const mapping&) = default;
};

/// Nothing when it is no such line.
[[nodiscard]] std::optional<mapping> parse_maps_line(std::string_view line);

/// What the maker of this memory calls it: "" of `/memfd:procyard (deleted)`, "NAME" of
/// `/memfd:procyard:NAME (deleted)`; nothing when it is not memory of this library. Any process can
/// use that name, so this only says where to look.
[[nodiscard]] std::optional<std::string_view> memory_name(std::string_view path) noexcept;

/// Text of a stranger for a terminal: what is not printable ASCII becomes a question mark.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace inspect

#endif
