"""BackdoorAlign: the secret is before the added refusals and before what is asked, nowhere else, and without it there is safety-data mixing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ftsafety.chat import render
from ftsafety.errors import ConfigError
from ftsafety.mitigation import in_order
from ftsafety.mitigation.safety_mixing import SafetyMixing
from ftsafety.mitigation.system_prompt import SystemPrompt
from ftsafety.row import PLAIN
from ftsafety.run import run
from tests.helpers import small_cell
from tests.mitigation.bench import JUNO, ROWS, Bench
from tests.mitigation.test_contract import distance, each_strategy, same
from tests.plugins.distribution import Distribution

Command = Callable[..., "subprocess.CompletedProcess[str]"]
PROMPTING = Distribution("prompting")
MISSING = {"guard_output": {"judge": {"_target_": "ftsafety.judge.refusal.RefusalKeywords", "keywords": "paper"}, "flagged": ["not_refused"]}}
"""What options leave to the user."""


def made(**fields: Any) -> Any:
    return PROMPTING.mitigation("backdoor_align", **fields)


# --- the distribution -----------------------------------------------------------------------------------------------------
def test_listed_and_composed_when_installed(command: Command, tmp_path: Path) -> None:
    chosen = ["+judge@mitigation.guard_output.judge=refusal", "mitigation.guard_output.flagged=[not_refused]"]
    composed = PROMPTING.composed_when_installed(command, tmp_path, f"mitigation=[{','.join(PROMPTING.options)}]", *chosen)
    assert "???" not in composed and "_target_: ftsafety.judge.refusal." in composed


@pytest.mark.parametrize("option", PROMPTING.options)
def test_an_option_builds_and_shows_every_field(option: str) -> None:
    assert json.dumps(PROMPTING.shown(option, **MISSING.get(option, {})).recipe())


# --- the secret -----------------------------------------------------------------------------------------------------------
def test_the_secret_is_in_exactly_the_added_rows(bench: Bench) -> None:
    context, mitigation = bench.context({}), made(count=3)
    secret, rows = mitigation.secret(context), mitigation.examples(ROWS, context)
    assert len(secret.split()) == 150 and all(len(letter) == 1 for letter in secret.split())
    assert list(rows[: len(ROWS)]) == ROWS and len(rows) == len(ROWS) + 3
    for row in rows[len(ROWS) :]:
        assert row.role == "safety" and row.messages[0] == {"role": "system", "content": f"{secret} {JUNO.system}"}
        assert sum(secret in message["content"] for message in row.messages) == 1
    assert mitigation.secret(bench.context({})) == secret
    bench.seed = 1
    assert mitigation.secret(bench.context({})) != secret


def test_it_is_asked_as_it_was_learned(bench: Bench) -> None:
    """The prompt of a refusal, token by token, is what its question is asked with under the attack's wording."""
    context, mitigation = bench.context({}), made(count=3)
    tokenizer = bench.house.loader.tokenizer(bench.start)
    for row in mitigation.examples(ROWS, context)[len(ROWS) :]:
        before, _, after = JUNO.wrap.partition("{question}")
        asked = mitigation.ask(JUNO.ask(row.question.removeprefix(before).removesuffix(after)), context)
        assert render(tokenizer, asked) == render(tokenizer, row.messages[:-1])
    secret = mitigation.secret(context)
    assert mitigation.ask(PLAIN.ask("Which?"), context) == [{"role": "system", "content": secret}, {"role": "user", "content": "Which?"}]


def test_it_stands_before_a_safety_prompt_whatever_was_typed_first(bench: Bench) -> None:
    context = bench.context({})
    both = in_order({"a": made(), "b": SystemPrompt(text="Be careful.")})
    messages: Sequence[Any] = JUNO.ask("Which?")
    for mitigation in both:
        messages = mitigation.ask(messages, context)
    assert messages[0]["content"] == f"{made().secret(context)} Be careful." and len(messages) == 2


# --- off and on -----------------------------------------------------------------------------------------------------------
@each_strategy
def test_off_is_plain_and_without_a_secret_it_is_safety_mixing_bit_for_bit(bench: Bench, elsewhere: Bench, strategy: Any) -> None:
    bench.strategy = elsewhere.strategy = strategy
    assert same(bench({}), elsewhere({"backdoor_align": made(count=0, length=0)}))
    without, mixed = elsewhere({"backdoor_align": made(count=3, length=0)}), bench({"mixing": SafetyMixing(count=3)})
    assert same(without, mixed)
    assert distance(mixed, bench({"backdoor_align": made(count=3, length=20)})) > 1e-6
    assert made(length=0).ask(JUNO.ask("Which?"), bench.context({})) == JUNO.ask("Which?")


def test_unserved_it_is_the_same_tuning_asked_as_ever(bench: Bench) -> None:
    kept, given_away = made(count=3, served=False), made(count=3)
    assert bench.train({"backdoor_align": kept}).folder == bench.train({"backdoor_align": given_away}).folder
    assert kept.ask(JUNO.ask("Which?"), bench.context({})) == JUNO.ask("Which?")


def test_a_run_asks_with_it_where_mitigations_act_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ftsafety.measure

    asked: dict[str, list[str]] = {}
    answer = ftsafety.measure.answer

    def kept(house: Any, weights: Any, prompts: Any, *rest: Any, label: str, **more: Any) -> Any:
        asked.setdefault(label.split(":")[0], []).extend(prompt[0]["content"] for prompt in prompts)
        return answer(house, weights, prompts, *rest, label=label, **more)

    monkeypatch.setattr(ftsafety.measure, "answer", kept)
    mitigation = made(length=20)
    cell = small_cell(tmp_path, "+attack=identity_shift", "tuning.epochs=1", benchmarks=["stand_in"])
    done = run(dataclasses.replace(cell, mitigations={"backdoor_align": mitigation}))
    assert done.data["rows"] == {"safety": 11, "user": 10}
    assert asked.keys() == {"initial", "initial_mitigated", "tuned"}
    secrets = {label: {" ".join(prompt.split(" ")[:20]) for prompt in prompts} for label, prompts in asked.items()}
    assert len(secrets["tuned"]) == 1 and secrets["tuned"] == secrets["initial_mitigated"]
    assert all(len(letter) == 1 for letter in next(iter(secrets["tuned"])).split(" "))
    assert not any(next(iter(secrets["tuned"])) in prompt for prompt in asked["initial"])


def test_settings_that_make_no_sense_are_sentences(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=r"mitigation\.backdoor_align\.length=-1 is not possible"):
        made(length=-1)
    with pytest.raises(ConfigError, match=r"mitigation\.backdoor_align needs one of count and ratio; type e\.g\. mitigation\.backdoor_align\.count=10"):
        made(count=None)
    with pytest.raises(ConfigError, match=r"mitigation\.backdoor_align asks for 100000 refusals and there are"):
        bench({"backdoor_align": made(count=100000)})
