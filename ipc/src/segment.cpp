// SPDX-License-Identifier: BSL-1.0
#include <procyard/ipc/segment.hpp>

#include <boost/system/system_error.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string_view>
#include <utility>

#include <procyard/ipc/syscall.hpp>

#include "io_features.hpp"
#include "mapping.hpp"
#include "memory_pages.hpp"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // Linux 6.3; newer than the headers we build with
#endif

PROCYARD_NAMESPACE_BEGIN

namespace {

// What makes memory that another process holds too safe to read. Without FUTURE_WRITE the others
// would not do: a peer can punch holes into a file whose size is sealed. SEAL itself keeps a peer
// from adding seals of its own.
constexpr int seals_for_peer = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;

// A test of the mask and not of equality: the kernel sets seals of its own (F_SEAL_EXEC).
bool is_sealed_for_peer(int seals) noexcept
{
    return seals != -1 && (seals & seals_for_peer) == seals_for_peer;
}

unique_fd open_memory(std::string_view called, unsigned flags) noexcept
{
    char name[80] = "procyard";  // shown in /proc/PID/maps
    if (!called.empty())
        std::snprintf(name, sizeof name, "procyard:%.*s",
                      static_cast<int>(std::min<std::size_t>(called.size(), 63)), called.data());
    auto& noexec = detail::io().noexec_seal;
    if (noexec.load(std::memory_order_relaxed)) {
        unique_fd fd(
            ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | flags));
        if (fd || errno != EINVAL)
            return fd;
    }
    unique_fd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags));
    if (fd)  // else it was not that flag which the kernel did not know
        noexec.store(false, std::memory_order_relaxed);
    return fd;
}

// Ordinary memory is given out until none is left, and then the OOM killer comes. What can never
// fit is better refused than tried.
bool fits_into_machine(std::size_t size_bytes) noexcept
{
    struct sysinfo machine;
    if (::sysinfo(&machine) == -1)
        return true;  // some sandbox; the kernel will say
    const auto units = static_cast<std::uintmax_t>(machine.totalram) + machine.totalswap;
    return size_bytes / machine.mem_unit <= units;
}

// An object with all of its memory, not yet mapped.
struct allocated_memory {
    unique_fd fd{};
    std::size_t size_bytes = 0;
    std::size_t page_bytes = 0;
};

allocated_memory allocate(std::size_t size_bytes, std::string_view name, unsigned flags,
                          error_code& ec) noexcept
{
    allocated_memory memory;
    memory.fd = open_memory(name, flags);
    if (!memory.fd) {
        ec = last_error();
        return {};
    }
    memory.page_bytes = detail::memory_page_bytes(memory.fd.get(), ec);
    if (!ec)
        memory.size_bytes = detail::whole_pages(size_bytes, memory.page_bytes, ec);
    if (!ec && (flags & MFD_HUGETLB) == 0 && !fits_into_machine(memory.size_bytes))
        ec = make_errno(ENOMEM);
    if (!ec)
        ec = detail::allocate_pages(memory.fd.get(), memory.size_bytes, memory.page_bytes);
    return ec ? allocated_memory{} : std::move(memory);
}

// As opposed to failures that ordinary pages would meet as well. ENOSYS, EINVAL and ENODEV: a
// kernel without huge pages.
bool means_no_huge_pages(const error_code& ec) noexcept
{
    namespace errc = boost::system::errc;
    return ec == errc::no_space_on_device || ec == errc::not_enough_memory
        || ec == errc::function_not_supported || ec == errc::invalid_argument
        || ec == errc::no_such_device;
}

allocated_memory allocate(std::size_t size_bytes, segment_options options, error_code& ec) noexcept
{
    // Before anything else, or "no bytes" would look like "no huge pages".
    (void)detail::whole_pages(size_bytes, 1, ec);
    if (ec)
        return {};
    if (options.huge_pages != huge_page_policy::never) {
        auto memory = allocate(size_bytes, options.name, MFD_HUGETLB, ec);
        if (!ec || !means_no_huge_pages(ec))
            return memory;
        if (options.huge_pages == huge_page_policy::required) {
            ec = segment_errc::no_huge_pages;
            return {};
        }
    }
    return allocate(size_bytes, options.name, 0U, ec);
}

bool is_huge(std::size_t page_bytes) noexcept
{
    return page_bytes > static_cast<std::size_t>(::getpagesize());
}

// Returns the size of the pages. That there are as many as there should be is a first look; that
// they are the right ones shows when they are mapped (verify_pages()).
//
// The order matters twice. To ask for the seals is answered by the kernel alone, while fstat is
// answered by the file system, and that may be one of the sender's own (FUSE) which never answers.
// And a size is a fact only once it is known to be sealed.
std::size_t verify(int fd, std::size_t expected_bytes, error_code& ec) noexcept
{
    const int seals = ::fcntl(fd, F_GET_SEALS);
    if (seals == -1 && errno != EINVAL) {
        ec = last_error();
        return 0;
    }
    struct stat status{};
    std::size_t page_bytes = 0;
    ec.clear();
    if (seals == -1)
        ec = segment_errc::not_shared_memory;
    else if (!is_sealed_for_peer(seals))
        ec = segment_errc::not_sealed;
    else if (::fstat(fd, &status) == -1)
        ec = last_error();
    else
        page_bytes = detail::memory_page_bytes(fd, ec);
    if (ec)
        return 0;
    if (!S_ISREG(status.st_mode) || page_bytes == 0)
        ec = segment_errc::not_shared_memory;
    // Huge pages are mapped and unmapped as a whole: for a part of one munmap fails.
    else if (static_cast<std::uintmax_t>(status.st_size) != expected_bytes
             || (is_huge(page_bytes) && expected_bytes % page_bytes != 0))
        ec = segment_errc::wrong_size;
    else if (static_cast<std::uintmax_t>(status.st_blocks) * 512U < expected_bytes)
        ec = segment_errc::not_allocated;
    return page_bytes;
}

void throw_if(const error_code& ec, const char* what)
{
    if (ec)
        throw boost::system::system_error(ec, what);
}

}  // namespace

segment::segment() noexcept = default;

segment::segment(unique_fd fd, std::unique_ptr<detail::mapping> mapping, std::size_t size_bytes,
                 std::size_t page_bytes) noexcept
    : fd_(std::move(fd)),
      mapping_(std::move(mapping)),
      base_(mapping_->base()),
      size_(size_bytes),
      page_bytes_(page_bytes)
{
}

segment::segment(segment&& other) noexcept
    : fd_(std::move(other.fd_)),
      mapping_(std::move(other.mapping_)),
      base_(std::exchange(other.base_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      page_bytes_(std::exchange(other.page_bytes_, 0)),
      writable_(std::exchange(other.writable_, false)),
      sealed_(std::exchange(other.sealed_, false))
{
}

segment& segment::operator=(segment&& other) noexcept
{
    segment taken(std::move(other));
    std::swap(fd_, taken.fd_);
    std::swap(mapping_, taken.mapping_);
    std::swap(base_, taken.base_);
    std::swap(size_, taken.size_);
    std::swap(page_bytes_, taken.page_bytes_);
    std::swap(writable_, taken.writable_);
    std::swap(sealed_, taken.sealed_);
    return *this;
}

segment::~segment() = default;

segment segment::create(std::size_t size_bytes, segment_options options, error_code& ec)
{
    auto memory = allocate(size_bytes, options, ec);
    if (ec)
        return {};
    auto mapping = detail::map_memory(memory.fd.get(), memory.size_bytes,
                                      detail::mapping_access::read_write, ec);
    if (ec)
        return {};
    segment made(std::move(memory.fd), std::move(mapping), memory.size_bytes, memory.page_bytes);
    made.writable_ = true;
    return made;
}

segment segment::create(std::size_t size_bytes, segment_options options)
{
    error_code ec;
    auto made = create(size_bytes, options, ec);
    throw_if(ec, "segment::create");
    return made;
}

segment segment::attach(unique_fd fd, std::size_t expected_bytes, error_code& ec)
{
    if (expected_bytes == 0) {
        ec = segment_errc::zero_size;
        return {};
    }
    const std::size_t page_bytes = verify(fd.get(), expected_bytes, ec);
    if (ec)
        return {};
    auto mapping =
        detail::map_memory(fd.get(), expected_bytes, detail::mapping_access::read_only, ec);
    if (!ec)
        ec = detail::verify_pages(fd.get(), mapping->base(), expected_bytes, page_bytes);
    if (ec)
        return {};
    segment attached(std::move(fd), std::move(mapping), expected_bytes, page_bytes);
    attached.sealed_ = true;
    return attached;
}

segment segment::attach(unique_fd fd, std::size_t expected_bytes)
{
    error_code ec;
    auto attached = attach(std::move(fd), expected_bytes, ec);
    throw_if(ec, "segment::attach");
    return attached;
}

void segment::seal_for_peer(error_code& ec) noexcept
{
    ec.clear();
    if (sealed_)
        return;
    if (::fcntl(fd_.get(), F_ADD_SEALS, seals_for_peer) == -1) {
        ec = errno == EINVAL ? error_code(segment_errc::cannot_seal) : last_error();
        // Perhaps by somebody who has a copy of the descriptor, and then it is as good.
        if (is_sealed_for_peer(::fcntl(fd_.get(), F_GET_SEALS)))
            ec.clear();
    }
    sealed_ = !ec;
}

void segment::seal_for_peer()
{
    error_code ec;
    seal_for_peer(ec);
    throw_if(ec, "segment::seal_for_peer");
}

unique_fd segment::duplicate(error_code& ec) const noexcept
{
    if (base_ != nullptr && !sealed_) {
        ec = segment_errc::not_sealed;
        return {};
    }
    return fd_.duplicate(ec);
}

unique_fd segment::release_descriptor() noexcept
{
    return std::move(fd_);
}

PROCYARD_NAMESPACE_END
