# SPDX-License-Identifier: BSL-1.0
# The installed package: headers, libraries, find_package(procyard COMPONENTS …) and one pkg-config
# file per module. Nothing in it holds the prefix, so the installed tree can be moved.

if(PROCYARD_INSTALL)
    include(GNUInstallDirs)
    include(CMakePackageConfigHelpers)
    set(PROCYARD_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/procyard")
endif()

# procyard_install_module(name DEPENDS procyard::other…): called by procyard_add_module.
function(procyard_install_module name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "DEPENDS")
    set(target procyard_${name})
    # Our libraries find each other wherever the prefix stands; a packager's own choice goes first.
    if(NOT DEFINED CMAKE_INSTALL_RPATH)
        set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN")
    endif()
    # One export set per module: a program that asks for `ipc` gets no target of another module.
    install(TARGETS ${target} EXPORT procyard-${name}-targets
        FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
    install(EXPORT procyard-${name}-targets NAMESPACE procyard::
        DESTINATION "${PROCYARD_CMAKE_DIR}")

    list(TRANSFORM arg_DEPENDS REPLACE "^procyard::" "")
    procyard_install_pkg_config(${name} "${arg_DEPENDS}")
    # The config file wants everything below a module, the lowest first.
    set(below "")
    foreach(other IN LISTS arg_DEPENDS)
        get_property(of_other GLOBAL PROPERTY PROCYARD_BELOW_${other})
        list(APPEND below ${of_other} ${other})
    endforeach()
    list(REMOVE_DUPLICATES below)
    set_property(GLOBAL PROPERTY PROCYARD_BELOW_${name} "${below}")
endfunction()

function(procyard_install_pkg_config name depends)
    set(pc_name procyard-${name})
    set(pc_module ${name})
    list(TRANSFORM depends PREPEND "procyard-" OUTPUT_VARIABLE pc_requires)
    list(JOIN pc_requires " " pc_requires)

    # ${pcfiledir} is where pkg-config found the file, so the prefix is counted from there.
    set(pc_directory "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig")
    file(RELATIVE_PATH up "${pc_directory}" "${CMAKE_INSTALL_PREFIX}")
    string(REGEX REPLACE "/$" "" up "${up}")
    set(pc_prefix "\${pcfiledir}/${up}")
    foreach(kind IN ITEMS INCLUDEDIR LIBDIR)
        string(TOLOWER ${kind} lower)
        if(IS_ABSOLUTE "${CMAKE_INSTALL_${kind}}")
            set(pc_${lower} "${CMAKE_INSTALL_${kind}}")
        else()
            set(pc_${lower} "\${prefix}/${CMAKE_INSTALL_${kind}}")
        endif()
    endforeach()

    set(pc_cflags "")
    get_target_property(type procyard_${name} TYPE)
    if(type STREQUAL "STATIC_LIBRARY")
        string(TOUPPER ${name} upper)
        string(APPEND pc_cflags " -DPROCYARD_${upper}_STATIC_DEFINE")
    endif()
    # Boost has no pkg-config files. Where the compiler finds it alone, nothing needs to be said.
    foreach(directory IN LISTS Boost_INCLUDE_DIRS)
        if(NOT directory IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
            string(APPEND pc_cflags " -I${directory}")
        endif()
    endforeach()
    configure_file("${procyard_SOURCE_DIR}/cmake/procyard.pc.in"
        "${procyard_BINARY_DIR}/${pc_name}.pc" @ONLY)
    install(FILES "${procyard_BINARY_DIR}/${pc_name}.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endfunction()

# Once, after the last module: the config file knows all of them.
function(procyard_install_package)
    get_property(modules GLOBAL PROPERTY PROCYARD_MODULES)
    set(needs "")
    foreach(name IN LISTS modules)
        get_property(below GLOBAL PROPERTY PROCYARD_BELOW_${name})
        string(APPEND needs "set(_procyard_needs_${name} ${below})\n")
    endforeach()
    configure_package_config_file("${procyard_SOURCE_DIR}/cmake/procyard-config.cmake.in"
        "${procyard_BINARY_DIR}/procyard-config.cmake"
        INSTALL_DESTINATION "${PROCYARD_CMAKE_DIR}"
        NO_SET_AND_CHECK_MACRO)
    write_basic_package_version_file("${procyard_BINARY_DIR}/procyard-config-version.cmake"
        COMPATIBILITY SameMinorVersion)
    install(FILES
        "${procyard_BINARY_DIR}/procyard-config.cmake"
        "${procyard_BINARY_DIR}/procyard-config-version.cmake"
        DESTINATION "${PROCYARD_CMAKE_DIR}")
    install(FILES "${procyard_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
endfunction()
