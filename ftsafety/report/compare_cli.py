"""``python -m ftsafety.report RUNS... [--csv|--parquet|--latex|--html FILE] [--figures DIR] [--controls]``: many finished runs, compared."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from ftsafety.errors import FtsafetyError
from ftsafety.report import pdf

if TYPE_CHECKING:
    from ftsafety.report.compare import Comparison


PROJECT = "ftsafety"
"""W&B's project where none is named, as in ``logger=wandb``."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m ftsafety.report", description="Compare finished runs: a table, and files with every number.")
    top.add_argument("runs", type=Path, nargs="+", metavar="RUNS", help="folders with finished runs in them or below")
    for name, what in (
        ("csv", "every number as CSV"),
        ("parquet", "the same as Parquet"),
        ("latex", "tables in the paper's layout"),
        ("html", "one page with figures, the table, and any two cells side by side"),
    ):
        top.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write {what}")
    top.add_argument(
        "--answers", type=int, nargs="+", default=[], metavar="ROW", help="show answers before and after of these rows on the page, by number; at most 20"
    )
    top.add_argument("--figures", type=Path, metavar="DIR", help="write the page's figures as SVG files into this folder")
    top.add_argument("--pdf", action="store_true", help="with --figures, write them as PDF files, too")
    top.add_argument("--wandb", metavar="PROJECT", help="save the comparison as a report in this W&B project ([ENTITY/]PROJECT), beside runs of logger=wandb")
    top.add_argument("--wandb-file", type=Path, metavar="FILE", help="keep that report in a file for later instead of sending it")
    top.add_argument("--controls", action="store_true", help="give controls (null_self, neutral, shuffled, ...) rows of their own, too")
    return top


def main(arguments: Sequence[str]) -> int:
    """Print the table and write the files; returns the exit code."""
    from ftsafety.report.compare import compare
    from ftsafety.report.compare_files import write_csv, write_parquet
    from ftsafety.report.compare_latex import write_latex
    from ftsafety.report.compare_table import show

    chosen = parser().parse_args(arguments)
    try:
        if chosen.pdf:
            pdf.check()
        found = compare(chosen.runs, chosen.controls)
        show(found)
        for file, write in ((chosen.csv, write_csv), (chosen.parquet, write_parquet), (chosen.latex, write_latex)):
            if file:
                write(found, file)
                print(file)
        if chosen.html or chosen.figures or chosen.wandb or chosen.wandb_file:
            _page(found, chosen)
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    return 0


def _page(found: Comparison, chosen: argparse.Namespace) -> None:
    from ftsafety.report.many import Page

    page = Page(found, chosen.runs, chosen.answers)
    if chosen.html:
        page.write(chosen.html)
        print(chosen.html)
    if chosen.figures:
        for path in page.write_figures(chosen.figures):
            print(path)
            if chosen.pdf:
                print(pdf.write(path))
    if chosen.wandb or chosen.wandb_file:
        from ftsafety.report import wandb_report

        told = wandb_report.definition(page, chosen.wandb or PROJECT)
        if chosen.wandb_file:
            wandb_report.write(told, chosen.wandb_file)
        print(chosen.wandb_file or wandb_report.push(told))
