# mxgen_add_recipe(<target> <recipe.lua> [NAME name] [ARCHS sm_90a ...] [SETS layers=2 ...])
#
# Runs mxgen on the recipe when the target is built, and puts the bundle, cubins included, into the target:
#   #include "mxgen_<name>.h"      extern const unsigned char mxgen_<name>[];  extern const size_t mxgen_<name>_bytes;
# NAME: default, the recipe's file name without its suffix. ARCHS: default, all that mxgen compiles for; native: those
# of the GPUs that the build sees; NONE: no cubins, NVRTC is not needed then. SETS: values for the recipe's mx.param. It runs again when the recipe, a file that it includes,
# or mxgen itself has changed. What it made lies, readable, in <binary folder>/mxgen/<target>/<name>.
function(mxgen_add_recipe target recipe)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "NAME" "ARCHS;SETS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "mxgen_add_recipe: '${arg_UNPARSED_ARGUMENTS}' is none of NAME, ARCHS, SETS")
  endif()
  if(NOT TARGET ${target})
    message(FATAL_ERROR "mxgen_add_recipe: there is no target '${target}'")
  endif()
  cmake_path(ABSOLUTE_PATH recipe NORMALIZE)
  if(NOT EXISTS "${recipe}")
    message(FATAL_ERROR "mxgen_add_recipe: there is no recipe ${recipe}")
  endif()
  if(NOT arg_NAME)
    cmake_path(GET recipe STEM LAST_ONLY arg_NAME)
    string(MAKE_C_IDENTIFIER "${arg_NAME}" arg_NAME)
  endif()
  if(NOT arg_NAME MATCHES "^[A-Za-z0-9_]+$")
    message(FATAL_ERROR "mxgen_add_recipe: NAME '${arg_NAME}' is not letters, digits and '_'")
  endif()

  set(options "")
  if(arg_ARCHS STREQUAL "NONE")
    list(APPEND options --source-only)
  elseif(arg_ARCHS)
    list(JOIN arg_ARCHS "," archs)
    list(APPEND options --arch ${archs})
  endif()
  foreach(set IN LISTS arg_SETS)
    list(APPEND options --set ${set})
  endforeach()

  set(out ${CMAKE_CURRENT_BINARY_DIR}/mxgen/${target}/${arg_NAME})
  set(embedded ${out}/embed/mxgen_${arg_NAME})
  add_custom_command(OUTPUT ${embedded}.c ${embedded}.h
    COMMAND mxgen::compiler generate ${recipe} --out ${out} --embed mxgen_${arg_NAME} ${options}
    COMMAND ${CMAKE_COMMAND} -E touch ${embedded}.c ${embedded}.h # generate keeps the time of files that did not change
    DEPENDS ${recipe} $<TARGET_FILE:mxgen::compiler>
    DEPFILE ${embedded}.d
    COMMENT "Generating ${arg_NAME} from ${recipe}" VERBATIM)
  if(NOT CMAKE_C_COMPILER_LOADED) # a project of C++ alone; what is generated is both
    set_source_files_properties(${embedded}.c PROPERTIES LANGUAGE CXX)
  endif()
  target_sources(${target} PRIVATE ${embedded}.c ${embedded}.h)
  target_include_directories(${target} PRIVATE ${out}/embed)
endfunction()
