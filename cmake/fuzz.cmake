# Every fuzz/NAME.cc becomes a libFuzzer program fuzz_NAME, whose corpus is fuzz/corpus/NAME; tools/fuzz.sh runs them.
# The link option alone brings in libFuzzer's main; every other file is instrumented by -fsanitize=fuzzer-no-link.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "LOCI_FUZZ needs clang with libFuzzer, and the compiler is ${CMAKE_CXX_COMPILER_ID}: use preset 'fuzz'")
endif()

file(GLOB fuzz_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/fuzz/*.cc)
add_custom_target(fuzzers)  # all of them, and not the binary
foreach(source IN LISTS fuzz_sources)
  get_filename_component(name ${source} NAME_WE)
  string(REGEX REPLACE "^fuzz_|_fuzz$" "" name ${name})
  add_executable(fuzz_${name} ${source})
  target_link_libraries(fuzz_${name} PRIVATE loci_engine)
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers fuzz_${name})
  set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
endforeach()
