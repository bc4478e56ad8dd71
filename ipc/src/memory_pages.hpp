// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_IPC_SRC_MEMORY_PAGES_HPP
#define PROCYARD_IPC_SRC_MEMORY_PAGES_HPP

#include <cstddef>

#include <procyard/ipc/config.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

// The size of the pages of an object on tmpfs or hugetlbfs; 0 for one on another file system, and
// when `ec` is set.
[[nodiscard]] std::size_t memory_page_bytes(int fd, error_code& ec) noexcept;

// `size_bytes` in whole pages. Errors: zero_size, too_large.
[[nodiscard]] std::size_t whole_pages(std::size_t size_bytes, std::size_t page_bytes,
                                      error_code& ec) noexcept;

// Makes the file `size_bytes` long and allocates all of it: a later access cannot fail for want of
// space. Never raises SIGXFSZ, never fails with EINTR. On an error some of it may be allocated.
[[nodiscard]] error_code allocate_pages(int fd, std::size_t size_bytes,
                                        std::size_t page_bytes) noexcept;

// Whether the object mapped at `base`, whose size is sealed, has all of its memory: reads a byte of
// every page, in a way that tells of a page that cannot be had instead of raising SIGBUS. Errors:
// not_allocated; ENOMEM.
//
// What the file system says of it does not do. st_blocks counts pages beyond the end of the file as
// well, where a sender can hide as many as are missing before it; SEEK_HOLE takes pages for a hole
// that are allocated and were never written. To let go of what is beyond the end (ftruncate to the
// same size), or to allocate what is missing (fallocate), takes the lock of the inode. A sender
// that writes from memory which is not there (userfaultfd, FUSE) can hold that for ever.
[[nodiscard]] error_code verify_pages(int fd, const std::byte* base, std::size_t size_bytes,
                                      std::size_t page_bytes) noexcept;

}  // namespace detail

PROCYARD_NAMESPACE_END

#endif
