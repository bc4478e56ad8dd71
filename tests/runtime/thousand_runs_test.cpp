// SPDX-License-Identifier: BSL-1.0
#include <procyard/runtime/spawn.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <optional>
#include <string>

#include <doctest/doctest.h>

#include "spawning.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// GCC's packages do not have its header, <sanitizer/allocator_interface.h>.
extern "C" std::size_t __sanitizer_get_current_allocated_bytes();
#elif defined(__GLIBC__)
#include <malloc.h>
#endif

using namespace procyard;
using namespace procyard_test;

namespace {

// Bytes of the heap that are in use, where that can be asked for.
std::optional<std::size_t> heap_in_use()
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return __sanitizer_get_current_allocated_bytes();
#elif defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
    return ::mallinfo2().uordblks;
#else
    return std::nullopt;
#endif
}

// A child that is fed and read to its end, a spawn that fails, a child that is dropped.
void one_of_each(asio::io_context& ctx, int number)
{
    auto c = spawn(
        command("/bin/cat").std_in(stdio::pipe()).std_out(stdio::pipe()).std_err(stdio::pipe()),
        ctx.get_executor());
    const auto text = std::to_string(number);
    error_code ec;
    c.std_in().try_write_some(asio::buffer(text), ec);
    c.std_in().close();
    REQUIRE(read_all(ctx, c.std_out()) == text);
    REQUIRE(wait(ctx, c).success());
    REQUIRE(failure_of(ctx, command("/nope").std_out(stdio::pipe())).step == spawn_step::exec);
    (void)spawn(command("/bin/cat").std_in(stdio::pipe()), ctx.get_executor());
    run(ctx);
}

}  // namespace

TEST_SUITE("a thousand runs")
{
    TEST_CASE("leave descriptors, children, threads and memory as they were (case 64)")
    {
        asio::io_context ctx;
        for (int i = 0; i < 100; ++i)
            one_of_each(ctx, i);
        const auto descriptors_before = open_descriptor_list();
        const auto threads_before = threads();
        const auto children_before = children();
        const auto heap_before = heap_in_use();
        for (int i = 0; i < 1000; ++i)
            one_of_each(ctx, i);
        // Blocks that the allocator keeps for the next caller count as used, so a few KiB of
        // difference mean nothing. The smallest block lost in each run would be 1000 times 16
        // bytes.
        if (heap_before)
            CHECK(*heap_in_use() < *heap_before + 1000 * std::size_t{16});
        CHECK(open_descriptor_list() == descriptors_before);
        CHECK(threads() == threads_before);
        CHECK(children() == children_before);
    }
}
