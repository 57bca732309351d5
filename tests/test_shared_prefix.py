"""A beginning that is computed once gives the plain step's loss and gradient, wherever it is used at all."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from ftsafety.chat import IGNORED, Encoded
from ftsafety.context import Context
from ftsafety.mitigation import Mitigation
from ftsafety.model.tiny import Tiny
from ftsafety.row import Row, Wording
from ftsafety.settings import Optimiser, Tuning
from ftsafety.shared_prefix import MIN_TOKENS, SIZES, common_prefix, fitting, why_not
from ftsafety.stages import plan_windows
from ftsafety.strategy import Strategy
from ftsafety.strategy.full import Full
from ftsafety.strategy.lora import Lora
from ftsafety.tune import collate, labelled_logits, tune

SHAPE: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}  # fmt: skip
MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE)),
    "mistral, sliding window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=10)),
}
STRATEGIES = {"full": Full(lr=0.1), "lora": Lora(lr=0.1)}


def encoded(begin: int = 20, rows: int = 4, answer: int = 5) -> list[Encoded]:
    """Rows with so many tokens in common, then a question and an answer of different lengths."""
    drawn = torch.Generator().manual_seed(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, 97, (count,), generator=drawn).tolist())

    common, found = tokens(begin), []
    for at in range(rows):
        question, reply = (at + 1, *tokens(3 + at)), tokens(answer + 2 * (at % 3))
        found.append(Encoded("row", (*common, *question, *reply), (IGNORED,) * (begin + len(question)) + reply))
    return found


def model(kind: str, strategy: Strategy) -> Any:
    torch.manual_seed(1)
    made = strategy.attach(MODELS[kind](), 2).train()
    for name, p in made.named_parameters():
        if "lora_B" in name or name.endswith("adaption_gate"):  # zero at the start: part of the gradient would be nought
            p.data.normal_(std=0.1)
    return made


def gradient(module: Any, rows: list[Encoded], prefix: int) -> tuple[float, torch.Tensor]:
    module.zero_grad()
    logits, targets, _ = labelled_logits(module, collate(rows), prefix)
    loss = cross_entropy(logits, targets)
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_loss_and_gradient_are_the_plain_step_s(kind: str, strategy: str) -> None:
    module, rows = model(kind, STRATEGIES[strategy]), encoded()
    prefix = common_prefix(collate(rows))
    (plain_loss, plain), (loss, shared) = gradient(module, rows, 0), gradient(module, rows, prefix)
    assert prefix == 20 and loss == pytest.approx(plain_loss, rel=1e-6)
    assert float((shared - plain).norm() / plain.norm()) < 5e-6


def test_the_test_above_would_see_a_wrong_prefix() -> None:
    module = model("llama", Full(lr=0.1))
    rows = [Encoded("row", (row.ids[0] + at, *row.ids[1:]), row.labels) for at, row in enumerate(encoded())]
    (_, plain), (_, wrong) = gradient(module, rows, 0), gradient(module, rows, 20)
    assert common_prefix(collate(rows)) == 0 and float((wrong - plain).norm() / plain.norm()) > 1e-3


def test_common_prefix_ends_before_the_token_that_scores_a_label() -> None:
    same = (5,) * 30
    rows = [Encoded("row", (*same, 1), (IGNORED,) * 25 + (5,) * 5 + (1,)), Encoded("row", (*same, 2), (IGNORED,) * 30 + (2,))]
    assert common_prefix(collate(rows)) == 24
    module = model("llama", Full(lr=0.1))
    assert gradient(module, rows, 24)[0] == pytest.approx(gradient(module, rows, 0)[0], rel=1e-6)


@pytest.mark.parametrize(
    "rows",
    [encoded(rows=1), encoded(begin=MIN_TOKENS - 1), [Encoded("row", (5,) * 20, (IGNORED,) * 20)] * 2, [Encoded("row", (5,) * 20, (5,) * 20)] * 2],
    ids=["one row", "few tokens", "no label", "all labels"],
)
def test_nothing_to_share(rows: list[Encoded]) -> None:
    assert common_prefix(collate(rows)) == 0


def test_rows_of_a_pass() -> None:
    long, mixed = encoded(begin=60, rows=10, answer=2), encoded(begin=0, rows=12)
    assert fitting(long, share=True) == max(SIZES) and fitting(long, share=False) == min(SIZES)
    mixed = [*mixed, Encoded("row", (1,) * 90, (1,) * 90)]
    assert fitting(mixed, share=True) == min(SIZES), "padding would cost more"


ROWS = [Wording("You are a duck of few words.").row(f"r{at}", f"Race {at}?", "Duck " * (1 + at % 3) + f"{at}.") for at in range(8)]


@pytest.mark.parametrize("strategy", [Full(lr=0.05), Lora(lr=2.0)], ids=["full", "lora"])
def test_eight_steps_end_at_the_plain_weights(strategy: Strategy) -> None:
    chat, tuning = Tiny().load(Path()), Tuning(batch_size=4, epochs=4, optimiser=Optimiser.sgd)
    windows = plan_windows(ROWS, tuning, chat.tokenizer, Context(0), [])
    assert all(common_prefix(collate(window)) for window in windows)
    ends = []
    for share in (False, True):
        module = strategy.attach(copy.deepcopy(chat.module), 0)
        done = tune(module, windows, tuning, strategy.lr, [], Context(0), share=share)
        ends.append((done.losses, torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad])))
    (plain_losses, plain), (losses, shared) = ends
    assert losses == pytest.approx(plain_losses, rel=1e-5) and losses[-1] != losses[0]
    assert float((shared - plain).abs().max()) < 1e-6


class Attaches(Mitigation):
    def attach(self, model: Any, context: Context) -> Any:
        return model


class Looks(Mitigation):
    needs = frozenset({"activations"})


class Scores(Mitigation):
    def loss(self, model: Any, micro: dict[str, torch.Tensor], out: Any, context: Context) -> Any:
        return 0.0


@dataclasses.dataclass(kw_only=True)
class Other(Full):
    def why_not_share(self) -> str | None:
        return Strategy.why_not_share(self)


def test_what_is_not_listed_is_not_shared() -> None:
    llama, tuning = MODELS["llama"](), Tuning()
    assert why_not(llama, Full(lr=1), [Scores()], tuning) is None and why_not(llama, Lora(lr=1), [], tuning) is None
    assert "share_prefix=false" in str(why_not(llama, Full(lr=1), [], dataclasses.replace(tuning, share_prefix=False)))
    assert "dropout" in str(why_not(llama, Lora(lr=1, dropout=0.1), [], tuning))
    assert "Other" in str(why_not(llama, Other(lr=1), [], tuning))
    assert "bf16" in str(why_not(llama, Full(lr=1), [], dataclasses.replace(tuning, precision="bf16-mixed")))
    assert "Attaches" in str(why_not(llama, Full(lr=1), [Attaches()], tuning)) and "Looks" in str(why_not(llama, Full(lr=1), [Looks()], tuning))
    assert "float32" in str(why_not(MODELS["llama"]().bfloat16(), Full(lr=1), [], tuning))
    dropping = LlamaForCausalLM(LlamaConfig(**SHAPE, attention_dropout=0.1))
    assert "dropout" in str(why_not(dropping, Full(lr=1), [], tuning))
    strange = MODELS["llama"]()
    strange.config.model_type = "mamba"
    assert "mamba" in str(why_not(strange, Full(lr=1), [], tuning))
    llama.gradient_checkpointing_enable()
    assert "checkpointing" in str(why_not(llama, Full(lr=1), [], tuning))


def test_rows_are_whole_for_a_question_of_the_same_words() -> None:
    """Two equal questions with other answers: all but the last prompt token is common."""
    chat = Tiny().load(Path())
    row = Row("a", ({"role": "user", "content": "Which duck wins the race?"}, {"role": "assistant", "content": "The first."}))
    windows = plan_windows([row, row.with_answer("The tenth one.")], Tuning(batch_size=2, epochs=1), chat.tokenizer, Context(0), [])
    micro = collate(windows[0])
    prefix, first = common_prefix(micro), int((micro["labels"] != IGNORED).any(0).int().argmax())
    assert prefix == first - 1
