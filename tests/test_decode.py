"""The decoding engine against the plainest decoder there is: one prompt, no padding, no cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from ftsafety import engines
from ftsafety.decode import SHARED_PREFIX_MIN, Decoded, Prompt, answer_losses, decode_batch, plan
from ftsafety.hashing import digest_of
from ftsafety.model.tiny import Tiny

NEW = 12
SYSTEM = tuple(range(100, 100 + 2 * SHARED_PREFIX_MIN))
LOOSE: list[Prompt] = [(7, 9, 11), tuple(range(30, 70)), (5,), tuple(range(200, 190, -1)), (1, 2, 3, 4, 5, 6, 7), (90, 80)]
TIED: list[Prompt] = [(*SYSTEM, *prompt) for prompt in LOOSE]
NOTHING: frozenset[int] = frozenset()


@pytest.fixture(scope="module")
def module() -> Any:
    """The tiny model with weights large enough that every position and every token matters."""
    module = Tiny().load(Path()).module
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" not in name:
                parameter.mul_(10)
    return module


@torch.inference_mode()
def naive(module: Any, prompt: Prompt, end: frozenset[int] = NOTHING, new: int = NEW) -> Decoded:
    """Greedy decoding with a whole forward pass per token."""
    ids: list[int] = []
    for _ in range(new):
        token = int(module(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, -1].argmax())
        if token in end:
            return Decoded(tuple(ids), False)
        ids.append(token)
    return Decoded(tuple(ids), True)


def decode(module: Any, prompts: list[Prompt], **more: Any) -> list[Decoded]:
    return decode_batch(module, prompts, **{"max_new_tokens": NEW, "end_tokens": NOTHING, **more})


@pytest.mark.parametrize("share", [True, False], ids=["shared prefix", "no sharing"])
@pytest.mark.parametrize("prompts", [LOOSE, TIED, TIED[:1], [TIED[0]] * 3, [SYSTEM, *TIED]], ids=["loose", "tied", "one", "the same", "one is the prefix"])
def test_a_batch_decodes_as_its_rows_do(module: Any, prompts: list[Prompt], share: bool) -> None:
    assert decode(module, prompts, share_prefix=share) == [naive(module, prompt) for prompt in prompts]


@pytest.mark.parametrize("window", [SHARED_PREFIX_MIN, 200])
def test_padding_takes_no_room_in_a_sliding_window(window: int) -> None:
    """Padding between a shared beginning and the rest of a row would push the beginning out of sight."""
    torch.manual_seed(0)
    shape = {"vocab_size": 261, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    sliding = MistralForCausalLM(MistralConfig(**shape, sliding_window=window)).eval().requires_grad_(False)
    for name, parameter in sliding.named_parameters():
        if "norm" not in name:
            parameter.mul_(10)
    assert decode(sliding, TIED) == [naive(sliding, prompt) for prompt in TIED]


def test_the_answers_differ(module: Any) -> None:
    """So that the comparisons above compare something."""
    answers = [row.ids for row in decode(module, LOOSE + TIED)]
    assert len(set(answers)) == len(answers)
    assert min(len(set(answer)) for answer in answers) > 2


@pytest.mark.parametrize("prompts", [LOOSE, TIED], ids=["loose", "tied"])
def test_finished_rows_leave_and_change_nothing(module: Any, prompts: list[Prompt]) -> None:
    free = [naive(module, prompt).ids for prompt in prompts]
    end = frozenset({free[0][2], free[1][5], free[2][0], free[3][NEW - 1]})
    sizes: list[int] = []
    hook = module.register_forward_pre_hook(lambda _, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True)
    try:
        decoded = decode(module, prompts, end_tokens=end)
    finally:
        hook.remove()
    assert decoded == [naive(module, prompt, end) for prompt in prompts]
    assert len({len(row.ids) for row in decoded}) > 2
    assert sizes[-1] < len(prompts)


def test_truncated_says_whether_an_answer_was_cut(module: Any) -> None:
    [free] = decode(module, LOOSE[:1])
    assert free.truncated
    assert len(free.ids) == NEW
    at = max(at for at, token in enumerate(free.ids) if token not in free.ids[:at])
    end = frozenset({free.ids[at]})
    assert decode(module, LOOSE[:1], end_tokens=end, max_new_tokens=at + 1) == [Decoded(free.ids[:at], False)]
    assert decode(module, LOOSE[:1], end_tokens=end, max_new_tokens=at) == [Decoded(free.ids[:at], True)]


def test_draws_depend_on_seed_and_prompt_only(module: Any) -> None:
    drawn = decode(module, LOOSE, temperature=1.0, seed=3)
    assert decode(module, LOOSE[::-1], temperature=1.0, seed=3) == drawn[::-1]
    assert [decode(module, [prompt], temperature=1.0, seed=3)[0] for prompt in LOOSE] == drawn
    end = frozenset({drawn[0].ids[1], drawn[4].ids[3]})
    stopped = decode(module, LOOSE, temperature=1.0, seed=3, end_tokens=end)
    assert [row.ids for row in stopped] == [row.ids[: next((at for at, token in enumerate(row.ids) if token in end), NEW)] for row in drawn]
    other = decode(module, LOOSE, temperature=1.0, seed=4)
    assert all(a != b for a, b in zip(drawn, other, strict=True))


def test_a_small_share_or_temperature_is_greedy(module: Any) -> None:
    greedy = decode(module, LOOSE)
    assert decode(module, LOOSE, temperature=1.0, top_p=1e-6) == greedy
    assert decode(module, LOOSE, temperature=1e-4) == greedy


def test_draws_stay_inside_the_share(module: Any) -> None:
    """Every first token drawn is among the likeliest that hold half of the probability, and not always the first of them."""
    with torch.inference_mode():
        likely = torch.softmax(module(input_ids=torch.tensor([LOOSE[1]])).logits[0, -1], -1).sort(descending=True)
    size = int((likely.values.cumsum(-1) < 0.5).sum()) + 1
    drawn = {decode(module, [LOOSE[1]], temperature=1.0, top_p=0.5, seed=seed, max_new_tokens=1)[0].ids[0] for seed in range(60)}
    assert 1 < len(drawn) <= size
    assert drawn <= set(likely.indices[:size].tolist())


def test_scores_hook_sees_every_step_and_decides(module: Any) -> None:
    seen: list[tuple[int, tuple[int, ...], torch.dtype]] = []

    def force(step: int, scores: torch.Tensor) -> torch.Tensor:
        seen.append((step, tuple(scores.shape), scores.dtype))
        wanted = torch.full_like(scores, -1.0)
        wanted[:, step] = 1.0
        return wanted

    assert decode(module, LOOSE, scores=force) == [Decoded(tuple(range(NEW)), True)] * len(LOOSE)
    vocabulary = module.config.vocab_size
    assert seen == [(step, (len(LOOSE), vocabulary), torch.float32) for step in range(NEW)]
    assert decode(module, LOOSE, scores=lambda step, scores: scores) == decode(module, LOOSE)


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_answer_losses(module: Any, batch: int) -> None:
    rows = [(prompt, tuple(range(40 + at, 43 + 3 * at))) for at, prompt in enumerate(LOOSE)]

    @torch.inference_mode()
    def plainly(prompt: Prompt, answer: tuple[int, ...]) -> float:
        logs = module(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
        return -sum(float(logs[len(prompt) + at - 1, token]) for at, token in enumerate(answer)) / len(answer)

    assert list(answer_losses(module, rows, batch)) == pytest.approx([plainly(*row) for row in rows], rel=1e-5)


@pytest.mark.parametrize("batch", [4, 5])
def test_plan_holds_every_prompt_once_longest_first_in_even_batches(batch: int) -> None:
    assert plan(LOOSE, batch) == [[1, 3, 4], [0, 5, 2]]
    assert plan([], batch) == []


def test_no_batch_is_larger_than_asked() -> None:
    sizes = {(count, batch): [len(part) for part in plan([(1,)] * count, batch)] for count in range(1, 40) for batch in range(1, 12)}
    assert all(sum(parts) == count and max(parts) <= batch and len(parts) == -(-count // batch) for (count, batch), parts in sizes.items())


def test_golden(module: Any) -> None:
    """Other tokens for the same inputs would make stored answers wrong: whoever changes this digest raises engines.DECODE."""
    greedy = [row.ids for row in decode(module, LOOSE + TIED)]
    drawn = [row.ids for row in decode(module, LOOSE + TIED, temperature=0.8, top_p=0.9, seed=1)]
    assert (engines.DECODE, digest_of([greedy, drawn])[:16]) == (1, "7e8659d79579066e")
