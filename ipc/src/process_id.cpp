// SPDX-License-Identifier: BSL-1.0
#include "process_id.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <new>

PROCYARD_NAMESPACE_BEGIN

namespace detail {

namespace {

using remembered_id = std::atomic<pid_t>;

// Null: the kernel does not empty it. Never unmapped: an end may be destroyed after everything
// else.
remembered_id* make_emptied_by_fork() noexcept
{
    const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* const page =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return nullptr;
    if (::madvise(page, bytes, MADV_WIPEONFORK) != 0) {
        (void)::munmap(page, bytes);
        return nullptr;
    }
    return ::new (page) remembered_id(0);  // as the kernel leaves it, too
}

}  // namespace

pid_t process_id() noexcept
{
    static remembered_id* const remembered = make_emptied_by_fork();
    if (remembered == nullptr)
        return ::getpid();
    // Relaxed, both: all threads of a process store the same.
    auto id = remembered->load(std::memory_order_relaxed);
    if (id == 0) {
        id = ::getpid();
        remembered->store(id, std::memory_order_relaxed);
    }
    return id;
}

}  // namespace detail

PROCYARD_NAMESPACE_END
