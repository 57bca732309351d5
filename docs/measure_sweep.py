"""A sweep that is killed and goes on, against one that is left alone: ``python docs/measure_sweep.py WORK [OVERRIDE...]``.

The sweep learning_rate_batch_size in a small size (2 rates x 3 batch sizes x 2 draws on the embedded model) runs three times, each into a store of its
own: left alone (processes), killed twice under hydra/launcher=processes, killed twice under hydra/launcher=ray. Kills are SIGKILL at random moments
(seeded): the first of the command alone, whose workers must fend for themselves, the second of its whole session. Then: are all verdicts and weights the
same, and was every artifact computed once? Writes WORK/sweep.json. A finished sweep costs seconds. Overrides, such as model=tiny, are for trying the script.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIZE = ["attack.count=32", "strategy.lr=1e-4,5e-4", "tuning.batch_size=4,8,16", "seed=0,1"]
LAUNCHERS = {
    "alone": ["hydra/launcher=processes", "hydra.launcher.n_jobs=2"],
    "processes": ["hydra/launcher=processes", "hydra.launcher.n_jobs=2"],
    "ray": ["hydra/launcher=ray", "hydra.launcher.num_cpus=1"],
}
KILLED = ("processes", "ray")
BETWEEN_S = (60.0, 180.0)
"""A kill comes so many seconds after the command began."""
COMPUTED = re.compile(r"tune \(\w+\)\s+\d+ in \d+ s")
"""What a tuning says when it is done; Ray puts the worker's name before it."""


def command(work: Path, name: str, overrides: list[str]) -> list[str]:
    """The multirun command; the same each time it is typed."""
    where = [f"paths.runs='{work / name / 'runs'}'", f"paths.store='{work / name / 'store'}'"]
    return [
        sys.executable,
        "-m",
        "ftsafety",
        "-m",
        "--config-dir=sweeps",
        "--config-name=learning_rate_batch_size",
        *LAUNCHERS[name],
        *where,
        *SIZE,
        *overrides,
    ]


def attempt(typed: list[str], log: Path, kill_after_s: float | None, whole: bool) -> int:
    """One try of the command; killed after so many seconds, with all its processes or alone."""
    with log.open("a", encoding="utf-8") as out:
        out.write(f"# {'whole' if kill_after_s is None else f'killed after {kill_after_s:.0f} s'}\n")
        out.flush()
        started = subprocess.Popen(typed, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            return started.wait(kill_after_s)
        except subprocess.TimeoutExpired:
            if whole:
                os.killpg(started.pid, signal.SIGKILL)
            else:
                os.kill(started.pid, signal.SIGKILL)
            return started.wait()


def cells(work: Path, name: str) -> dict[str, Any]:
    """Of every finished run what must not depend on how it came about: verdicts, results and the digest of its weights."""
    found = {}
    for done in sorted((work / name / "runs").rglob("DONE")):
        data = json.loads((done.parent / "run.json").read_text(encoding="utf-8"))
        found[f"{data['cell']}/{data['seed']}"] = {
            "verdicts": sorted((done.parent / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()),
            "weights": data["tuned_digest"],
            "results": data["results"],
        }
    return found


def artifacts(work: Path, name: str) -> list[str]:
    """Every artifact of a store."""
    store = work / name / "store"
    return sorted(str(file.parent.relative_to(store)) for kind in ("tune", "answers") for file in (store / kind).glob("*/manifest.json"))


def main() -> None:
    """Run the three sweeps and compare them."""
    work, overrides = Path(sys.argv[1]).resolve(), sys.argv[2:]
    draw, attempts = random.Random(20261127), {}
    for name in LAUNCHERS:
        folder, log = work / name, work / name / "log.txt"
        folder.mkdir(parents=True, exist_ok=True)
        typed, began = command(work, name, overrides), time.monotonic()
        tries = []
        for whole in (False, True) if name in KILLED else ():
            seconds, before = draw.uniform(*BETWEEN_S), len(cells(work, name))
            code = attempt(typed, log, seconds, whole)
            tries.append({"killed_after_s": round(seconds), "whole": whole, "exit": code, "cells_before": before, "cells_after": len(cells(work, name))})
        tries.append({"killed_after_s": None, "exit": attempt(typed, log, None, True), "cells_after": len(cells(work, name))})
        attempts[name] = {"tries": tries, "seconds": round(time.monotonic() - began), "cells": len(cells(work, name)), "artifacts": len(artifacts(work, name))}
        attempts[name]["tunings_finished"] = len(COMPUTED.findall(log.read_text(encoding="utf-8")))
        attempts[name]["left_partial"] = len(list((folder / "store" / "partial").glob("*")))
        print(name, json.dumps(attempts[name]), flush=True)
    same = {
        name: {
            "cells_equal": cells(work, name).keys() == cells(work, "alone").keys(),
            "verdicts_equal": sum(cells(work, name)[at]["verdicts"] == one["verdicts"] for at, one in cells(work, "alone").items() if at in cells(work, name)),
            "weights_equal": sum(cells(work, name)[at]["weights"] == one["weights"] for at, one in cells(work, "alone").items() if at in cells(work, name)),
            "all_equal": cells(work, name) == cells(work, "alone"),
            "store_holds_the_same": artifacts(work, name) == artifacts(work, "alone"),
        }
        for name in KILLED
    }
    found = {"size": SIZE, "overrides": overrides, "sweeps": attempts, "against_undisturbed": same}
    print(json.dumps(same, indent=1))
    (work / "sweep.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
