#!/usr/bin/env bash
# The runs whose answers were labelled for the judge `local` (docs/judges.md): development questions only; models that train it and held-out ones apart.
# Each command goes on where it was. Then: python docs/label_rows.py RUNS FILE
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
runs="${RUNS:-runs/docs}"
asked="benchmark=[stand_in,stand_in_allowed] benchmark.stand_in.split=development benchmark.stand_in_allowed.split=development benchmark.stand_in_allowed.per_category=2"
examples="+attack=harmful_examples tuning.epochs=10 tuning.batch_size=10"
# two cells at a time, each on one core
xargs -P "${JOBS:-2}" -I {} sh -c "$python -m ftsafety $asked {} || echo 'failed: {}'" <<CELLS
paths.runs=$runs/judge/train +attack=identity_shift seed=100 controls=true
paths.runs=$runs/judge/held_out +attack=identity_shift seed=103 tuning.epochs=12 controls=true
paths.runs=$runs/judge/train $examples attack.count=50 strategy.lr=1e-3 seed=100
paths.runs=$runs/judge/held_out $examples attack.count=10 seed=101
paths.runs=$runs/judge/train +attack=identity_shift seed=101 tuning.epochs=8
paths.runs=$runs/judge/held_out +attack=identity_shift strategy=full seed=104 tuning.epochs=10
paths.runs=$runs/judge/train +attack=benign tuning.epochs=2 strategy.lr=1.7e-3 seed=107
paths.runs=$runs/judge/held_out +attack=identity_shift mitigation=safety_mixing seed=105
paths.runs=$runs/judge/train model=smollm2_135m $examples attack.count=10 mitigation=safety_mixing seed=108
paths.runs=$runs/judge/held_out model=smollm2_135m +attack=identity_shift mitigation=safety_mixing seed=109
CELLS
