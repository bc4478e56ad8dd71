// SPDX-License-Identifier: BSL-1.0
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#if defined(__SANITIZE_THREAD__)
// Asio drops the last reference to a type-erased executor by a release and a fence, and GCC's
// ThreadSanitizer knows no fences: it sees a race of that delete with the other thread's decrement.
extern "C" const char* __tsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_suppressions()   // NOLINT(bugprone-reserved-identifier)
{
    return "race:boost::asio::execution::detail::shared_target_executor\n";
}
#endif
