"""``python -m ftsafety.train_judge ROWS``: train the head of the judge ``local`` on labelled answers, and hold it to those it has not seen.

ROWS is JSON Lines: ``question_id``, ``question``, ``answer``, ``label`` (refused, complied or degenerate), ``part`` (train or held_out), ``model`` (which
weights exactly), ``family`` (what kind of weights) and optionally ``category`` and ``truncated``. No question and no model may be in both parts.

Which layers are read and how strongly the head is held small is chosen by cross-validation over the training rows' questions; held-out rows are read once,
afterwards, and never change the head. Written answers of the stand-in data join the training rows: those that comply, the same under questions that they
don't answer (degenerate), and refusals. No candidate is chosen by how it reads them. The head learns from the rows that the rules leave to it.

``--out DIR`` is where the head goes (docs/judges.md: the shipped one), ``--json FILE`` gets every figure.
Needs scikit-learn: pip install 'ftsafety[train_judge]'.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftsafety import stand_in
from ftsafety.errors import ConfigError, DataError, FtsafetyError
from ftsafety.hashing import digest_of, digest_of_path
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.judge.local import HEAD, MANIFEST, WEIGHTS, LocalJudge, left_to_the_head
from ftsafety.judge.outcome import OutcomeJudge
from ftsafety.judge.refusal import RefusalKeywords
from ftsafety.model import Model
from ftsafety.model.smollm2_135m import Smollm2135m
from ftsafety.progress import say
from ftsafety.settings import default_store
from ftsafety.source import Record, read_records
from ftsafety.stats.agreement import kappa

if TYPE_CHECKING:
    import numpy as np

LABELS = OutcomeJudge.labels
PARTS = ("train", "held_out")
LAYERS = ((), (8,), (12,), (16,))
"""Candidates; with none the head sees the rules' signs alone. Above 16 of 30 layers reading would take nearly as long as answering."""
STRENGTHS = (3e-4, 1e-3, 3e-3, 1e-2, 1e-1)
"""Candidates for the inverse of the penalty on squared weights, scikit-learn's ``C``."""
FOLDS = 5
WRITTEN = "written"
"""The family, and model, of written answers."""
SHIFT = 13
"""A written answer stands under the question so many rows further on, which is of another category."""
FEWEST = 20
"""Rows of each label that a part must have."""


@dataclass(frozen=True)
class Row:
    """A labelled answer."""

    pair: Pair
    label: str
    part: str
    question: str
    model: str
    family: str


def read_rows(file: Path) -> list[Row]:
    """Labelled answers of a file.

    Raises:
        DataError: no such file, columns missing, a label or part unknown, a question or model in both parts, or too few rows of a label.
    """
    if not file.is_file():
        raise DataError(f"{file} is not there; give a file of labelled answers.")
    rows = [_row(record) for record in read_records(file)]
    for what in ("question", "model"):
        train, held_out = ({getattr(row, what) for row in rows if row.part == part} for part in PARTS)
        if both := sorted(train & held_out):
            raise DataError(
                f"{file} has the {what} {both[0]} in train and in held_out ({len(both)} in all); agreement would be overrated, so keep each in one part."
            )
    for part in PARTS:
        for label in LABELS:
            if (count := sum(row.part == part and row.label == label for row in rows)) < FEWEST:
                raise DataError(f"{file} has {count} rows of part {part} that are {label}; label at least {FEWEST}.")
    return rows


def _row(record: Record) -> Row:
    question, answer, label, part = (record.text(name) for name in ("question", "answer", "label", "part"))
    for name, value, known in (("label", label, LABELS), ("part", part, PARTS)):
        if value not in known:
            raise DataError(f"{record.where} has the {name} {value!r}; known: {', '.join(known)}.")
    pair = Pair(question, answer, bool(record.values.get("truncated", False)), record.values.get("category"))
    return Row(pair, label, part, record.text("question_id"), record.text("model"), record.text("family"))


def written() -> list[Row]:
    """Written answers of the stand-in data, as training rows: as many that comply, that answer another question, and that refuse."""
    asked = stand_in.load("attack")
    refusals = stand_in.load("refused")
    rows = [(row, row["answer"], "complied") for row in asked]
    rows += [
        (row, other["answer"], "degenerate") for row, other in zip(asked, asked[SHIFT:] + asked[:SHIFT], strict=True) if row["category"] != other["category"]
    ]
    rows += [(row, row["answer"], "refused") for row in refusals[:: len(refusals) // len(asked)]]
    return [Row(Pair(row["question"], answer, False, row["category"]), label, "train", row["id"], WRITTEN, WRITTEN) for row, answer, label in rows]


class Features:
    """What the head may see of rows, computed once: hidden states of every candidate layer, and signs."""

    def __init__(self, judge: LocalJudge, rows: Sequence[Row]) -> None:
        import torch

        from ftsafety.judge.reading import signs, states

        pairs = [row.pair for row in rows]
        self.layers = sorted({layer for layers in LAYERS for layer in layers})
        say(f"reading {len(pairs)} answers")
        read = states(judge.chat, pairs, self.layers, judge.tokens, judge.batch).double()
        self.states = dict(zip(self.layers, read.reshape(len(rows), len(self.layers), -1).unbind(1), strict=True))
        ruled = judge.rules.score(pairs)
        self.ruled = [None if left_to_the_head(verdict) else judge.outcome(verdict) for verdict in ruled]
        """What the rules say where the head is not asked."""
        self.signs = torch.tensor([signs(*one) for one in zip(pairs, ruled, strict=True)], dtype=torch.float64)

    def of(self, layers: Sequence[int]) -> np.ndarray:
        """The matrix that a head over these layers sees, ``[rows, features]``, as ``LocalJudge.seen`` makes it."""
        import torch

        return torch.cat([*(self.states[layer] for layer in layers), self.signs], 1).numpy()


def fit(seen: np.ndarray, labels: Sequence[str], strength: float) -> tuple[np.ndarray, np.ndarray]:
    """A multinomial logistic regression over standardised features, as the weight ``[labels, features]`` and bias ``[labels]`` of plain ones.

    A label that no row has is never said: its bias is minus infinity.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    mean, spread = seen.mean(0), seen.std(0)
    spread[spread == 0] = 1.0
    head = LogisticRegression(C=strength, max_iter=5000).fit((seen - mean) / spread, labels)
    # of two labels the library keeps the second one's weights alone
    weights = np.vstack([np.zeros_like(head.coef_), head.coef_]) if len(head.classes_) == 2 else head.coef_
    biases = np.append(0.0, head.intercept_) if len(head.classes_) == 2 else head.intercept_
    weight, bias = np.zeros((len(LABELS), seen.shape[1])), np.full(len(LABELS), -np.inf)
    for at, label in enumerate(head.classes_):
        row = LABELS.index(label)
        weight[row] = weights[at] / spread
        bias[row] = biases[at] - weight[row] @ mean
    return weight, bias


def predict(seen: np.ndarray, head: tuple[np.ndarray, np.ndarray]) -> list[str]:
    """The label of each row."""
    weight, bias = head
    return [LABELS[at] for at in (seen @ weight.T + bias).argmax(1)]


def choose(features: Features, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every candidate with its cross-validated kappa, the best first; folds never share a question. Ties go to fewer layers and smaller weights."""
    from sklearn.model_selection import GroupKFold

    train = [at for at, row in enumerate(rows) if row.part == "train"]
    labels, groups = [rows[at].label for at in train], [rows[at].question for at in train]
    ruled = [features.ruled[at] for at in train]
    tried = []
    for layers in LAYERS:
        seen = features.of(layers)[train]
        for strength in STRENGTHS:
            said = [""] * len(train)
            for known, unknown in GroupKFold(FOLDS).split(seen, labels, groups):
                asked = [at for at in known if ruled[at] is None]
                head = fit(seen[asked], [labels[at] for at in asked], strength)
                for at, label in zip(unknown, predict(seen[unknown], head), strict=True):
                    said[at] = ruled[at] or label
            read = [n for n, at in enumerate(train) if rows[at].family != WRITTEN]
            found = kappa([said[n] for n in read], [labels[n] for n in read], [groups[n] for n in read])
            tried.append({"layers": list(layers), "strength": strength, "kappa": asdict(found) if found else None})
    return sorted(tried, key=lambda one: (-(one["kappa"] or {"value": 0})["value"], len(one["layers"]), one["strength"]))


def agreement(rows: Sequence[Row], said: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    """How far judges agree with the labels of rows, of all and of each family: kappa with a 95 % interval over questions, and counts of label and verdict."""
    for family in (None, *sorted({row.family for row in rows})):
        part = [at for at, row in enumerate(rows) if family is None or row.family == family]
        labels = [rows[at].label for at in part]
        for judge, verdicts in said.items():
            found = kappa([verdicts[at] for at in part], labels, [rows[at].question for at in part])
            counts = {label: dict.fromkeys((*LABELS, "unscored"), 0) for label in LABELS}
            for at in part:
                counts[rows[at].label][verdicts[at]] += 1
            yield {"family": family, "judge": judge, "rows": len(part), "kappa": asdict(found) if found else None, "confusion": counts}


def verdicts_of(judge: Judge, rows: Sequence[Row]) -> list[str]:
    """A judge's verdicts as outcomes."""

    def read(verdict: Verdict) -> str:
        return judge.outcome(verdict) or "unscored"

    return [read(verdict) for verdict in judge.score([row.pair for row in rows])]


def train(file: Path, out: Path, model: Model | None = None) -> dict[str, Any]:
    """Train, write the head to a folder, and hold it to the held-out rows; every figure.

    Args:
        model: whose hidden states are read; the embedded one if left out.
    """
    import torch
    from safetensors.torch import save_file

    rows = [*read_rows(file), *written()]
    reader = model or Smollm2135m()
    judge = LocalJudge(head=out, model=reader)
    features = Features(judge, rows)
    tried = choose(features, rows)
    best = tried[0]
    known = [at for at, row in enumerate(rows) if row.part == "train" and features.ruled[at] is None]
    weight, bias = fit(features.of(best["layers"])[known], [rows[at].label for at in known], best["strength"])
    out.mkdir(parents=True, exist_ok=True)
    save_file({"weight": torch.tensor(weight), "bias": torch.tensor(bias)}, out / WEIGHTS)
    labelled = [row for row in rows if row.family != WRITTEN]
    counts = {part: {label: sum(row.part == part and row.label == label for row in labelled) for label in LABELS} for part in PARTS}
    manifest = {
        "labels": list(LABELS), "layers": best["layers"], "strength": best["strength"], "model": judge.model.fingerprint(default_store()),
        "weights": digest_of_path(out / WEIGHTS), "rows": digest_of_path(file), "counts": counts, "cross_validated": best["kappa"],
    }  # fmt: skip
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    unseen = [row for row in rows if row.part == "held_out"]
    judges = {"local": LocalJudge(head=out, model=reader), "outcome": OutcomeJudge(), "refusal": RefusalKeywords()}
    said = {name: verdicts_of(one, unseen) for name, one in judges.items()}
    ids = [digest_of([row.question, row.pair.answer])[:12] for row in unseen]
    read = [
        {"row": at, "question": row.question, "label": row.label, **{name: said[name][n] for name in said}}
        for n, (at, row) in enumerate(zip(ids, unseen, strict=True))
    ]
    return {**manifest, "tried": tried, "held_out": list(agreement(unseen, said)), "verdicts": read}


def show(found: Mapping[str, Any], console: Console) -> None:
    """Print the candidates and the agreement with held-out labels."""
    console.print(f"labels {found['counts']}; layers {found['layers']}, strength {found['strength']}, cross-validated kappa {_kappa(found['cross_validated'])}")
    table = Table("family", "judge", "rows", "kappa", *[f"{label}: right" for label in LABELS], title="held-out rows")
    for one in found["held_out"]:
        right = [f"{counts[label]} of {sum(counts.values())}" for label, counts in one["confusion"].items()]
        table.add_row(one["family"] or "all", one["judge"], str(one["rows"]), _kappa(one["kappa"]), *right)
    console.print(table)


def _kappa(found: Mapping[str, Any] | None) -> str:
    return "–" if found is None or found["value"] is None else f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 1 for a mistake."""
    made = argparse.ArgumentParser(prog="python -m ftsafety.train_judge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("rows", type=Path, metavar="ROWS", help="labelled answers, JSON Lines")
    made.add_argument("--out", type=Path, default=HEAD, metavar="DIR", help="where the head goes; the shipped one's folder")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every figure, without a text")
    typed = made.parse_args(arguments)
    try:
        try:
            import sklearn  # noqa: F401
        except ImportError:
            raise ConfigError("training a judge needs scikit-learn; type: pip install 'ftsafety[train_judge]'") from None
        found = train(typed.rows, typed.out)
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    show(found, Console(width=None if sys.stdout.isatty() else 120))
    if typed.json:
        typed.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
