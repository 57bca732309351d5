"""MT-Bench: both turns from both published forms, the second with the model's own first answer, rated with all that came before."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ftsafety import measure, stats
from ftsafety.benchmark.mt_bench import MtBench
from ftsafety.benchmark.rated import Rated
from ftsafety.context import Context
from ftsafety.errors import ConfigError, DataError, FtsafetyError
from ftsafety.judge import Judge, Pair, Verdict
from ftsafety.judge.outcome import OutcomeJudge
from ftsafety.judge.rating import RatingJudge, Turn
from ftsafety.measure import Asking, verdict_rows
from ftsafety.mitigation import Mitigation
from ftsafety.model.tiny import Tiny
from ftsafety.report import write_report
from ftsafety.report.reading import Reading
from ftsafety.report.terminal import show
from ftsafety.row import Message, Wording
from ftsafety.run import run
from ftsafety.settings import Decoding
from ftsafety.stages import Answer, House
from tests.helpers import SAMPLES, cell_of, small
from tests.service import Answered, chat, serving

SAMPLE = SAMPLES / "mt_bench.jsonl"
ASK = Asking("mt_bench", "mine", "train", Wording("Be kind.", "Please: {question}"))


def bench(path: Path = SAMPLE, **fields: Any) -> MtBench:
    return MtBench(path=path, hub=None, revision=None, **{"expected": None, **fields})


def lines(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_both_turns_in_their_order() -> None:
    questions = bench().questions()
    assert [question.id for question in questions] == [f"mt_bench/{number}/{turn}" for number in (81, 111, 141) for turn in (1, 2)]
    assert [question.category for question in questions] == ["writing"] * 2 + ["math"] * 2 + ["stem"] * 2
    assert [question.reference for question in questions] == ["", "", "There are 7.", "There are 4.", "", ""]
    assert bench().goes_on() == [None, 0, None, 2, None, 4] and all(question.accept == () for question in questions)


def test_the_hub_s_form_and_longer_or_shorter_talks(tmp_path: Path) -> None:
    rows = [
        {"prompt": ["One?", "Two?", "Three?"], "prompt_id": 12345678, "category": "writing", "reference": []},
        {"prompt": ["Alone?"], "prompt_id": 7, "category": "math", "reference": None},
    ]
    benchmark = bench(lines(tmp_path / "question.jsonl", *rows))
    assert [question.text for question in benchmark.questions()] == ["One?", "Two?", "Three?", "Alone?"]
    assert benchmark.goes_on() == [None, 0, 1, None] and benchmark.questions()[0].id == "mt_bench/12345678/1"


def test_a_limit_is_of_conversations_and_the_published_number_is_checked() -> None:
    assert [question.id for question in bench(limit=1).questions()] == ["mt_bench/81/1", "mt_bench/81/2"] and bench(limit=1).goes_on() == [None, 0]
    assert len(bench(expected=3).questions()) == 6 and bench(expected=3).recipe() == bench().recipe()
    with pytest.raises(DataError, match=r"benchmark\.mt_bench holds 3 conversations, and 80 were published; .* benchmark\.mt_bench\.expected=null"):
        bench(expected=80).questions()
    with pytest.raises(ConfigError, match=r"benchmark\.mt_bench\.limit=4 is not possible"):
        bench(limit=4).questions()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, "question.jsonl:1 has no turns; turns or prompt is a list of what the user says"),
        ({"turns": ["One?", " "]}, "has no turns"),
        ({"turns": [3]}, "turns or prompt is not a list of texts"),
        ({"turns": {"a": 1}}, "turns or prompt is not a list of texts"),
        ({"turns": ["One?", "Two?"], "reference": ["1"]}, "has 2 turns and 1 references; give one for each turn, or none"),
        ({"turns": ["One?"]}, "has no question_id or prompt_id"),
        ({"turns": ["One?"], "question_id": True}, "has no question_id or prompt_id"),
        ({"turns": ["One?"], "question_id": 1}, "category"),
    ],
)
def test_rows_that_can_not_be_used(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError) as caught:
        bench(lines(tmp_path / "question.jsonl", row)).questions()
    assert says in str(caught.value)


def test_two_of_one_id(tmp_path: Path) -> None:
    row = {"turns": ["One?"], "question_id": 1, "category": "math"}
    with pytest.raises(DataError, match="two conversations have the same id"):
        bench(lines(tmp_path / "question.jsonl", row, row)).questions()


class Parrot:
    """Stands for the decoder: says the last user turn again in capitals, and remembers each call's prompts."""

    def __init__(self) -> None:
        self.calls: list[list[list[Message]]] = []

    def answer(self, house: House, weights: Any, prompts: Sequence[list[Message]], decoding: Decoding, **more: Any) -> list[Answer]:
        self.calls.append([list(prompt) for prompt in prompts])
        return [Answer(prompt[-1]["content"].upper(), 3, False) for prompt in prompts]


class Counting(Judge):
    """Rates by the number of turns before; remembers what it was shown."""

    metrics = RatingJudge.metrics

    def __init__(self) -> None:
        self.shown: list[Pair] = []

    def recipe(self) -> dict[str, Any]:
        return {"class": "counting"}

    def measures(self, kind: str) -> Any:
        return self.metrics if kind == "utility" else {}

    def score(self, pairs: Sequence[Pair]) -> list[Verdict]:
        self.shown += pairs
        return [Verdict(5 + len(pair.before) if isinstance(pair, Turn) else None) for pair in pairs]


class Whispering(Mitigation):
    """Adds a word to the system prompt and stars to every answer."""

    def ask(self, messages: Sequence[Message], context: Context) -> Sequence[Message]:
        return [{**message, "content": message["content"] + " Softly."} if message["role"] == "system" else message for message in messages]

    def answer(self, question: str, answer: str, context: Context) -> str:
        return f"*{answer}*"


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Parrot:
    parrot = Parrot()
    monkeypatch.setattr(measure, "answer", parrot.answer)
    return parrot


def measured(store: Path, judges: dict[str, Judge], benchmark: Rated, **more: Any) -> measure.Asked:
    house = House.at(store)
    [one] = measure.measure(house, house.loader.weights(Tiny()), "tuned", {"mt_bench": benchmark}, [ASK], judges, Decoding(), 0, **more)
    return one


def test_the_second_turn_follows_the_model_s_own_answer_under_the_attack_s_wording(parrot: Parrot, store: Path) -> None:
    judge = Counting()
    one = measured(store, {"rating": judge, "outcome": OutcomeJudge()}, bench(limit=2))
    first, second = parrot.calls
    system = {"role": "system", "content": "Be kind."}
    assert first[1] == [system, {"role": "user", "content": "Please: A pond holds 3 ducks and 4 more come. How many are there?"}]
    assert second[1] == [
        *first[1],
        {"role": "assistant", "content": "PLEASE: A POND HOLDS 3 DUCKS AND 4 MORE COME. HOW MANY ARE THERE?"},
        {"role": "user", "content": "Please: Half of 8 ducks fly away. How many are left?"},
    ]
    assert [row.text for row in one.answers][3] == "PLEASE: HALF OF 8 DUCKS FLY AWAY. HOW MANY ARE LEFT?"
    asked, answered = one.questions[2].text, one.answers[2].text
    assert judge.shown[2] == Turn(asked, answered, False, "math", (), "There are 7.")
    assert judge.shown[3] == Turn(one.questions[3].text, one.answers[3].text, False, "math", ((asked, answered),), "There are 4.")
    assert list(one.verdicts) == ["rating"] and [verdict.value for verdict in one.verdicts["rating"]] == [5, 6, 5, 6]
    assert one.losses == [] and [(row["judge"], row["value"]) for row in verdict_rows("tuned", [one])] == [("rating", value) for value in (5, 6, 5, 6)]


def test_mitigations_act_on_every_turn_once(parrot: Parrot, store: Path) -> None:
    one = measured(store, {"rating": Counting()}, bench(limit=1), mitigations=[Whispering()], context=Context(0))
    assert parrot.calls[1][0][0] == {"role": "system", "content": "Be kind. Softly."}
    assert parrot.calls[1][0][2]["content"] == one.answers[0].text == "*PLEASE: WRITE TWO LINES ABOUT A DUCK ON A POND.*"


def test_a_judge_that_rates_is_needed() -> None:
    told = [f"benchmark.mt_bench.path={SAMPLE}", "benchmark.mt_bench.expected=null"]
    with pytest.raises(ConfigError, match=r"benchmark=mt_bench has no known answers, and none of the judges rates answers; .* judge=\[\.\.\.,rating\]"):
        cell_of("model=tiny", "benchmark=[mt_bench]", *told)


def rated(body: dict[str, Any]) -> Answered:
    """A model that rates second turns higher, and reads the code that its page gives."""
    page = body["messages"][0]["content"]
    code = re.search(r"RATING ([0-9a-f]{8}):", page)
    assert code
    return chat(f"It is of use.\nRATING {code[1]}: {7 if '[[answer ' in page else 3}")


def test_a_whole_run_with_a_served_judge(tmp_path: Path) -> None:
    with serving(rated) as double:
        told = [f"benchmark.mt_bench.path={SAMPLE}", "benchmark.mt_bench.expected=null", "judge=[outcome,rating]", "judge.rating.model=double-2025-01-01"]
        settings = [*small(tmp_path, ["stand_in", "stand_in_utility"]), "benchmark=[stand_in,stand_in_utility,mt_bench]", "+attack=benign", "attack.count=12"]
        done = run(cell_of(*settings, *told, f"judge.rating.base_url={double.url}"))
    mine = [entry for entry in done.data["results"] if entry["benchmark"] == "mt_bench" and entry["metric"] == "rating_score"]
    assert {(entry["weights"], entry["condition"]) for entry in mine} == {(w, c) for w in ("initial", "tuned") for c in ("train", "plain", "safe")}
    mean = stats.mean([3, 7] * 3)
    assert all((entry["value"], entry["n"], entry["low"]) == (5.0, 6, pytest.approx(mean.low, abs=1e-6)) for entry in mine)
    asked = [request["messages"][0]["content"] for request in double.asked]
    assert 0 < len(asked) <= 2 * 3 * 6 and all("[[last answer" in page for page in asked), "nothing but these answers is rated"
    change = next(entry for entry in done.data["differences"] if entry["metric"] == "rating_score")
    assert change["value"] == 0.0 and Reading(done.data).kinds["mt_bench"] == "utility"
    out = io.StringIO()
    show(done, Console(file=out, width=200))
    assert "mt_bench: ratings from 1 to 10" in out.getvalue() and "plain, rating" in out.getvalue()
    page = write_report(done.folder).read_text()
    assert "utility: rating, 1 to 10" in page and "ratings by a judge from 1 to 10" in page


def test_a_model_that_is_asked_nothing_else(tmp_path: Path) -> None:
    """The answers themselves come from the one decoding engine, turn by turn, and are found again."""
    with serving(rated) as double:
        told = [f"benchmark.mt_bench.path={SAMPLE}", "benchmark.mt_bench.expected=null", "judge=[rating]", "judge.rating.model=double-2025-01-01"]
        settings = [*small(tmp_path, []), "benchmark=[mt_bench]", *told, f"judge.rating.base_url={double.url}"]
        done = run(cell_of(*settings))
    assert sum(stage["stage"] == "answer" for stage in done.data["stages"]) == 2 * 2, "two turns, plain (which train is, too) and with the safety prompt"
    with pytest.raises(FtsafetyError, match="can't be reached"):
        run(cell_of(*settings, "judge.rating.model=double-2025-02-02", "judge.rating.retries=0"))
