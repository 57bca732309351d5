"""EWC: the Fisher information against closed forms, the spring against the dense penalty, and what L2 is of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ftsafety.chat import IGNORED, Encoded
from ftsafety.context import Context
from ftsafety.errors import ConfigError
from ftsafety.strategy.full import Full
from ftsafety.strategy.lora import Lora
from tests.mitigation.bench import Bench
from tests.mitigation.test_contract import distance, each_strategy, same
from tests.plugins.distribution import Distribution, encoded, moved, start, watched

made = Distribution("anchor").mitigation


class Bigram(torch.nn.Module):
    """Scores of the next token are ``weight @ known[token]``."""

    def __init__(self) -> None:
        super().__init__()
        self.known = torch.tensor([[1.0, 0.0], [0.5, -1.0], [2.0, 1.0]])
        self.weight = torch.nn.Parameter(torch.tensor([[0.3, -0.2], [0.1, 0.4], [-0.5, 0.0]]))
        self.unused = torch.nn.Parameter(torch.ones(2))
        self.device = torch.device("cpu")

    def forward(self, input_ids: Any, logits_to_keep: Any, **_: Any) -> Any:
        return SimpleNamespace(logits=self.known[input_ids[:, logits_to_keep]] @ self.weight.T)


def test_the_information_of_a_small_model_is_the_closed_form() -> None:
    """A row's gradient is the sum over its answer tokens of ``(p - target) x^T``; rows are squared one by one, and tokens counted."""
    from ftsafety_plugin_anchor.ewc import fisher

    model = Bigram()
    rows = [Encoded("one", (0, 2), (IGNORED, 2)), Encoded("two", (1, 0, 1), (IGNORED, 0, 1))]
    expected = torch.zeros(3, 2)
    for row in rows:
        total = torch.zeros(3, 2)
        for at in range(1, len(row.ids)):
            x = model.known[row.ids[at - 1]]
            total += torch.outer((model.weight.detach() @ x).softmax(0) - torch.eye(3)[row.labels[at]], x)
        expected += total**2
    found = fisher(model, rows)
    assert torch.allclose(found["weight"], expected / 3, atol=1e-7) and float(expected.max()) > 0.1
    assert not found["unused"].any()


def test_averaged_over_the_model_s_own_answers_it_is_the_curvature() -> None:
    """One token: the expectation of the squared gradient is the second derivative of the loss, ``p (1 - p) x^2``."""
    from ftsafety_plugin_anchor.ewc import fisher

    model = Bigram()
    x = model.known[2]
    p = (model.weight.detach() @ x).softmax(0)
    mean = sum(p[answer] * fisher(model, [Encoded("row", (2, answer), (IGNORED, answer))])["weight"] for answer in range(3))
    curvature = torch.autograd.functional.hessian(lambda weight: torch.logsumexp(weight @ x, 0), model.weight.detach()).reshape(6, 6).diagonal().reshape(3, 2)
    assert torch.allclose(mean, torch.outer(p * (1 - p), x**2), atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(mean, curvature, atol=1e-6)  # type: ignore[arg-type]


def test_an_adapter_s_information_is_that_of_the_weights_it_moves(bench: Bench) -> None:
    from ftsafety_plugin_anchor.ewc import fisher

    whole, part = (fisher(start(strategy), encoded(bench)) for strategy in (Full(lr=1.0), Lora(lr=1.0)))
    assert len(part) == 4
    for name, information in part.items():
        assert information.any() and torch.allclose(information, whole[f"{name.removeprefix('base_model.model.')}.weight"], rtol=1e-4, atol=1e-10)


@each_strategy
def test_the_model_is_as_it_was(bench: Bench, strategy: Any) -> None:
    from ftsafety_plugin_anchor.ewc import fisher

    model = start(strategy).train()
    trained = [p.requires_grad for p in model.parameters()]
    fisher(model, encoded(bench))
    assert [p.requires_grad for p in model.parameters()] == trained and model.training
    assert all(p.grad is None for p in model.parameters())


@each_strategy
def test_the_first_gradient_is_plain_and_then_it_pulls(bench: Bench, strategy: Any) -> None:
    bench.strategy = strategy
    plain, held = watched(bench), watched(bench, ewc=made("ewc", weight=1000.0, rows=4))
    assert same(plain.gradients[0], held.gradients[0]) and plain.losses[0] == held.losses[0]
    assert distance(plain.gradients[1], held.gradients[1]) > 1e-4
    assert held.losses[1] > plain.losses[1]


@each_strategy
def test_the_pull_is_the_gradient_of_half_the_weighed_squared_distance(strategy: Any) -> None:
    """Written out densely, with a random information of each weight."""
    ewc, model = made("ewc", weight=0.7), start(strategy)
    ewc.begin(model, Context(0))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    lora = isinstance(strategy, Lora)
    sizes = {name: module.weight.shape for name, module in model.named_modules() if hasattr(module, "lora_A")} if lora else None
    sizes = sizes or {name: p.shape for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(5)
    ewc.load({"fisher": {name: torch.rand(size, generator=generator) for name, size in sizes.items()}})
    moved(model)
    if lora:
        layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
        gaps = {name: strategy.alpha / strategy.r * layer.lora_B["default"].weight @ layer.lora_A["default"].weight for name, layer in layers.items()}
    else:
        gaps = {name: p - before[name] for name, p in model.named_parameters()}
    penalty: Any = 0.7 / 2 * sum((ewc._fisher[name] * gap**2).sum() for name, gap in gaps.items())
    penalty.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    assert ewc.gradient(flat, model, [], Context(0)) == pytest.approx(2 + float(penalty.detach()), rel=1e-5)
    assert len(expected) > 4
    assert all(torch.allclose(dict(model.named_parameters())[name].grad, gradient, rtol=1e-4, atol=1e-6) for name, gradient in expected.items())


def flat(model: Any, window: Any) -> float:
    """A step whose loss is 2 wherever the model is."""
    for p in model.parameters():
        p.grad = torch.zeros_like(p) if p.requires_grad else None
    return 2.0


@each_strategy
def test_where_all_weights_matter_alike_it_is_l2(strategy: Any) -> None:
    found = []
    for option in ("l2", "ewc"):
        mitigation, model = made(option, weight=0.7), start(strategy)
        mitigation.begin(model, Context(0))
        if option == "ewc":
            names = [name for name, module in model.named_modules() if hasattr(module, "lora_A")] or [name for name, _ in model.named_parameters()]
            mitigation.load({"fisher": {name: torch.ones(()) for name in names}})
        loss = mitigation.gradient(flat, moved(model), [], Context(0))
        found.append((loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    (l2_loss, l2), (ewc_loss, ewc) = found
    assert ewc_loss == pytest.approx(l2_loss, rel=1e-5) and l2_loss > 2 and distance(l2, ewc) < 1e-5


def test_refusals_are_drawn_without_repetition_and_not_when_off(bench: Bench) -> None:
    pool = bench.context({}).rows_by_role("safety")
    drawn = made("ewc", rows=len(pool)).streams(bench.context({}))["ewc"]
    assert sorted(row.id for row in drawn) == sorted(row.id for row in pool)
    assert made("ewc", weight=0.0).streams(bench.context({})) == {}


def test_settings_that_make_no_sense_are_sentences(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=r"mitigation\.ewc\.rows=0 is not possible; give at least 1"):
        made("ewc", rows=0)
    with pytest.raises(ConfigError, match=r"mitigation\.ewc\.rows=100000 is not possible; there are \d+ refusals"):
        bench({"ewc": made("ewc", rows=100000)})
    model = start(Lora(lr=0.02))
    layer = next(module for module in model.modules() if hasattr(module, "lora_A"))
    layer.base_layer.weight = torch.nn.Parameter(torch.zeros(4, 4, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ConfigError, match=r"mitigation\.ewc needs the gradient .* quantised; choose strategy=lora"):
        made("ewc").begin(model, Context(0))
