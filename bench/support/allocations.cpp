// SPDX-License-Identifier: BSL-1.0
#include "allocations.hpp"

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
    spawn->exited = [] { };
    // Asio keeps freed operation memory for the next one: the second child is the first steady one.
    for (int i = 0; i < 3; ++i) {
        (void)spawn->start();
        spawn->run();
    }
    const long n = options.number("count", 100);
    long in_start = 0;
    long in_wait = 0;
    for (long i = 0; i < n; ++i) {
        const long before = allocations();
        (void)spawn->start();
        const long started = allocations();
        spawn->run();
        in_start += started - before;
        in_wait += allocations() - started;
    }
    report({{"per_spawn", static_cast<double>(in_start) / static_cast<double>(n)},
            {"per_wait", static_cast<double>(in_wait) / static_cast<double>(n)}});
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
    bench::count_allocation();
    const auto to = static_cast<std::size_t>(alignment);
    if (void* memory = std::aligned_alloc(to, (bytes + to - 1) / to * to))
        return memory;
    throw std::bad_alloc();
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
