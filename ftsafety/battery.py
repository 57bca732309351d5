"""What every mitigation has to keep, on the tiny model in seconds: for a plugin's own tests.

    @pytest.mark.parametrize("check", BATTERY, ids=lambda check: check.__name__)
    def test_battery(check, tmp_path):
        check(Trial(tmp_path, "short_leash"))

Off is plain tuning; on changes something; what is frozen stays as it is; how a step's rows are cut does not matter; a killed tuning goes on exactly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftsafety import stand_in
from ftsafety.align.sft import Sft
from ftsafety.card.asking import setting
from ftsafety.card.defense import class_of
from ftsafety.cell import Cell, lacking
from ftsafety.context import Context
from ftsafety.mitigation import Mitigation
from ftsafety.mitigation.base import TRAINING_HOOKS
from ftsafety.record import Run
from ftsafety.row import PLAIN, Row
from ftsafety.run import run
from ftsafety.store.publish import no_fault, set_fault
from ftsafety.testing import small_cell

ROUNDING = 1e-6
"""The most that sums in another order move a weight of the tiny model."""
SETTINGS = (
    "+attack=identity_shift", "judge=[refusal]", "strategy.lr=0.05", "tuning.optimiser=sgd", "tuning.batch_size=5", "tuning.epochs=2",
    "tuning.share_prefix=false", "tuning.checkpoint_seconds=0",
)  # fmt: skip
"""Four steps of five rows each. Without the shared prefix, which some mitigations do without, so that the last bits are theirs alone."""


ALIGNING = (
    "align=sft", "++align.tuning.optimiser=sgd", "++align.tuning.batch_size=3", "++align.tuning.epochs=1", "++align.tuning.schedule=constant",
    "++align.tuning.warmup_steps=0", "++align.tuning.clip=null", "++align.tuning.share_prefix=false", "++align.tuning.checkpoint_seconds=0",
)  # fmt: skip
"""The same of the alignment stage, for a mitigation that acts there."""


@dataclass
class Few(Sft):
    """A short alignment: six refusals and six answers, none of which a model has to give first."""

    def rows(self, context: Context) -> Sequence[Row]:
        found = {role: [row for row in stand_in.load(role) if "answer" in row][:6] for role in ("refused", "answered")}
        return [PLAIN.row(row["id"], row["question"], row["answer"], role) for role, rows in found.items() for row in rows]


@dataclass
class Trial:
    """A mitigation's option, tried under a strategy in a folder; ``more`` are further overrides."""

    folder: Path
    option: str
    strategy: str = "lora"
    more: Sequence[str] = ()
    runs: int = 0

    def cell(self, *overrides: str, on: bool = True, place: str = "") -> Cell:
        """The small cell with the mitigation, or the same without it. Each has a store of its own unless ``place`` names one."""
        self.runs += 1
        own = [f"mitigation=[{self.option}]", *self.cls.tiny, *self.more] if on else self._elsewhere
        aligning = ALIGNING if self.cls.stage == "align" else ()
        folder = self.folder / (place or str(self.runs))
        cell = small_cell(folder, f"strategy={self.strategy}", *SETTINGS, *aligning, *own, *overrides, benchmarks=["stand_in"])
        if cell.align is None:
            return cell
        return dataclasses.replace(cell, align=Few(**{**vars(cell.align), "strategy": cell.strategy}))

    @property
    def _elsewhere(self) -> list[str]:
        """Overrides of the trial that are not of the mitigation itself."""
        return [text for text in (*self.cls.tiny, *self.more) if f"mitigation.{self.option}." not in text]

    @property
    def cls(self) -> type[Mitigation]:
        """The class that the option names."""
        return class_of(self.option)

    @property
    def trains(self) -> bool:
        """Whether it has a say in the tuning itself."""
        return any(getattr(self.cls, hook) is not getattr(Mitigation, hook) for hook in TRAINING_HOOKS)

    def lacking(self) -> list[str]:
        """What the strategy does not offer that the mitigation needs."""
        return lacking(self.cls, type(small_cell(self.folder, f"strategy={self.strategy}").strategy))


@dataclass
class Watch(Mitigation):
    """Looks at what is frozen as the tuning starts and as it ends; acts after every other mitigation."""

    order = 1000
    needs = frozenset({"gradients"})
    moved: list[str] = field(default_factory=list, init=False)
    seen: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def begin(self, model: Any, context: Context) -> None:
        self.seen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}

    def finish(self, model: Any, context: Context) -> None:
        now = dict(model.named_parameters())
        self.moved = [name for name, tensor in self.seen.items() if not now[name].detach().equal(tensor)]


@dataclass
class WatchAligning(Watch):
    """The same in the alignment stage."""

    stage = "align"


class Killed(BaseException):
    """A process that was killed."""


def off_is_plain_tuning(trial: Trial) -> None:
    """With its off values: the same weights bit for bit, and the same answers."""
    off = trial.cls.off
    _require(bool(off), f"{trial.option} names no off-switch; set off = {{field: value}} on its class.")
    typed = [setting(f"mitigation.{trial.option}.{name}", value) for name, value in off.items()]
    plain, switched = run(trial.cell(on=False)), run(trial.cell(*typed))
    _require(plain.data["tuned_digest"] == switched.data["tuned_digest"], f"{trial.option} with {' '.join(typed)} tunes other weights than plain tuning.")
    _require(not _edited(switched), f"{trial.option} with {' '.join(typed)} edits the tuned weights.")
    _require(_answers(plain) == _answers(switched), f"{trial.option} with {' '.join(typed)} gives other answers than plain tuning.")


def on_changes_something(trial: Trial) -> None:
    """As it is tried here: other weights or other answers."""
    plain, on = run(trial.cell(on=False)), run(trial.cell())
    changed = plain.data["tuned_digest"] != on.data["tuned_digest"] or _edited(on) or _answers(plain) != _answers(on)
    _require(changed, f"{trial.option} changes neither a weight nor an answer; give it tiny = (OVERRIDES) with which it does.")


def frozen_stays_frozen(trial: Trial) -> None:
    """No parameter moves that is not trained."""
    cell, watch = trial.cell(), WatchAligning() if trial.cls.stage == "align" else Watch()
    run(dataclasses.replace(cell, mitigations={**cell.mitigations, "watch": watch}))
    _require(bool(watch.seen) or trial.strategy == "full", f"{trial.option} under {trial.strategy} freezes nothing, so this is no test.")
    _require(not watch.moved, f"{trial.option} moves what is frozen: {', '.join(watch.moved[:3])}.")


def cutting_a_step_changes_nothing(trial: Trial) -> None:
    """Rows of a step in one micro-batch or in several."""
    if not trial.cls.decomposes:
        return
    place = "++align." if trial.cls.stage == "align" else ""
    whole, parts = (tuned(trial, f"{place}tuning.micro_batch={rows}") for rows in (5, 2))
    _near(trial, whole, parts, "cut into micro-batches of 2")


def a_killed_tuning_goes_on_exactly(trial: Trial) -> None:
    """Killed after two of four steps, and run again."""
    whole = tuned(trial)

    def kill(point: str) -> None:
        if point == "step 2":
            set_fault(no_fault)
            raise Killed

    set_fault(kill)
    try:
        run(trial.cell(place="killed"))
        _require(False, f"{trial.option} tunes fewer than two steps, so this is no test.")
    except Killed:
        pass
    finally:
        set_fault(no_fault)
    again = tuned(trial, place="killed")
    _require(all(whole[name].equal(again[name]) for name in whole), f"{trial.option} goes on otherwise after it was killed; give back its state().")


def two_processes_agree_with_one(trial: Trial) -> None:
    """On two processes, each of which sees a part of a step's rows; takes half a minute. Not for the alignment stage: helpers build their own cell."""
    _near(trial, tuned(trial), tuned(trial, "trainer=ddp"), "on two processes")


BATTERY = (off_is_plain_tuning, on_changes_something, frozen_stays_frozen, cutting_a_step_changes_nothing, a_killed_tuning_goes_on_exactly)
"""The checks that take seconds; ``two_processes_agree_with_one`` is beside them."""


def tuned(trial: Trial, *overrides: str, place: str = "") -> dict[str, Any]:
    """The weights that the tuning saved, by name."""
    from safetensors.torch import load_file

    cell = trial.cell(*overrides, place=place)
    key = next(stage["key"] for stage in run(cell).data["stages"] if stage["stage"] == trial.cls.stage)
    return load_file(Path(str(cell.paths.store)) / trial.cls.stage / key / "weights.safetensors")


def _near(trial: Trial, one: dict[str, Any], other: dict[str, Any], how: str) -> None:
    furthest = max(float((one[name] - other[name]).abs().max()) for name in one)
    _require(
        furthest < ROUNDING, f"{trial.option} tunes other weights {how}: {furthest:.2g} apart; set decomposes = False if its objective is no sum over rows."
    )


def _edited(done: Run) -> bool:
    """Whether the tuned weights were edited afterwards."""
    return any(stage["changed"] for stage in done.data["stages"] if stage["stage"] == "repair")


def _answers(done: Run) -> list[tuple[str, ...]]:
    """What the last weights answered, by digest."""
    last = next(label for label in ("repaired", "tuned") if any(row["weights"] == label for row in done.verdicts))
    return [(row["question"], row["ask"], row["condition"], row["answer"]) for row in done.verdicts if row["weights"] == last]


def _require(kept: bool, sentence: str) -> None:
    if not kept:
        raise AssertionError(sentence)
