// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_NAMED_OBJECT_HPP
#define PROCYARD_IPC_SRC_NAMED_OBJECT_HPP

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The file behind a named segment: one page with the header, then the bytes of the user.
//
// Everything of it is there before it gets its name: it is made without one (O_TMPFILE) and linked
// when it is complete. So what has a name and no header is not one of ours, and a creator that is
// killed early has left nothing. shm_open and Boost's shared_memory_object(create_only) show an
// empty object first, which nobody can tell from a stranger's empty file; and Boost's file_mapping
// opens without O_CLOEXEC and follows symbolic links. So only the mapping is Boost's.
//
// Two locks of the open file description, on bytes of the file:
//   0  held by the creator, from before there is a name until it dies. Nobody else takes it.
//   1  held by who removes the name of a dead creator, while it does.
// A name is removed by its live creator or under lock 1 and never otherwise, so under lock 1 a name
// that was verified stays what it is.

struct named_fields {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t header_bytes;  // where the user's bytes begin
    std::uint64_t size_bytes;    // how many they are
};

// Written by the creator only: the fields before there is a name, `ready` by publish().
struct named_header {
    named_fields fields;
    std::atomic<std::uint32_t> ready;
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free,
              "a locking atomic is not shareable between processes");
static_assert(sizeof(named_fields) == 24 && offsetof(named_header, ready) == 24);

inline constexpr std::uint64_t named_magic = 0x6472'6179'636F'7270;  // "procyard"
inline constexpr std::uint32_t named_version = 1;

// A nameless file with `size_bytes` of memory and lock 0, in the directory of `path`.
[[nodiscard]] unique_fd make_object(const std::string& path, std::size_t size_bytes,
                                    mode_t permissions, error_code& ec);

// Gives it its name. EEXIST when something has that name.
[[nodiscard]] error_code name_object(int fd, const std::string& path) noexcept;

// Opens what has the name, and verifies that it is one of ours, of `owner`. Errors: ENOENT,
// not_a_segment, foreign_owner, whatever open says.
[[nodiscard]] unique_fd open_object(const std::string& path, bool writable, uid_t owner,
                                    named_fields& fields, error_code& ec) noexcept;

// Whether somebody has lock 0.
[[nodiscard]] bool object_is_alive(int fd, error_code& ec) noexcept;

// Sees to it that no dead creator has the name, if that is ours to do. Errors: file_exists when
// its creator lives; EAGAIN when somebody else is doing the same at this moment; those of
// open_object().
[[nodiscard]] error_code clear_name(const std::string& path) noexcept;

// Removes the name if it (still) is that of `fd`. ENOENT when it is not.
[[nodiscard]] error_code remove_name(int fd, const std::string& path) noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
