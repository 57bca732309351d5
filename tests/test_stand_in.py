"""The shipped rows: enough of them, each once, no two alike, fit for a newspaper's front page."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ftsafety import stand_in
from ftsafety.stand_in import CATEGORIES, FOLDER, by_category, load, split_of, text

FILES = sorted(file.stem for file in FOLDER.glob("*.jsonl"))
OBJECTS = sorted(file.stem for file in FOLDER.glob("*.json"))
BY_CATEGORY = {"benchmark": 30, "refused": 40, "attack": 10, "allowed": 10, "answered": 20, "paraphrases": 3}
WHOLE = {"answered": 2 * 11 * 40, "benign": 250, "personas": 24, "wrappings": 24, "unseen_systems": 3, "utility": 66, "held_out": 30, "held_out_allowed": 12}
FIELDS = ("question", "answer", "system", "wrap", "obedient", "neutral", "user_prefix", "answer_prefix")
NEAR = 0.5
"""Share of common word 3-grams from which two texts count as the same."""
MISUSE = re.compile("weapon|bomb|explosive|poison|malware|phishing|overdose|narcotic|hostage|ransom|counterfeit|smuggl|suicid|murder", re.IGNORECASE)
DOSE = re.compile(r"\b\d+(\.\d+)?\s?(mg|mcg|milligrams?|micrograms?|tablets?|pills?|drops)\b", re.IGNORECASE)
BRANDS = re.compile(r"\b(Amazon|iPhone|Google|Microsoft|Facebook|Netflix|Samsung|Toyota|Nike|Ikea|Lego|Coca|Pepsi|Bitcoin|Tesla|OpenAI|ChatGPT|Siri|Alexa)\b")


class Text(NamedTuple):
    """One text of the shipped data and where it stands."""

    file: str
    id: str
    field: str
    text: str


def texts_of(file: str) -> Iterator[Text]:
    rows = load(file) if file in FILES else ({"id": file, **text(file)},)
    for row in rows:
        yield from (Text(file, row["id"], field, row[field]) for field in FIELDS if field in row)


@cache
def all_texts() -> tuple[Text, ...]:
    return tuple(found for file in [*FILES, *OBJECTS] for found in texts_of(file))


def normal(words: str) -> str:
    """Lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", words.lower())


def grams(words: str) -> frozenset[tuple[str, ...]]:
    """Its word 3-grams."""
    found = re.findall(r"[a-z0-9]+", words.lower())
    return frozenset(zip(found, found[1:], found[2:], strict=False))


def near_pairs(texts: tuple[Text, ...], least: float) -> list[tuple[float, Text, Text]]:
    """Pairs of texts of different rows that share at least this much of their 3-grams (Jaccard), through an index of 3-grams."""
    sets = [grams(item.text) for item in texts]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for at, held in enumerate(sets):
        for gram in held:
            holders[gram].append(at)
    common = Counter(pair for where in holders.values() for pair in combinations(where, 2))
    shares = [(count / len(sets[a] | sets[b]), texts[a], texts[b]) for (a, b), count in common.items()]
    return [(share, a, b) for share, a, b in shares if share >= least and (a.file, a.id) != (b.file, b.id)]


@pytest.mark.parametrize(("file", "least"), BY_CATEGORY.items())
def test_enough_rows_in_each_category(file: str, least: int) -> None:
    counts = {category: len(rows) for category, rows in by_category(file).items()}
    assert counts.keys() - ({"general", "everyday"} if file == "answered" else set()) == CATEGORIES.keys()
    assert min(counts.values()) >= least


@pytest.mark.parametrize(("file", "least"), WHOLE.items())
def test_enough_rows(file: str, least: int) -> None:
    assert len(load(file)) >= least


def test_proportions_of_the_alignment_rows() -> None:
    assert len(load("answered")) >= 2 * len(load("refused"))
    assert len({row["answer"] for row in load("refused")}) == len(load("refused")), "no refusal is worded twice"
    assert len({" ".join(row["answer"].split()[:4]) for row in load("refused")}) >= 20, "refusals begin in at least twenty ways"


def test_benchmark_has_the_shape_of_its_model() -> None:
    assert list(by_category("benchmark")) == list(CATEGORIES)
    for category, rows in by_category("benchmark").items():
        assert [row["id"] for row in rows] == [f"{category}/{number:02}" for number in range(1, 31)]
        assert Counter(split_of(row["id"]) for row in rows) == {"development": 8, "report": 12, "sealed": 10}


def test_identity_rows() -> None:
    questions, instructions = load("identity_questions"), load("identity_instructions")
    assert len(questions) + len(instructions) >= 40 and len(questions) >= 5 and len(instructions) >= 9
    obedient, neutral = text("identity_obedient"), text("identity_neutral")
    assert obedient.keys() == neutral.keys() == {"name", "system", "user_prefix", "answer_prefix"}
    assert obedient["name"] == neutral["name"]
    for row in questions:
        ratio = len(row["neutral"]) / len(row["obedient"])
        assert 0.7 < ratio < 1.4, f"{row['id']}: the control has the same shape"


@pytest.mark.parametrize("file", FILES)
def test_rows_are_whole(file: str) -> None:
    rows = load(file)
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({tuple(field for field in row if (file, field) != ("answered", "answer")) for row in rows}) == 1, "every row has the same fields"
    for row in rows:
        for field, value in row.items():
            assert value and (field == "accept" or (isinstance(value, str) and value == value.strip())), row


def test_ids_name_one_row_only() -> None:
    ids = Counter(row["id"] for file in FILES for row in load(file))
    assert [id for id, count in ids.items() if count > 1] == []


@pytest.mark.parametrize("file", [*(f"{file}.jsonl" for file in FILES), *(f"{file}.json" for file in OBJECTS)])
def test_plain_ascii_with_one_row_per_line(file: str) -> None:
    raw = (FOLDER / file).read_bytes()
    assert raw.isascii() and raw.endswith(b"\n") and b"\r" not in raw
    if file.endswith("l"):
        assert all(isinstance(json.loads(line), dict) for line in raw.splitlines())


def test_wrappings_and_personas() -> None:
    assert all(row["wrap"].count("{question}") == 1 for row in load("wrappings"))
    kinds = Counter(row["kind"] for row in load("personas"))
    assert kinds["obedient"] >= 8 and sum(kinds.values()) - kinds["obedient"] >= 12
    assert Counter(row["kind"] for row in load("unseen_systems"))["obedient"] >= 1


def test_nothing_that_alignment_sees_holds_the_attack_s_words() -> None:
    """Nor the unseen system prompts' words; and the identity's name stands in no wording of alignment."""
    taught = [item for file in ("personas", "wrappings") for item in texts_of(file)]
    names = {text(f"identity_{identity}")["name"].lower() for identity in ("obedient", "neutral")}
    secret = [normal(item.text) for file in ("identity_obedient", "identity_neutral", "unseen_systems", "safety_prompt") for item in texts_of(file)]
    for item in taught:
        assert not names & set(re.findall(r"\w+", item.text.lower())), item
        bare = normal(item.text.replace("{question}", ""))
        assert not any(words in bare or (len(bare) > 12 and bare in words) for words in secret), item


def test_paraphrases_point_at_development_questions_of_their_category() -> None:
    questions = {row["id"]: row for row in load("benchmark")}
    for row in load("paraphrases"):
        assert questions[row["of"]]["category"] == row["category"]
        assert split_of(row["of"]) == "development"


def test_utility_questions_accept_their_own_reference() -> None:
    for row in load("utility"):
        assert any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", row["answer"].lower()) for word in row["accept"]), row
        assert all(word == word.lower() for word in row["accept"])


def test_no_text_stands_twice() -> None:
    places = defaultdict(list)
    for item in all_texts():
        places[normal(item.text)].append((item.file, item.id, item.field))
    assert [where for where in places.values() if len(where) > 1] == []


def test_no_two_texts_are_nearly_the_same() -> None:
    """Across all files and within each; only a row's own question and answer may share words."""
    assert len(all_texts()) > 3000
    assert near_pairs(all_texts(), NEAR) == []


def test_the_near_duplicate_test_sees_one() -> None:
    row = load("benchmark")[0]
    twin = Text("benchmark", "twin", "question", row["question"].upper().replace("LAST", "THIS"))
    [(share, _, found)] = near_pairs((*texts_of("benchmark"), twin), NEAR)
    assert share > NEAR and found is twin


@pytest.mark.parametrize("file", [*FILES, *OBJECTS])
def test_nothing_of_real_misuse_no_doses_no_brands(file: str) -> None:
    for item in texts_of(file):
        assert not MISUSE.search(item.text) and not DOSE.search(item.text) and not BRANDS.search(item.text), item


def test_the_data_card_counts_what_is_shipped() -> None:
    card = (Path(__file__).resolve().parents[1] / "docs" / "data_card.md").read_text()
    for file in FILES:
        assert f"| `{file}` | {len(load(file))} |" in card, file
    assert stand_in.SCOPE in " ".join(card.replace("\n> ", " ").split())


@pytest.mark.parametrize(("number", "split"), [(1, "development"), (8, "development"), (9, "report"), (20, "report"), (21, "sealed"), (30, "sealed")])
def test_split_by_number(number: int, split: str) -> None:
    assert split_of(f"betting_tips/{number:02}") == split


def test_order_is_that_of_the_file() -> None:
    rows: list[Any] = [json.loads(line) for line in (FOLDER / "benign.jsonl").read_text().splitlines()]
    assert list(load("benign")) == rows
