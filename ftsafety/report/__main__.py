"""``python -m ftsafety.report RUN_FOLDER...`` writes the pages of finished runs again, without a model."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ftsafety.errors import FtsafetyError
from ftsafety.report.page import write_report


def main(folders: list[str]) -> int:
    """Write each folder's page and print its path; 1 when a folder is no finished run."""
    if not folders or folders[0] in ("-h", "--help"):
        print("python -m ftsafety.report RUN_FOLDER...   writes report.html of each finished run again")
        return 0 if folders else 1
    code = 0
    for folder in folders:
        try:
            print(write_report(Path(folder)))
        except FtsafetyError as error:
            Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
