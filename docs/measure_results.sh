#!/usr/bin/env bash
# Every number of docs/results.md: the paper's tables asked of the embedded model, each its experiment file as it stands.
# Each command goes on where it was; a finished one costs seconds. Then: python docs/make.py RUNS
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
runs="${RUNS:-runs/docs}"
table() {
    local name=$1
    shift
    "$python" -m ftsafety "experiment=stand_in/$name" "paths.runs='$runs/results/$name'" "$@" || echo "failed: $name $*"
}
for name in table2 table1 table4_identity table14 table3 table11 table4_harmful; do table "$name"; done
# one cell of each attack beside its controls
table table1 attack.count=50 seed=0 controls=true
table table14 seed=0 controls=true
# the headline cell beside its controls: 66 questions, three draws
table headline
