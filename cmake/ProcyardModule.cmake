# SPDX-License-Identifier: BSL-1.0
include(GenerateExportHeader)

# procyard_add_module(name HEADERS h… SOURCES s… DEPENDS target…)
#
# One module = one folder = one target (procyard::name) = one include segment (<procyard/name/…>). A target sees only its own
# include root and those of DEPENDS, so a header that reaches up the map does not compile.
function(procyard_add_module name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HEADERS;SOURCES;DEPENDS")
    set(target procyard_${name})
    string(TOUPPER ${name} upper)

    add_library(${target} ${arg_SOURCES})
    add_library(procyard::${name} ALIAS ${target})
    set(generated "${CMAKE_CURRENT_BINARY_DIR}/generated")
    generate_export_header(${target}
        BASE_NAME procyard_${name}
        EXPORT_MACRO_NAME PROCYARD_${upper}_EXPORT
        EXPORT_FILE_NAME "${generated}/procyard/${name}/export.hpp")
    target_sources(${target} PUBLIC
        FILE_SET HEADERS
        BASE_DIRS include "${generated}"
        FILES ${arg_HEADERS} "${generated}/procyard/${name}/export.hpp")
    target_include_directories(${target} PRIVATE src)
    target_link_libraries(${target} PUBLIC ${arg_DEPENDS} Boost::headers Threads::Threads)
    target_compile_features(${target} PUBLIC cxx_std_20)
    set_target_properties(${target} PROPERTIES
        EXPORT_NAME ${name}
        CXX_EXTENSIONS OFF
        CXX_VISIBILITY_PRESET hidden
        VISIBILITY_INLINES_HIDDEN ON
        VERSION ${PROJECT_VERSION}
        SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
    procyard_warnings(${target})
endfunction()

# Warnings are ours to see, never our users': private, and only in a top-level build.
function(procyard_warnings target)
    if(PROJECT_IS_TOP_LEVEL)
        target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Woverloaded-virtual)
    endif()
endfunction()

# procyard_add_test(name SOURCES s… LIBRARIES target… [INTERNALS module]): a doctest binary; each TEST_SUITE in it is one ctest
# entry's filter away. INTERNALS lets the test include a module's private headers; it is left out of a shared build, where
# private symbols are hidden. A test that cannot run here exits with 77 and is shown as skipped.
function(procyard_add_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "INTERNALS" "SOURCES;LIBRARIES")
    if(arg_INTERNALS)
        get_target_property(type procyard_${arg_INTERNALS} TYPE)
        if(NOT type STREQUAL "STATIC_LIBRARY")
            return()
        endif()
    endif()
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} procyard_test_support)
    if(arg_INTERNALS)
        target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/${arg_INTERNALS}/src")
    endif()
    set_target_properties(${name} PROPERTIES CXX_EXTENSIONS OFF)
    procyard_warnings(${name})
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT 120 SKIP_RETURN_CODE 77)
endfunction()
