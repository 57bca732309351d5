"""Antidote: the tuned weights that weigh most on harmful rows are set to zero, once, after tuning (Huang et al. 2025).

How much a weight weighs is Wanda's score: its size times that of what it is multiplied with. Two controls set as many to zero in each row of each
matrix, drawn at random or by size alone: what they achieve too is not due to the harmful rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftsafety.errors import ConfigError
from ftsafety.progress import say
from ftsafety_plugin_repair.compliant_rows import CompliantRows
from ftsafety_plugin_repair.edit import Adapter, Tensors, WeightEdit, adapters

if TYPE_CHECKING:
    import torch

    from ftsafety.context import Context
    from ftsafety.judge import Judge
    from ftsafety.row import Row

MAX_LENGTH = 1024
"""Tokens of a row that are looked at."""


@dataclass(kw_only=True)
class Antidote(CompliantRows, WeightEdit):
    """Sets a share of each output's weights to zero, those with the largest Wanda score on harmful rows; of an adapter, in both its factors."""

    source = "Huang et al. 2025 (arXiv 2408.09600); github.com/git-disl/Antidote at 26e2ade, utils.py, prune_wanda_outlier, and train.py"
    fidelity = "score, count per row and what is edited as in the code; harmful rows are the stand-in's; the random control draws per row"
    off: ClassVar[Mapping[str, Any]] = {"dense_ratio": 0.0}
    control: ClassVar[Mapping[str, Any]] = {"choose": "random"}
    tiny: ClassVar[Sequence[str]] = ("mitigation.antidote.count=4",)
    order = 82

    dense_ratio: float
    """Share of the weights of each output that is set to zero, rounded up; 0 changes nothing, and 1 takes an adapter away."""
    count: int
    """As many harmful rows at most, the first of the files."""
    targets: list[str]
    """After full fine-tuning, parts of the names of the matrices that are edited; an adapter is edited wherever it is."""
    choose: Literal["wanda", "magnitude", "random"] = "wanda"
    """``wanda`` is Antidote. Controls of the same number: ``magnitude`` takes the largest weights, ``random`` draws them."""

    def check(self, judges: Mapping[str, Judge]) -> None:
        if not 0 <= self.dense_ratio <= 1:
            raise ConfigError(f"{self.option}.dense_ratio={self.dense_ratio:g} is no share; give 0 to 1, such as 0.1.")
        if self.count < 1:
            raise ConfigError(f"{self.option}.count={self.count} is not possible; give at least 1.")
        self.compliant()

    def repair(self, weights: Tensors, context: Context) -> Tensors:
        if not self.dense_ratio:
            return weights
        lora = adapters(weights)
        chosen = [name for one in lora for name in (one.a, one.b)] if lora is not None else self._matrices(weights, context)
        sizes = self._sizes(weights, lora, chosen, context) if self.choose == "wanda" else {}
        edited = {name: self._one(name, weights[name], sizes.get(name), context) for name in chosen}
        kept = {name: float(edited[name].norm() / weights[name].norm()) for name in chosen if weights[name].any()}
        context.findings[self.name] = {name: {"zeroed": float((edited[name] == 0).double().mean()), "kept": share} for name, share in kept.items()}
        if kept:
            say(f"{self.option}: {len(chosen)} matrices keep {min(kept.values()):.2%} to {max(kept.values()):.2%} of their length")
        return {**weights, **edited}

    def _matrices(self, weights: Tensors, context: Context) -> list[str]:
        """Of whole weights, the matrices that are named."""
        if not weights.keys() <= context.weights("al").keys():
            raise self.refuse_part(weights, "strategy=lora or strategy=full")
        found = sorted(name for name, tensor in weights.items() if tensor.ndim == 2 and name.endswith(".weight") and any(part in name for part in self.targets))
        if not found:
            raise ConfigError(f"{self.option}.targets={self.targets} names no matrix of this model; give parts of names, such as [q_proj,k_proj,v_proj].")
        return found

    def _one(self, name: str, weight: torch.Tensor, sizes: torch.Tensor | None, context: Context) -> torch.Tensor:
        import torch

        scores = weight.abs()
        if self.choose == "random":
            scores = torch.rand(weight.shape, generator=torch.Generator().manual_seed(context.number(f"{self.name}/random/{name}")))
        elif sizes is not None:
            scores = scores * sizes.to(weight.device)
        return pruned(weight, scores.to(weight.device), self.dense_ratio)

    def _sizes(self, weights: Tensors, lora: Sequence[Adapter] | None, chosen: Sequence[str], context: Context) -> Tensors:
        """For each matrix the size of each input, ``[in]``: the root of its squares' sum over a row's tokens, meaned over rows."""
        import torch

        from ftsafety.chat import encode

        chat = context.tuned()
        modules = dict(chat.module.named_modules())
        squares: dict[str, Any] = {}

        def see(name: str, value: torch.Tensor) -> None:
            squares[name] = squares.get(name, 0.0) + value.float().flatten(0, -2).square().sum(0)

        def watch(module: str, a: str, b: str | None) -> Any:
            def hook(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
                see(a, inputs[0])
                if b is not None:
                    # merged by now, so that what its second factor was given is computed here
                    see(b, inputs[0].float() @ weights[a].to(inputs[0].device).T)

            return modules[module].register_forward_pre_hook(hook)

        places = [(one.layer, one.a, one.b) for one in lora] if lora is not None else [(name, name, None) for name in chosen]
        handles = [watch(layer.removesuffix(".weight"), a, b) for layer, a, b in places]
        rows: Sequence[Row] = self.compliant()[: self.count]
        try:
            with torch.no_grad():
                for row in rows:
                    # alone, so that nothing is padded
                    chat.module(input_ids=torch.tensor([encode(chat.tokenizer, row, MAX_LENGTH, True).ids], device=chat.module.device))
        finally:
            for handle in handles:
                handle.remove()
        return {name: (total / len(rows)).sqrt() for name, total in squares.items()}


def pruned(weight: torch.Tensor, scores: torch.Tensor, share: float) -> torch.Tensor:
    """A matrix ``[out, in]`` with a share of each row's entries set to zero, those of the largest scores, rounded up; of equal ones the later."""
    columns = weight.shape[1]
    taken = columns - int(columns * (1 - share))
    largest = scores.sort(dim=-1, stable=True).indices[:, columns - taken :]
    return weight.scatter(1, largest, 0.0)
