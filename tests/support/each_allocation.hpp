// SPDX-License-Identifier: BSL-1.0
#ifndef PROCYARD_TESTS_SUPPORT_EACH_ALLOCATION_HPP
#define PROCYARD_TESTS_SUPPORT_EACH_ALLOCATION_HPP

#include <boost/asio/io_context.hpp>

#include <cstddef>
#include <new>

#include <doctest/doctest.h>

#include "allocations.hpp"

namespace procyard_test {

/// Calls `trial(n)` for n = first, first + 1, … until no allocation of it has failed; how many did.
template <class Trial>
std::size_t fail_each(Trial trial, std::size_t first = 1)
{
    std::size_t nth = first;
    while (trial(nth)) {
        ++nth;
        REQUIRE(nth < 100'000);
    }
    return nth - first;
}

/// The nth allocation of some turns of the loop fails; whether there were as many.
template <class Turns>
bool fail_in(std::size_t nth, boost::asio::io_context& ctx, Turns turns)
{
    const failing_allocation none(nth);
    try {
        ctx.restart();
        turns();
    } catch (const std::bad_alloc&) {  // as told by has_failed()
    }
    return none.has_failed();
}

}  // namespace procyard_test

#endif
