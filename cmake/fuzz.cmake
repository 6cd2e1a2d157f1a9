# loci_fuzz(NAME MODULE [SOURCES files...]): fuzz/NAME_fuzz.cc becomes a libFuzzer program fuzz_NAME linked against MODULE, whose
# corpus is fuzz/corpus/NAME; tools/fuzz.sh runs them. The link option alone brings in libFuzzer's main; every other file is
# instrumented by -fsanitize=fuzzer-no-link.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "LOCI_FUZZ needs clang with libFuzzer, and the compiler is ${CMAKE_CXX_COMPILER_ID}: use preset 'fuzz'")
endif()

add_custom_target(fuzzers)  # all of them, and not the binary
function(loci_fuzz name module)
  cmake_parse_arguments(ARG "" "" "SOURCES" ${ARGN})
  add_executable(fuzz_${name} ${PROJECT_SOURCE_DIR}/fuzz/${name}_fuzz.cc ${ARG_SOURCES})
  target_include_directories(fuzz_${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(fuzz_${name} PRIVATE ${module})
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers fuzz_${name})
  set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
endfunction()

loci_fuzz(gguf loci_io)
loci_fuzz(hf_config loci_io)
loci_fuzz(safetensors loci_io)
loci_fuzz(chat_template loci_text)
loci_fuzz(tokenizer loci_text)
# The reader alone, so that the engine need not be built with sanitizers.
loci_fuzz(session loci_base SOURCES ${PROJECT_SOURCE_DIR}/src/engine/session_reader.cc)
target_link_libraries(fuzz_session PRIVATE PkgConfig::XXHASH)
loci_fuzz(snapshot loci_kernels SOURCES ${PROJECT_SOURCE_DIR}/src/engine/session_reader.cc ${PROJECT_SOURCE_DIR}/src/engine/session_writer.cc
          ${PROJECT_SOURCE_DIR}/src/engine/snapshot_file.cc)
target_link_libraries(fuzz_snapshot PRIVATE PkgConfig::XXHASH)
loci_fuzz(json_schema loci_text)
# What reads requests, without the engine and the server.
foreach(file api_error completion_request embedding_request fields http memory_event request_parts response_request tool_calls)
  list(APPEND request_sources ${PROJECT_SOURCE_DIR}/src/serve/${file}.cc)
endforeach()
loci_fuzz(request loci_attention SOURCES ${request_sources})
target_link_libraries(fuzz_request PRIVATE OpenSSL::Crypto)
# Plans are also read with the tests' registry, which has a method of every kind.
loci_fuzz(plan loci_attention SOURCES ${PROJECT_SOURCE_DIR}/tests/attention/made_registry.cc)
