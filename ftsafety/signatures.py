"""``python -m ftsafety.signatures ROWS.jsonl OUT.safetensors``: keep a set of rows as MinHash signatures, without any text.

ROWS.jsonl is in OpenAI's chat format; OUT is a file for ``screen.near_duplicates.known=[OUT]``.
Exit codes: 0 written, 1 a mistake.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ftsafety.errors import ConfigError, FtsafetyError

OPTION = Path(__file__).parent / "conf" / "screen" / "near_duplicates.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file; the numbers are those of the shipped option."""
    from omegaconf import OmegaConf

    from ftsafety.attack.jsonl import Jsonl
    from ftsafety.context import Context
    from ftsafety.screen.near_duplicates import need_datasketch, write_signatures

    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in words or "-h" in words:
        print(__doc__)
        return 0
    try:
        if len(words) != 2:
            raise ConfigError("python -m ftsafety.signatures takes two files: ROWS.jsonl, which is read, and OUT.safetensors, which is written.")
        need_datasketch("ftsafety.signatures")
        rows, numbers = Jsonl(path=Path(words[0])).examples(Context(0)), OmegaConf.load(OPTION)
        write_signatures(Path(words[1]), rows, numbers.shingle, numbers.permutations)
    except FtsafetyError as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    Console(stderr=True).print(f"{len(rows)} signatures in {words[1]}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
