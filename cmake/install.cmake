# The package: libraries, public headers, the command, pkg-config files, the CMake package, manual and completion. The static
# libraries are the ones that the tests link; they are installed as they are.
include(CMakePackageConfigHelpers)

set_target_properties(mxrt_shared PROPERTIES EXPORT_NAME runtime)
set_target_properties(mxgen_shared PROPERTIES EXPORT_NAME generator)
set_target_properties(mxgen PROPERTIES EXPORT_NAME compiler)
install(TARGETS mxrt_shared mxgen_shared mxgen EXPORT mxgen)
install(TARGETS mxrt mxgen_lib ARCHIVE)
install(FILES runtime/mxrt.h gen/mxgen.h TYPE INCLUDE)
install(FILES LICENSE README.md TYPE DOC)
install(DIRECTORY recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/mxgen)
install(DIRECTORY examples/build_time examples/jit_init DESTINATION ${CMAKE_INSTALL_DATADIR}/mxgen/examples PATTERN build EXCLUDE)
install(DIRECTORY examples/pytorch DESTINATION ${CMAKE_INSTALL_DATADIR}/mxgen PATTERN __pycache__ EXCLUDE)

set(mxg_package ${CMAKE_INSTALL_LIBDIR}/cmake/mxgen)
install(EXPORT mxgen NAMESPACE mxgen:: DESTINATION ${mxg_package} FILE mxgen-targets.cmake)
configure_package_config_file(cmake/mxgen-config.cmake.in ${PROJECT_BINARY_DIR}/package/mxgen-config.cmake
  INSTALL_DESTINATION ${mxg_package} PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/mxgen-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/mxgen-config.cmake ${PROJECT_BINARY_DIR}/package/mxgen-config-version.cmake
  cmake/mxgen-recipe.cmake DESTINATION ${mxg_package})

# The manual and the completion: the command prints them from its own tables.
set(mxg_manual ${PROJECT_BINARY_DIR}/manual)
file(MAKE_DIRECTORY ${mxg_manual})
set(mxg_headers ${PROJECT_SOURCE_DIR}/runtime/mxrt.h ${PROJECT_SOURCE_DIR}/gen/mxgen.h)
set(mxg_pages "")
function(mxg_page file)
  add_custom_command(OUTPUT ${mxg_manual}/${file}
    COMMAND sh -c "\"$0\" help \"$@\" >${file}.part && mv ${file}.part ${file}" $<TARGET_FILE:mxgen> ${ARGN}
    WORKING_DIRECTORY ${mxg_manual} DEPENDS mxgen ${mxg_headers} COMMENT "Printing ${file}" VERBATIM)
  set(mxg_pages ${mxg_pages} ${mxg_manual}/${file} PARENT_SCOPE)
endfunction()
mxg_page(mxgen.1 --roff mxgen)
mxg_page(mxgen-recipe.5 --roff mxgen-recipe)
mxg_page(libmxgen.3 --roff libmxgen ${mxg_headers})
mxg_page(mxgen.bash --completion bash)
add_custom_target(mxg_manual ALL DEPENDS ${mxg_pages})
foreach(page mxgen.1 mxgen-recipe.5 libmxgen.3)
  string(REGEX REPLACE ".*\\." "" section ${page})
  install(FILES ${mxg_manual}/${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
# man 3 mxg_generate: a page a function that is the library's.
foreach(header IN LISTS mxg_headers)
  mxg_functions(functions ${header})
  foreach(name IN LISTS functions)
    file(CONFIGURE OUTPUT ${mxg_manual}/functions/${name}.3 CONTENT ".so man3/libmxgen.3\n")
    install(FILES ${mxg_manual}/functions/${name}.3 DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
  endforeach()
endforeach()
install(FILES ${mxg_manual}/mxgen.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME mxgen)

# Relative to the file itself, so that an installed tree can be moved. What static libraries need besides stands in
# Libs.private and not in Requires.private: that would give programs the include folders of Lua too.
list(JOIN LUA_LDFLAGS " " mxg_pc_lua)
list(JOIN XXHASH_LDFLAGS " " mxg_pc_xxhash)
file(RELATIVE_PATH mxg_pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
foreach(name mxrt mxgen)
  configure_file(cmake/${name}.pc.in ${PROJECT_BINARY_DIR}/package/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/package/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
