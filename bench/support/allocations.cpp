// SPDX-License-Identifier: BSL-1.0
#include "allocations.hpp"

#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

namespace bench {
namespace {

// Relaxed: a plain count, read when nothing else runs.
std::atomic<long> count{0};

}  // namespace

long allocations() noexcept
{
    return count.load(std::memory_order_relaxed);
}
void count_allocation() noexcept
{
    count.fetch_add(1, std::memory_order_relaxed);
}

void measure_allocations(const round_options& options, const spawner_factory& make)
{
    const auto spawn = make(options.text("program"));
    // Asio recycles the memory of operations within its loop, so that is where the children are
    // started, each by the exit of the one before; the first few fill its caches.
    constexpr long warm_up = 10;
    const long last = warm_up + options.number("count", 100);
    long exits = 0;
    long in_start = 0;
    long in_wait = 0;
    long started = 0;
    const auto start_next = [&] {
        const long before = allocations();
        (void)spawn->start();
        started = allocations();
        if (exits >= warm_up)
            in_start += started - before;
    };
    spawn->exited = [&] {
        if (exits >= warm_up)
            in_wait += allocations() - started;
        if (++exits < last)
            start_next();
    };
    start_next();
    spawn->run();
    const auto n = static_cast<double>(last - warm_up);
    report({{"per_spawn", static_cast<double>(in_start) / n},
            {"per_wait", static_cast<double>(in_wait) / n}});
}

}  // namespace bench

// The replaced global functions. The array, nothrow and sized forms end in these by the standard's
// defaults.
void* operator new(std::size_t bytes)
{
    bench::count_allocation();
    if (void* memory = std::malloc(bytes == 0 ? 1 : bytes))
        return memory;
    throw std::bad_alloc();
}

void* operator new(std::size_t bytes, std::align_val_t alignment)
{
    if (void* memory = ::aligned_alloc(static_cast<std::size_t>(alignment), bytes))
        return memory;
    throw std::bad_alloc();
}

// Asio takes the memory of its operations from here.
extern "C" void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept
{
    bench::count_allocation();
    void* memory = nullptr;
    const int error = ::posix_memalign(&memory, std::max(alignment, sizeof(void*)), bytes);
    return error == 0 ? memory : nullptr;
}

void operator delete(void* memory) noexcept
{
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept
{
    std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept
{
    std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept
{
    std::free(memory);
}
