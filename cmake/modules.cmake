# loci_precompile(TARGET headers...): the headers that most files of TARGET read, parsed once: the command line parser and the
# test framework take seconds a file, the standard library a third of one. Not with a compiler cache, which cannot look into
# precompiled headers.
function(loci_precompile target)
  if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
endfunction()

# loci_module(NAME [SOURCES files...] [DEPENDS targets...] [PRECOMPILE headers...]): a static library loci_NAME of every .cc file
# under src/NAME, but for main.cc and cuda/ (see cuda.cmake), and of SOURCES. PRECOMPILE adds to what every module precompiles.
# Files named *_avx2.cc and *_avx512.cc are compiled for that instruction set; nothing else may use its instructions.
# *_bf16_avx512.cc may use AVX512_BF16 besides.
function(loci_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRECOMPILE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$|/cuda/")
  list(APPEND sources ${ARG_SOURCES})
  if(NOT sources)
    add_library(loci_${name} INTERFACE)
    target_include_directories(loci_${name} INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
    target_link_libraries(loci_${name} INTERFACE ${ARG_DEPENDS})
    return()
  endif()
  add_library(loci_${name} STATIC ${sources})
  target_include_directories(loci_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(loci_${name} PUBLIC ${ARG_DEPENDS})
  list(LENGTH sources count)
  if(count GREATER 6)
    loci_precompile(loci_${name} <algorithm> <functional> <memory> <span> <string> <vector> <fmt/format.h> ${ARG_PRECOMPILE})
  endif()
  foreach(source IN LISTS sources)
    if(source MATCHES "_avx2\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
    elseif(source MATCHES "_avx512\\.cc$")
      # GCC 12 takes the deliberately undefined operands inside its own intrinsics for uninitialized variables.
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mavx2;-mfma;-mf16c;-mprefer-vector-width=512;-Wno-uninitialized;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>")
    endif()
    if(source MATCHES "_avx(2|512)\\.cc$")  # whose flags no precompiled header has
      set_source_files_properties(${source} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    endif()
    if(source MATCHES "_bf16_avx512\\.cc$")
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS "-mavx512bf16")
    endif()
  endforeach()
endfunction()

# loci_tests(FOLDER): one test program test_FOLDER of the sources under tests/FOLDER, linked against loci_FOLDER. A test whose
# suite or own name holds "Slow" gets the label slow, one with "Download" the label download; `./dev test` leaves both out.
function(loci_tests folder)
  cmake_parse_arguments(ARG "" "" "DEPENDS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/*.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(test_${folder} ${sources})
  target_include_directories(test_${folder} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(test_${folder} PRIVATE LOCI_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(test_${folder} PRIVATE loci_${folder} ${ARG_DEPENDS} GTest::gtest GTest::gmock GTest::gtest_main)
  # Half the build is tests, whose own speed matters little. What they test keeps its flags. g++ 12 takes the insertion
  # inside std::string's operator+ for a copy of more bytes than there are.
  target_compile_options(test_${folder} PRIVATE -O1 "$<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow;-Wno-array-bounds>")
  list(LENGTH sources count)
  if(count GREATER 3)
    loci_precompile(test_${folder} <gmock/gmock.h> <gtest/gtest.h> <fmt/format.h>)
  endif()
  gtest_discover_tests(test_${folder} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 TEST_FILTER "-*Slow*:*Download*"
                       PROPERTIES TIMEOUT ${LOCI_TEST_SECONDS})
  gtest_discover_tests(test_${folder} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 TEST_FILTER "*Slow*-*Download*"
                       PROPERTIES TIMEOUT 3600 LABELS slow)
  gtest_discover_tests(test_${folder} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 TEST_FILTER "*Download*"
                       PROPERTIES TIMEOUT 3600 LABELS download)
endfunction()
