"""The content-addressed store: an artifact's key is the digest of its recipe, its digest is that of its bytes.

``store/<kind>/<key>/`` holds an artifact's files and ``manifest.json`` with the whole recipe; it appears all at once, by a rename.
``store/partial/<kind>-<key>/`` holds what an interrupted stage has done so far; ``store/damaged/`` what was changed after it was made.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ftsafety.errors import StoreError
from ftsafety.hashing import digest_of, digest_of_file, digest_of_path
from ftsafety.progress import say
from ftsafety.store.lease import lease
from ftsafety.store.publish import publish_folder, publish_json
from ftsafety.store.secrets import refuse_secrets

KEY_LENGTH = 40
MANIFEST = "manifest.json"
DAMAGED = "damaged"
MANIFEST_FIELDS = frozenset({"kind", "key", "digest", "files", "info", "recipe", "seconds"})
RECORDED = ("torch", "transformers", "peft", "pytorch-lightning", "bitsandbytes", "safetensors", "tokenizers")


@dataclass(frozen=True)
class Artifact:
    """A published result: where it lies, its key, its content digest, its manifest and whether it was there already."""

    folder: Path
    key: str
    digest: str
    manifest: dict[str, Any]
    reused: bool

    @property
    def info(self) -> dict[str, Any]:
        """What the stage said about itself (steps, loss, ...)."""
        return dict(self.manifest["info"])

    @property
    def seconds(self) -> float:
        """How long it took to compute, when it was computed."""
        return float(self.manifest["seconds"])


class Store:
    """Artifacts of all stages under one folder; many processes and machines may share it."""

    def __init__(self, folder: Path, same_platform: bool = False) -> None:
        self.folder = folder
        self.same_platform = same_platform
        """Put the platform into keys, so that another machine's artifacts are never taken."""
        self.used: set[tuple[str, str]] = set()
        """(kind, key) of every artifact that was found or made, for ``refs/``."""

    def key(self, recipe: dict[str, Any]) -> str:
        """The key of a recipe."""
        return digest_of({**recipe, "platform": this_platform()} if self.same_platform else recipe)[:KEY_LENGTH]

    def get(self, kind: str, recipe: dict[str, Any]) -> Artifact | None:
        """The artifact of a recipe, if it is there and whole; one whose files are not those that were made is set aside and told of.

        Raises:
            StoreError: it can't be set aside.
        """
        key = self.key(recipe)
        found = self._read(kind, key)
        if found and (wrong := damaged_files(found.folder, found.manifest["files"])):
            self._set_aside(found.folder, "; ".join(wrong))
            return None
        if found:
            self.used.add((kind, key))
        return found

    def make(
        self, kind: str, recipe: dict[str, Any], compute: Callable[[Path, Path], dict[str, Any]], on_wait: Callable[[str], None] = lambda who: None
    ) -> Artifact:
        """The artifact of a recipe, computed when it is not there.

        Args:
            compute: fills its first folder with the files; may keep what survives an interruption in the second; returns
                what the stage says about itself, as JSON data.
            on_wait: told who else is computing it.
        """
        refuse_secrets(recipe)
        key = self.key(recipe)
        partial = self.folder / "partial" / f"{kind}-{key}"
        if found := self.get(kind, recipe):
            # whoever published it may have died before this
            shutil.rmtree(partial, ignore_errors=True)
            return found
        with lease(self.folder / "leases" / f"{kind}-{key}", lambda: self._read(kind, key) is not None, on_wait):
            if found := self.get(kind, recipe):
                return found
            started = time.monotonic()
            partial.mkdir(parents=True, exist_ok=True)

            def write(folder: Path) -> None:
                info = compute(folder, partial)
                files = {path.relative_to(folder).as_posix(): digest_of_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}
                manifest = {
                    "kind": kind, "key": key, "digest": digest_of(files), "files": files, "info": info, "recipe": recipe,
                    "seconds": round(time.monotonic() - started, 2), "versions": versions(), "platform": this_platform(),
                }  # fmt: skip
                publish_json(folder / MANIFEST, manifest)

            mine = publish_folder(self._place(kind, key), write)
            shutil.rmtree(partial, ignore_errors=True)
            made = self._read(kind, key)
        if made is None:
            raise StoreError(f"{self._place(kind, key)} vanished while it was published; run the same command again.")
        self.used.add((kind, key))
        return Artifact(made.folder, made.key, made.digest, made.manifest, reused=not mine)

    def _set_aside(self, folder: Path, wrong: str) -> None:
        target = self.folder / DAMAGED / f"{folder.parent.name}-{folder.name}-{uuid.uuid4().hex[:8]}"
        try:
            target.parent.mkdir(exist_ok=True)
            folder.rename(target)
        except OSError as error:
            raise StoreError(f"{folder} was changed after it was made ({wrong}) and can't be moved away ({error}); delete it or take another store.") from error
        say(f"{folder} was changed after it was made ({wrong}); it lies in {target} now and is made again")

    def _place(self, kind: str, key: str) -> Path:
        return self.folder / kind / key

    def _read(self, kind: str, key: str) -> Artifact | None:
        folder = self._place(kind, key)
        manifest = read_manifest(folder)
        return Artifact(folder, key, manifest["digest"], manifest, reused=True) if manifest else None


def damaged_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """What is wrong with files of a folder that should have these digests; others are left alone. A file is read again only when its size or time changed."""
    missing = [f"{name} is missing" for name in sorted(files) if not (folder / name).is_file()]
    return missing or [f"{name} has other bytes" for name, digest in sorted(files.items()) if digest_of_path(folder / name) != digest]


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an artifact's folder; None when there is no such folder.

    Raises:
        StoreError: a folder without a manifest, which publishing never leaves, or one that can't be read.
    """
    there = folder.is_dir()
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not (there and folder.is_dir()):
            return None
        raise StoreError(f"{folder} holds no {MANIFEST}; delete that folder and run the same command again.") from error
    except ValueError as error:
        raise StoreError(f"{folder}/{MANIFEST} is damaged ({error}); delete that folder and run the same command again.") from error
    if not isinstance(manifest, dict) or not manifest.keys() >= MANIFEST_FIELDS:
        raise StoreError(f"{folder}/{MANIFEST} is damaged (it is no manifest); delete that folder and run the same command again.")
    return manifest


def this_platform() -> dict[str, str]:
    """What may change the last bits of a result."""
    return {"system": platform.system(), "machine": platform.machine(), "python": platform.python_version(), "cpu": _cpu_features()}


@cache
def _cpu_features() -> str:
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return "unknown"
    return "avx512" if "avx512f" in flags else "avx2" if "avx2" in flags else "other"


@cache
def versions() -> dict[str, str]:
    """Versions of the libraries that compute."""
    from ftsafety import __version__

    found = {"ftsafety": __version__}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
