"""A provider's defenses are a run's mitigations: they act on rows, training, questions and answers, and make it another model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ftsafety.errors import ConfigError
from ftsafety.provider.__main__ import compose_provider, made_of
from ftsafety.provider.settings import Provider
from ftsafety.record import Run
from ftsafety.run import run
from tests.helpers import small_cell
from tests.provider.sandbox import serving

ATTACK = "+attack=identity_shift"
DEFENSES = (
    "mitigation=[safety_mixing,system_prompt]",
    "mitigation.safety_mixing.count=4",
    "mitigation.safety_mixing.wording=plain",
    "mitigation.system_prompt.train=own",
)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    yield
    torch.set_num_threads(threads)


def answers(record: Run) -> list[str]:
    return [row["answer"] for row in record.verdicts if row["weights"] == "tuned"]


def test_a_provider_s_defense_is_the_run_s_mitigation(tmp_path: Path) -> None:
    with serving(tmp_path, "model=tiny", *DEFENSES) as running, running.working():
        closed = run(
            small_cell(tmp_path / "closed", "model=openai", f"model.base_url={running.url}", "model.poll_seconds=0.05", ATTACK, benchmarks=["stand_in"])
        )
    open_weights = run(small_cell(tmp_path / "open", ATTACK, *DEFENSES, benchmarks=["stand_in"]))
    assert answers(closed) == answers(open_weights)
    bare = run(small_cell(tmp_path / "open", ATTACK, benchmarks=["stand_in"]))
    assert answers(closed) != answers(bare)


def provider(*overrides: str) -> Provider:
    return made_of(compose_provider(["model=tiny", *overrides]))


def test_another_provider_is_another_model() -> None:
    others = (DEFENSES, ("strategy.lr=0.1",), ("tuning.epochs=3",), ("model.init_seed=1",), ("strategy=full",))
    names = [provider().name, *(provider(*words).name for words in others)]
    assert len(set(names)) == len(names) and all(name.startswith("stand-in.tiny-") for name in names)
    assert provider("port=1", "limits.jobs=1", "workers=2", "folder=x").name == names[0]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["port=-1"], "port=-1 is not possible"),
        (["workers=0"], "workers=0 is not possible"),
        (["limits.examples=0"], r"limits\.examples=0 is not possible"),
        (["+prot=1"], "prot does not exist; a provider takes .*Did you mean port"),
        (["trainer.devices=2"], "tunes each job on one device"),
        (["model=refuse_all", "mitigation=[system_prompt]"], "need a model whose weights are here"),
        (["model=openai"], "model=openai is hosted elsewhere"),
        (["strategy=api"], "here that is this provider itself"),
        (["strategy=prefix", "mitigation=[safety_mixing]", "mitigation.safety_mixing.count=-1"], "give 0 or more"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(overrides: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        provider(*overrides)
