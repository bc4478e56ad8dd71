# SPDX-License-Identifier: BSL-1.0
# The newest Clang on this machine: Debian names them by version, and its plain `clang++` may be too
# old for C++20 coroutines with libstdc++ (ProcyardRequirements.cmake says so then).
find_program(PROCYARD_CLANGXX
    NAMES clang++-22 clang++-21 clang++-20 clang++-19 clang++-18 clang++-17 clang++-16 clang++
    REQUIRED)
mark_as_advanced(PROCYARD_CLANGXX)
set(CMAKE_CXX_COMPILER "${PROCYARD_CLANGXX}")
