# SPDX-License-Identifier: MIT
#
# pirn_folder: the OBJECT library of one folder. pirn_archive: a static library of some folders.

# Headers of /usr/include are visible to every compiler call, so a forbidden one is shadowed by a file of the same name
# that stops the compiler and says why. "ck" stands for all headers of Concurrency Kit.
function(pirn_forbid folder out_dir)
    set(dir "${CMAKE_BINARY_DIR}/forbidden/${folder}")
    set(headers ${ARGN})
    if("ck" IN_LIST headers)
        list(REMOVE_ITEM headers ck)
        list(APPEND headers ck_stack.h ck_ring.h ck_pr.h ck_fifo.h ck_queue.h ck_spinlock.h ck_ec.h ck_epoch.h ck_ht.h
             ck_hs.h ck_array.h ck_backoff.h ck_barrier.h ck_cc.h ck_hp.h ck_sequence.h ck_rwlock.h)
    endif()
    foreach(header IN LISTS headers)
        file(CONFIGURE OUTPUT "${dir}/${header}"
             CONTENT "#error \"${folder}/ may not include <${header}>: see the layers in docs/design.md\"\n")
    endforeach()
    set(${out_dir} "${dir}" PARENT_SCOPE)
endfunction()

function(pirn_folder folder)
    cmake_parse_arguments(arg "" "" "SEES;LINKS;FORBIDS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${folder}/*.c"
         "${PROJECT_SOURCE_DIR}/${folder}/*_${PIRN_ARCH}.S")
    pirn_drop_unchosen(sources)
    if(NOT sources)
        message(STATUS "${folder}/ has no sources")
        return()
    endif()
    pirn_forbid(${folder} forbidden ${arg_FORBIDS})
    add_library(pirn_${folder} OBJECT ${sources})
    target_include_directories(pirn_${folder} PRIVATE "${forbidden}" "${PROJECT_SOURCE_DIR}/include")
    foreach(seen IN LISTS arg_SEES)
        # -iquote: for includes in quotes only, or <pthread.h> would find our sched.h for its <sched.h>.
        target_compile_options(pirn_${folder} PRIVATE "SHELL:-iquote \"${PROJECT_SOURCE_DIR}/${seen}\"")
    endforeach()
    target_link_libraries(pirn_${folder} PRIVATE pirn_flags ${arg_LINKS})
    if(folder STREQUAL "bridge")
        # It sees one word as two types, which only holds while no optimiser sees both sides (the file says where).
        set_source_files_properties("${PROJECT_SOURCE_DIR}/bridge/lf_stack_ck.c" PROPERTIES COMPILE_OPTIONS -fno-lto)
    endif()
endfunction()

# Of each pair of twins only the chosen one is in the library; the tests build the other one beside it.
function(pirn_drop_unchosen list_name)
    set(kept ${${list_name}})
    if(PIRN_QUEUES STREQUAL "ck")
        list(FILTER kept EXCLUDE REGEX "/bridge/[a-z_]*_c11\\.c$")
    else()
        list(FILTER kept EXCLUDE REGEX "/bridge/[a-z_]*_ck\\.c$")
    endif()
    if(PIRN_READINESS STREQUAL "epoll")
        list(FILTER kept EXCLUDE REGEX "/bridge/readiness_poll\\.c$")
    else()
        list(FILTER kept EXCLUDE REGEX "/bridge/readiness_epoll\\.c$")
    endif()
    set(${list_name} ${kept} PARENT_SCOPE)
endfunction()

function(pirn_archive name)
    cmake_parse_arguments(arg "" "" "LINKS" ${ARGN})
    set(objects "")
    foreach(folder IN LISTS arg_UNPARSED_ARGUMENTS)
        if(TARGET pirn_${folder})
            list(APPEND objects $<TARGET_OBJECTS:pirn_${folder}>)
        endif()
        if(folder STREQUAL "services" AND TARGET pirn_llhttp_objects)
            list(APPEND objects $<TARGET_OBJECTS:pirn_llhttp_objects>)
        endif()
    endforeach()
    add_library(${name} STATIC ${objects})
    set_target_properties(${name} PROPERTIES LINKER_LANGUAGE C)
    target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                               $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    target_link_libraries(${name} PRIVATE ${arg_LINKS} PUBLIC Threads::Threads)
endfunction()
