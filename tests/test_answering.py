"""Several sets of prompts decoded together: each set's answers lie where they would lie if it had been asked alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftsafety import decode
from ftsafety.context import Context
from ftsafety.mitigation import Mitigation
from ftsafety.model.tiny import Tiny
from ftsafety.row import PLAIN, Wording
from ftsafety.settings import Decoding
from ftsafety.stages import Answer, House, answer, answer_together
from ftsafety.weights import Weights

SETS: dict[str, Any] = {
    "birds": [PLAIN.ask(f"Which bird sings at {hour} o'clock?") for hour in (4, 5, 11)],
    "trees": [PLAIN.ask("What is an elm?"), PLAIN.ask("Name a tree with white bark that grows by the water.")],
    "rain": [PLAIN.ask("Will it rain?")],
}
SETTINGS = Decoding(max_new_tokens=6)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.at(tmp_path / "store")


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that are decoded."""
    sizes: list[int] = []
    real = decode.decode_batch

    def counted(module: Any, prompts: Any, **more: Any) -> Any:
        sizes.append(len(prompts))
        return real(module, prompts, **more)

    monkeypatch.setattr(decode, "decode_batch", counted)
    return sizes


class Polite(Mitigation):
    """Says please, and counts how often."""

    def __init__(self) -> None:
        self.asked = 0

    def ask(self, messages: Any, context: Context) -> Any:
        self.asked += 1
        return [*messages[:-1], {"role": "user", "content": f"Please. {messages[-1]['content']}"}]


def tiny(house: House) -> Weights:
    return house.loader.weights(Tiny())


def each(house: House) -> dict[str, list[Answer]]:
    return {name: answer(house, tiny(house), prompts, SETTINGS) for name, prompts in SETS.items()}


def test_together_is_as_alone(house: House, batches: list[int], tmp_path: Path) -> None:
    alone = each(House.at(tmp_path / "alone"))
    batches.clear()
    answer_together(house, tiny(house), SETS, SETTINGS)
    assert batches == [6]
    assert each(house) == alone and batches == [6]
    answer_together(house, tiny(house), SETS, SETTINGS)
    assert batches == [6]


def test_only_what_is_missing_is_decoded(house: House, batches: list[int]) -> None:
    birds = answer(house, tiny(house), SETS["birds"], SETTINGS)
    answer_together(house, tiny(house), SETS, SETTINGS)
    assert batches == [3, 3]
    assert each(house)["birds"] == birds and batches == [3, 3]


def test_one_missing_set_is_left_to_be_asked_alone(house: House, batches: list[int]) -> None:
    answer_together(house, tiny(house), {"birds": SETS["birds"], "none": []}, SETTINGS)
    assert batches == []


def test_an_answer_begins_with_the_prefill_and_is_kept_apart(house: House, batches: list[int]) -> None:
    answer_together(house, tiny(house), SETS, SETTINGS, prefill="Well, ")
    begun = answer(house, tiny(house), SETS["trees"], SETTINGS, prefill=["Well, "] * 2)
    assert batches == [6] and all(row.text.startswith("Well, ") for row in begun)
    answer(house, tiny(house), SETS["trees"], SETTINGS)
    assert batches == [6, 2]


def test_a_stopped_decoding_goes_on_with_the_same_batches(house: House, batches: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when one of the sets has been answered by somebody else in between."""
    small = Decoding(max_new_tokens=6, batch=3)
    counted = decode.decode_batch

    def stops(module: Any, prompts: Any, **more: Any) -> Any:
        if len(batches) == 1:
            raise KeyboardInterrupt
        return counted(module, prompts, **more)

    monkeypatch.setattr(decode, "decode_batch", stops)
    with pytest.raises(KeyboardInterrupt):
        answer_together(house, tiny(house), SETS, small)
    monkeypatch.setattr(decode, "decode_batch", counted)
    answer(house, tiny(house), SETS["rain"], small)
    answer_together(house, tiny(house), SETS, small)
    assert batches == [3, 1, 3]
    each(house)
    assert batches == [3, 1, 3]


def test_answers_that_were_pruned_are_decoded_again(house: House, batches: list[int]) -> None:
    import shutil

    answer_together(house, tiny(house), SETS, SETTINGS)
    shutil.rmtree(house.store.folder / "answer")
    answer_together(house, tiny(house), SETS, SETTINGS)
    assert batches == [6] and len(each(house)["birds"]) == 3


def test_a_wording_is_one_batch_in_a_measurement(house: House, batches: list[int]) -> None:
    from ftsafety.benchmark.stand_in import StandIn
    from ftsafety.benchmark.stand_in_allowed import StandInAllowed
    from ftsafety.measure import askings, measure

    benchmarks: Any = {"stand_in": StandIn(per_category=1), "stand_in_allowed": StandInAllowed(per_category=1)}
    plan = askings(benchmarks, {"polite": Wording(wrap="Please: {question}")})
    polite = Polite()
    asked = measure(house, tiny(house), "initial", benchmarks, plan, {}, Decoding(max_new_tokens=2), 0, [polite], Context(0))
    assert batches == [22, 22, 22] and polite.asked == 66
    assert [one.asking for one in asked] == plan and all(len(one.answers) == 11 for one in asked)
