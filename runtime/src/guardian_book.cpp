// SPDX-License-Identifier: BSL-1.0
#include "guardian_book.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <new>

#include <procyard/ipc/syscall.hpp>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

constexpr std::size_t slots_at_once = 64;

// Where it is known to the kernel (6.3), a machine may demand it of all memory.
#ifdef MFD_NOEXEC_SEAL
constexpr unsigned no_exec = MFD_NOEXEC_SEAL;
#else
constexpr unsigned no_exec = 8;
#endif

unique_fd open_memory()
{
    constexpr const char* name = "procyard:guardian";
    unique_fd memory(::memfd_create(name, MFD_CLOEXEC | no_exec));
    if (!memory && errno == EINVAL)
        memory.reset(::memfd_create(name, MFD_CLOEXEC));
    return memory;
}

off_t place_of(std::size_t slot) noexcept
{
    return static_cast<off_t>(slot * sizeof(guarded_child));
}

// A file that grows beyond that raises SIGXFSZ, which ends a process that does not expect it.
bool is_within_limit(off_t bytes) noexcept
{
    rlimit limit{};
    return ::getrlimit(RLIMIT_FSIZE, &limit) == -1 || limit.rlim_cur == RLIM_INFINITY
        || static_cast<rlim_t>(bytes) <= limit.rlim_cur;
}

}  // namespace

std::string_view guarded_child::leaf_path() const noexcept
{
    return {leaf.data(),
            static_cast<std::size_t>(std::find(leaf.begin(), leaf.end(), '\0') - leaf.begin())};
}

bool guarded_child::set_leaf_path(std::string_view path) noexcept
{
    if (path.size() >= leaf.size())
        return false;
    leaf.fill('\0');
    std::copy(path.begin(), path.end(), leaf.begin());
    return true;
}

guardian_book::guardian_book() : memory_(open_memory())
{
    if (!memory_)
        throw boost::system::system_error(last_error(), "guardian: memfd_create");
}

error_code guardian_book::take(std::size_t& slot)
{
    const std::lock_guard lock(mutex_);
    if (free_.empty()) {
        if (const auto ec = grow())
            return ec;
    }
    slot = free_.back();
    free_.pop_back();
    return {};
}

// With its memory: to write into a slot cannot fail for want of it.
error_code guardian_book::grow()
{
    const auto wanted = slots_ + slots_at_once;
    if (!is_within_limit(place_of(wanted)))
        return make_errno(EFBIG);
    try {
        free_.reserve(wanted);
    } catch (const std::bad_alloc&) {
        return make_errno(ENOMEM);
    }
    if (retry_eintr([&] {
            return ::fallocate(memory_.get(), 0, place_of(slots_),
                               static_cast<off_t>(slots_at_once * sizeof(guarded_child)));
        })
        == -1)
        return last_error();
    while (slots_ < wanted)
        free_.push_back(slots_++);
    return {};
}

error_code guardian_book::write(std::size_t slot, const guarded_child& what) const noexcept
{
    // It may have been lowered since.
    if (!is_within_limit(place_of(slot + 1)))
        return make_errno(EFBIG);
    const auto written =
        retry_eintr([&] { return ::pwrite(memory_.get(), &what, sizeof what, place_of(slot)); });
    return written == -1 ? last_error() : error_code{};
}

std::int64_t guardian_book::place_of_pid(std::size_t slot) noexcept
{
    return place_of(slot) + static_cast<std::int64_t>(offsetof(guarded_child, pid));
}

void guardian_book::give_back(std::size_t slot) noexcept
{
    (void)write(slot, {});
    const std::lock_guard lock(mutex_);
    free_.push_back(slot);
}

std::vector<guarded_child> guardian_book::read(int memory)
{
    std::vector<guarded_child> all;
    guarded_child one;
    for (std::size_t slot = 0;
         retry_eintr([&] { return ::pread(memory, &one, sizeof one, place_of(slot)); })
         == static_cast<ssize_t>(sizeof one);
         ++slot) {
        if (one.is_taken)
            all.push_back(one);
    }
    return all;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
