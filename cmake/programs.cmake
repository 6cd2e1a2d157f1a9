# Programs beside the binary: every bench/NAME.cc is a program NAME, every examples/NAME.cc or .c a program example_NAME that
# uses the public API alone and is run by a test on the model that ships.
find_package(benchmark REQUIRED)

file(GLOB bench_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/*.cc)
foreach(source IN LISTS bench_sources)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE loci_engine benchmark::benchmark)
endforeach()

file(GLOB example_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/*.cc ${PROJECT_SOURCE_DIR}/examples/*.c)
foreach(source IN LISTS example_sources)
  get_filename_component(name ${source} NAME_WE)
  add_executable(example_${name} ${source})
  target_link_libraries(example_${name} PRIVATE loci_engine)
  # The API's implementation is C++, whatever the example is written in.
  set_target_properties(example_${name} PROPERTIES LINKER_LANGUAGE CXX)
  add_test(NAME examples.${name} COMMAND example_${name} ${PROJECT_SOURCE_DIR}/models/needle-14m-q8_0.gguf)
endforeach()

# The tokenizers' side of tools/tokenizers/compare.py, built on request.
add_executable(tokenize_batch EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tools/tokenizers/tokenize_batch.cc)
target_link_libraries(tokenize_batch PRIVATE loci_text)

# The model by construction as a file to play with, built on request.
add_executable(write_induction_model EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tools/induction/write_model.cc
               ${PROJECT_SOURCE_DIR}/tests/eval/induction_model.cc ${PROJECT_SOURCE_DIR}/tests/io/gguf_writer.cc)
target_include_directories(write_induction_model PRIVATE ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(write_induction_model PRIVATE loci_base)
