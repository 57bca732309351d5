#!/usr/bin/env bash
# The runs whose answers were labelled for the judge `local` (docs/judges.md): development questions only, models of training and held-out models apart.
# Each command goes on where it was. Then: python docs/label_rows.py RUNS
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
runs="${RUNS:-runs/docs}"
asked="benchmark=[stand_in,stand_in_allowed] benchmark.stand_in.split=development benchmark.stand_in_allowed.split=development benchmark.stand_in_allowed.per_category=2"
cell() {
    local part=$1
    shift
    # shellcheck disable=SC2086  # $asked is a list of overrides
    "$python" -m ftsafety "paths.runs='$runs/judge/$part'" $asked "$@" || echo "failed: $part $*"
}
examples="+attack=harmful_examples tuning.epochs=10 tuning.batch_size=10"
cell train +attack=identity_shift seed=100 controls=true
cell train +attack=identity_shift seed=101 tuning.epochs=8
cell train $examples attack.count=50 strategy.lr=1e-3 seed=100
cell held_out model=smollm2_135m align=sft align.seed=2 +attack=identity_shift seed=102
cell held_out +attack=identity_shift seed=103 tuning.epochs=12
cell held_out $examples attack.count=10 seed=101
cell held_out +attack=identity_shift strategy=full seed=104 tuning.epochs=10
cell held_out +attack=identity_shift mitigation=safety_mixing seed=105
