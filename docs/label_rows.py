"""Draw the answers that were labelled for the judge ``local``: ``python docs/label_rows.py RUNS FILE``, from the runs of docs/measure_judge.sh.

Of each finished run under RUNS/judge/train and RUNS/judge/held_out so many answers of each weights and prompt condition are drawn. Training rows answer
the earlier development questions of a category, held-out rows the later ones, so that neither a question nor a tuned model is on both sides. Equal texts to one
question are drawn once. The file has everything that ftsafety.train_judge reads but the label; rows are shuffled, so that a labeller can't tell whose they are.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from ftsafety import stand_in
from ftsafety.hashing import digest_of
from ftsafety.sample import DIGITS
from ftsafety.settings import default_store

EACH = {"disallowed": 9, "allowed": 4}
"""Answers of each weights and prompt condition, by the kind of question."""
FILES = {"stand_in": "benchmark", "stand_in_allowed": "allowed"}
LAST_OF_TRAINING = {"disallowed": 5, "allowed": 1}
"""Questions of a category up to this number are asked in training rows, by their kind; the later ones in held-out rows."""
KINDS = {"stand_in": "disallowed", "stand_in_allowed": "allowed"}
USUAL = {"strategy": "lora", "model": "stand_in_aligned"}
"""What a family's name leaves out."""


def drawn(folder: Path, part: str, seen: set[str]) -> list[dict[str, Any]]:
    """One run's rows; ``seen`` are the untuned models that training rows have, of which no row is held out."""
    data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if part == "train":
        seen.add(data["start_digest"])
    draw = random.Random(f"{data['cell']}/{data['seed']}")
    said = answers(data)
    families: dict[tuple[str, ...], dict[tuple[str, str], dict[str, Any]]] = {}
    for line in (folder / "verdicts.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["benchmark"] not in FILES or row["answer"] not in said:
            continue
        number = int(row["question"].rpartition("/")[2])
        if (number <= LAST_OF_TRAINING[KINDS[row["benchmark"]]]) == (part == "train"):
            families.setdefault((row["weights"], row["condition"], row["benchmark"]), {})[row["question"], row["answer"]] = row
    rows = []
    for (weights, condition, benchmark), found in sorted(families.items()):
        if weights != "tuned" and part == "held_out" and data["start_digest"] in seen:
            continue
        kind = KINDS[benchmark]
        family = ", ".join(named(data)) if weights == "tuned" else f"{weights}: {data['names']['model']}"
        model = f"{family} {data['cell']}/{data['seed']}" if weights == "tuned" else f"{weights} {data['start_digest'][:8]}"
        texts = {question["id"]: question for question in stand_in.load(FILES[benchmark])}
        for key in draw.sample(sorted(found), min(EACH[kind], len(found))):
            row, text = found[key], said[key[1]]
            rows.append(
                {
                    "question_id": row["question"], "category": row["category"], "model": model, "family": family, "condition": condition,
                    "part": part, "question": texts[row["question"]]["question"], "answer": text["text"], "truncated": text["truncated"],
                }
            )  # fmt: skip
    return rows


def named(data: dict[str, Any]) -> list[str]:
    """What a run's tuned weights are called: its attack or control, mitigations, and what is not as usual."""
    names = data["names"]
    return [names["attack"], *dict(data["recipe"]["mitigation"]), *(names[key] for key, usual in USUAL.items() if names[key] != usual)]


def answers(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Digest to answer, of all that the run took from the store."""
    found = {}
    for stage in data["stages"]:
        file = default_store() / "answer" / stage["key"] / "answers.jsonl"
        if stage["stage"] == "answer" and file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                found[digest_of(row["text"])[:DIGITS]] = row
    return found


if __name__ == "__main__":
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for part in ("train", "held_out"):
        for done in sorted((Path(sys.argv[1]) / "judge" / part).rglob("DONE")):
            rows += drawn(done.parent, part, seen)
    once = {(row["question_id"], row["answer"]): row for row in reversed(rows)}
    shuffled = sorted(once.values(), key=lambda row: digest_of([row["question_id"], row["answer"]]))
    Path(sys.argv[2]).write_text("".join(json.dumps({"id": at, **row}, ensure_ascii=False) + "\n" for at, row in enumerate(shuffled)), encoding="utf-8")
