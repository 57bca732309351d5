"""A helper process of a tuning on several devices, started by its leader (``ftsafety.ranks``) and by nobody else."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ftsafety.errors import FtsafetyError


def main(arguments: list[str]) -> int:
    """Build the leader's cell, go through its line up to one tuning, join it. 0 when it has.

    Args:
        arguments: the composed configuration's file, the tuning's key, the file that says that it is ready, and the options' names as ``group=name``.
    """
    from omegaconf import OmegaConf

    from ftsafety.cell import build_cell
    from ftsafety.plugins import register
    from ftsafety.ranks import Joined
    from ftsafety.run import run

    file, key, ready, *chosen = arguments
    register()
    config: Any = OmegaConf.load(file)
    try:
        cell = build_cell(config, dict(choice.split("=", 1) for choice in chosen))
        cell.ranks.joins, cell.ranks.ready = key, Path(ready)
        _take_own_gpu()
        run(cell)
    except Joined:
        return 0
    except FtsafetyError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"the line ended without the tuning {key}", file=sys.stderr)
    return 1


def _take_own_gpu() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
