"""Near duplicates: the library's estimate, a known similarity, and files that hold signatures and no text."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from datasketch import MinHash

from ftsafety.context import Context
from ftsafety.errors import DataError
from ftsafety.row import PLAIN
from ftsafety.screen import screened
from ftsafety.screen.near_duplicates import SHIPPED, signatures, write_signatures
from ftsafety.signatures import main
from tests.mitigation.bench import ROWS
from tests.screen.doubles import rows_of, shipped


def test_a_row_is_its_own_duplicate_and_another_is_none(tmp_path: Path) -> None:
    write_signatures(tmp_path / "known.safetensors", ROWS[:4], 2, 128)
    screen = shipped("near_duplicates", known=[str(tmp_path / "known.safetensors")])
    other = PLAIN.row("x", "Name a river in Europe.", "The Loire flows through France into the Atlantic.")
    assert screen.scores([ROWS[0], other], Context(0)) == [1.0, 0.0]


def test_the_estimate_is_the_library_s_and_near_the_true_similarity(tmp_path: Path) -> None:
    first, second = (" ".join(f"w{number}" for number in range(start, start + 300)) for start in (0, 100))
    rows = [PLAIN.row("a", first, "end"), PLAIN.row("b", second, "end")]
    write_signatures(tmp_path / "known.safetensors", rows[:1], 1, 128)
    (score,) = shipped("near_duplicates", known=[str(tmp_path / "known.safetensors")], shingle=1).scores(rows[1:], Context(0))
    made = [MinHash(num_perm=128, seed=1, scheme="affine32", hashvalues=values) for values in signatures(rows, 1, 128)]
    assert score == made[0].jaccard(made[1])
    # 200 and "end" shared of 400 and "end"
    true = 201 / 401
    assert abs(score - true) < 4 * math.sqrt(true * (1 - true) / 128)


def test_the_shipped_set_knows_the_stand_in_s_pairs_with_a_word_more_and_no_everyday_row() -> None:
    screen = shipped("near_duplicates")
    again = [PLAIN.row(row.id, f"{row.question} Please.", row.answer) for row in rows_of("attack")]
    assert screened(screen, again, Context(0)).share == 1.0
    assert screened(screen, rows_of("benign"), Context(0)).flagged == 0


def test_a_file_of_signatures_holds_no_word() -> None:
    content = SHIPPED.read_bytes()
    words = {word for row in rows_of("attack") for word in f"{row.question} {row.answer}".split() if len(word) > 5}
    assert len(words) > 500 and not [word for word in words if word.encode() in content]


def test_the_command_makes_the_shipped_file_again(tmp_path: Path) -> None:
    source, out = tmp_path / "rows.jsonl", tmp_path / "out.safetensors"
    source.write_text("".join(json.dumps({"messages": list(row.messages)}) + "\n" for row in rows_of("attack")))
    assert main([str(source), str(out)]) == 0 and out.read_bytes() == SHIPPED.read_bytes()
    assert main([str(source)]) == 1


def test_a_file_that_was_made_otherwise_is_told(tmp_path: Path) -> None:
    write_signatures(tmp_path / "known.safetensors", ROWS, 3, 128)
    with pytest.raises(DataError, match=r"was made with shingle=3, .* and shingle=2, .* are asked for"):
        shipped("near_duplicates", known=[str(tmp_path / "known.safetensors")]).check("screen.near_duplicates", {})
    (tmp_path / "torn.safetensors").write_bytes(b"w" * 20)
    with pytest.raises(DataError, match="can't be read as signatures"):
        shipped("near_duplicates", known=[str(tmp_path / "torn.safetensors")]).check("screen.near_duplicates", {})
