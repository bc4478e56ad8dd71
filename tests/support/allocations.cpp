// SPDX-License-Identifier: BSL-1.0
#include "allocations.hpp"

#include <malloc.h>
#include <stdlib.h>

#include <atomic>
#include <new>

namespace {

// Relaxed: a counter that is read when nobody counts.
std::atomic<std::size_t> count{0};
thread_local std::size_t until_failure = 0;  // 0: none is going to fail
thread_local bool runs_out = false;          // with that failure
thread_local bool is_out = false;
thread_local std::size_t given_back = 0;  // since it is

bool fails(std::size_t size) noexcept
{
    count.fetch_add(1, std::memory_order_relaxed);
    if (until_failure != 0 && --until_failure == 0) {
        is_out = runs_out;
        return true;
    }
    if (!is_out)
        return false;
    if (size > given_back)
        return true;
    given_back -= size;
    return false;
}

void give_back(void* p) noexcept
{
    if (is_out)
        given_back += ::malloc_usable_size(p);
    ::free(p);
}

void* counted(std::size_t size)
{
    if (fails(size))
        throw std::bad_alloc();
    if (void* const p = ::malloc(size == 0 ? 1 : size))
        return p;
    throw std::bad_alloc();
}

void* counted(std::size_t size, std::align_val_t alignment)
{
    if (fails(size))
        throw std::bad_alloc();
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

failing_allocation::failing_allocation(std::size_t nth) noexcept
{
    until_failure = nth;
}
failing_allocation::~failing_allocation()
{
    until_failure = 0;
}
bool failing_allocation::has_failed() const noexcept
{
    return until_failure == 0;
}

exhausted_memory::exhausted_memory(std::size_t nth) noexcept
{
    runs_out = true;
    given_back = 0;
    until_failure = nth;
}
exhausted_memory::~exhausted_memory()
{
    until_failure = 0;
    runs_out = false;
    is_out = false;
}
bool exhausted_memory::has_failed() const noexcept
{
    return is_out;
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
    give_back(p);
}
void operator delete(void* p, std::size_t) noexcept
{
    give_back(p);
}
void operator delete(void* p, std::align_val_t) noexcept
{
    give_back(p);
}
void operator delete(void* p, std::size_t, std::align_val_t) noexcept
{
    give_back(p);
}

extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size)
{
    if (fails(size))
        return nullptr;
    void* p = nullptr;
    return ::posix_memalign(&p, alignment < sizeof(void*) ? sizeof(void*) : alignment, size) == 0
        ? p
        : nullptr;
}
