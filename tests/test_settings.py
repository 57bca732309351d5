"""Numbers of a run: how the learning rate moves, and which settings enter a key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ftsafety.errors import ConfigError
from ftsafety.settings import Decoding, Optimiser, Schedule, Tuning, default_store

SPEED = {"micro_batch": 2, "share_prefix": False, "checkpoint_seconds": 0.0}
IN_WINDOWS = {"max_length": 1024, "allow_cut": True, "shuffle": False, "epochs": 3}
RESULT = {
    "batch_size": 4, "optimiser": Optimiser.sgd, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "schedule": Schedule.cosine,
    "warmup_steps": 5, "clip": 1.0, "precision": "bf16-true",
}  # fmt: skip


@pytest.mark.parametrize(
    ("tuning", "total", "expected"),
    [
        (Tuning(schedule=Schedule.constant), 4, [1, 1, 1, 1]),
        (Tuning(schedule=Schedule.constant, warmup_steps=4), 6, [0.25, 0.5, 0.75, 1, 1, 1]),
        (Tuning(schedule=Schedule.linear), 4, [1, 0.75, 0.5, 0.25]),
        (Tuning(schedule=Schedule.linear, warmup_steps=2), 6, [0.5, 1, 1, 0.75, 0.5, 0.25]),
        (Tuning(schedule=Schedule.cosine), 4, [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),
        (Tuning(schedule=Schedule.cosine, warmup_steps=1), 3, [1, 1, 0.5]),
        (Tuning(schedule=Schedule.step, epochs=3), 6, [1, 1, 0.85, 0.85, 0.7225, 0.7225]),
        (Tuning(schedule=Schedule.step, epochs=2, gamma=0.5, warmup_steps=1), 4, [1, 1, 0.5, 0.5]),
    ],
    ids=lambda value: f"{value.schedule.value}, warm-up {value.warmup_steps}" if isinstance(value, Tuning) else None,
)
def test_schedules(tuning: Tuning, total: int, expected: list[float]) -> None:
    assert [tuning.rate_at(step, total) for step in range(total)] == pytest.approx(expected)


def test_step_schedule_falls_on_each_epoch() -> None:
    tuning = Tuning(schedule=Schedule.step, epochs=10)
    rates = [tuning.rate_at(step, 70) for step in range(70)]
    assert rates == pytest.approx([0.85**epoch for epoch in range(10) for _ in range(7)])


@pytest.mark.parametrize("change", [{name: value} for name, value in (SPEED | IN_WINDOWS).items()], ids=str)
def test_speed_and_what_windows_hold_stay_out_of_the_key(change: dict[str, object]) -> None:
    constant = Tuning(schedule=Schedule.constant)
    assert replace(constant, **change).recipe() == constant.recipe()  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{name: value} for name, value in RESULT.items()], ids=str)
def test_what_changes_weights_is_in_the_key(change: dict[str, object]) -> None:
    assert Tuning(**change).recipe() != Tuning().recipe()  # type: ignore[arg-type]


def test_every_setting_is_tested() -> None:
    assert {*SPEED, *IN_WINDOWS, *RESULT, "gamma"} == set(vars(Tuning()))


def test_gamma_and_epochs_matter_under_the_step_schedule_only() -> None:
    constant = Tuning(schedule=Schedule.constant)
    assert replace(constant, gamma=0.5).recipe() == constant.recipe()
    step = Tuning(schedule=Schedule.step)
    assert step.recipe() not in (Tuning(schedule=Schedule.step, gamma=0.5).recipe(), Tuning(schedule=Schedule.step, epochs=3).recipe())


def test_8_bit_states_without_bitsandbytes_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    Tuning(optimiser=Optimiser.adamw8bit).check("tuning")
    monkeypatch.setattr("ftsafety.settings.find_spec", lambda name: None)
    Tuning().check("tuning")
    with pytest.raises(ConfigError, match=r"align\.tuning\.optimiser=adamw8bit needs bitsandbytes, .* type pip install bitsandbytes, or align\.tuning\.opt"):
        Tuning(optimiser=Optimiser.adamw8bit).check("align.tuning")


def test_a_seed_is_in_an_answers_key_only_when_drawing() -> None:
    assert Decoding().recipe(0) == Decoding(batch=1, top_p=0.5).recipe(1)
    assert Decoding(max_new_tokens=8).recipe(0) != Decoding().recipe(0)
    drawn = Decoding(temperature=0.7)
    assert drawn.recipe(0) != drawn.recipe(1)
    assert drawn.recipe(0) != Decoding(temperature=0.7, top_p=0.9).recipe(0)


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FTSAFETY_STORE", str(tmp_path / "mine"))
    assert default_store() == tmp_path / "mine"
    monkeypatch.delenv("FTSAFETY_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_store() == tmp_path / "ftsafety"
