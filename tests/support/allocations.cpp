// SPDX-License-Identifier: BSL-1.0
#include "allocations.hpp"

#include <stdlib.h>

#include <atomic>
#include <new>

namespace {

// Relaxed: a counter that is read when nobody counts.
std::atomic<std::size_t> count{0};

void* counted(std::size_t size)
{
    count.fetch_add(1, std::memory_order_relaxed);
    if (void* const p = ::malloc(size == 0 ? 1 : size))
        return p;
    throw std::bad_alloc();
}

void* counted(std::size_t size, std::align_val_t alignment)
{
    count.fetch_add(1, std::memory_order_relaxed);
    void* p = nullptr;
    if (::posix_memalign(&p, static_cast<std::size_t>(alignment), size) == 0)
        return p;
    throw std::bad_alloc();
}

}  // namespace

namespace procyard_test {

std::size_t allocations() noexcept
{
    return count.load(std::memory_order_relaxed);
}

}  // namespace procyard_test

// The other forms of new and delete are defined in terms of these; but a sanitizer brings a nothrow
// form of its own, whose memory our delete may not free.
void* operator new(std::size_t size)
{
    return counted(size);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept
{
    try {
        return counted(size);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
void* operator new(std::size_t size, std::align_val_t alignment)
{
    return counted(size, alignment);
}
void operator delete(void* p) noexcept
{
    ::free(p);
}
void operator delete(void* p, std::size_t) noexcept
{
    ::free(p);
}
void operator delete(void* p, std::align_val_t) noexcept
{
    ::free(p);
}
void operator delete(void* p, std::size_t, std::align_val_t) noexcept
{
    ::free(p);
}

extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size)
{
    count.fetch_add(1, std::memory_order_relaxed);
    void* p = nullptr;
    return ::posix_memalign(&p, alignment < sizeof(void*) ? sizeof(void*) : alignment, size) == 0
        ? p
        : nullptr;
}
