# SPDX-License-Identifier: BSL-1.0
# Used by the presets (CMAKE_PROJECT_TOP_LEVEL_INCLUDES), never by the project itself: what makes a
# build quicker where it is installed, and without a word where it is not.

find_program(PROCYARD_CCACHE ccache)
mark_as_advanced(PROCYARD_CCACHE)
if(PROCYARD_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${PROCYARD_CCACHE}")
endif()

# A test binary under a sanitizer is mostly debug information of Asio: mold links it in a fraction of
# the time.
find_program(PROCYARD_MOLD mold)
mark_as_advanced(PROCYARD_MOLD)
if(PROCYARD_MOLD)
    include(CheckLinkerFlag)
    check_linker_flag(CXX -fuse-ld=mold PROCYARD_LINKS_WITH_MOLD)
    if(PROCYARD_LINKS_WITH_MOLD)
        add_link_options(-fuse-ld=mold)
    endif()
endif()
