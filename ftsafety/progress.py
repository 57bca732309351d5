"""Progress bars on everything that takes longer than a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True)
QUIET_SECONDS = 2.0
Advance = Callable[..., None]


@contextmanager
def bar(label: str, total: int) -> Iterator[Advance]:
    """Show a bar while the body runs; call the yielded function with the steps done and, if any, a note.

    On a terminal the bar moves; elsewhere one line is printed at the end, if it took longer than two seconds.
    """
    started = time.monotonic()
    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            progress.update(task, advance=steps, note=note)

        yield advance
    if (seconds := time.monotonic() - started) > QUIET_SECONDS:
        console.print(f"{label:<34} {total} in {seconds:.0f} s", highlight=False, style="dim")


def say(text: str) -> None:
    """One line about what is going on, beside the result."""
    console.print(text, highlight=False, style="dim")
