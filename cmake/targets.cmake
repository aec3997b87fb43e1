# What programs link to: shared libraries that export the public headers and nothing else, and the names that
# find_package(mxgen) has too, so that a project may take mxgen by add_subdirectory or FetchContent instead.

include(GNUInstallDirs)

# The public headers alone: the rooms' own have names that others have too (error.h, memory.h).
set(mxg_public ${PROJECT_BINARY_DIR}/include)
foreach(header runtime/mxrt.h gen/mxgen.h)
  cmake_path(GET header FILENAME name)
  configure_file(${header} ${mxg_public}/${name} COPYONLY)
endforeach()

# The functions that a public header declares.
function(mxg_functions out header)
  file(STRINGS ${header} lines REGEX "^[a-z].*[ *]mxg_[a-z0-9_]+\\(")
  list(TRANSFORM lines REPLACE "^[^(]*[ *](mxg_[a-z0-9_]+)\\(.*" "\\1")
  set(${out} ${lines} PARENT_SCOPE)
endfunction()

# The export map of a library: the functions of its public header.
function(mxg_export_map out header node)
  mxg_functions(functions ${header})
  set(names "")
  foreach(name IN LISTS functions)
    string(APPEND names "    ${name};\n")
  endforeach()
  file(CONFIGURE OUTPUT ${out} CONTENT "@node@ {\n  global:\n@names@  local:\n    *;\n};\n" @ONLY)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${header})
endfunction()

# What programs link to: the minor version too while the major one is 0, as mxg_version_check says. Both libraries have the same,
# so that a bundle that crosses between them is of one layout.
set(mxg_soversion ${PROJECT_VERSION_MAJOR})
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(mxg_soversion 0.${PROJECT_VERSION_MINOR})
endif()

function(mxg_shared_library target objects name header)
  mxg_export_map(${PROJECT_BINARY_DIR}/${name}.map ${PROJECT_SOURCE_DIR}/${header} lib${name}_${mxg_soversion})
  add_library(${target} SHARED $<TARGET_OBJECTS:${objects}>)
  set_target_properties(${target} PROPERTIES
    OUTPUT_NAME ${name} LINKER_LANGUAGE C VERSION ${PROJECT_VERSION} SOVERSION ${mxg_soversion}
    LINK_DEPENDS ${PROJECT_BINARY_DIR}/${name}.map)
  target_link_options(${target} PRIVATE -Wl,--version-script=${PROJECT_BINARY_DIR}/${name}.map)
  target_link_libraries(${target} PRIVATE mxg_build PkgConfig::XXHASH ${CMAKE_DL_LIBS} m PUBLIC Threads::Threads)
  target_include_directories(${target} INTERFACE $<BUILD_INTERFACE:${mxg_public}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endfunction()

# mxgen::NAME_static, and mxgen::NAME, which is the shared library where there is one.
function(mxg_public_library name static shared)
  add_library(mxg_${name}_static INTERFACE)
  target_include_directories(mxg_${name}_static INTERFACE ${mxg_public})
  target_link_libraries(mxg_${name}_static INTERFACE $<LINK_ONLY:${static}>)
  add_library(mxgen::${name}_static ALIAS mxg_${name}_static)
  if(NOT TARGET ${shared})
    set(shared mxg_${name}_static)
  endif()
  add_library(mxgen::${name} ALIAS ${shared})
endfunction()

if(MXGEN_SHARED)
  # libmxgen has a copy of what it needs of the runtime's inside, which is no interface, and only bundles cross between them.
  mxg_shared_library(mxrt_shared mxrt mxrt runtime/mxrt.h)
  mxg_shared_library(mxgen_shared mxgen_lib mxgen gen/mxgen.h)
  target_link_libraries(mxgen_shared PRIVATE mxrt PkgConfig::LUA INTERFACE mxrt_shared)
endif()
mxg_public_library(runtime mxrt mxrt_shared)
mxg_public_library(generator mxgen_lib mxgen_shared)
add_executable(mxgen::compiler ALIAS mxgen)
include(${CMAKE_CURRENT_LIST_DIR}/mxgen-recipe.cmake)
