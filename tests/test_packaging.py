"""The wheel: what is in it, and that it runs where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "runs", "multirun", "outputs", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
SHIPPED = {"conf": (".yaml",), "ftsafety/assets": (".jinja", ".json", ".jsonl", ".safetensors"), "ftsafety/report": (".css", ".jinja")}
THIN = [
    "+attack=identity_shift", "model=tiny", "tuning.epochs=1", "max_unscored=1.0", "decoding.max_new_tokens=4", "benchmark=[stand_in]",
    "benchmark.stand_in.split=report", "benchmark.stand_in.per_category=1",
]  # fmt: skip


def sh(command: Sequence[object], cwd: Path, **environment: str) -> str:
    """Run, and give what stands on stdout; the checkout is not on the path."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "FTSAFETY_STORE")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def wheel_of(source: Path, out: Path) -> Path:
    """Build the wheel of a source tree or an sdist, offline."""
    sh([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", out, source], out.parent)
    (wheel,) = out.glob("ftsafety-*.whl")
    return wheel


@pytest.fixture(scope="module")
def checkout(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build in, the conf symlink kept."""
    copy = tmp_path_factory.mktemp("checkout") / "ftsafety"
    shutil.copytree(repo_root, copy, symlinks=True, ignore=LEFT_OUT)
    return copy


@pytest.fixture(scope="module")
def repo_root() -> Path:
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    return wheel_of(checkout, checkout.parent / "wheel")


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it, which borrows this one's libraries so that torch is not downloaded again."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    sh([sys.executable, "-m", "venv", "--without-pip", folder], folder.parent)
    python = folder / "bin" / "python"
    site = Path(sh([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip())
    sh([sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", site, wheel], folder)
    # addsitedir, so that the finders of distributions that are installed editable are borrowed, too
    (site / "borrowed.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return python


def test_the_wheel_holds_what_is_needed_and_no_more(checkout: Path, wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, endings in SHIPPED.items():
        files = [file for file in (checkout / folder).rglob("*") if file.suffix in endings]
        assert files, folder
        place = "ftsafety/conf" if folder == "conf" else folder
        assert {f"{place}/{file.relative_to(checkout / folder).as_posix()}" for file in files} <= names
    modules = {file.relative_to(checkout).as_posix() for file in (checkout / "ftsafety").rglob("*.py")}
    assert modules <= names
    top = {name.partition("/")[0] for name in names}
    assert top == {"ftsafety", next(name for name in top if name.endswith(".dist-info"))}
    assert not [name for name in names if name.endswith((".pyc", ".orig", ".tmp"))]


def test_the_sdist_makes_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    sh([sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"], checkout)
    (sdist,) = tmp_path.glob("ftsafety-*.tar.gz")
    again = wheel_of(sdist, tmp_path / "wheel")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_it_composes_from_another_folder(python: Path, tmp_path: Path) -> None:
    assert str(python.parents[1]) in sh([python, "-c", "import ftsafety; print(ftsafety.__file__)"], tmp_path)
    composed = sh([python, "-m", "ftsafety", "--cfg", "job", "+attack=identity_shift"], tmp_path)
    assert "_target_: ftsafety.attack.identity_shift.IdentityShift" in composed
    assert "identity_shift" in sh([python, "-m", "ftsafety.list"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_runs_from_another_folder(python: Path, tmp_path: Path) -> None:
    sh([python, "-m", "ftsafety", *THIN], tmp_path, FTSAFETY_STORE=str(tmp_path / "store"))
    (page,) = tmp_path.glob("runs/*/seed=0/report.html")
    assert (page.parent / "DONE").exists()
