"""``dry_run=true``: what a run or a sweep would do, before anything is spent: cells, optimiser steps, tokens, memory and time.

Rows are drawn and encoded for real, so steps and tokens are exact, except where rows hold the model's own answers: those are not known
yet, and a short text stands for each. Nor is known which rows an attack chooses by the model's weights: as many others stand for them.
Memory and time are estimates; the module's constants say from what they were made.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ftsafety.cell import Cell
from ftsafety.context import Context, Inspection
from ftsafety.errors import FtsafetyError
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.mitigation import Mitigation
from ftsafety.model.hosted import BYTES_A_TOKEN, Hosted, likely_tokens
from ftsafety.row import PLAIN, Row
from ftsafety.settings import default_store
from ftsafety.store.verdicts import books_of

OWN_ANSWER = "These words stand where the model's own answer to this question will be once it has been asked, which is about so long."
TUNING_SHARE, DECODING_SHARE = 0.7, 0.4
"""Share of the machine's matrix speed that tuning and decoding reach, as seen with the embedded model on two cores (an alignment of 927 steps, and
88 short answers at once); shared beginnings and short answers make a run faster than that. Good to a factor of two or three."""
ACTIVATION_BYTES = 34
"""Bytes of activations per token, layer and unit of width in 16-bit arithmetic (Korthikanti et al. 2022, equation 1 without attention)."""
ANSWER_SHARE = 0.5
"""Answers are about half as long as they may be."""
GIB = 2**30


@dataclass
class Stage:
    """One stage's size: ``steps`` optimiser steps over ``tokens`` (of which ``labelled`` are learned), or ``answers`` of at most ``new_tokens``."""

    name: str
    steps: int = 0
    tokens: int = 0
    labelled: int = 0
    answers: int = 0
    new_tokens: int = 0
    gib: float = 0.0
    verdicts: int = 0
    """Verdicts of judges that cost money."""
    usd: float = 0.0
    """What a service that hosts the model takes for it, about, where its prices are given."""
    operations: float = 0.0
    """Multiplications and additions; divided by what the machine does in a second they give the estimate of time."""


@dataclass
class Plan:
    """A cell's stages; ``finished`` when its record is there already."""

    cell: str
    folder: Path
    finished: bool
    stages: list[Stage] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Optimiser steps over all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def answers(self) -> int:
        """Answers over all stages."""
        return sum(stage.answers for stage in self.stages)

    @property
    def verdicts(self) -> int:
        """Verdicts that cost money, over all stages."""
        return sum(stage.verdicts for stage in self.stages)

    @property
    def usd(self) -> float:
        """What a service that hosts the model takes, over all stages."""
        return sum(stage.usd for stage in self.stages)

    @property
    def gib(self) -> float:
        """The largest stage's memory."""
        return max((stage.gib for stage in self.stages), default=0.0)

    @property
    def operations(self) -> float:
        """Over all stages."""
        return sum(stage.operations for stage in self.stages)


@dataclass(frozen=True)
class _Size:
    """A model's size, read off a skeleton without weights."""

    parameters: int
    trainable: int
    bytes_each: int
    hidden: int
    layers: int
    vocabulary: int


def plan(cell: Cell) -> Plan:
    """The plan of one cell; no weights are loaded and nothing is written but a model's tokenizer, where it has to be fetched."""
    store = Path(cell.paths.store) if cell.paths.store else default_store()
    folder = Path(cell.paths.runs) / cell.folder_name
    made = Plan(cell.id, folder, (folder / "DONE").exists())
    tokenizer = cell.model.load_tokenizer(store) if cell.model.local else None
    size = _size(cell, store) if cell.model.local else None
    training = {stage: [mitigation for mitigation in cell.ordered_mitigations if mitigation.stage == stage] for stage in ("align", "tune")}
    if cell.align and size and tokenizer:
        context = _context(cell.align.seed)
        rows = _mitigated(cell.align.rows(context), training["align"], context)
        visits = [cell.align.visit, *[mitigation.visit for mitigation in training["align"]]]
        made.stages.append(_tuning("align", cell, rows, cell.align.tuning, tokenizer, size, visits))
    states = ["initial"]
    if cell.attack and ((size and tokenizer) or isinstance(cell.model, Hosted)):
        from ftsafety.stages import encoded_whole

        context = _context(cell.seed)
        context.wordings = cell.attack.asks()
        inspections: list[Inspection] = []
        context.encoded = partial(encoded_whole, cell.model, lambda: tokenizer)
        context.inspect = lambda spec: inspections.append(spec) or spec.unknown  # type: ignore[func-returns-value]
        rows = _mitigated(cell.attack.examples(context), training["tune"], context)
        visits = [mitigation.visit for mitigation in training["tune"]]
        made.stages += [_inspecting(spec, size) for spec in inspections if size]
        made.stages.append(_tuning("tune", cell, rows, cell.tuning, tokenizer, size, visits) if size else _ordered(cell, rows))
        states += _states(cell)
    made.stages += [_asking(state, cell, tokenizer, size) for state in states]
    if cell.controls:
        for name, twin in cell.twins().items():
            inner = plan(twin)
            made.stages += [_renamed(stage, f"{name}: {stage.name}") for stage in inner.stages if stage.name not in ("align", "initial")]
    return made


def _mitigated(rows: Sequence[Row], mitigations: Sequence[Mitigation], context: Context) -> Sequence[Row]:
    for mitigation in mitigations:
        rows = mitigation.examples(rows, context)
    return rows


def show(plans: Sequence[Plan], console: Console | None = None) -> None:
    """The plans of a run or of a sweep's cells, with their sum and, where there is a model, estimates of memory and time."""
    out = console or Console()
    speed = matrix_speed() if any(one.operations for one in plans) else 0.0
    if len(plans) == 1:
        _stages(plans[0], out, speed)
    else:
        table = _table(f"{len(plans)} cells", ["cell", "steps", "answers", "memory, GiB", "time", ""])
        for one in plans:
            done = "finished" if one.finished else ""
            table.add_row(str(one.folder), str(one.steps), str(one.answers), f"{one.gib:.1f}", _clock(one.operations / speed if speed else 0), done)
        out.print(table)
    left = [one for one in plans if not one.finished]
    out.print(
        f"{len(left)} of {len(plans)} cells to do: {sum(one.steps for one in left)} optimiser steps and {sum(one.answers for one in left)} answers at most; "
        "stages that cells share are computed once, so it may be less. Memory and time are rough: right to a factor of two or three.",
        highlight=False,
    )
    if usd := sum(one.usd for one in left):
        out.print(f"The service that hosts the model takes about ${usd:.2f}, at the prices given and where {BYTES_A_TOKEN} bytes are a token.", highlight=False)
    if paid := sum(one.verdicts for one in left):
        out.print(f"At most {paid} verdicts that cost money; those that the store holds cost nothing again.", highlight=False)


def _stages(one: Plan, out: Console, speed: float) -> None:
    table = _table(f"{one.folder}{' (finished)' if one.finished else ''}", ["stage", "steps", "tokens", "learned", "answers", "memory, GiB", "time"])
    for stage in one.stages:
        numbers = [stage.steps, stage.tokens, stage.labelled, stage.answers]
        seconds = stage.operations / speed if speed else 0
        table.add_row(stage.name, *[str(number or "") for number in numbers], f"{stage.gib:.1f}" if stage.gib else "", _clock(seconds))
    out.print(table)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, title=title, title_justify="left", pad_edge=False, padding=(0, 1), header_style="dim")
    for at, column in enumerate(columns):
        table.add_column(column, justify="right" if at else "left", overflow="fold", no_wrap=len(columns) > 6 and not at)
    return table


def _clock(seconds: float) -> str:
    if not seconds:
        return ""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def matrix_speed() -> float:
    """Operations per second of a matrix product on the machine's fastest device, measured for a quarter of a second."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = 4096 if device == "cuda" else 512
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if device == "cuda" else torch.float32)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < 0.25 or done < 3:
        a @ a
        done += 1
        if device == "cuda":
            torch.cuda.synchronize()
    return done * 2 * side**3 / (time.perf_counter() - started)


def _context(seed: int) -> Context:
    from ftsafety import stand_in

    def rows(role: str) -> Sequence[Row]:
        return [PLAIN.row(row["id"], row["question"], row["answer"], role) for row in stand_in.load("refused")]

    def verdicts(judge: Judge, pairs: Sequence[Pair]) -> list[Verdict]:
        # whoever is paid is not asked, and nothing is known of these rows yet
        return [Verdict(None)] * len(pairs) if _paid([judge]) else judge.score(pairs)

    return Context(seed, rows_by_role=rows, answer=lambda prompts: [OWN_ANSWER] * len(prompts), verdicts=verdicts)


def _paid(judges: Iterable[Judge]) -> set[str]:
    """The books of the judges that cost money, members of panels among them."""
    return set(books_of(one for judge in judges for one in judge.members().values() or [judge] if one.costly))


def _size(cell: Cell, store: Path) -> _Size:
    """What the model weighs and how much of it the strategy moves; a skeleton on the meta device has no weights."""
    import torch
    from transformers import AutoModelForCausalLM

    config = cell.model.config(store)
    if config is None:
        raise FtsafetyError(f"model={cell.names.get('model', type(cell.model).__name__)} does not say how large it is, so its run can't be planned.")
    with torch.device("meta"):
        module = AutoModelForCausalLM.from_config(config)
    parameters = sum(p.numel() for p in module.parameters())
    module.requires_grad_(False)
    moved = cell.strategy.attach(module, 0) if cell.attack else module
    trainable = sum(p.numel() for p in moved.parameters() if p.requires_grad)
    dtype = getattr(torch, getattr(cell.model, "dtype", "float32"))
    return _Size(parameters, trainable, dtype.itemsize, config.hidden_size, config.num_hidden_layers, config.vocab_size)


def _tuning(name: str, cell: Cell, rows: Sequence[Row], tuning: Any, tokenizer: Any, size: _Size, visits: Sequence[Any]) -> Stage:
    from ftsafety.stages import plan_windows

    windows = plan_windows(rows, tuning, tokenizer, _context(cell.seed), visits)
    encoded = [row for window in windows for row in window]
    tokens, labelled = sum(len(row.ids) for row in encoded), sum(row.labelled for row in encoded)
    longest = max(len(row.ids) for row in encoded)
    at_once = longest * (tuning.micro_batch or min(tuning.batch_size, 16))
    # a moving weight has a gradient and two moments of its own size; 32-bit arithmetic doubles the activations
    states = size.trainable * 3 * size.bytes_each
    activations = at_once * size.layers * size.hidden * ACTIVATION_BYTES * (size.bytes_each / 2)
    scores = at_once * labelled / tokens * size.vocabulary * 4 * 2
    operations = tokens * (4 * size.parameters + 2 * size.trainable)
    gib = (size.parameters * size.bytes_each + states + activations + scores) / GIB
    return Stage(name, len(windows), tokens, labelled, gib=gib, operations=operations / TUNING_SHARE)


def _inspecting(spec: Inspection, size: _Size) -> Stage:
    """Rows that the start model reads, one way or both."""
    tokens, both = sum(len(row.ids) for row in spec.rows), 3 if spec.backward else 1
    # a gradient of every weight, and another to compare it with
    gib = size.parameters * size.bytes_each * both / GIB
    return Stage(f"inspect ({spec.name})", tokens=tokens, gib=gib, operations=2 * size.parameters * tokens * both / TUNING_SHARE)


def _ordered(cell: Cell, rows: Sequence[Row]) -> Stage:
    """A tuning at a service, whose tokens can only be guessed."""
    assert isinstance(cell.model, Hosted)
    tokens = likely_tokens(message for row in rows for message in row.messages) * cell.tuning.epochs
    steps = cell.tuning.epochs * -(-len(rows) // cell.tuning.batch_size)
    return Stage("tune", steps, tokens, usd=cell.model.usd_of(tokens, 0, 0) or 0.0)


def _asking(state: str, cell: Cell, tokenizer: Any, size: _Size | None) -> Stage:
    from ftsafety.chat import render
    from ftsafety.measure import askings

    asked = askings(cell.benchmarks, cell.attack.asks() if cell.attack else {"plain": PLAIN})
    prompts = [asking.wording.ask(question.text) for asking in asked for question in cell.benchmarks[asking.benchmark].questions()]
    paid = sum(
        len(_paid(judge for judge in cell.judges.values() if judge.measures(benchmark.kind))) * len(benchmark.questions())
        for benchmark in (cell.benchmarks[asking.benchmark] for asking in asked)
    )
    if isinstance(cell.model, Hosted):
        read, new = likely_tokens(message for prompt in prompts for message in prompt), len(prompts) * cell.decoding.max_new_tokens
        usd = cell.model.usd_of(0, read, round(new * ANSWER_SHARE)) or 0.0
        return Stage(state, tokens=read, answers=len(prompts), new_tokens=new, verdicts=paid, usd=usd)
    if size is None or tokenizer is None:
        return Stage(state, answers=len(prompts), verdicts=paid)
    lengths = [len(render(tokenizer, prompt)) for prompt in prompts]
    new = cell.decoding.max_new_tokens
    read, said = sum(lengths), len(prompts) * new * ANSWER_SHARE
    cache = 2 * size.layers * size.hidden * size.bytes_each * (max(lengths) + new) * min(cell.decoding.batch, len(prompts))
    operations = 2 * size.parameters * (read / TUNING_SHARE + said / DECODING_SHARE)
    gib = (size.parameters * size.bytes_each + cache) / GIB
    return Stage(state, tokens=read, answers=len(prompts), new_tokens=len(prompts) * new, gib=gib, verdicts=paid, operations=operations)


def _states(cell: Cell) -> list[str]:
    """The further weights that a run with an attack asks."""
    from ftsafety.mitigation import overrides

    mitigations = cell.ordered_mitigations
    found = ["tuned"]
    if any(overrides(mitigation, "ask", "logits", "answer") for mitigation in mitigations):
        found.insert(0, "initial_mitigated")
    if any(overrides(mitigation, "repair") for mitigation in mitigations):
        found.append("repaired")
    if cell.controls and cell.model.raw():
        found.append("raw")
    return found


def _renamed(stage: Stage, name: str) -> Stage:
    from dataclasses import replace

    return replace(stage, name=name)
