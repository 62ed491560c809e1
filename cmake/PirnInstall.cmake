# SPDX-License-Identifier: MIT
#
# cmake --install: the static library, its headers, libpirn.pc, and pirnConfig.cmake for find_package(pirn).
include(CMakePackageConfigHelpers)

install(TARGETS pirn ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET pirn-web)
    install(TARGETS pirn-web RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# Relative to the file itself, so that `cmake --install --prefix` may put it anywhere.
file(RELATIVE_PATH PIRN_PC_TO_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
configure_file("${PROJECT_SOURCE_DIR}/cmake/libpirn.pc.in" "${CMAKE_BINARY_DIR}/libpirn.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/libpirn.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/pirnConfig.cmake.in" "${CMAKE_BINARY_DIR}/pirnConfig.cmake"
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/pirn
                              PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/pirnConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/pirnConfig.cmake" "${CMAKE_BINARY_DIR}/pirnConfigVersion.cmake"
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/pirn)
