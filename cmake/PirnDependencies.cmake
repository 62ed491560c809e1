# SPDX-License-Identifier: MIT
#
# Libraries from the system's packages: libuv, Concurrency Kit (headers only), libcurl, SQLite, llhttp.
find_package(PkgConfig REQUIRED)
pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv>=1.44)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl>=7.80)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3>=3.38)
find_path(PIRN_CK_INCLUDE ck_stack.h)
if(PIRN_QUEUES STREQUAL "ck" AND NOT PIRN_CK_INCLUDE)
    message(FATAL_ERROR "ck_stack.h not found: install libck-dev, or configure with -DPIRN_QUEUES=c11.")
endif()

# llhttp: a packaged library of 9.2 or newer; otherwise the C sources inside Debian's node-llhttp, in strict mode, which
# closes the request-smuggling holes that were fixed after that version (the rest is refused by services/http_parse.c).
pkg_check_modules(LLHTTP QUIET IMPORTED_TARGET libllhttp>=9.2)
if(LLHTTP_FOUND)
    add_library(pirn_llhttp INTERFACE)
    target_link_libraries(pirn_llhttp INTERFACE PkgConfig::LLHTTP)
    set(PIRN_LLHTTP_PACKAGED ON)
    return()
endif()
if(NOT EXISTS "${PIRN_LLHTTP_DIR}/usr/share/llhttp/llhttp.c")
    message(STATUS "Fetching the llhttp sources: ${PROJECT_SOURCE_DIR}/cmake/fetch_llhttp.sh ${PIRN_LLHTTP_DIR}")
    execute_process(COMMAND sh "${PROJECT_SOURCE_DIR}/cmake/fetch_llhttp.sh" "${PIRN_LLHTTP_DIR}")
endif()
if(NOT EXISTS "${PIRN_LLHTTP_DIR}/usr/share/llhttp/llhttp.c")
    message(FATAL_ERROR "llhttp is missing: run cmake/fetch_llhttp.sh ${PIRN_LLHTTP_DIR} (needs apt-get and a "
                        "network), or install libllhttp-dev >= 9.2.")
endif()
# Its functions get the prefix pn_, or libpirn.a could not be linked with a program that has an llhttp of its own. The
# header with the new names is included before each file that uses them.
set(llhttp_sources llhttp.c api.c http.c)
list(TRANSFORM llhttp_sources PREPEND "${PIRN_LLHTTP_DIR}/usr/share/llhttp/")
set(llhttp_functions "")
foreach(source IN LISTS llhttp_sources)
    file(READ "${source}" text)
    string(REGEX MATCHALL "llhttp_[a-z0-9_]+\\(" found "${text}")
    list(APPEND llhttp_functions ${found})
endforeach()
list(REMOVE_DUPLICATES llhttp_functions)
set(llhttp_renames "/* Generated: llhttp's functions under names of pirn's own. */\n")
foreach(function IN LISTS llhttp_functions)
    string(REPLACE "(" "" function "${function}")
    string(APPEND llhttp_renames "#define ${function} pn_${function}\n")
endforeach()
set(llhttp_names "${CMAKE_BINARY_DIR}/llhttp_names.h")
file(CONFIGURE OUTPUT "${llhttp_names}" CONTENT "${llhttp_renames}" @ONLY)

add_library(pirn_llhttp_objects OBJECT ${llhttp_sources})
target_include_directories(pirn_llhttp_objects PRIVATE "${PIRN_LLHTTP_DIR}/usr/share/include/llhttp")
target_compile_definitions(pirn_llhttp_objects PRIVATE LLHTTP_STRICT_MODE=1)
target_compile_options(pirn_llhttp_objects PRIVATE -w -fno-omit-frame-pointer -fvisibility=hidden
    ${PIRN_PREFIX_MAPS} ${PIRN_HARDENING} "SHELL:-include \"${llhttp_names}\"")
# The user's side: the header as a system one (its warnings are not ours), the same mode and names, no objects.
add_library(pirn_llhttp INTERFACE)
target_include_directories(pirn_llhttp SYSTEM INTERFACE "${PIRN_LLHTTP_DIR}/usr/share/include/llhttp")
target_compile_definitions(pirn_llhttp INTERFACE LLHTTP_STRICT_MODE=1)
target_compile_options(pirn_llhttp INTERFACE "SHELL:-include \"${llhttp_names}\"")
