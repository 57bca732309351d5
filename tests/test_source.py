"""Rows that others published: read from each kind of file, with the line of what can't be read, and the same whether local or from the hub."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ftsafety.component import Component
from ftsafety.errors import ConfigError, DataError
from ftsafety.source import Record, Sourced, fetch, read_records

ROWS = [{"prompt": "Which duck\nwins?", "kind": "pond"}, {"prompt": 'A "quoted", one', "kind": "lake"}]


class Attack(Component):
    """A noun, so that messages have a place to name."""


@dataclass(kw_only=True)
class Ducks(Sourced, Attack):
    """Rows about ducks."""

    source = "this test"
    flavour: str = "plain"
    """Something else that a component has."""


def written(folder: Path, kind: str) -> Path:
    import csv

    file = folder / f"ducks.{kind}"
    if kind in ("csv", "tsv"):
        with file.open("w", newline="") as stream:
            table = csv.DictWriter(stream, ["prompt", "kind"], delimiter="\t" if kind == "tsv" else ",")
            table.writeheader()
            table.writerows(ROWS)
    elif kind == "json":
        file.write_text(json.dumps(ROWS))
    elif kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    else:
        import pyarrow
        from pyarrow.parquet import write_table

        write_table(pyarrow.Table.from_pylist(ROWS), file)
    return file


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_each_kind_of_file_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    assert [record.values for record in read_records(written(tmp_path, kind))] == ROWS


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
@pytest.mark.parametrize(("packed", "pack"), [("gz", gzip.compress), ("xz", lzma.compress)])
def test_packed_files(tmp_path: Path, kind: str, packed: str, pack: Callable[[bytes], bytes]) -> None:
    file = tmp_path / f"ducks.{kind}.{packed}"
    file.write_bytes(pack(written(tmp_path, kind).read_bytes()))
    assert [record.values for record in read_records(file)] == ROWS
    file.write_bytes(b"no")
    with pytest.raises(DataError, match=f"ducks.{kind}.{packed} can't be unpacked"):
        read_records(file)


def test_a_list_that_is_called_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "ducks.jsonl"
    file.write_text("\ufeff" + json.dumps(ROWS, indent=1), encoding="utf-8")
    assert [record.values for record in read_records(file)] == ROWS


def test_a_table_without_a_header_keeps_its_first_row(tmp_path: Path) -> None:
    file = tmp_path / "bare.csv"
    file.write_text("first\n\nsecond\n")
    assert [(record.where, record.values) for record in read_records(file, ["prompt"])] == [
        ("bare.csv:1", {"prompt": "first"}),
        ("bare.csv:3", {"prompt": "second"}),
    ]
    assert [record.values for record in read_records(file)] == [{"first": "second"}]


@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("a.jsonl", '{"x": 1}\n{"x": \n', "a.jsonl:2: not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1: not an object"),
        ("a.json", "{}", "a.json holds no list"),
        ("a.json", "[", "a.json: not JSON"),
        ("a.json", "[3]", "a.json:1: not an object"),
        ("a.csv", "x,y\n1\n", "a.csv:2: 1 columns, and 2 are expected (x, y)"),
        ("a.csv", 'x\n"open\n', "a.csv:"),
        ("a.parquet", "no", "a.parquet: not a Parquet file"),
        ("a.txt", "no", ".csv, .json, .jsonl, .parquet, .tsv"),
    ],
)
def test_what_can_t_be_read_is_named(tmp_path: Path, name: str, raw: str, says: str) -> None:
    file = tmp_path / name
    file.write_text(raw)
    with pytest.raises(DataError) as caught:
        read_records(file)
    assert says in str(caught.value)


def test_text_of_a_column() -> None:
    record = Record("f.csv:3", {"prompt": " x ", "n": 3, "empty": ""})
    assert record.text("goal", "prompt") == "x"
    with pytest.raises(DataError, match=r"f.csv:3 has no column goal or question; it has prompt, n, empty"):
        record.text("goal", "question")
    for column in ("n", "empty"):
        with pytest.raises(DataError, match=f"{column} is not a text"):
            record.text(column)


def test_a_row_taken_for_a_header_is_not_printed(tmp_path: Path) -> None:
    file = tmp_path / "bare.csv"
    file.write_text("Which duck wins the race on the long pond\nAnother\n")
    [record] = read_records(file)
    with pytest.raises(DataError, match=r"has no column prompt; it has one of 41 characters\."):
        record.text("prompt")


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": name}))
    (tmp_path / "README.md").write_text("no rows")
    assert [record.values["prompt"] for record in Ducks(path=tmp_path).records()] == ["a", "b"]


def test_recipe_is_the_content_not_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = Ducks(path=written(tmp_path, "csv")).recipe()
    elsewhere = tmp_path / "cache"
    elsewhere.mkdir()
    written(elsewhere, "csv")
    monkeypatch.setattr("ftsafety.source.fetch", lambda *arguments: elsewhere)
    assert Ducks(hub="pond/ducks").recipe() == local
    (elsewhere / "ducks.csv").write_text("prompt,kind\nother,pond\n")
    assert Ducks(hub="pond/ducks").recipe() != local
    assert Ducks(hub="pond/ducks", flavour="other").recipe()["flavour"] == "other"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "attack names no data; type attack.path=FILE or attack.hub=OWNER/NAME"),
        ({"path": Path("nowhere.csv")}, "attack.path=nowhere.csv does not exist"),
    ],
)
def test_no_data(fields: dict[str, Any], says: str) -> None:
    with pytest.raises((ConfigError, DataError)) as caught:
        Ducks(**fields).records()
    assert says in str(caught.value)


def test_folders_and_files_without_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no file of the form \*\.csv"):
        Ducks(path=tmp_path).records()
    (tmp_path / "a.csv").write_text("prompt\n")
    with pytest.raises(DataError, match="holds no rows"):
        Ducks(path=tmp_path).records()


def test_hub_that_can_t_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"attack\.hub=pond/ducks .*attack\.path=FILE"):
        fetch("pond/ducks", None, ["*.csv"], "attack")


def hub_error(name: str) -> Exception:
    from unittest.mock import Mock

    from huggingface_hub import errors

    cls = getattr(errors, name)
    try:
        return cls("no", response=Mock(headers={}, status_code=403))  # type: ignore[no-any-return]
    except TypeError:
        return cls("no")  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("GatedRepoError", "is gated: ask its owners"),
        ("RepositoryNotFoundError", "is no data set on the hub that you may see"),
        ("HFValidationError", "is no data set on the hub"),
        ("RevisionNotFoundError", "revision=v9 does not exist"),
        ("HfHubHTTPError", "can't be reached"),
    ],
)
def test_hub_that_refuses(monkeypatch: pytest.MonkeyPatch, name: str, says: str) -> None:
    def refuse(*arguments: Any, **more: Any) -> None:
        raise hub_error(name)

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(ConfigError, match=says):
        fetch("pond/ducks", "v9", ["*.csv"], "attack")
