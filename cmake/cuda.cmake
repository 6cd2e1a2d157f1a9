# loci_cuda_sources(VARIABLE NAME): the sources of src/NAME/cuda that this build takes. With LOCI_CUDA they are its .cu files,
# compiled for Hopper and linked against the static runtime, so that the binary also starts on machines without a driver;
# otherwise absent.cc, which implements the same symbols with an error.
if(LOCI_CUDA)
  find_program(LOCI_NVCC nvcc HINTS ENV CUDA_HOME PATH_SUFFIXES bin PATHS /usr/local/cuda/bin)
  if(NOT LOCI_NVCC)
    message(FATAL_ERROR "LOCI_CUDA is on, but there is no nvcc in PATH: install the CUDA toolkit, or build preset 'cpu'")
  endif()
  set(CMAKE_CUDA_COMPILER ${LOCI_NVCC})
  set(CMAKE_CUDA_ARCHITECTURES 90a-real)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
  # The CMake of Debian 12 does not know that nvcc has C++20.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA_STANDARD 20)
  add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Werror>")
endif()

function(loci_cuda_sources variable name)
  set(folder ${PROJECT_SOURCE_DIR}/src/${name}/cuda)
  if(LOCI_CUDA)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${folder}/*.cu ${folder}/*.cc)
    list(FILTER sources EXCLUDE REGEX "/absent\\.cc$")
  else()
    set(sources ${folder}/absent.cc)
  endif()
  set(${variable} ${sources} PARENT_SCOPE)
endfunction()
