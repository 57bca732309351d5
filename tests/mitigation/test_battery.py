"""Every mitigation that is installed, found by listing, keeps what a mitigation has to keep; and the battery finds one that does not."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftsafety.battery import (
    BATTERY,
    Trial,
    a_killed_tuning_goes_on_exactly,
    cutting_a_step_changes_nothing,
    frozen_stays_frozen,
    off_is_plain_tuning,
    on_changes_something,
    two_processes_agree_with_one,
)
from ftsafety.plugins import sources

LISTED = [option for source in sources() for option in source.options().get("mitigation", ())]
OFF_OR_ON = (off_is_plain_tuning, on_changes_something)


def trial_of(folder: Path, option: str, strategy: str, check: Callable[[Trial], None]) -> Trial:
    trial = Trial(folder, option, strategy)
    if missing := trial.lacking():
        pytest.skip(f"{strategy} does not offer {', '.join(missing)}")
    if check is two_processes_agree_with_one and trial.cls.stage == "align":
        pytest.skip("a helper builds its own cell, with a whole alignment")
    if check not in OFF_OR_ON and not trial.trains:
        pytest.skip("has no say in the tuning itself")
    return trial


@pytest.mark.parametrize("check", BATTERY, ids=lambda check: check.__name__)
@pytest.mark.parametrize("strategy", ["lora", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("option", LISTED)
def test_every_mitigation_keeps_it(tmp_path: Path, option: str, strategy: str, check: Callable[[Trial], None]) -> None:
    check(trial_of(tmp_path, option, strategy, check))


@pytest.mark.slow
@pytest.mark.parametrize("option", LISTED)
def test_two_processes_agree_with_one(tmp_path: Path, option: str) -> None:
    two_processes_agree_with_one(trial_of(tmp_path, option, "lora", two_processes_agree_with_one))


def test_all_of_core_and_plugins_are_listed() -> None:
    assert {"gentle", "safety_mixing", "system_prompt", "moderation_filter", "lisa", "safe_lora", "guard_output", "vaccine"} <= set(LISTED)


BREAKS = {
    "leaky": (off_is_plain_tuning, "tunes other weights than plain tuning"),
    "idle": (on_changes_something, "changes neither a weight nor an answer"),
    "frozen": (frozen_stays_frozen, "moves what is frozen"),
    "micro": (cutting_a_step_changes_nothing, "cut into micro-batches"),
    "forgetful": (a_killed_tuning_goes_on_exactly, "goes on otherwise after it was killed"),
}


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The option of ``tests/mitigation/site``, as if it were installed."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "site")
    importlib.invalidate_caches()
    sources.cache_clear()
    yield
    sources.cache_clear()


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("how", BREAKS)
def test_the_battery_finds_what_is_broken(tmp_path: Path, how: str) -> None:
    check, sentence = BREAKS[how]
    with pytest.raises(AssertionError, match=sentence):
        check(Trial(tmp_path / how, "broken", more=[f"mitigation.broken.how={how}"]))
    check(Trial(tmp_path / "sound", "broken"))


def test_there_is_a_broken_one_for_every_check() -> None:
    assert {check for check, _ in BREAKS.values()} == set(BATTERY)
