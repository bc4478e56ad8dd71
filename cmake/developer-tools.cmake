# SPDX-License-Identifier: BSL-1.0
# Used by the presets (CMAKE_PROJECT_TOP_LEVEL_INCLUDES), never by the project itself: what makes a
# build quicker where it is installed, and without a word where it is not.

find_program(PROCYARD_CCACHE ccache)
mark_as_advanced(PROCYARD_CCACHE)
if(PROCYARD_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${PROCYARD_CCACHE}")
endif()

# A test binary under a sanitizer is mostly debug information of Asio: mold links it in a fraction of
# the time. No language is enabled yet when this file is read, so nothing can be tried here; every
# compiler that can build the project (GCC 12, Clang 16) knows the option.
find_program(PROCYARD_MOLD mold)
mark_as_advanced(PROCYARD_MOLD)
if(PROCYARD_MOLD)
    add_link_options(-fuse-ld=mold)
endif()
