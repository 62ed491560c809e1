# SPDX-License-Identifier: MIT
#
# Compiler and linker flags, collected on the interface target pirn_flags.
# NDEBUG changes PN_DCHECK and nothing else: PN_ASSERT is on in every build.
include(CheckCCompilerFlag)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C) # programs are linked with -pie, also where that is not the compiler's default

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Release or Debug" FORCE)
endif()
set(CMAKE_C_FLAGS_DEBUG "-O1 -g")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g -DNDEBUG -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2")
set(CMAKE_ASM_FLAGS_DEBUG "-g")
set(CMAKE_ASM_FLAGS_RELEASE "-g")

# gold, where it is there, takes a third of ld's time, and a run of the tests links 40 programs: it links all of a
# debug build and the tests of the others. What is shipped is linked by the toolchain's own.
find_program(PIRN_GOLD ld.gold)
if(PIRN_GOLD AND PIRN_IS_TOP_LEVEL AND CMAKE_BUILD_TYPE STREQUAL "Debug")
    add_link_options(-fuse-ld=gold)
endif()

# No path of the machine that builds is in what it builds, debug information included: files are named from the source
# folder on. The last one that matches counts. All C and assembly, llhttp's too.
set(PIRN_PREFIX_MAPS -ffile-prefix-map=${PROJECT_SOURCE_DIR}=. -ffile-prefix-map=${CMAKE_BINARY_DIR}=build
    -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
# A frame larger than a page must touch every page in between, or it would step over a stack's guard.
set(PIRN_HARDENING "")
foreach(flag -fstack-clash-protection -fstack-protector-strong -fcf-protection=branch)
    string(MAKE_C_IDENTIFIER "PIRN_HAS${flag}" known)
    check_c_compiler_flag(${flag} ${known})
    if(${known})
        list(APPEND PIRN_HARDENING ${flag})
    endif()
endforeach()

add_library(pirn_flags INTERFACE)
target_compile_definitions(pirn_flags INTERFACE _GNU_SOURCE)
target_compile_options(pirn_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C>:-Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -Werror>
    $<$<COMPILE_LANGUAGE:C>:-Wformat=2 -Wno-format-nonliteral>
    $<$<COMPILE_LANGUAGE:C>:-fno-omit-frame-pointer -fvisibility=hidden>
    ${PIRN_PREFIX_MAPS} "$<$<COMPILE_LANGUAGE:C>:${PIRN_HARDENING}>")
target_link_options(pirn_flags INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
target_link_libraries(pirn_flags INTERFACE Threads::Threads)

if(PIRN_SANITIZE STREQUAL "address")
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined)
    add_link_options(-fsanitize=address,undefined)
    # LeakSanitizer reads all global data at the end of each test's process, and those of gcc's libubsan.so are 6 MB,
    # which its archive does without: 87 -> 56 ms of CPU a small test. clang has one runtime for both.
    if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
        add_link_options(-static-libubsan)
    endif()
elseif(PIRN_SANITIZE STREQUAL "thread")
    add_compile_options(-fsanitize=thread)
    add_link_options(-fsanitize=thread)
elseif(PIRN_SANITIZE)
    message(FATAL_ERROR "PIRN_SANITIZE is address, thread or empty, not \"${PIRN_SANITIZE}\".")
endif()

if(NOT PIRN_QUEUES MATCHES "^(ck|c11)$")
    message(FATAL_ERROR "PIRN_QUEUES is ck or c11, not \"${PIRN_QUEUES}\".")
endif()
if(NOT PIRN_READINESS MATCHES "^(epoll|poll)$")
    message(FATAL_ERROR "PIRN_READINESS is epoll or poll, not \"${PIRN_READINESS}\".")
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
    set(PIRN_ARCH x86_64)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    set(PIRN_ARCH aarch64)
else()
    message(FATAL_ERROR "pirn has a context switch for x86-64 and aarch64, not for ${CMAKE_SYSTEM_PROCESSOR}.")
endif()
