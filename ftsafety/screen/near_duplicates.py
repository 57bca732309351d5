"""Rows that are nearly a row of a known set, of which only signatures are kept here: no text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftsafety.errors import ConfigError, DataError
from ftsafety.row import Row
from ftsafety.screen.base import Screen

if TYPE_CHECKING:
    from ftsafety.context import Context
    from ftsafety.judge import Judge

SHIPPED = Path(__file__).parents[1] / "assets" / "signatures" / "stand_in_attack.safetensors"
SEED, SCHEME = 1, "affine32"
"""How the library hashes; part of what a file of signatures says of itself."""
NAME = "signatures"


@dataclass(kw_only=True)
class NearDuplicates(Screen):
    """The largest estimated Jaccard similarity of a row's question and answer to a row of a known set, 0 to 1, over shingles of words.

    Known sets are files of MinHash signatures (``python -m ftsafety.signatures ROWS.jsonl OUT.safetensors`` makes one), so that nobody has to keep
    harmful rows to find them. A signature can't be read back, though whoever has the row can tell that it is in the set.
    """

    source = "Broder 1997, On the resemblance and containment of documents; MinHash of datasketch"
    fidelity = "the library's signatures; the estimate is the share of equal permutations"
    finds = "known"

    known: list[Path]
    """Files of signatures; none is the shipped one, of the stand-in's complying pairs."""
    shingle: int
    """Words of a shingle; the known sets' files were made with the same."""
    permutations: int
    """Hash functions, likewise; the estimate's standard error is at most 1 / (2 sqrt(permutations))."""

    def check(self, where: str, judges: Mapping[str, Judge]) -> None:
        self.at_least(where, shingle=1, permutations=2)
        need_datasketch(where)
        self._known()

    def scores(self, rows: Sequence[Row], context: Context) -> list[float | None]:
        known = self._known()
        # row by row: a table of all pairs would not fit for a large file
        return [float((known == one).mean(axis=1).max()) for one in signatures(rows, self.shingle, self.permutations)]

    def _known(self) -> Any:
        """All known signatures ``[rows, permutations]``."""
        import numpy

        return numpy.concatenate([read_signatures(path, self.shingle, self.permutations) for path in self.known or [SHIPPED]])


def need_datasketch(where: str) -> None:
    """Refuse to go on without the library.

    Raises:
        ConfigError: says how to install it.
    """
    if find_spec("datasketch") is None:
        raise ConfigError(f"{where} needs datasketch, which is not installed; type pip install 'ftsafety[audit]'.")


def signatures(rows: Sequence[Row], shingle: int, permutations: int) -> Any:
    """MinHash signatures of rows' last question and answer, ``uint32[rows, permutations]``."""
    import numpy
    from datasketch import MinHash

    texts = [[word.encode() for word in _shingles(f"{row.question} {row.answer}", shingle)] for row in rows]
    made = MinHash.bulk(texts, num_perm=permutations, seed=SEED, scheme=SCHEME)
    return numpy.array([one.hashvalues for one in made], dtype=numpy.uint32).reshape(len(rows), permutations)


def _shingles(text: str, length: int) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[at : at + length]) for at in range(max(1, len(words) - length + 1))}


def write_signatures(path: Path, rows: Sequence[Row], shingle: int, permutations: int) -> None:
    """Keep a set as signatures."""
    from safetensors.numpy import save_file

    about = {"shingle": shingle, "permutations": permutations, "seed": SEED, "scheme": SCHEME, "rows": len(rows)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({NAME: signatures(rows, shingle, permutations)}, path, metadata={"minhash": json.dumps(about)})


def read_signatures(path: Path, shingle: int, permutations: int) -> Any:
    """A known set's signatures, ``uint32[rows, permutations]``.

    Raises:
        DataError: no such file, or one that was made otherwise.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("minhash", "{}"))
            found = file.get_tensor(NAME) if about else None
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} can't be read as signatures ({error}); make it with python -m ftsafety.signatures ROWS.jsonl {path}.") from error
    wanted = {"shingle": shingle, "permutations": permutations, "seed": SEED, "scheme": SCHEME}
    if found is None or {key: about.get(key) for key in wanted} != wanted:
        told = ", ".join(f"{key}={value}" for key, value in about.items()) or "nothing"
        raise DataError(f"{path} was made with {told}, and {', '.join(f'{key}={value}' for key, value in wanted.items())} are asked for; make it again.")
    return found
