"""Representation matching: benign rows whose last hidden state points where harmful rows' do (He et al. 2024, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftsafety.errors import ConfigError
from ftsafety_plugin_selection.benign_subset import Anchors, BenignSubset, EncodedAnchors

if TYPE_CHECKING:
    import torch

    from ftsafety.chat import Encoded
    from ftsafety.context import Context

AT_ONCE = 8
"""Rows that the model reads together; they are padded on the right, where no state looks."""


@dataclass(kw_only=True)
class BenignSubsetRepresentation(BenignSubset):
    """Benign rows whose last hidden state has the highest cosine with harmful rows'; none of them is harmful."""

    source = "He et al. 2024 (arXiv 2404.01099), representation matching; github.com/princeton-nlp/benign-data-breaks-safety at d44d665"
    fidelity = "features, similarity and choice as in the code, in the model's precision; the anchors are ours, in the task's wording"

    nearest: int
    """A row's score is the mean cosine with so many of its nearest harmful anchors."""

    def check(self) -> None:
        super().check()
        if self.nearest < 1:
            raise ConfigError(f"attack.nearest={self.nearest} is not possible; give 1 or more, up to attack.harmful's number of rows.")

    def anchors(self, context: Context) -> Anchors:
        rows = self.harmful_anchors(context)
        if self.nearest > len(rows):
            raise ConfigError(f"attack.nearest={self.nearest} is not possible; attack.harmful gives {len(rows)} rows, so it is between 1 and {len(rows)}.")
        return {"harmful": rows}

    def settings(self) -> dict[str, Any]:
        return {"nearest": self.nearest}

    def score(self, model: Any, candidates: Sequence[Encoded], anchors: EncodedAnchors) -> list[float | None]:
        return nearness(last_states(model, candidates), last_states(model, anchors["harmful"]), self.nearest)


def last_states(model: Any, rows: Sequence[Encoded]) -> torch.Tensor:
    """The last layer's state at each row's last token, after the final norm: float32 ``[rows, hidden]``, on the CPU."""
    import torch

    from ftsafety.tune import collate

    # rows of similar length together, so that little is padding
    order = sorted(range(len(rows)), key=lambda at: -len(rows[at].ids))
    found: dict[int, torch.Tensor] = {}
    for start in range(0, len(order), AT_ONCE):
        some = order[start : start + AT_ONCE]
        batch = {name: tensor.to(model.device) for name, tensor in collate([rows[at] for at in some]).items()}
        with torch.no_grad():
            out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True, use_cache=False, logits_to_keep=1)
        for number, at in enumerate(some):
            found[at] = out.hidden_states[-1][number, len(rows[at].ids) - 1].float().cpu()
    return torch.stack([found[at] for at in range(len(rows))])


def nearness(candidates: torch.Tensor, anchors: torch.Tensor, nearest: int) -> list[float | None]:
    """The mean cosine of each of ``[n, hidden]`` with the nearest of ``[m, hidden]``; None for a state that has no direction."""
    from torch.nn.functional import normalize

    cosines = normalize(candidates.double(), dim=-1) @ normalize(anchors.double(), dim=-1).T
    scores = cosines.topk(nearest, dim=-1).values.mean(-1)
    return [float(score) if state.any() else None for score, state in zip(scores, candidates, strict=True)]
