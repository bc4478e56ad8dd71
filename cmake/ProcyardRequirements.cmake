# SPDX-License-Identifier: BSL-1.0
# What the compiler and the system must be able to do. Said here in a sentence, because the error
# of a compiler that lacks something names a line of ours and not the cause.

if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
    message(FATAL_ERROR
        "Procyard runs on Linux only (it stands on pidfds); the target here is "
        "${CMAKE_SYSTEM_NAME}.")
endif()

set(procyard_least_GNU 12)
set(procyard_least_Clang 16)
if(DEFINED procyard_least_${CMAKE_CXX_COMPILER_ID}
   AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS "${procyard_least_${CMAKE_CXX_COMPILER_ID}}")
    message(FATAL_ERROR
        "Procyard needs GCC 12 or Clang 16, or newer; ${CMAKE_CXX_COMPILER} is "
        "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}. Choose another with "
        "-DCMAKE_CXX_COMPILER=… in an empty build directory.")
endif()

# The version says nothing about the standard library that stands beside the compiler (an old
# libstdc++ under a new Clang), nor about compilers that are not in the list above.
include(CheckCXXSourceCompiles)
function(procyard_check_compiler)
    set(CMAKE_CXX_STANDARD 20)
    set(CMAKE_CXX_STANDARD_REQUIRED ON)
    set(CMAKE_CXX_EXTENSIONS OFF)
    set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
    check_cxx_source_compiles([[
        #include <concepts>
        #include <coroutine>
        #include <span>
        #include <compare>
        template <std::integral T> T twice(T value) { return value + value; }
        struct task {
            struct promise_type {
                task get_return_object() { return {}; }
                std::suspend_never initial_suspend() noexcept { return {}; }
                std::suspend_never final_suspend() noexcept { return {}; }
                void return_void() {}
                void unhandled_exception() {}
            };
        };
        task run(std::span<int> values) { values[0] = twice(values[0]); co_return; }
        struct point { int x, y; auto operator<=>(const point&) const = default; };
    ]] PROCYARD_HAS_CXX20)
    if(NOT PROCYARD_HAS_CXX20)
        # Not remembered: the next run, after the cause is gone, must look again.
        unset(PROCYARD_HAS_CXX20 CACHE)
        message(FATAL_ERROR
            "Procyard needs C++20 coroutines, concepts and <span>; ${CMAKE_CXX_COMPILER} "
            "(${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}) does not compile them. Use "
            "GCC 12 or Clang 16 with a standard library of the same age, or newer.")
    endif()
endfunction()
procyard_check_compiler()
