# SPDX-License-Identifier: BSL-1.0
include(GenerateExportHeader)

# With PROCYARD_PRECOMPILE, what Asio and the standard library declare is read once for the build
# directory and not once for each file: half of what Clang takes for a source of the library. That
# hides an #include that is missing, so it is for what .ci/run compiles in another preset as well: the
# library, the demo, and the tests that are built for ThreadSanitizer. No header that is compiled alone
# has it.
function(procyard_make_precompiled)
    if(PROCYARD_PRECOMPILE)
        set(nothing "${CMAKE_CURRENT_BINARY_DIR}/precompiled.cpp")
        file(CONFIGURE OUTPUT "${nothing}" CONTENT "")
        add_library(procyard_precompiled OBJECT "${nothing}")
        target_link_libraries(procyard_precompiled PRIVATE Boost::headers Threads::Threads)
        target_compile_features(procyard_precompiled PRIVATE cxx_std_20)
        # Position-independent code reads no precompiled header of other code, nor the other way round.
        set_target_properties(procyard_precompiled PROPERTIES
            CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE "${BUILD_SHARED_LIBS}")
        target_precompile_headers(procyard_precompiled PRIVATE
            "${procyard_SOURCE_DIR}/cmake/precompiled.hpp")
        # With the time of its making in it, it would be another one for ccache each time.
        if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
            target_compile_options(procyard_precompiled PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
        endif()
    endif()
endfunction()

function(procyard_use_precompiled target)
    get_target_property(type ${target} TYPE)
    if(TARGET procyard_precompiled AND NOT (BUILD_SHARED_LIBS AND type STREQUAL "EXECUTABLE"))
        target_precompile_headers(${target} REUSE_FROM procyard_precompiled)
    endif()
endfunction()

# procyard_add_module(name HEADERS h… SOURCES s… [DEPENDS target…])
#
# One module = one folder = one target (procyard::name) = one include segment (<procyard/name/…>) =
# one package component = one pkg-config file (procyard-name.pc). A target sees only its own include
# root and those of DEPENDS, so a header that reaches up the map does not compile.
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

    # Public, so that a program built against an installed static library reads the same
    # export.hpp as the library did, even when a shared build shares the prefix with it.
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "STATIC_LIBRARY")
        target_compile_definitions(${target} PUBLIC PROCYARD_${upper}_STATIC_DEFINE)
    endif()

    set_target_properties(${target} PROPERTIES
        EXPORT_NAME ${name}
        CXX_EXTENSIONS OFF
        # Of a parent that sets CMAKE_UNITY_BUILD: names that are a file's own would meet in one file.
        UNITY_BUILD OFF
        CXX_VISIBILITY_PRESET hidden
        VISIBILITY_INLINES_HIDDEN ON
        VERSION ${procyard_VERSION}
        SOVERSION ${procyard_VERSION_MAJOR}.${procyard_VERSION_MINOR})
    set_property(GLOBAL APPEND PROPERTY PROCYARD_MODULES ${name})
    procyard_warnings(${target})
    procyard_use_precompiled(${target})
    if(procyard_IS_TOP_LEVEL)
        procyard_refuse_unlisted(${target} "${arg_HEADERS};${arg_SOURCES}")
    endif()
    if(PROCYARD_INSTALL)
        procyard_install_module(${name} DEPENDS ${arg_DEPENDS})
    endif()
endfunction()

# Sources are listed, not globbed, so a file that nobody listed is a file that is neither built nor
# installed. That is never meant.
function(procyard_refuse_unlisted target listed)
    file(GLOB_RECURSE present CONFIGURE_DEPENDS RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}"
        "include/*.hpp" "src/*.cpp")
    list(REMOVE_ITEM present ${listed})
    if(present)
        list(JOIN present ", " names)
        message(SEND_ERROR "${CMAKE_CURRENT_SOURCE_DIR}/CMakeLists.txt does not list: ${names}")
    endif()
endfunction()

# Warnings are ours to see, never our users': private, and only in a top-level build.
function(procyard_warnings target)
    if(procyard_IS_TOP_LEVEL)
        target_compile_options(${target} PRIVATE
            -Wall -Wextra -Wpedantic -Wshadow -Wconversion
            -Woverloaded-virtual)
        # Once it optimises, GCC 12 takes the frames of Asio's coroutines, made by a pair of the
        # promise's own operators, for mismatched ones.
        if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
            target_compile_options(${target} PRIVATE -Wno-mismatched-new-delete)
        endif()
    endif()
endfunction()

# procyard_add_test(name SOURCES s… [LIBRARIES target…] [INTERNALS module…] [LABELS label…]
#                   [TIMEOUT seconds] [RUN_SERIAL] [ONE_THREAD] [PROPERTIES name value…])
#
# One doctest binary = one ctest entry, so that `ctest -j` spreads them and a crash names its test.
# A test that cannot run here exits with 77 and is shown as skipped.
#   INTERNALS   the test looks into <module>/src: those headers are on its include path. Hidden
#               symbols are not reachable in a shared library, so there the test is left out.
#   RUN_SERIAL  nothing else runs beside it (it looks at the whole machine: /proc, all cgroups).
#   ONE_THREAD  it starts no thread: not built for ThreadSanitizer.
#   TIMEOUT     seconds; a guard against a hang, never a measure. 120 unless told.
#   PROPERTIES  any other ctest property.
function(procyard_add_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg
        "RUN_SERIAL;ONE_THREAD" "TIMEOUT" "SOURCES;LIBRARIES;INTERNALS;LABELS;PROPERTIES")
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "procyard_add_test(${name}): what is ${arg_UNPARSED_ARGUMENTS}?")
    endif()
    if(arg_INTERNALS AND BUILD_SHARED_LIBS)
        return()
    endif()
    # ThreadSanitizer takes longest to compile, and has nothing to say of one thread.
    if(arg_ONE_THREAD AND CMAKE_CXX_FLAGS MATCHES "-fsanitize=thread")
        return()
    endif()

    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} procyard_test_support)
    foreach(module IN LISTS arg_INTERNALS)
        target_include_directories(${name} PRIVATE "${procyard_SOURCE_DIR}/${module}/src")
        target_link_libraries(${name} PRIVATE procyard::${module})
    endforeach()
    set_target_properties(${name} PROPERTIES CXX_EXTENSIONS OFF)
    procyard_warnings(${name})
    if(NOT arg_ONE_THREAD)
        procyard_use_precompiled(${name})
    endif()

    add_test(NAME ${name} COMMAND ${name})
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    set_tests_properties(${name} PROPERTIES
        TIMEOUT ${arg_TIMEOUT} RUN_SERIAL ${arg_RUN_SERIAL} LABELS "${arg_LABELS}"
        SKIP_RETURN_CODE 77 ${arg_PROPERTIES})
endfunction()
