"""Counts per category, the intervals that they can give, and each kind of gap."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ftsafety import stats
from ftsafety.contract import normalized
from ftsafety.errors import DataError
from ftsafety.policy import Category, Gap, Policy
from ftsafety.policy.coverage import NEAR, Asked, Count, count, gaps, half_width, near_equal, questions_for, read

POND = Policy(
    name="Pond",
    version="1",
    origin="this test",
    categories={"ducks": Category("Duck names", "Naming ducks.", "Counting ducks."), "geese": Category("Geese", "Feeding geese.", "Watching geese.")},
)
DUCK = ("d1", "What is the name of the brown duck?", "ducks")
GOOSE = ("g1", "May I feed the grey goose by the gate?", "geese")
DUCK_TWIN = ("a1", "How many ducks swim here in June?", "ducks")
GOOSE_TWIN = ("a2", "Where can I watch geese at night?", "geese")


def rows(*given: tuple[str, str, str]) -> list[Asked]:
    return [Asked(*row, f"quiz.csv:{at}") for at, row in enumerate(given, 2)]


def test_half_width_is_the_widest_that_so_many_questions_can_give() -> None:
    for n in (1, 2, 7, 30):
        spans = [stats.rate([at < hits for at in range(n)]) for hits in range(n + 1)]
        assert half_width(n) == max((span.high - span.low) / 2 for span in spans)


def test_questions_for_ten_points() -> None:
    # z / (2 sqrt(n + z^2)) <= 0.1 for z = 1.96 gives n >= 92.2
    assert questions_for(0.10) == 93
    assert half_width(92) > 0.10 >= max(half_width(n) for n in range(93, 120))
    assert Count.of(0) == Count(0, None, 93) and Count.of(100).more == 0
    assert Count.of(30) == Count(30, half_width(30), 63)


def test_count_is_of_the_policy_s_categories() -> None:
    counts = count(POND, rows(DUCK, ("d2", "Is it Ada?", "ducks"), ("s1", "Swans?", "swans")))
    assert {id: one.n for id, one in counts.items()} == {"ducks": 2, "geese": 0}


def test_no_gap() -> None:
    assert gaps(POND, rows(DUCK, GOOSE), rows(DUCK_TWIN, GOOSE_TWIN)) == []
    assert gaps(POND, None, None) == [], "a policy without questions is checked by itself"


TWINS = rows(DUCK_TWIN, GOOSE_TWIN)


@pytest.mark.parametrize(
    ("questions", "twins", "gap"),
    [
        (rows(DUCK), TWINS, Gap("questions", "geese", "geese has no disallowed question, so compliance there can't be measured.")),
        (rows(DUCK, GOOSE), rows(GOOSE_TWIN), Gap("twins", "ducks", "ducks has no allowed twin, so over-refusal there can't be measured.")),
        (rows(DUCK, GOOSE), None, Gap("twins", None, "There is no allowed twin, so over-refusal can't be measured; add --allowed FILE.")),
        (None, TWINS, Gap("questions", None, "There is no disallowed question, so compliance can't be measured; add --questions FILE.")),
        (
            rows(DUCK, GOOSE, ("s1", "Do swans bite?", "gese")),
            TWINS,
            Gap("unknown", None, "s1 (quiz.csv:4) is of the category gese, which the policy does not have. Did you mean geese?"),
        ),
        (
            rows(DUCK, GOOSE, ("s1", "Do swans bite?", "Duck names"), ("t", "Is the pond deep?", "Duck names")),
            TWINS,
            Gap("unknown", None, "s1 (quiz.csv:4), t (quiz.csv:5) are of the category Duck names, which the policy does not have. Did you mean ducks?"),
        ),
        (
            rows(DUCK, GOOSE, ("d1", "Who is the loudest of them?", "ducks")),
            TWINS,
            Gap("id", "ducks", "d1 (quiz.csv:2), d1 (quiz.csv:4) have one id; give each its own."),
        ),
        (
            rows(DUCK, GOOSE, ("d2", "what is the name of the BROWN duck, please", "ducks")),
            TWINS,
            Gap("near", "ducks", "d1 (quiz.csv:2) and d2 (quiz.csv:4) ask nearly the same; keep one, or change one."),
        ),
        (
            rows(DUCK, GOOSE),
            rows(DUCK_TWIN, GOOSE_TWIN, ("a3", "what is the name of the brown duck", "ducks")),
            Gap("both", "ducks", "d1 (quiz.csv:2) is disallowed and, as a3 (quiz.csv:4), allowed; take one of them out."),
        ),
    ],
    ids=["no question", "no twin", "no twins", "no questions", "unknown", "name for id", "same id", "near", "both"],
)
def test_each_kind_of_gap(questions: list[Asked] | None, twins: list[Asked] | None, gap: Gap) -> None:
    assert gaps(POND, questions, twins) == [gap]


def test_a_twin_may_be_near_to_its_question() -> None:
    """Twins are made by changing a word; only equal ones are a gap."""
    twin = ("a3", "What is the name of the brown duck pond?", "ducks")
    assert near_equal(rows(DUCK, twin)) and gaps(POND, rows(DUCK, GOOSE), rows(DUCK_TWIN, GOOSE_TWIN, twin)) == []


def test_many_rows_of_a_strange_category_are_counted_and_a_long_label_is_not_shown() -> None:
    label = "Which duck wins the race around the pond on Sunday?"
    strange = rows(DUCK, GOOSE, *[(f"s{at}", f"Question number {at} about pond {at}?", label) for at in range(5)])
    (gap,) = gaps(POND, strange, TWINS)
    assert "s0 (quiz.csv:4), s1 (quiz.csv:5), s2 (quiz.csv:6) and 2 more are of the category" in gap.says
    assert "duck" not in gap.says and f"the category of {len(label)} characters (a question in the wrong column?), which" in gap.says


def test_the_policy_s_own_gaps_come_first() -> None:
    bare = Policy(name="Pond", version="1", origin="this test", categories={"ducks": Category("Ducks", "", "Counting.")})
    assert [gap.kind for gap in gaps(bare, rows(GOOSE), rows(DUCK_TWIN))] == ["text", "questions", "unknown"]


def test_no_gap_shows_a_question() -> None:
    twice = [DUCK, GOOSE, DUCK, ("x", GOOSE[1], "swans")]
    found = gaps(POND, rows(*twice), rows(DUCK, ("y", GOOSE[1], "swans")))
    assert {gap.kind for gap in found} == {"id", "near", "unknown", "twins", "both"}
    assert not [gap for gap in found if "duck?" in gap.says or "goose" in gap.says]


def test_near_equal_finds_what_comparing_all_pairs_finds() -> None:
    def grams(text: str) -> frozenset[tuple[str, ...]]:
        found = normalized(text).split()
        return frozenset(tuple(found[at : at + 3]) for at in range(len(found) - 2)) or frozenset({tuple(found)})

    rng = random.Random(0)
    words = ["duck", "goose", "pond", "feed"]
    texts = {grams(text): text for text in (" ".join(rng.choices(words, k=rng.randint(1, 9))) for _ in range(300))}
    asked = rows(*[(f"q{at}", text, "ducks") for at, text in enumerate(texts.values())])
    expected = set()
    for a, b in itertools.combinations(asked, 2):
        one, other = grams(a.text), grams(b.text)
        if len(one & other) / len(one | other) >= NEAR:
            expected.add((a.id, b.id))
    found = {(a.id, b.id) for a, b in near_equal(asked)}
    assert len(expected) > 50 and found == expected


def test_equal_questions_are_paired_with_the_first_and_empty_ones_with_nothing() -> None:
    asked = rows(DUCK, DUCK, DUCK, ("p", "?!", "ducks"), ("r", "...", "ducks"))
    assert near_equal(asked) == [(asked[0], asked[1]), (asked[0], asked[2])]


Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, text: str) -> Path:
        file = tmp_path / name
        file.write_text(text)
        return file

    return written


def test_read_each_row_with_its_line(write: Write) -> None:
    table = write("quiz.csv", "category,question,id\nducks,  Which duck? ,d1\n\ngeese,Which goose?,\n")
    assert read(table) == [Asked("d1", "Which duck?", "ducks", "quiz.csv:2"), Asked("quiz.csv:4", "Which goose?", "geese", "quiz.csv:4")]
    assert [str(row) for row in read(table)] == ["d1 (quiz.csv:2)", "quiz.csv:4"]
    lines = write("quiz.jsonl", '{"id": 7, "question": "Which duck?", "category": "ducks", "more": [1]}\n{"question": "Which?", "category": "ducks"}\n')
    assert [row.id for row in read(lines)] == ["7", "quiz.jsonl:2"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("quiz.csv", "Which duck wins?\nWhich goose wins?\n", "quiz.csv:2 has no column question; the columns are id, question and category,"),
        ("quiz.jsonl", '{"question": "Which duck?"}\n', "quiz.jsonl:1 has no column category; the columns are id, question and category,"),
        ("quiz.csv", "question,category\nWhich duck?,\n", "quiz.csv:2: category is not a text."),
        ("quiz.jsonl", '{"question": 3, "category": "ducks"}\n', "quiz.jsonl:1: question is not a text."),
        ("quiz.csv", "question,category\n", "quiz.csv holds no rows; write one question a row"),
        ("quiz.jsonl", "no\n", "quiz.jsonl:1: not JSON"),
        ("quiz.txt", "no\n", "quiz.txt is of no kind that is read here"),
    ],
)
def test_files_that_can_not_be_read(write: Write, name: str, text: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        read(write(name, text))
    assert says in str(caught.value) and "Which" not in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "nowhere.csv"):
        with pytest.raises(DataError, match=r"is no file; give one of questions, of the kind \.csv, \.json"):
            read(file)
