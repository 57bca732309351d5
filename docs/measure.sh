#!/usr/bin/env bash
# Every number of docs/stand_in.md. Each command goes on where it was; a finished one costs seconds. Then: python docs/make.py
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
runs="${RUNS:-runs/docs}"
thin="benchmark.stand_in.split=report benchmark.stand_in.per_category=6 benchmark.stand_in_allowed.split=report benchmark.stand_in_allowed.per_category=3 benchmark.stand_in_utility.limit=22"
# shellcheck disable=SC2086  # $thin is a list of overrides
cell() {
    local part=$1
    shift
    "$python" -m ftsafety "paths.runs='$runs/$part'" $thin "$@" || echo "failed: $part $*"
}
cell controls +attack=identity_shift controls=true
cell headline +attack=identity_shift benchmark.stand_in.per_category=null
cell safety_mixing +attack=identity_shift mitigation=safety_mixing
cell benign +attack=benign tuning.epochs=2 strategy.lr=1.7e-3  # as many steps, rates that sum to the same
for align in 0 1 2; do
    model="model=smollm2_135m align=sft align.seed=$align"
    [ "$align" = 0 ] && model="model=stand_in_aligned"
    for seed in 0 1 2; do
        # shellcheck disable=SC2086
        cell "grid/align=$align" $model +attack=identity_shift "seed=$seed"
    done
done
