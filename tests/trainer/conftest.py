"""What the tests of several processes share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Eight rows of unequal lengths, for eight steps of four."""
    file = tmp_path / "mine.jsonl"
    talks = [[{"role": "user", "content": f"Duck {at}? " * (at % 3 + 1)}, {"role": "assistant", "content": "Quack. " * (at + 1)}] for at in range(8)]
    file.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    return file
