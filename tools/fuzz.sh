#!/usr/bin/env bash
# Runs libFuzzer targets under AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   tools/fuzz.sh BUILD [SECONDS] [TARGETS...]     SECONDS for each target, 60 by default; every target by default
#
# A target fuzz_NAME starts from fuzz/corpus/NAME, which is read only; what it finds new goes to BUILD/corpus/NAME and what
# breaks it to BUILD/crash-NAME-*. A memory limit makes an allocation beyond the input's size a finding. Beside the number of runs
# stands the processor time they had: on a busy machine it is less than SECONDS, and says how much the result is worth.
set -euo pipefail
build=$(readlink -f -- "$1")
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
seconds=${2:-60}
[[ $seconds =~ ^[0-9]+$ ]] || { echo "fuzz.sh: '$seconds' is no number of seconds" >&2; exit 2; }
shift $(($# > 2 ? 2 : $#))

targets=("$@")
if ((${#targets[@]} == 0)); then
  for binary in "$build"/fuzz/fuzz_*; do
    [[ -f $binary && -x $binary ]] && targets+=("${binary##*/fuzz_}")
  done
fi
((${#targets[@]} > 0)) || { echo "fuzz.sh: no fuzz target was built in $build/fuzz" >&2; exit 1; }

TIMEFORMAT='%U'
failed=()
for target in "${targets[@]}"; do
  target=${target#fuzz_}
  binary=$build/fuzz/fuzz_$target
  [[ -x $binary ]] || { echo "fuzz.sh: there is no target '$target'" >&2; exit 2; }
  corpus=$build/corpus/$target
  log=$build/fuzz-$target.log
  mkdir -p "$corpus"
  seeds=()
  [[ -d $root/fuzz/corpus/$target ]] && seeds=("$root/fuzz/corpus/$target")
  echo "fuzz $target: $seconds s from $(find "${seeds[@]}" "$corpus" -type f | wc -l) inputs"
  if { time "$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 -print_final_stats=1 \
    -artifact_prefix="$build/crash-$target-" "$corpus" "${seeds[@]}" >"$log" 2>&1; } 2>"$log.seconds"; then
    echo "fuzz $target: clean, $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs in $(<"$log.seconds") s of a processor"
  else
    failed+=("$target")
    tail -n 40 "$log"
    echo "fuzz $target: FAILED, the whole log is $log"
  fi
done
if ((${#failed[@]} > 0)); then
  echo "fuzz: ${#failed[@]} of ${#targets[@]} targets failed: ${failed[*]}"
  exit 1
fi
echo "fuzz: ${#targets[@]} targets clean"
