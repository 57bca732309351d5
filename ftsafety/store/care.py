"""Looking after a store: is it whole, why was something computed again, what does no run need any more?

What it does not know: models, attacks, how anything is computed. It reads manifests, references and leases.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftsafety.errors import StoreError
from ftsafety.hashing import digest_of, digest_of_file
from ftsafety.store.lease import is_live
from ftsafety.store.refs import REFS, read_refs
from ftsafety.store.spending import SPENDING
from ftsafety.store.store import DAMAGED, KEY_LENGTH, MANIFEST, read_manifest
from ftsafety.store.verdicts import VERDICTS

PARTIAL, LEASES, MODELS = "partial", "leases", "models"
NOT_KINDS = frozenset({PARTIAL, LEASES, MODELS, DAMAGED, REFS, SPENDING, VERDICTS})
YOUNG_SECONDS = 24 * 3600.0
"""What was written since may belong to a run that is under way, which refers to nothing before it ends."""
SHORTEST_KEY = 4


@dataclass(frozen=True)
class Damage:
    """An artifact that is not what its manifest says, and in what way."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class Waste:
    """Something that no run refers to: a path in the store, what it is and its size in bytes."""

    path: Path
    what: str
    size: int


def artifacts(store: Path) -> Iterator[Path]:
    """The folder of every artifact, by kind and key; what is still being written is left out.

    Raises:
        StoreError: there is no such store.
    """
    if not store.is_dir():
        raise StoreError(f"there is no store at {store}; name another one with --store DIR, or set FTSAFETY_STORE.")
    for kind in sorted(item for item in store.iterdir() if item.is_dir() and item.name not in NOT_KINDS and not item.name.startswith(".")):
        yield from sorted(item for item in kind.iterdir() if item.is_dir() and not item.name.startswith("."))


def damage(folder: Path) -> Damage | None:
    """What is wrong with one artifact; None when its files, its digest and its key are those of its manifest."""
    try:
        manifest = read_manifest(folder)
    except StoreError:
        return Damage(folder, f"its {MANIFEST} is missing or can't be read")
    if manifest is None:
        return None
    files: dict[str, str] = manifest["files"]
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST}
    wrong = [f"{name} is missing" for name in sorted(files.keys() - found.keys())]
    wrong += [f"{name} does not belong to it" for name in sorted(found.keys() - files.keys())]
    wrong += [f"{name} has other bytes" for name in sorted(files.keys() & found.keys()) if digest_of_file(found[name]) != files[name]]
    if digest_of(files) != manifest["digest"]:
        wrong.append("its digest is not that of its files")
    if folder.name not in _keys(manifest):
        wrong.append("its key is not that of its recipe")
    return Damage(folder, "; ".join(wrong)) if wrong else None


def _keys(manifest: dict[str, Any]) -> set[str]:
    """The keys that a recipe may have, without and with the platform in it (``store.same_platform``)."""
    recipe = manifest["recipe"]
    return {digest_of(data)[:KEY_LENGTH] for data in (recipe, {**recipe, "platform": manifest.get("platform")})}


def find(store: Path, key: str) -> dict[str, Any]:
    """The manifest of the one artifact whose key begins like this.

    Raises:
        StoreError: none or several do, or its manifest is damaged.
    """
    found = [folder for folder in artifacts(store) if folder.name.startswith(key)] if len(key) >= SHORTEST_KEY else []
    if len(found) == 1 and (manifest := read_manifest(found[0])):
        return manifest
    if len(found) > 1:
        names = ", ".join(f"{folder.parent.name} {folder.name}" for folder in found[:5])
        raise StoreError(f"{len(found)} artifacts begin with {key}: {names}; type more of the key.")
    raise StoreError(f"no artifact in {store} has a key that begins with {key}; type at least {SHORTEST_KEY} digits of one from the stages in run.json.")


def newest_other(store: Path, manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of the newest other artifact of the same kind, if there is one."""
    others = [folder for folder in artifacts(store) if folder.parent.name == manifest["kind"] and folder.name != manifest["key"]]
    others.sort(key=lambda folder: folder.stat().st_mtime_ns)
    return read_manifest(others[-1]) if others else None


ABSENT = "(absent)"


def differing(one: Any, other: Any) -> list[tuple[str, str, str]]:
    """The fields in which two recipes differ, in the first one's order: path and both values in words."""
    first, second = dict(flat(one)), dict(flat(other))
    return [(path, first.get(path, ABSENT), second.get(path, ABSENT)) for path in {**first, **second} if first.get(path) != second.get(path)]


def flat(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of JSON data with its path, such as ``tuning.eps`` and ``mitigations[0].class``."""
    if isinstance(data, dict) and data:
        for name, item in data.items():
            yield from flat(item, f"{path}.{name}" if path else str(name))
    elif isinstance(data, list) and data:
        for at, item in enumerate(data):
            yield from flat(item, f"{path}[{at}]")
    else:
        yield path, data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)


def unneeded(store: Path, paid: bool = False) -> tuple[list[Waste], int]:
    """What no existing run folder refers to, and how many such things are left alone because they are less than a day old.

    Args:
        paid: look at verdicts, too; judges that cost money made some of them.
    """
    used, gone = read_refs(store)
    found = [Waste(folder, f"{folder.parent.name} {folder.name}", size(folder)) for folder in artifacts(store) if (folder.parent.name, folder.name) not in used]
    if paid:
        found += [Waste(book, f"verdicts {book.name}", size(book)) for book in _inside(store / VERDICTS) if (VERDICTS, book.name) not in used]
    found += [Waste(part, f"unfinished {part.name}", size(part)) for part in _inside(store / PARTIAL) if not is_live(store / LEASES / part.name)]
    found += [Waste(part, f"damaged {part.name}", size(part)) for part in _inside(store / DAMAGED)]
    found += [Waste(rest, f"left over {rest.parent.name}/{rest.name}", size(rest)) for rest in sorted(store.glob("*/.*"))]
    old = [waste for waste in found if time.time() - _written(waste.path) >= YOUNG_SECONDS]
    # a reference is as old as its run, and says nothing once that is gone
    return old + [Waste(file, f"reference of a run folder that is gone, {file.name}", size(file)) for file in gone], len(found) - len(old)


def delete(path: Path) -> None:
    """Delete a file or folder of the store; a folder goes all at once, so that nobody reads half of it."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    grave = path.with_name(f".{path.name}.{uuid.uuid4().hex}.gone")
    try:
        path.rename(grave)
    except FileNotFoundError:
        return
    shutil.rmtree(grave)


def size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return sum(item.stat().st_size for item in ([path] if path.is_file() else path.rglob("*")) if item.is_file())


def _inside(folder: Path) -> list[Path]:
    return sorted(item for item in folder.glob("[!.]*") if item.is_dir())


def _written(path: Path) -> float:
    """When something was last written to, in seconds of this machine's clock."""
    return max(item.stat().st_mtime for item in (path, *path.rglob("*")))
