"""What a launcher's own errors mean, as a sentence: it is not installed, or one of its processes died."""

from __future__ import annotations

import re

LIBRARIES = ("joblib", "ray", "submitit")
NOT_INSTALLED = re.compile(r"Unknown plugin class : 'hydra_plugins\.hydra_(\w+?)_launcher\.")


def trouble(error: BaseException) -> str | None:
    """The sentence for an error of a launcher; None for anybody else's."""
    if found := NOT_INSTALLED.search(str(error)):
        name = found[1]
        return f"this hydra/launcher needs hydra-{name}-launcher, which is not installed; type pip install 'ftsafety[{name}]'."
    if not {origin(error), type(error).__module__.partition(".")[0]} & set(LIBRARIES):
        return None
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "nothing more is known").rstrip(".")
    return (
        f"the launcher stopped ({type(error).__name__}: {said}). What was finished is kept: python -m ftsafety.sweep status RUNS says which cells are missing, "
        "and the same command goes on with them, or resume, one cell a process."
    )


def origin(error: BaseException) -> str:
    """The top-level package that raised an error."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    return str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0] if frame else ""
