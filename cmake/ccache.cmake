# SPDX-License-Identifier: BSL-1.0
# Used by the presets (CMAKE_PROJECT_TOP_LEVEL_INCLUDES), never by the project itself: compile
# through ccache where it is installed, and without a word where it is not.
find_program(PROCYARD_CCACHE ccache)
mark_as_advanced(PROCYARD_CCACHE)
if(PROCYARD_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${PROCYARD_CCACHE}")
endif()
