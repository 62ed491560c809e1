# SPDX-License-Identifier: MIT
#
# pirn_embed(FILE LIST): turn web/chat.html into `const char chat_html[]` (terminated) and `const size_t
# chat_html_bytes` in a generated .c, and append that to LIST. Run as a script with -DINPUT= -DOUTPUT= -DNAME= it does
# the turning.
if(CMAKE_SCRIPT_MODE_FILE)
    file(READ "${INPUT}" hex HEX)
    string(LENGTH "${hex}" digits)
    math(EXPR bytes "${digits} / 2")
    string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," array "${hex}")
    file(WRITE "${OUTPUT}" "#include <stddef.h>\nextern const char ${NAME}[];\nextern const size_t ${NAME}_bytes;\n"
         "const char ${NAME}[] = {\n${array}0};\nconst size_t ${NAME}_bytes = ${bytes};\n")
    return()
endif()

set(PIRN_EMBED_SCRIPT "${CMAKE_CURRENT_LIST_FILE}")
function(pirn_embed file list_name)
    get_filename_component(base "${file}" NAME)
    string(MAKE_C_IDENTIFIER "${base}" name)
    set(output "${CMAKE_CURRENT_BINARY_DIR}/${name}.c")
    add_custom_command(OUTPUT "${output}" DEPENDS "${file}" "${PIRN_EMBED_SCRIPT}"
        COMMAND ${CMAKE_COMMAND} -DINPUT=${file} -DOUTPUT=${output} -DNAME=${name} -P "${PIRN_EMBED_SCRIPT}"
        COMMENT "Embedding ${base}" VERBATIM)
    set(${list_name} ${${list_name}} "${output}" PARENT_SCOPE)
endfunction()
