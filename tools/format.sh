#!/usr/bin/env bash
# Lays out all C++ of the project with clang-format; with --check it changes nothing and fails if a file would change.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

folders=()
for folder in include src tests fuzz bench examples; do [[ -d $folder ]] && folders+=("$folder"); done
options=(-i)
case ${1:-} in
  --check) options=(--dry-run --Werror) ;;
  '') ;;
  *) echo "format.sh: unknown option '$1'; it takes --check or nothing" >&2; exit 2 ;;
esac
find "${folders[@]}" -type f \( -name '*.h' -o -name '*.cc' -o -name '*.c' -o -name '*.cu' \) -print0 |
  xargs -0 -r -n 20 -P "$(nproc)" clang-format --style=file "${options[@]}"
