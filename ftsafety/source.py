"""Rows that others published: from local files in their own format, or from the same files on the Hugging Face hub, by one code path.

A component that is ``Sourced`` names its files; their content enters its recipe, so that a hub copy and a local one are the same
experiment and an edited file is another. Nothing is fetched before rows are asked for.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ftsafety.component import Component
from ftsafety.errors import ConfigError, DataError
from ftsafety.hashing import digest_of, digest_of_path

SEVERAL = ("benchmark", "judge", "mitigation")
"""Nouns of which a run takes any number, each under its own name."""
PACKED: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".xz": lzma.open}
LONGEST_NAME = 30
SUFFIXES = (".csv", ".json", ".jsonl", ".parquet", ".tsv")


@dataclass(frozen=True)
class Record:
    """One row of a file: ``where`` is ``file:line`` (or ``file:row`` where a file has no lines), ``values`` its columns."""

    where: str
    values: dict[str, Any]

    def text(self, *columns: str) -> str:
        """The first of these columns that holds a text.

        Raises:
            DataError: none of them is there, or what is there is not a text.
        """
        found = next((column for column in columns if column in self.values), None)
        if found is None:
            raise DataError(f"{self.where} has no column {' or '.join(columns)}; it has {say_columns(self.values)}.")
        value = self.values[found]
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{self.where}: {found} is not a text.")
        return value.strip()


def say_columns(names: Iterable[Any]) -> str:
    """Column names for a message. A long one is most likely a row taken for a header, whose text is nobody's business here."""
    return ", ".join(str(name) if len(str(name)) <= LONGEST_NAME else f"one of {len(str(name))} characters" for name in names)


@dataclass(kw_only=True)
class Sourced(Component):
    """A component whose rows are not shipped."""

    path: Path | None = None
    """A local file or folder in the data set's own format; null takes it from the hub."""
    hub: str | None = None
    """The data set's id on the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit there; what is recorded is the files' content."""

    not_in_recipe: ClassVar[frozenset[str]] = frozenset({"path", "hub", "revision"})
    patterns: ClassVar[tuple[str, ...]] = ("*.csv", "*.json", "*.jsonl", "*.parquet")
    """Which files of a folder or a hub repository hold the rows, below its top too."""

    def recipe(self) -> dict[str, Any]:
        return {**super().recipe(), "data": digest_of([[file.name, digest_of_path(file)] for file in self.files()])}

    def files(self) -> list[Path]:
        """The files that hold the rows, sorted by name, fetched from the hub when no path is set.

        Raises:
            ConfigError: neither path nor hub is set, or the hub refuses or can't be reached.
            DataError: the path does not exist or holds no such file.
        """
        if self.path is not None:
            if not self.path.exists():
                raise DataError(f"{self._where()}.path={self.path} does not exist; give a file or a folder with {self._wanted()}.")
            if self.path.is_file():
                return [self.path]
            root = self.path
        elif self.hub:
            root = fetch(self.hub, self.revision, self.patterns, self._where())
        else:
            raise ConfigError(f"{self._where()} names no data; type {self._where()}.path=FILE or {self._where()}.hub=OWNER/NAME.")
        found = sorted({file for pattern in self.patterns for file in root.rglob(pattern)})
        if not found:
            raise DataError(f"{root} holds no file of the form {self._wanted()}; {type(self).__name__} reads such files.")
        return found

    def records(self, columns: Sequence[str] | None = None) -> list[Record]:
        """Every row of every file; ``columns`` names them for CSV files without a header.

        Raises:
            DataError: a file that can't be read, with its line, or files without any row.
        """
        found = [record for file in self.files() for record in read_records(file, columns)]
        if not found:
            raise DataError(f"{', '.join(map(str, self.files()))} holds no rows.")
        return found

    def _where(self) -> str:
        """The component's place in a configuration, as a person would type it."""
        noun = next(base for base in reversed(type(self).__mro__) if issubclass(base, Component) and base not in (Component, Sourced)).__name__.lower()
        option = re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()
        return f"{noun}.{option}" if noun in SEVERAL else noun

    def _wanted(self) -> str:
        return " or ".join(self.patterns)


def fetch(
    hub: str,
    revision: str | None,
    patterns: Sequence[str],
    where: str,
    *,
    kind: Literal["dataset", "model"] = "dataset",
    key: str = "hub",
    own: str = "path=FILE",
) -> Path:
    """The folder of the local cache that holds these files of a hub repository; offline, what was fetched before.

    Args:
        key: what the hub id is called in the configuration, for messages.
        own: what to type to give one's own copy, likewise.

    Raises:
        ConfigError: no such repository, no access to it, or no way to reach the hub.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    wanted = [form for pattern in patterns for form in (pattern, f"**/{pattern}")]
    try:
        return Path(snapshot_download(hub, repo_type=kind, revision=revision, allow_patterns=wanted))
    except GatedRepoError as error:
        raise ConfigError(
            f"{where}.{key}={hub} is gated: ask its owners for access on its hub page and log in with HF_TOKEN, or give your own copy with {where}.{own}."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        what = "data set" if kind == "dataset" else kind
        raise ConfigError(f"{where}.{key}={hub} is no {what} on the hub that you may see; mend the name, or log in with HF_TOKEN.") from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"{where}.revision={revision} does not exist in {hub}; give a branch, tag or commit of it, or null.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ConfigError(
            f"{where}.{key}={hub} is not in the local cache and the hub can't be reached; go online once, or give your own copy with {where}.{own}."
        ) from error


def read_records(file: Path, columns: Sequence[str] | None = None) -> list[Record]:
    """The rows of one CSV, TSV, JSON (a list of objects), JSON Lines or Parquet file, which may be packed with gzip or xz.

    Args:
        columns: the columns' names, for a CSV or TSV file without a header line.

    Raises:
        DataError: names file and line.
    """
    unpack = PACKED.get(file.suffix.lower())
    kind = Path(file.stem).suffix.lower() if unpack else file.suffix.lower()
    if kind not in SUFFIXES:
        raise DataError(f"{file} is of no kind that is read here; give one of {', '.join(SUFFIXES)}, packed with gzip or xz or not.")
    content = _unpacked(file, unpack) if unpack else file.read_bytes()
    if kind == ".parquet":
        return _parquet(file, content)
    content = content.removeprefix(BOM_UTF8)
    if kind in (".csv", ".tsv"):
        return list(_table(file, content, "\t" if kind == ".tsv" else ",", columns))
    # some published files are one list although they are called JSON Lines
    if kind == ".json" or content.lstrip().startswith(b"["):
        return [_object(file, number, value) for number, value in enumerate(_json_list(file, content), 1)]
    return list(_json_lines(file, content))


def _unpacked(file: Path, unpack: Callable[[Path], Any]) -> bytes:
    try:
        with unpack(file) as stream:
            content: bytes = stream.read()
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{file} can't be unpacked ({error}); fetch it again.") from error
    return content


def _json_lines(file: Path, content: bytes) -> Iterator[Record]:
    # bytes, so that a line separator inside a text is no new line
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError as error:
                raise DataError(f"{file}:{number}: not JSON ({error}).") from error
            yield _object(file, number, value)


def _json_list(file: Path, content: bytes) -> list[Any]:
    try:
        data = json.loads(content)
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error}).") from error
    if not isinstance(data, list):
        raise DataError(f"{file} holds no list of rows.")
    return data


def _object(file: Path, number: int, value: Any) -> Record:
    if not isinstance(value, dict):
        raise DataError(f"{file}:{number}: not an object with columns.")
    return Record(f"{file.name}:{number}", value)


def _table(file: Path, content: bytes, delimiter: str, columns: Sequence[str] | None) -> Iterator[Record]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not a text in UTF-8 ({error}).") from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = list(columns) if columns else [name.strip() for name in next(reader, [])]
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                raise DataError(f"{file}:{reader.line_num}: {len(cells)} columns, and {len(names)} are expected ({say_columns(names)}).")
            yield Record(f"{file.name}:{reader.line_num}", dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise DataError(f"{file}:{reader.line_num + 1}: not a table ({error}).") from error


def _parquet(file: Path, content: bytes) -> list[Record]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import read_table

    try:
        rows = read_table(io.BytesIO(content)).to_pylist()
    except (ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: not a Parquet file ({error}).") from error
    return [Record(f"{file.name}:{number}", row) for number, row in enumerate(rows, 1)]
