// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SEGMENT_HPP
#define PROCYARD_IPC_SEGMENT_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <procyard/ipc/config.hpp>
#include <procyard/ipc/export.hpp>
#include <procyard/ipc/segment_error.hpp>
#include <procyard/ipc/unique_fd.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {
class mapping;
}

/// Whether a segment is made of huge pages, of the system's default size (see Hugepagesize in
/// /proc/meminfo). They come from a pool that the administrator fills (vm.nr_hugepages).
enum class huge_page_policy : std::uint8_t {
    never,
    if_available,  ///< ordinary pages when the pool has not enough; page_bytes() says which it was
    required       ///< `segment_errc::no_huge_pages` when the pool has not enough
};

/// How a segment is made.
/// @par Thread safety   A value; distinct objects: safe. Shared objects: unsafe.
struct segment_options {
    huge_page_policy huge_pages = huge_page_policy::never;
    /// For people: in /proc/PID/maps the memory is `memfd:procyard:NAME`. No name by which it could
    /// be found; what is longer than 63 bytes is cut.
    std::string_view name{};
};

/// Anonymous shared memory: no name, so nothing to leak, to guess or to clean up. It exists as long
/// as a descriptor or a mapping of it does, and the kernel frees it with the last one, also after
/// kill -9.
///
/// Two kinds of owner. The one that has *created* a segment reads and writes it; once sealed,
/// nobody else ever can write it, and nobody at all can change its size or take pages out of it.
/// Those that have *attached* a descriptor they were sent read it. To be written by both sides, a
/// structure takes two segments, one from each.
///
/// Memory is allocated when the segment is created. To use it later cannot fail, so it never raises
/// SIGBUS.
///
/// After a move: `!x`, `size()` is 0, `native_handle()` is -1; may be assigned to or destroyed.
/// @par Thread safety   Distinct objects: safe. Shared objects: unsafe. About the bytes this class
///                      says nothing: several processes use them at once, so they are for atomics
///                      and for what those publish.
/// @par Lifetime        Pointers into the segment are good until it is destroyed; a move keeps
///                      them.
/// @par Fork            A child of fork() has the mapping and the descriptor too: it shares the
///                      bytes, and may write those of a created segment, also of a sealed one. Its
///                      own copy of this object unmaps and closes in the child only. An exec closes
///                      and unmaps everything.
/// @par Cost            One descriptor (see release_descriptor()), one mapping, one allocation.
/// @par Example
/// @code
/// auto mine = segment::create(64 * 1024);
/// auto* counter = new (mine.writable_data()) std::atomic<std::uint64_t>(0);
/// mine.seal_for_peer();
/// send_descriptor(peer, mine.native_handle(), mine.size());  // SCM_RIGHTS
///
/// auto theirs = segment::attach(std::move(received), announced_bytes);  // in the peer
/// @endcode
class PROCYARD_IPC_EXPORT segment {
public:
    /// Nothing.
    segment() noexcept;
    segment(segment&& other) noexcept;
    segment& operator=(segment&& other) noexcept;
    /// Unmaps and closes; never blocks. Peers that have attached keep what they have.
    ~segment();

    /// Makes a segment of at least `size_bytes`, all of them zero, that this process can write.
    ///
    /// Rounded up to whole pages; size() says to how many bytes. Make it, initialise it, call
    /// seal_for_peer(), and only then pass its descriptor on.
    /// @par Errors   `segment_errc::zero_size`, `too_large`, `no_huge_pages`; ENOSPC or ENOMEM when
    ///               there is not so much memory or address space; EFBIG above RLIMIT_FSIZE (no
    ///               SIGXFSZ reaches the host); EMFILE, ENFILE; EACCES where vm.memfd_noexec
    ///               forbids. Nothing is left then.
    /// @par Limits   In a memory cgroup with a limit the kernel may choose the OOM killer over an
    ///               error. It does so here, where the memory is allocated, and not later.
    /// @par Process-wide effects   SIGXFSZ is blocked in the calling thread meanwhile.
    /// @par Cost     Proportional to the size: all pages are allocated and cleared.
    [[nodiscard]] static segment create(std::size_t size_bytes, segment_options options,
                                        error_code& ec);
    /// The same; throws boost::system::system_error.
    [[nodiscard]] static segment create(std::size_t size_bytes, segment_options options = {});

    /// Maps a segment that somebody else has created and sealed, to read it. `fd` may come from
    /// anybody: whether it is what it should be is verified before any of it is used, and by facts
    /// that the sender cannot change any more.
    /// @par Errors   `segment_errc::not_shared_memory`, `not_sealed`, `wrong_size` and
    ///               `not_allocated`, all equal to `errc::bad_message`; `zero_size`; EBADF also for
    ///               a descriptor opened with O_PATH; EACCES for one that cannot be read; ENOMEM.
    ///               The descriptor is closed then.
    /// @par Limits   A page that is missing is allocated when it is looked for. What was refused as
    ///               `not_allocated` may have cost this process's memory cgroup a mebibyte (or one
    ///               huge page) until the sender closes it.
    /// @par Cost     Proportional to the size: every page is looked at, and is mapped then; those
    ///               that nobody has used yet are cleared, those swapped out are read. Two system
    ///               calls per mebibyte and five more; before Linux 5.14 one more per page.
    [[nodiscard]] static segment attach(unique_fd fd, std::size_t expected_bytes, error_code& ec);
    /// The same; throws boost::system::system_error.
    [[nodiscard]] static segment attach(unique_fd fd, std::size_t expected_bytes);

    /// Seals a created segment: from now on it keeps its size and its pages, nobody can seal it
    /// further, and it is written through the mapping of this object and through nothing else.
    /// There is no way back. Sealing again changes nothing.
    /// @par Errors   `segment_errc::cannot_seal`; EBADF without a descriptor; EPERM when a holder
    ///               of the descriptor was quicker and has sealed otherwise.
    /// @par Cost     One system call.
    void seal_for_peer(error_code& ec) noexcept;
    /// The same; throws boost::system::system_error.
    void seal_for_peer();

    /// Whether there is a segment.
    [[nodiscard]] explicit operator bool() const noexcept { return base_ != nullptr; }
    /// The first byte, at the beginning of a page; null when there is no segment.
    [[nodiscard]] const std::byte* data() const noexcept { return base_; }
    /// The same, to write. Only when is_writable().
    [[nodiscard]] std::byte* writable_data() noexcept
    {
        PROCYARD_ASSERT(writable_ && "an attached segment can only be read");
        return base_;
    }
    /// How many bytes can be used; whole pages when it was created here.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    /// Whether it was created by this process (or by the one that this one was forked from).
    [[nodiscard]] bool is_writable() const noexcept { return writable_; }
    /// Whether it was sealed by seal_for_peer(), or attached.
    [[nodiscard]] bool is_sealed() const noexcept { return sealed_; }
    /// The size of the pages it is made of: tells huge pages from ordinary ones.
    [[nodiscard]] std::size_t page_bytes() const noexcept { return page_bytes_; }

    /// The descriptor, to be passed on, or -1. It stays ours.
    [[nodiscard]] int native_handle() const noexcept { return fd_.get(); }
    /// A second descriptor to give away, close-on-exec. Only of a sealed segment: who has an
    /// unsealed one can truncate it under our feet.
    /// @par Errors   `segment_errc::not_sealed`; EMFILE; EBADF without a descriptor.
    [[nodiscard]] unique_fd duplicate(error_code& ec) const noexcept;
    /// Gives the descriptor up and keeps the memory, for who has passed it on and has many.
    [[nodiscard]] unique_fd release_descriptor() noexcept;

private:
    segment(unique_fd fd, std::unique_ptr<detail::mapping> mapping, std::size_t size_bytes,
            std::size_t page_bytes) noexcept;

    unique_fd fd_;
    std::unique_ptr<detail::mapping> mapping_;
    std::byte* base_ = nullptr;  // into mapping_
    std::size_t size_ = 0;
    std::size_t page_bytes_ = 0;
    bool writable_ = false;
    bool sealed_ = false;
};

PROCYARD_NAMESPACE_END

#endif
