"""``python -m ftsafety.report RUN_FOLDER...`` writes the pages of finished runs again, without a model.

``python -m ftsafety.report RUNS... [--csv|--parquet|--latex|--html FILE] [--figures DIR]`` compares the finished runs below these folders.
``python -m ftsafety.report RUNS... --expect qi2024/table2`` prints the finished runs below these folders beside a paper's table.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ftsafety.errors import ConfigError, FtsafetyError
from ftsafety.report.page import write_report


def main(folders: list[str]) -> int:
    """Write each folder's page and print its path, or compare what is below the folders, or print it beside a paper's table; 1 for no finished run."""
    if not folders or folders[0] in ("-h", "--help"):
        print("python -m ftsafety.report RUN_FOLDER...   writes report.html of each finished run again")
        print("python -m ftsafety.report RUNS... [--csv|--parquet|--latex|--html FILE] [--figures DIR] [--controls]   compares the runs below these folders")
        print("python -m ftsafety.report RUNS... --wandb [ENTITY/]PROJECT [--wandb-file FILE]   saves the comparison as a report in W&B, or keeps it in a file")
        print("python -m ftsafety.report RUNS... --expect qi2024/table2   prints the runs below these folders beside a paper's table")
        return 0 if folders else 1
    if "--expect" in folders:
        return _beside(folders)
    if any(word.startswith("--") for word in folders) or not any((Path(folder) / "run.json").exists() for folder in folders):
        from ftsafety.report.compare_cli import main as compared

        return compared(folders)
    code = 0
    for folder in folders:
        try:
            print(write_report(Path(folder)))
        except FtsafetyError as error:
            Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
            code = 1
    return code


def _beside(arguments: list[str]) -> int:
    from ftsafety.report.beside import show

    at = arguments.index("--expect")
    named, folders = arguments[at + 1 : at + 2], arguments[:at] + arguments[at + 2 :]
    try:
        if not named:
            raise ConfigError("--expect needs a table's name; type e.g. --expect qi2024/table2.")
        show(named[0], [Path(folder) for folder in folders])
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
