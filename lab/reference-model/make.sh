#!/usr/bin/env bash
# Makes the reference model from books: tokenizer, three stages of training, evaluation, GGUF files. Needs a card with 16 GiB.
#
#   make.sh BOOKS WORDS NOVEL OUT [SCALE]
#
# BOOKS and WORDS: see books.py. NOVEL is a text that is in none of them, for the evaluation. Steps whose result is there are left
# out, so a broken run goes on. SCALE 0.1 takes a tenth of every phase: a trial of the recipe, not of the model.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
(($# == 4 || $# == 5)) || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
books=$1 words=$2 novel=$3 out=$4 scale=${5:-1}
python=${PYTHON:-python3}
mkdir -p "$out"

[[ -f $out/tok/books.npz ]] || "$python" "$here/books.py" "$books" "$words" "$out/tok"
init=()
for stage in 1 2 3; do
  if [[ ! -f $out/stage$stage/done ]]; then
    "$python" "$here/train.py" --stage "$stage" --data "$out/tok" --out "$out/stage$stage" --scale "$scale" "${init[@]}" |
      tee "$out/stage$stage.log"
    touch "$out/stage$stage/done"
  fi
  init=(--init "$out/stage$stage")
done
"$python" "$here/evaluate.py" --data "$out/tok" --checkpoint "$out/stage3" --novel "$novel" --out "$out/evaluation.json" |
  tee "$out/evaluation.log"
"$python" "$here/export.py" "$out/stage3" "$out/tok" "$out"
