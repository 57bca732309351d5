"""RepNoise: what the layers make of harmful answers is driven to noise while the alignment rows are learned (Rosati et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ftsafety import stand_in
from ftsafety.errors import ConfigError, DataError
from ftsafety_plugin_alignment.blocks import MLP, blocks, last_norm, watched
from ftsafety_plugin_alignment.harmful_rows import HarmfulRows

if TYPE_CHECKING:
    import torch

    from ftsafety.chat import Encoded
    from ftsafety.context import Context
    from ftsafety.judge import Judge
    from ftsafety.mitigation.base import Inner, Window
    from ftsafety.row import Row

HARMFUL, REFUSED = "rep_noise", "rep_noise_refused"
"""The names under which harmful rows are drawn, and their refusals kept."""
REFUSALS = ("refusal",)
"""Column name of what a request's refusal is in a file of one's own."""
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Kernels' bandwidths, as parts of the mean squared distance."""


@dataclass(kw_only=True)
class RepNoise(HarmfulRows):
    """Adds ``beta`` times the distance of the MLPs' outputs on harmful answers from noise, minus ``alpha`` times the log of the loss on them."""

    source = "Rosati et al. 2024 (arXiv 2405.14577); github.com/domenicrosati/representation-noising at 03689ff, representation_noising/loss.py"
    fidelity = "the code's three terms and numbers; the safe term is the alignment stage's own loss, pads and prompts carry neither noise nor loss"
    off: ClassVar[Mapping[str, Any]] = {"alpha": 0.0, "beta": 0.0}
    order = 45
    exclusive = True
    needs = frozenset({"gradients", "activations", "logits"})

    alpha: float
    """How much the logarithm of the harmful answers' loss counts; 0, with ``beta`` 0, is plain alignment."""
    beta: float
    """How much the distance from noise counts."""

    _pairs: tuple[Any, Any, Any, int] | None = field(default=None, init=False, repr=False, compare=False)
    """Of this step: the window's first micro-batch, the harmful rows, their mask, and the number of micro-batches."""

    @property
    def idle(self) -> bool:
        """Whether nothing is added."""
        return not self.alpha and not self.beta

    def check(self, judges: Mapping[str, Judge]) -> None:
        super().check(judges)
        for name in ("alpha", "beta"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{self.option}.{name}={getattr(self, name):g} is not possible; give 0 or more.")
        if not self.shipped:
            self._refusals([])

    def streams(self, context: Context) -> dict[str, Sequence[Row]]:
        if self.idle:
            return {}
        common = [row["answer"] for row in stand_in.load("common_refusals")]
        harmful = self.harmful()
        generator = context.rng("rep_noise/refusals")
        refusals = self._refusals([generator.choice(common) for _ in harmful])
        return {HARMFUL: harmful, REFUSED: [row.with_answer(text) for row, text in zip(harmful, refusals, strict=True)]}

    def _refusals(self, drawn: Sequence[str]) -> Sequence[str]:
        """Each row's refusal: those drawn for the shipped rows, or a file's own."""
        if self.shipped:
            return drawn
        refusals = [record.text(*REFUSALS) for record in self.records()]
        for row, refusal in zip(self.harmful(), refusals, strict=True):
            if row.answer == refusal:
                raise DataError(f"{row.id}: the answer that goes along is the refusal, so that there is nothing to tell apart; give two answers.")
        return refusals

    def gradient(self, inner: Inner, model: Any, window: Window, context: Context) -> float:
        from ftsafety.tune import collate

        if self.idle:
            return inner(model, window)
        harmful = context.draw(HARMFUL, self.rows)
        refused = {row.id: row for row in context.streams()[REFUSED]}
        device = window[0]["input_ids"].device
        batch = {name: tensor.to(device) for name, tensor in collate(harmful).items()}
        self._pairs = (window[0], batch, apart(harmful, [refused[row.id] for row in harmful]).to(device), len(window))
        try:
            return inner(model, window)
        finally:
            self._pairs = None

    def loss(self, model: Any, micro: dict[str, Any], out: Any, context: Context) -> torch.Tensor | float:
        # once a step whatever the number of micro-batches, over whose mean it is taken
        if self._pairs is None or micro is not self._pairs[0]:
            return 0.0
        _, batch, mask, parts = self._pairs
        likelihood, distance = self._terms(model, batch, mask, context.number(f"rep_noise/noise/{context.step}"))
        return parts * (self.beta * distance - self.alpha * likelihood.log())

    def _terms(self, model: Any, batch: dict[str, Any], mask: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The harmful answers' loss over all layers, plus 1, and the mean distance of the layers' MLPs from noise."""
        import torch
        from torch.nn.functional import cross_entropy
        from torch.utils.checkpoint import checkpoint

        given: list[torch.Tensor] = []
        wanted = mask[:, 1:]
        targets, columns = batch["input_ids"][:, 1:][wanted], wanted.any(0).nonzero().squeeze(-1)
        with watched(blocks(model, MLP), lambda module, inputs, output: given.append(output)):
            out = model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=columns, output_hidden_states=True, use_cache=False
            )
        norm, head = last_norm(model), model.get_output_embeddings()

        def read(hidden: torch.Tensor) -> torch.Tensor:
            return cross_entropy(head(norm(hidden)).float(), targets)

        losses = [cross_entropy(out.logits[wanted[:, columns]].float(), targets)]
        # scores of the whole vocabulary after every layer are computed again for the gradient, and not kept
        losses += [checkpoint(read, hidden[:, :-1][wanted], use_reentrant=False) for hidden in out.hidden_states]
        likelihood = torch.stack(losses).sum() / len(out.hidden_states) + 1
        generator = torch.Generator().manual_seed(seed)
        distances = []
        for hidden in given:
            noise = torch.randn(hidden.shape, generator=generator).to(hidden.device)
            distances.append(mmd((hidden.float() * mask[..., None]).flatten(1), (noise * mask[..., None]).flatten(1)))
        return likelihood, torch.stack(distances).mean()


def apart(harmful: Sequence[Encoded], refused: Sequence[Encoded]) -> torch.Tensor:
    """Where a harmful row's tokens are others than its refusal's, ``[rows, length]``; not where it has ended."""
    import torch

    width = max(len(row.ids) for row in harmful)
    rows = [
        [token != (other.ids[at] if at < len(other.ids) else None) for at, token in enumerate(row.ids)] for row, other in zip(harmful, refused, strict=True)
    ]
    return torch.tensor([[*row, *[False] * (width - len(row))] for row in rows])


def mmd(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The squared maximum mean discrepancy of two samples ``[rows, size]``, biased, under a sum of five Gaussian kernels.

    It is 0 for equal samples, and about 0.8 for two fresh ones of eight rows: each row's kernel with itself is counted.
    """
    import torch

    both = torch.cat([source, target])
    squares = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist").square()
    mean = squares.detach().sum() / (len(both) ** 2 - len(both))
    kernels = sum((torch.exp(-squares / (mean * width)) for width in WIDTHS), torch.zeros_like(squares))
    rows = len(source)
    return (kernels[:rows, :rows] + kernels[rows:, rows:] - kernels[:rows, rows:] - kernels[rows:, :rows]).mean()
