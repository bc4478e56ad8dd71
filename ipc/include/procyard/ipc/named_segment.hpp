// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_NAMED_SEGMENT_HPP
#define PROCYARD_IPC_NAMED_SEGMENT_HPP

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/segment_error.hpp>

PROCYARD_NAMESPACE_BEGIN

/// Where a named segment is found.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
/// @par Example         `segment_name::shared_memory("prices")`,
///                      `segment_name::file("/srv/prices")`
class PROCYARD_IPC_EXPORT segment_name {
public:
    /// An object of POSIX shared memory (what shm_open and Boost's shared_memory_object open). The
    /// name has 1 to 255 bytes, no slash, no NUL, and is not "." or "..".
    [[nodiscard]] static segment_name shared_memory(std::string_view name);
    /// A file, with the path as open(2) takes it. On a local file system that knows O_TMPFILE:
    /// ext4, xfs, btrfs, tmpfs, overlayfs from Linux 6.1.
    [[nodiscard]] static segment_name file(std::string_view path);

    /// The path in the file system; empty when the name is none that could exist.
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    explicit segment_name(std::string path) noexcept : path_(std::move(path)) { }

    std::string path_;
};

/// How a named segment is made.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct named_segment_options {
    /// Who may open it: the bits of chmod(2), exactly these, whatever the umask. The owner's own
    /// have to be in it (0600): after a kill -9 it is the owner who replaces it.
    mode_t permissions = 0600;
};

/// What an opened named segment is used for.
enum class segment_access : std::uint8_t { read_only, read_write };

/// How a named segment is opened.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct named_open_options {
    segment_access access = segment_access::read_write;
    /// Whose it has to be; empty: the effective user's of this process. In a directory where all
    /// may write (/dev/shm) anybody can be first to take a name.
    std::optional<uid_t> owner{};
};

/// Shared memory that is found by name, for processes that start independently of each other and
/// trust each other.
///
/// It belongs to the process that has *created* it and exists as long as that one lives. The
/// creator initialises it and then calls publish(); before that nobody can open it. Its end removes
/// the name. After a kill -9 the name stays, but is known for what it is: to open it is an error,
/// and the next creator replaces it. A live creator is recognised by a lock that the kernel
/// releases at its death (an open file description lock), not by a pid, which may be in use again
/// or mean nothing in another pid namespace.
///
/// What is found under the name is replaced only when it is a segment of a dead creator of the same
/// user. Anything else stays as it is, and the name is refused.
///
/// Between processes that do not trust each other use `segment`: who may write a named segment may
/// also truncate it, and then every access of the others raises SIGBUS. The same happens on a
/// copy-on-write file system (btrfs) that is full when a page is first written.
///
/// After a move: `!x`; may be assigned to or destroyed.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe. About the bytes this class
///                      says nothing: several processes use them at once, so they are for atomics
///                      and for what those publish.
/// @par Lifetime        Pointers into the segment are good until it is destroyed; a move keeps
///                      them.
/// @par Fork            A child of fork() shares the memory, and the lock as well: until it has
///                      ended or executed another program, the creator counts as alive. The name is
///                      removed by the process that has created it only, which alone is_creator().
/// @par Cost            One descriptor, one mapping, a page in addition to the size.
/// @par Example
/// @code
/// auto prices = named_segment::create(segment_name::shared_memory("prices"), sizeof(table));
/// new (prices.writable_data()) table();
/// prices.publish();
/// @endcode
class PROCYARD_IPC_EXPORT named_segment {
public:
    /// Nothing.
    named_segment() noexcept;
    named_segment(named_segment&& other) noexcept;
    named_segment& operator=(named_segment&& other) noexcept;
    /// Unmaps and closes; the creator's removes the name. Those that have opened it keep the
    /// memory.
    ~named_segment();

    /// Makes a segment of at least `size_bytes`, rounded up to whole pages, all of them zero.
    ///
    /// The name appears when all of the memory is there: a creator that is killed before has left
    /// nothing.
    /// @par Errors   `errc::file_exists` when a live creator has the name;
    ///               `segment_errc::bad_name`, `zero_size`, `too_large`; `not_a_segment` or
    ///               `foreign_owner` when the name is taken by something that is not ours to
    ///               replace; ENOSPC, EDQUOT, EFBIG (no SIGXFSZ reaches the host), ENOMEM, EMFILE,
    ///               EACCES; EOPNOTSUPP on a file system without O_TMPFILE; EBUSY when others take
    ///               and leave the name all the time, or one does not come to the end of removing a
    ///               dead creator's. Nothing is left then.
    /// @par Limits   Blocks while another process removes a dead creator's name, for about 100 ms
    ///               at the most. That takes microseconds, unless the other is preempted or stopped
    ///               in the middle.
    /// @par Process-wide effects   SIGXFSZ is blocked in the calling thread meanwhile.
    /// @par Cost     Proportional to the size: all pages are allocated.
    [[nodiscard]] static named_segment create(const segment_name& name, std::size_t size_bytes,
                                              named_segment_options options, error_code& ec);
    /// The same; throws boost::system::system_error.
    [[nodiscard]] static named_segment create(const segment_name& name, std::size_t size_bytes,
                                              named_segment_options options = {});

    /// Opens what somebody else has created and published.
    /// @par Errors   ENOENT; `errc::resource_unavailable_try_again` when it is not published yet;
    ///               `errc::owner_dead` when its creator is dead; `segment_errc::bad_name`,
    ///               `not_a_segment`, `foreign_owner`; EACCES, EMFILE, ENOMEM.
    [[nodiscard]] static named_segment open(const segment_name& name, named_open_options options,
                                            error_code& ec);
    /// The same; throws boost::system::system_error.
    [[nodiscard]] static named_segment open(const segment_name& name,
                                            named_open_options options = {});

    /// Opens it when there is one with a live creator, else creates it; is_creator() says which. Of
    /// several processes that call this at once exactly one becomes the creator.
    /// @par Errors   Those of create() and open(), but never ENOENT, `file_exists` or `owner_dead`;
    ///               `segment_errc::wrong_size` when there is one and it is smaller than
    ///               `size_bytes`.
    /// @par Limits   Blocks as create() does, for no longer.
    [[nodiscard]] static named_segment open_or_create(const segment_name& name,
                                                      std::size_t size_bytes,
                                                      named_segment_options options,
                                                      error_code& ec);
    /// The same; throws boost::system::system_error.
    [[nodiscard]] static named_segment open_or_create(const segment_name& name,
                                                      std::size_t size_bytes,
                                                      named_segment_options options = {});

    /// The creator's word that everything is initialised. What it wrote before is visible to those
    /// that open the segment afterwards.
    void publish() noexcept;

    /// Removes the name now; who has the segment open keeps it. Only the creator can.
    /// @par Errors   ENOENT when somebody else has removed it; EPERM in a child of fork().
    void remove_name(error_code& ec) noexcept;

    /// Whether the creator is alive; for who has opened it. True for the creator itself, and in a
    /// child of fork(), which counts as the creator's life.
    /// @par Cost   One system call.
    [[nodiscard]] bool creator_alive(error_code& ec) const noexcept;

    /// Whether there is a segment.
    [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }
    /// The first byte, at the beginning of a page; null when there is no segment.
    [[nodiscard]] const std::byte* data() const noexcept;
    /// The same, to write. Only when is_writable().
    [[nodiscard]] std::byte* writable_data() noexcept;
    /// How many bytes can be used: whole pages.
    [[nodiscard]] std::size_t size() const noexcept;
    /// False when it was opened with `segment_access::read_only`.
    [[nodiscard]] bool is_writable() const noexcept;
    /// Whether this object has created it, in this process: false in a child of fork().
    [[nodiscard]] bool is_creator() const noexcept;

private:
    struct state;
    explicit named_segment(std::unique_ptr<state> made) noexcept;

    std::unique_ptr<state> state_;
};

PROCYARD_NAMESPACE_END

#endif
