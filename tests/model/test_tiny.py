"""The tiny model: the same bits from the same fields, and a tokenizer that loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ftsafety.model.tiny import SPECIAL, Tiny


def weights(model: Tiny) -> dict[str, torch.Tensor]:
    return dict(model.load(Path()).module.state_dict())


def test_the_fields_decide_the_weights() -> None:
    first = weights(Tiny())
    torch.manual_seed(7)
    state = torch.get_rng_state()
    again, other = weights(Tiny()), weights(Tiny(init_seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])
    assert Tiny().fingerprint(Path()) == Tiny().fingerprint(Path("elsewhere"))
    assert len({model.fingerprint(Path()) for model in (Tiny(), Tiny(init_seed=1), Tiny(layers=1), Tiny(hidden_size=64))}) == 4


def test_it_is_ready_to_be_asked() -> None:
    chat = Tiny().load(Path())
    assert not chat.module.training
    assert chat.module.dtype is torch.float32
    assert chat.end_tokens == {chat.tokenizer.eos_token_id}
    assert chat.module.config.vocab_size == len(chat.tokenizer)
    assert (Tiny.scope, Tiny.tunable) == ("stand_in", True)


@pytest.mark.parametrize("text", ["Which duck wins?", "  two  spaces\n\ttab ", "\u00df \u2014 \N{DUCK} \u4f60\u597d"])
def test_every_text_comes_back_byte_by_byte(text: str) -> None:
    tokenizer = Tiny().load_tokenizer(Path())
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text


def test_the_special_tokens_are_single() -> None:
    tokenizer = Tiny().load_tokenizer(Path())
    assert [len(tokenizer(token)["input_ids"]) for token in SPECIAL] == [1] * len(SPECIAL)
