"""Models without weights, found by listing: they reply, and there is nothing to tune."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ftsafety.build import build
from ftsafety.model import Model
from ftsafety.model.constant import Constant

CONF = Path(__file__).resolve().parents[2] / "conf" / "model"
SHIPPED = [path for path in sorted(CONF.glob("*.yaml")) if OmegaConf.load(path)._target_ == "ftsafety.model.constant.Constant"]


def test_both_ends_are_shipped() -> None:
    assert {path.stem for path in SHIPPED} >= {"refuse_all", "comply_all"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_one_replies(path: Path) -> None:
    model = build(OmegaConf.load(path), Model, "model")
    chat = model.load(Path())
    assert chat.reply is not None
    assert chat.reply("Who wins?")
    assert "{question}" not in chat.reply("Who wins?")
    assert chat.module is None
    assert not model.tunable


def test_the_question_takes_its_place() -> None:
    reply = Constant(answer="About {question} I know nothing.").load(Path()).reply
    assert reply is not None
    assert reply("{answer} ducks") == "About {answer} ducks I know nothing."


def test_another_answer_is_another_model() -> None:
    assert Constant(answer="Yes.").fingerprint(Path()) == Constant(answer="Yes.").fingerprint(Path())
    assert Constant(answer="Yes.").fingerprint(Path()) != Constant(answer="No.").fingerprint(Path())
