# Headers that most files of many targets read are parsed once: the test framework and json take seconds a file, the standard
# library a third of one. A set of them serves the targets that are compiled with its options. Not with a compiler cache, which
# cannot look into precompiled headers: every file includes what it uses.
#
# loci_header_set(SET HEADERS headers... DEPENDS targets... [OPTIONS options...])
function(loci_header_set set)
  cmake_parse_arguments(ARG "" "" "HEADERS;DEPENDS;OPTIONS" ${ARGN})
  set(source ${PROJECT_BINARY_DIR}/header_sets/${set}.cc)
  file(CONFIGURE OUTPUT ${source} CONTENT "// Precompiles the headers of the set '${set}'.\n")
  add_library(loci_headers_${set} OBJECT ${source})
  target_compile_options(loci_headers_${set} PRIVATE ${ARG_OPTIONS})
  set_target_properties(loci_headers_${set} PROPERTIES LOCI_OPTIONS "${ARG_OPTIONS}")
  target_link_libraries(loci_headers_${set} PRIVATE ${ARG_DEPENDS})
  if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
    target_precompile_headers(loci_headers_${set} PRIVATE ${ARG_HEADERS})
  endif()
endfunction()

# loci_batch(TARGET): compiles eight files of TARGET at a time: half of the compiler's work is templates of the standard library
# that every file asks for. So names in anonymous namespaces are unique within a module and within a folder of tests. A compiler
# cache wants each file alone.
function(loci_batch target)
  if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
    # g++ takes the batch for the source, hence each file's own classes for a header's.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage>)
  endif()
endfunction()

# loci_use_headers(TARGET SET): compiles TARGET with the set's options and headers.
function(loci_use_headers target set)
  get_target_property(options loci_headers_${set} LOCI_OPTIONS)
  target_compile_options(${target} PRIVATE ${options})
  if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
    target_precompile_headers(${target} REUSE_FROM loci_headers_${set})
  endif()
endfunction()

# loci_module(NAME [SOURCES files...] [DEPENDS targets...] [HEADERS set]): a static library loci_NAME of every .cc file under
# src/NAME, but for main.cc and cuda/ (see cuda.cmake), and of SOURCES. Its header set is 'code' unless HEADERS says otherwise;
# 'none' compiles it without one, at the build type's own level.
# Files named *_avx2.cc and *_avx512.cc are compiled for that instruction set; nothing else may use its instructions.
# *_bf16_avx512.cc may use AVX512_BF16 besides, *_amx.cc that and AMX.
function(loci_module name)
  cmake_parse_arguments(ARG "" "HEADERS" "SOURCES;DEPENDS" ${ARGN})
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
  if(NOT ARG_HEADERS)
    set(ARG_HEADERS code)
  endif()
  if(NOT ARG_HEADERS STREQUAL "none")
    loci_use_headers(loci_${name} ${ARG_HEADERS})
  endif()
  loci_batch(loci_${name})
  foreach(source IN LISTS sources)
    if(source MATCHES "_avx2\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
    elseif(source MATCHES "_(avx512|amx)\\.cc$")
      # GCC 12 takes the deliberately undefined operands inside its own intrinsics for uninitialized variables.
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mavx2;-mfma;-mf16c;-mprefer-vector-width=512;-Wno-uninitialized;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>")
    endif()
    if(source MATCHES "_(avx2|avx512|amx)\\.cc$")  # whose flags no precompiled header has
      set_source_files_properties(${source} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    endif()
    if(source MATCHES "_bf16_avx512\\.cc$|_amx\\.cc$")
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS "-mavx512bf16")
    endif()
    if(source MATCHES "_amx\\.cc$")
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS "-mamx-tile;-mamx-bf16;-mamx-int8")
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
  loci_use_headers(test_${folder} tests)
  loci_batch(test_${folder})
  gtest_discover_tests(test_${folder} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 TEST_FILTER "-*Slow*:*Download*"
                       PROPERTIES TIMEOUT ${LOCI_TEST_SECONDS})
  gtest_discover_tests(test_${folder} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 TEST_FILTER "*Slow*-*Download*"
                       PROPERTIES TIMEOUT 3600 LABELS slow)
  gtest_discover_tests(test_${folder} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 TEST_FILTER "*Download*"
                       PROPERTIES TIMEOUT 3600 LABELS download)
endfunction()
