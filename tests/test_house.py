"""What a stage leaves in a run's record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftsafety.stages import House


def compute(folder: Path, unfinished: Path) -> dict[str, Any]:
    (folder / "egg.txt").write_text("one egg")
    return {"eggs": 1}


def test_a_stage_is_noted_once_with_what_it_says_of_itself(tmp_path: Path) -> None:
    house = House.at(tmp_path)
    made = house.make("hen", {"eggs": 1}, compute, "brown")
    assert house.make("hen", {"eggs": 1}, compute, "brown").key == made.key
    (noted,) = house.stages
    assert noted == {"stage": "hen", "label": "brown", "key": made.key, "digest": made.digest, "reused": False, "seconds": made.seconds, "eggs": 1}


def test_an_artifact_of_another_machine_is_taken_and_named_or_left(tmp_path: Path) -> None:
    made = House.at(tmp_path).make("hen", {"eggs": 1}, compute, "brown")
    manifest = json.loads((made.folder / "manifest.json").read_text())
    manifest["platform"]["cpu"] = "abacus"
    (made.folder / "manifest.json").chmod(0o644)
    (made.folder / "manifest.json").write_text(json.dumps(manifest))
    house = House.at(tmp_path)
    house.make("hen", {"eggs": 1}, compute, "brown")
    assert house.stages[0]["reused"] and house.stages[0]["platform"]["cpu"] == "abacus"
    careful = House.at(tmp_path, same_platform=True)
    careful.make("hen", {"eggs": 1}, compute, "brown")
    assert not careful.stages[0]["reused"] and "platform" not in careful.stages[0]
